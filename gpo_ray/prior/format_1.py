"""Read the prior of a bundle of format 1: what it stored had other names.

Format 2 has the same contents, so that renaming is all there is to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

V = TypeVar("V")

_SCALES = {
    "semantic": "outputscale",
    "new_noise": "unseen_noise",
    "new_semantic": "unseen_outputscale",
    "threshold": "soft_threshold",
    "evidence": "pseudo_count",
    "stretch": "group_scale",
}
"""Former names of hyperparameters, with their present names."""


def renamed_values(values: Any) -> Any:
    """Give stored values the names of :class:`~gpo_ray.prior.keyed.PriorState`; others stay as they are.

    Any key besides ``sizes`` and ``scales`` is that of the prior for contexts of another survey.
    """
    if not isinstance(values, dict):
        return values
    found = {k if k in ("sizes", "scales") else "cross_survey": v for k, v in values.items()}
    if isinstance(found.get("cross_survey"), dict):
        found["cross_survey"] = _scales_renamed(found["cross_survey"])
    return _scales_renamed(found)


def renamed_arrays(arrays: Mapping[str, V]) -> dict[str, V]:
    """Give stored arrays their present names.

    Any array called ``expected_`` and more is the ``expected`` of the prior for contexts of another survey.
    """
    return {"expected_cross_survey" if k.startswith("expected_") else k: a for k, a in arrays.items()}


def _scales_renamed(values: dict[str, Any]) -> dict[str, Any]:
    scales = values.get("scales")
    if not isinstance(scales, dict):
        return values
    return values | {"scales": {_SCALES.get(k, k): v for k, v in scales.items()}}
