"""Group Preference Optimization on Ray.

The public API is importable from here: models by text (:func:`load`) and by arrays, data sets, the client of
the service, and the errors. Each name is imported when it is first used, so that ``import gpo_ray`` itself
loads neither torch nor Ray nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpo_ray.api import Answer, Prediction, Question, TextGroup, TextModel, load
    from gpo_ray.client import AsyncClient, Client, ServiceError
    from gpo_ray.errors import (
        BundleError,
        ConfigError,
        DataError,
        EmbeddingError,
        GPOError,
        QuestionTooLongError,
        ResourceError,
        UnknownGroupError,
    )
    from gpo_ray.model import AdaptedGroup, GroupPreferenceModel
    from gpo_ray.preferences import PreferenceDataset

__version__ = "0.1.0"
"""The version of the package."""

_HOMES = {
    "gpo_ray.api": ("Answer", "Prediction", "Question", "TextGroup", "TextModel", "load"),
    "gpo_ray.client": ("AsyncClient", "Client", "ServiceError"),
    "gpo_ray.errors": (
        "BundleError",
        "ConfigError",
        "DataError",
        "EmbeddingError",
        "GPOError",
        "QuestionTooLongError",
        "ResourceError",
        "UnknownGroupError",
    ),
    "gpo_ray.model": ("AdaptedGroup", "GroupPreferenceModel"),
    "gpo_ray.preferences": ("PreferenceDataset",),
}
__all__ = [
    "AdaptedGroup",
    "Answer",
    "AsyncClient",
    "BundleError",
    "Client",
    "ConfigError",
    "DataError",
    "EmbeddingError",
    "GPOError",
    "GroupPreferenceModel",
    "Prediction",
    "PreferenceDataset",
    "Question",
    "QuestionTooLongError",
    "ResourceError",
    "ServiceError",
    "TextGroup",
    "TextModel",
    "UnknownGroupError",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
