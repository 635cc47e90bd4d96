"""The data that methods learn from: the meta-train groups' answers to the training questions.

Shapes: G meta-train groups, Q questions, N responses of all questions, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.preferences.slates import Array, Floats, Ints
from gpo_ray.prior.fitted import FittedPriors
from gpo_ray.prior.group_prior import share_table
from gpo_ray.prior.kernel import Filled, filled

Fit = TypeVar("Fit")


@dataclass(frozen=True)
class MetaTrainAnswers:
    """The data that a method may learn from: the meta-train groups' answers to the training questions.

    It is made once for each split and shared by all methods, so that nothing is learnt twice.
    """

    arrays: PreferenceArrays
    groups: list[int]
    questions: Ints
    priors: FittedPriors = field(default_factory=FittedPriors, init=False, repr=False, compare=False)
    """The priors of the split, which methods that have a prior share."""
    _fits: dict[Callable[[MetaTrainAnswers], Any], Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def fitted(self, fit: Callable[[MetaTrainAnswers], Fit]) -> Fit:
        """Return the result of ``fit`` for these groups, which is computed at the first call and kept."""
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
        """(N,) mean share of the groups that answered, NaN where no group did."""
        return self._parts.mean

    @property
    def residuals(self) -> Floats:
        """(G, N) shares less the groups' mean, 0 where a group did not answer."""
        return self._parts.residual

    @cached_property
    def answered(self) -> NDArray[np.bool_]:
        """(G, Q) whether each group answered each question, among the training questions."""
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
