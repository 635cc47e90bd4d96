"""What is known of questions before a group is, and predictions for a group."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import SHARE_TOLERANCE
from gpo_ray.preferences.slates import Floats
from gpo_ray.prior.covariance import PriorInputs
from gpo_ray.prior.posterior import Posterior


@dataclass(frozen=True)
class PreparedQuestion:
    """What can be computed for a question with R responses before a group is known.

    ``size`` is R. ``projected`` (R, D) is the projection of the responses' embeddings by the transformer's
    first layer, None where the prior predicts alone. ``prior_inputs`` is the prior at this question, None for
    a model without one. Made by :meth:`GroupPreferenceModel.prepare`.
    """

    size: int
    projected: Tensor | None
    prior_inputs: PriorInputs | None

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes."""
        own = self.projected.nbytes if self.projected is not None else 0
        return own + (self.prior_inputs.nbytes if self.prior_inputs is not None else 0)


def projected_of(questions: Sequence[PreparedQuestion]) -> Tensor:
    """Join the projections (N, D) of all questions' responses, end to end."""
    return torch.cat([q.projected for q in questions if q.projected is not None])


def prior_inputs_of(questions: Sequence[PreparedQuestion]) -> list[PriorInputs]:
    """Return the prior at each question; an empty list for a model without one."""
    return [q.prior_inputs for q in questions if q.prior_inputs is not None]


@dataclass(frozen=True)
class GroupPrediction:
    """A prediction for one group.

    ``flat`` (N,) are the shares over the responses of all questions, end to end; ``sizes`` is the number of
    responses of each question; ``posterior`` is the prior's posterior, None for a model without a prior.
    """

    flat: NDArray[np.float64]
    sizes: list[int]
    posterior: Posterior | None

    @property
    def shares(self) -> list[NDArray[np.float64]]:
        """Predicted shares (R,) of each question."""
        return self._each(self.flat)

    @property
    def intervals(self) -> list[NDArray[np.float64]] | None:
        """Lower and upper ends (R, 2) of the 90 % intervals of each question; None without a prior."""
        if self.posterior is None:
            return None
        half = self.posterior.half_width
        return self._each(np.clip(np.stack([self.flat - half, self.flat + half], 1), 0, 1))

    def _each(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        ends = itertools.accumulate(self.sizes)
        return [values[end - n : end] for n, end in zip(self.sizes, ends, strict=True)]


def checked_shares(
    questions: Sequence[PreparedQuestion], shares: Sequence[Sequence[float] | Floats]
) -> list[NDArray[np.float64]]:
    """Return the shares (R,) of each question's responses.

    Raises:
        DataError: if some are no distribution over the responses.
    """
    ys = [np.asarray(share, np.float64) for share in shares]
    for i, (question, y) in enumerate(zip(questions, ys, strict=True)):
        if y.shape != (question.size,):
            raise DataError(f"context question {i}: {y.size} shares for {question.size} responses")
        if not np.isfinite(y).all() or (y < 0).any() or abs(y.sum() - 1) > SHARE_TOLERANCE:
            raise DataError(f"context question {i}: shares must be at least 0 and sum to 1, not {y.tolist()}")
    return ys
