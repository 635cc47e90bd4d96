"""The covariance of responses' embeddings that the baselines ``kernel`` and ``gaussian-process`` share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gpo_ray.evaluation.methods.meta_train_answers import MetaTrainAnswers
from gpo_ray.preferences.slates import Array, Ints, centred, spans
from gpo_ray.prior.kernel import RBFKernel, squared_distances

LENGTHS = (0.5, 1.0, 2.0)
"""Candidate length scales, as multiples of the median distance between responses."""
SAMPLE_QUESTIONS = 150
"""Most questions between whose responses the median distance is taken."""


@dataclass(frozen=True)
class CentredKernel:
    """A kernel of responses that is centred within questions and is called with numbers of questions.

    Shares only compare the responses of one question, so each question's mean is removed from the function.
    The rest relates a difference between two responses to similar differences in similar questions.

    Shapes: N responses of all Q questions, E width of an embedding.
    """

    x: Array
    """(N, E) standardised embeddings."""
    offsets: Ints
    """(Q + 1,) where each question's rows start; the last entry is N."""
    kernel: RBFKernel
    scale: float = 1.0
    """Factor by which the kernel is multiplied, so that a response's variance is 1 on average."""

    @classmethod
    def fit(cls, train: MetaTrainAnswers) -> list[CentredKernel]:
        """Make one kernel for each of ``LENGTHS``, from the distances in a sample of training questions."""
        sample = train.questions[:SAMPLE_QUESTIONS]
        x = train.embeddings[train.arrays.rows(sample)]
        apart = squared_distances(x, x)[np.triu_indices(len(x), 1)]
        median = float(np.sqrt(max(np.median(apart), 1e-12)))
        kernels = [RBFKernel.of_length(times * median) for times in LENGTHS]
        made = [cls(train.embeddings, train.arrays.offsets, k) for k in kernels]
        return [replace(k, scale=1 / max(float(np.diag(k(sample, sample)).mean()), 1e-12)) for k in made]

    def __call__(self, a: Ints, b: Ints) -> Array:
        """Return the covariance (A, B) between the responses of questions ``a`` and of questions ``b``."""
        near, far = self.x[spans(self.offsets, a)], self.x[spans(self.offsets, b)]
        k = self.kernel(near, far)
        sizes = np.diff(self.offsets)
        return self.scale * centred(centred(k, sizes[a]).T, sizes[b]).T
