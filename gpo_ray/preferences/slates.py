"""Arithmetic on the responses of several questions, end to end, each question's slate by itself.

Shapes: N responses of all questions; ``sizes`` is the number of responses of each question, summing to N.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]

MIN_SHARE = 1e-4
"""Smallest share that a prediction gives to a response."""


def spans(offsets: Ints, which: Ints) -> Ints:
    """Indices ``offsets[i]:offsets[i + 1]`` for every ``i`` of ``which``, end to end."""
    sizes = offsets[which + 1] - offsets[which]
    starts = np.repeat(offsets[which] - (np.cumsum(sizes) - sizes), sizes)
    return np.asarray(starts + np.arange(sizes.sum()), np.int64)


def centred(values: Array, sizes: NDArray[np.int64]) -> Array:
    """Values less their question's mean along axis 0."""
    return values - slate_totals(values, sizes) / np.repeat(sizes, sizes)[:, None]


def slate_totals(values: Array, sizes: NDArray[np.int64]) -> Array:
    """The sum over each question's responses along axis 0, repeated for each of them; shape of ``values``."""
    return np.repeat(np.add.reduceat(values, np.cumsum(sizes) - sizes, axis=0), sizes, axis=0)


def softmax(scores: Array, sizes: NDArray[np.int64]) -> Array:
    """Softmax within each question."""
    starts = np.cumsum(sizes) - sizes
    shifted = np.exp(scores - np.repeat(np.maximum.reduceat(scores, starts), sizes))
    return np.asarray(shifted / np.repeat(np.add.reduceat(shifted, starts), sizes))


def normalized(scores: Array, sizes: NDArray[np.int64]) -> Array:
    """Scores clipped from below and scaled to sum to 1 within each question; NaN stays.

    Args:
        scores: (N,).
        sizes: number of responses of each question, summing to N.
    """
    clipped = np.maximum(scores, MIN_SHARE)
    starts = np.cumsum(sizes) - sizes
    return np.asarray(clipped / np.repeat(np.add.reduceat(clipped, starts), sizes))
