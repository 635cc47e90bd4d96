"""Arithmetic within each question's slate, on arrays that hold the responses of several questions end to end.

Shapes: N responses of all questions; ``sizes`` is the number of responses of each question, summing to N.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Array = NDArray[np.float64]
"""Numbers in double precision."""
Floats = NDArray[np.floating[Any]]
"""Numbers in single or double precision."""

MIN_SHARE = 1e-4
"""Smallest share that a prediction gives to a response."""


def spans(offsets: Ints, which: Ints) -> Ints:
    """Return the indices ``offsets[i]:offsets[i + 1]`` for every ``i`` of ``which``, end to end."""
    sizes = offsets[which + 1] - offsets[which]
    starts = np.repeat(offsets[which] - (np.cumsum(sizes) - sizes), sizes)
    return np.asarray(starts + np.arange(sizes.sum()), np.int64)


def centred(values: Array, sizes: NDArray[np.int64]) -> Array:
    """Subtract from the values their question's mean along axis 0."""
    return values - slate_totals(values, sizes) / np.repeat(sizes, sizes)[:, None]


def slate_totals(values: Array, sizes: NDArray[np.int64]) -> Array:
    """Sum over each question's responses along axis 0, and repeat the sum for each of these responses.

    The result has the shape of ``values``.
    """
    return np.repeat(np.add.reduceat(values, np.cumsum(sizes) - sizes, axis=0), sizes, axis=0)


def softmax(scores: Array, sizes: NDArray[np.int64]) -> Array:
    """Return the softmax of the scores within each question."""
    starts = np.cumsum(sizes) - sizes
    shifted = np.exp(scores - np.repeat(np.maximum.reduceat(scores, starts), sizes))
    return np.asarray(shifted / np.repeat(np.add.reduceat(shifted, starts), sizes))


def normalized(scores: Array, sizes: NDArray[np.int64]) -> Array:
    """Clip scores below at :data:`MIN_SHARE`, and scale them to sum to 1 within each question.

    Args:
        scores: (N,) scores; NaN stays NaN.
        sizes: number of responses of each question, summing to N.
    """
    clipped = np.maximum(scores, MIN_SHARE)
    starts = np.cumsum(sizes) - sizes
    return np.asarray(clipped / np.repeat(np.add.reduceat(clipped, starts), sizes))
