"""What the meta-train groups answered, as a prior for a new group on questions they share.

A few answers of a new group tell how it resembles the meta-train groups; on any question that these
answered, the same mix of them is a strong first guess, which the transformer then corrects. On new
questions there is no prior and the transformer answers alone.

Shapes: G meta-train groups, N responses of all questions, C context rows, M target rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpo_ray.model.episodes import Ints, PreferenceArrays, Prior, Task

Array = NDArray[np.float64]

LEAST_SHARE = 1e-4
PENALTY = 0.02
"""Of the ridge regression. Leaving one meta-train group out at a time on OpinionQA, .005 to .02 align
within .0003 of each other, .05 by .001 less."""


@dataclass(frozen=True)
class GroupMemory:
    """Shares of meta-train groups: ``shares`` (G, N), NaN where a group did not answer."""

    shares: Array
    groups: tuple[int, ...] = ()
    """Their numbers in the data set, for leaving one out; empty in a bundle."""

    @classmethod
    def build(cls, arrays: PreferenceArrays, groups: Sequence[int], questions: Ints) -> GroupMemory:
        """The answers of ``groups`` to ``questions``."""
        table = np.full((len(groups), len(arrays.x)), np.nan)
        for row, g in enumerate(groups):
            known = np.intersect1d(arrays.answered[g], questions)
            table[row, arrays.rows(known)] = arrays.shares_of(g, known)
        return cls(table, tuple(groups))

    def prior(
        self, context: Ints, y: Array, target: Ints, without: int | None = None, penalty: float = PENALTY
    ) -> Array:
        """Mean of the meta-train groups plus a ridge-weighted mix of their residuals.

        The weights w minimise |y - mean - w residuals|^2 + penalty |w|^2 over the context rows.

        Args:
            context: (C,) rows of the group's answers.
            y: (C,) its shares there.
            target: (M,) rows to predict.
            without: number of a group to leave out, so that training does not see its answers twice.
            penalty: of the weights.

        Returns:
            (M,) scores, NaN where no meta-train group answered; not yet normalised.
        """
        shares = (
            self.shares
            if without not in self.groups
            else np.delete(self.shares, self.groups.index(without), axis=0)
        )
        near, far = filled(shares[:, context]), filled(shares[:, target])
        known = ~np.isnan(near.mean)
        a = near.residual[:, known]
        weights = (
            np.linalg.solve(a @ a.T + penalty * np.eye(len(a)), a @ (y[known] - near.mean[known]))
            if known.any()
            else np.zeros(len(a))
        )
        return np.asarray(far.mean + weights @ far.residual)


@dataclass(frozen=True)
class QuestionMemory:
    """A memory whose questions are found by content, as it travels in a bundle."""

    memory: GroupMemory
    rows: Mapping[str, Ints]
    """Rows of each question's responses, by :func:`~gpo_ray.preferences.dataset.question_key`."""

    @classmethod
    def build(cls, memory: GroupMemory, offsets: Ints, keys: Sequence[str]) -> QuestionMemory:
        """Name the questions of a memory.

        Args:
            memory: shares (G, N).
            offsets: (Q + 1,) where each question's rows start, last entry N.
            keys: Q keys.
        """
        rows = {k: np.arange(a, b) for k, (a, b) in zip(keys, itertools.pairwise(offsets), strict=True)}
        return cls(memory, rows)

    def rows_of(self, keys: Sequence[str | None], sizes: Sequence[int]) -> list[Ints | None]:
        """Rows of each question's responses, None where the memory does not know the question."""
        found = [None if k is None else self.rows.get(k) for k in keys]
        return [r if r is not None and len(r) == n else None for r, n in zip(found, sizes, strict=True)]

    def log_prior(
        self, context: Sequence[tuple[Ints, Array]], targets: Sequence[Ints | None], sizes: Sequence[int]
    ) -> Array:
        """(M,) log prior shares over the responses of the targets, NaN where a question is not known.

        Args:
            context: rows and shares of the known questions that the group answered.
            targets: rows of each target question, None where it is not known.
            sizes: number of responses of each target question.
        """
        known = [t for t in targets if t is not None]
        place = np.repeat([t is not None for t in targets], sizes)
        prior = np.full(len(place), np.nan)
        if known:
            near = np.concatenate([np.zeros(0, np.int64), *(r for r, _ in context)])
            y = np.concatenate([np.zeros(0), *(s for _, s in context)])
            scores = self.memory.prior(near, y, np.concatenate(known))
            prior[place] = np.log(normalized(scores, np.asarray([len(t) for t in known])))
        return prior


def task_prior(memory: GroupMemory, arrays: PreferenceArrays) -> Prior:
    """The log prior of a task's target responses, withheld where the task says so."""
    sizes = np.diff(arrays.offsets)

    def prior(task: Task) -> Array:
        y = arrays.shares_of(task.group, task.context)
        scores = memory.prior(arrays.rows(task.context), y, arrays.rows(task.target), without=task.group)
        hidden = np.repeat(np.isin(task.target, task.hidden), sizes[task.target])
        return np.log(np.where(hidden, np.nan, normalized(scores, sizes[task.target])))

    return prior


@dataclass(frozen=True)
class Filled:
    """Mean (N',) of the groups that answered, and residuals (G, N'), 0 where a group did not."""

    mean: Array
    residual: Array


def filled(shares: Array) -> Filled:
    """Mean and residuals of shares (G, N'), NaN where a group did not answer."""
    answered = ~np.isnan(shares)
    count = answered.sum(0)
    total = np.where(answered, shares, 0.0).sum(0)
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return Filled(mean, np.where(answered, shares - np.nan_to_num(mean), 0.0))


def normalized(scores: Array, sizes: Ints) -> Array:
    """Scores clipped from below and scaled to sum to 1 within each question; NaN stays.

    Args:
        scores: (M,).
        sizes: number of responses of each question, summing to M.
    """
    clipped = np.maximum(scores, LEAST_SHARE)
    starts = np.cumsum(sizes) - sizes
    return np.asarray(clipped / np.repeat(np.add.reduceat(clipped, starts), sizes))
