"""What a baseline is given: the meta-train groups' answers and one test group's context.

Shapes: G meta-train groups, N responses of all questions, C responses of the context, M of the targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.model.episodes import Task
from gpo_ray.preferences.slates import Floats, Ints, normalized
from gpo_ray.prior.group_prior import share_table
from gpo_ray.prior.kernel import Filled, filled

Array = NDArray[np.float64]
Fit = TypeVar("Fit")


@dataclass(frozen=True)
class MetaTrain:
    """What a baseline may learn from: the answers of the meta-train groups to the training questions.

    Made once for each split and shared by all baselines, so that nothing is learnt twice.
    """

    arrays: PreferenceArrays
    groups: list[int]
    questions: Ints
    _fits: dict[Callable[[MetaTrain], Any], Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def fitted(self, fit: Callable[[MetaTrain], Fit]) -> Fit:
        """What ``fit`` learns from the meta-train groups; learnt at the first call and kept."""
        if fit not in self._fits:
            self._fits[fit] = fit(self)
        return self._fits[fit]

    @cached_property
    def shares(self) -> Array:
        """(G, N) shares, NaN where a group did not answer or the question is not for training."""
        questions, table = np.sort(self.questions), np.full((len(self.groups), len(self.arrays.x)), np.nan)
        table[:, self.arrays.rows(questions)] = share_table(self.arrays, self.groups, questions)
        return table

    @cached_property
    def _parts(self) -> Filled:
        return filled(self.shares)

    @property
    def mean(self) -> Array:
        """(N,) mean of the groups that answered, NaN where none did."""
        return self._parts.mean

    @property
    def residuals(self) -> Floats:
        """(G, N) shares less the groups' mean, 0 where a group did not answer."""
        return self._parts.residual

    @cached_property
    def answered(self) -> NDArray[np.bool_]:
        """(G, Q) which questions each group answered in meta-training."""
        return ~np.isnan(self.shares[:, self.arrays.offsets[:-1]])

    @cached_property
    def sizes(self) -> Ints:
        """(Q,) number of responses of each question."""
        return np.asarray(np.diff(self.arrays.offsets), np.int64)

    @cached_property
    def embeddings(self) -> Array:
        """(N, E) embeddings standardised over the training questions' responses."""
        return np.asarray(self.arrays.standardized(self.questions)[0].x.double().numpy())

    @cached_property
    def centred_embeddings(self) -> Array:
        """(N, E) standardised embeddings less their question's mean."""
        mean = np.add.reduceat(self.embeddings, self.arrays.offsets[:-1]) / self.sizes[:, None]
        return self.embeddings - np.repeat(mean, self.sizes, axis=0)


@dataclass(frozen=True)
class BaselineTask:
    """One test group's task."""

    train: MetaTrain
    task: Task

    @cached_property
    def context(self) -> Ints:
        """Context questions that some meta-train group answered."""
        known = np.asarray(self.train.answered.any(0))
        return self.task.context[known[self.task.context]]

    @cached_property
    def context_rows(self) -> Ints:
        """(C,) rows of the responses of ``context``."""
        return self.train.arrays.rows(self.context)

    @cached_property
    def context_y(self) -> Array:
        """(C,) the group's shares at ``context_rows``."""
        return self.train.arrays.shares_of(self.task.group, self.context)

    @cached_property
    def target_rows(self) -> Ints:
        """(M,) rows of the targets' responses."""
        return self.train.arrays.rows(self.task.target)

    @cached_property
    def sizes(self) -> Ints:
        """Number of responses of each target question."""
        return self.train.sizes[self.task.target]

    @property
    def uniform(self) -> Array:
        """(M,) the same share for every response of a target question."""
        return np.repeat(1 / self.sizes, self.sizes)

    @property
    def context_deviation(self) -> Array:
        """The group's shares on the whole context, known to meta-training or not, less uniform ones."""
        sizes = self.train.sizes[self.task.context]
        y = self.train.arrays.shares_of(self.task.group, self.task.context)
        return y - np.repeat(1 / sizes, sizes)

    def normalized(self, scores: Array) -> Array:
        """Scores clipped from below and scaled to sum to 1 within each question; NaN stays."""
        return normalized(scores, self.sizes)


Baseline = Callable[[BaselineTask], Array | None]
"""Shares (M,) over the targets' responses, NaN where it cannot answer; None if it can answer none."""
