"""Group Preference Optimization on Ray.

The public API by text is importable from here. It is imported when it is first used, so that
``import gpo_ray`` itself loads neither torch nor Ray nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpo_ray.api import Answer, Prediction, Question, TextGroup, TextModel, load
    from gpo_ray.errors import (
        BundleError,
        ConfigError,
        DataError,
        EmbeddingError,
        GPOError,
        ResourceError,
        UnknownGroupError,
    )
    from gpo_ray.model import GroupPreferenceModel

__version__ = "0.1.0"

_HOMES = {
    "gpo_ray.api": ("Answer", "Prediction", "Question", "TextGroup", "TextModel", "load"),
    "gpo_ray.errors": (
        "BundleError",
        "ConfigError",
        "DataError",
        "EmbeddingError",
        "GPOError",
        "ResourceError",
        "UnknownGroupError",
    ),
    "gpo_ray.model": ("GroupPreferenceModel",),
}
__all__ = [
    "Answer",
    "BundleError",
    "ConfigError",
    "DataError",
    "EmbeddingError",
    "GPOError",
    "GroupPreferenceModel",
    "Prediction",
    "Question",
    "ResourceError",
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
