"""Metrics of how close predicted shares are to the human ones, question by question.

Shapes: N responses of all Q questions, end to end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpo_ray.preferences.slates import Array


def alignment(predicted: Array, human: Array, offsets: NDArray[np.int64], ordinal: Array) -> Array:
    """Return the alignment of each question.

    For ordinal questions it is 1 - W1(predicted, human) / W1max on the scale values, where W1 is the
    1-Wasserstein distance and W1max the distance between point masses at the ends of the scale. For nominal
    questions it is 1 - the Jensen-Shannon distance with natural logarithm, as published (Zhao et al.,
    section 4.1; its floor is 0.167).

    Args:
        predicted: (N,) predicted shares, which sum to 1 within each question.
        human: (N,) human shares, which sum to 1 within each question.
        offsets: (Q + 1,) where each question's responses start; the last entry is N.
        ordinal: (N,) scale values; NaN at all responses of a nominal question.

    Returns:
        (Q,) alignments; NaN where the scale has no extent, so that no distance is defined.
    """
    predicted, human = np.asarray(predicted, np.float64), np.asarray(human, np.float64)
    starts = offsets[:-1]
    result = np.full(len(starts), np.nan)
    nominal = np.isnan(ordinal[starts])
    scaled = np.where(np.isnan(ordinal), 0.0, ordinal)
    distance, extent = _wasserstein(predicted, human, offsets, scaled)
    measurable = ~nominal & (extent > 0)
    result[measurable] = 1 - distance[measurable] / extent[measurable]
    result[nominal] = 1 - _jensen_shannon(predicted, human, starts)[nominal]
    return result


def total_variation(predicted: Array, human: Array, offsets: NDArray[np.int64]) -> Array:
    """Return (Q,) half of the sum of the absolute differences of the shares, from 0 to 1.

    The arguments are those of :func:`alignment`.
    """
    return np.asarray(np.add.reduceat(np.abs(predicted - human), offsets[:-1]) / 2)


def accuracy(predicted: Array, human: Array, offsets: NDArray[np.int64]) -> Array:
    """Return (Q,) 1 where the response predicted as most probable is the one given most often, else 0."""
    sections = offsets[1:-1]
    best = [np.argmax(p) for p in np.split(predicted, sections)]
    true = [np.argmax(h) for h in np.split(human, sections)]
    return np.asarray(best == np.asarray(true), np.float64)


def _wasserstein(p: Array, h: Array, offsets: NDArray[np.int64], scale: Array) -> tuple[Array, Array]:
    """Return (Q,) the 1-Wasserstein distances on the real line, and (Q,) the extents of the scales."""
    sizes = np.diff(offsets)
    question = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((scale, question))
    scale = scale[order]
    difference = np.cumsum((p - h)[order])
    before = np.concatenate([[0.0], difference])[offsets[:-1]]
    cdf = difference - np.repeat(before, sizes)  # the difference of the cumulative shares
    gap = np.append(np.diff(scale), 0.0)
    gap[offsets[1:] - 1] = 0.0
    distance = np.add.reduceat(np.abs(cdf) * gap, offsets[:-1])
    return distance, scale[offsets[1:] - 1] - scale[offsets[:-1]]


def _jensen_shannon(p: Array, h: Array, starts: NDArray[np.int64]) -> Array:
    """Return (Q,) the Jensen-Shannon distances (square root of the divergence, natural logarithm)."""
    middle = (p + h) / 2

    def divergence(a: Array) -> Array:
        ratio = np.divide(a, middle, out=np.ones_like(a), where=a > 0)
        return np.add.reduceat(a * np.log(ratio), starts)

    return np.sqrt(np.maximum(divergence(p) + divergence(h), 0) / 2)
