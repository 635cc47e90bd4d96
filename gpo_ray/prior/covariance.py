"""The prior at some questions, and its covariances.

Shapes: G meta-train groups, M responses of seen questions, A and B responses of two sets of questions, N
responses of one set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gpo_ray.preferences.slates import Array, Floats, Ints
from gpo_ray.prior.kernel import RBFKernel, Standardized, scaled_by_shares
from gpo_ray.prior.scales import PriorScales

NUGGET = 0.02
"""Variance of a log-share that is a question's own, relative to what the embeddings explain."""
MIN_BOTH = 10
"""Fewest groups by which a covariance over those who answered both questions is divided."""


@dataclass(frozen=True)
class CrossCovariance:
    """The parts of the covariance between two sets of responses, before noise and outputscale are applied.

    ``answers`` (A, B) is the empirical covariance of the meta-train groups' answers, ``similarity`` (A, B)
    the kernel of the embeddings, and ``conditional`` (A, B) that kernel given the seen responses, 0 where
    either response is seen. The latter two are None where they have no weight.
    """

    answers: Array
    similarity: Array | None
    conditional: Array | None

    @classmethod
    def of(cls, a: PriorInputs, b: PriorInputs, scales: PriorScales, kernel: RBFKernel) -> CrossCovariance:
        """The covariance of two sets of responses; the kernel only where it has weight."""
        answers = empirical_covariance(a, b, scales.soft_threshold)
        factors = None if a.whitened is None or b.whitened is None else (a.whitened, b.whitened)
        if not (factors or scales.outputscale or scales.for_unseen.outputscale):
            return cls(answers, None, None)
        if a.table is not None and a.table is b.table:
            similarity = a.table[a.rows[:, None], b.rows]
        else:
            similarity = kernel.between(a.x, b.x)
        if factors is None:
            return cls(answers, similarity, None)
        conditional = np.where(a.seen[:, None] | b.seen, 0.0, similarity - factors[0].T @ factors[1])
        return cls(answers, similarity, conditional)

    def covariance(self, a: PriorInputs, b: PriorInputs, scales: PriorScales) -> Array:
        """Covariance (A, B) of a group's shares, without the variance of each question's own."""
        latent = self.conditional
        if self.similarity is not None and scales.outputscale:
            scaled = scales.outputscale * self.similarity
            latent = scaled if latent is None else scaled + latent
        return self.answers if latent is None else scaled_by_shares(latent, a, b) + self.answers


def empirical_covariance(a: PriorInputs, b: PriorInputs, soft_threshold: float) -> Array:
    """Covariance (A, B) of the meta-train groups' answers, shrunk if ``soft_threshold`` is positive."""
    products = a.residual.T @ b.residual
    if not soft_threshold:
        return np.asarray(products / max(1, a.groups))
    both = np.maximum((a.answered.T @ b.answered).astype(np.float64), MIN_BOTH)
    chance = soft_threshold * np.outer(a.deviation, b.deviation) / np.sqrt(both)
    if a.view is b.view:
        chance[np.repeat(a.questions, a.sizes)[:, None] == np.repeat(b.questions, b.sizes)] = 0
    covariance = products / both
    return np.asarray(np.sign(covariance) * np.maximum(np.abs(covariance) - chance, 0))


@dataclass(frozen=True)
class PriorInputs:
    """The prior at the N rows of some questions, as one side of a covariance matrix.

    ``questions`` are their numbers among those whose offsets ``view`` is, and ``question_index`` their
    numbers in the prior. ``seen`` (N,) is True where meta-train groups answered. ``answered`` and
    ``residual`` (G, N) are 0 for a group that is left out; ``groups`` counts the others, and ``count`` and
    ``squares`` (N,) are column sums of ``answered`` and of the squared residuals. ``mean`` and
    ``conditional_variance`` (N,) are the prior's. ``x`` are the embeddings; it is empty where ``table`` holds
    the similarities, of which ``rows`` are these. ``whitened`` (M, N) is the whitened cross-covariance, None
    if all questions are seen.
    ``cross_survey`` is the same for the prior's ``cross_survey``, where that may be asked for.
    """

    view: Ints
    questions: Ints
    question_index: Ints
    sizes: Ints
    seen: NDArray[np.bool_]
    answered: NDArray[np.float32]
    mean: Array
    residual: Floats
    groups: int
    count: Array
    squares: Array
    conditional_variance: Array
    x: Standardized
    whitened: NDArray[np.float32] | None
    rows: Ints
    table: Array | None = None
    cross_survey: PriorInputs | None = None

    @classmethod
    def joined(cls, parts: Sequence[PriorInputs], cross_survey: bool = False) -> PriorInputs:
        """The prior at several questions, from the prior at each of them.

        Args:
            parts: of one prior, for one question each.
            cross_survey: whether to take those of the prior's ``cross_survey`` instead.
        """
        if cross_survey:
            parts = [s.cross_survey for s in parts if s.cross_survey is not None]
        factors = [s.whitened for s in parts if s.whitened is not None]
        whitened = (
            np.concatenate(
                [
                    np.zeros((len(factors[0]), len(s.mean))) if s.whitened is None else s.whitened
                    for s in parts
                ],
                1,
            )
            if factors
            else None
        )
        return cls(
            view=np.arange(len(parts) + 1),
            questions=np.arange(len(parts)),
            question_index=np.concatenate([s.question_index for s in parts]),
            sizes=np.concatenate([s.sizes for s in parts]),
            seen=np.concatenate([s.seen for s in parts]),
            answered=np.concatenate([s.answered for s in parts], 1),
            mean=np.concatenate([s.mean for s in parts]),
            residual=np.concatenate([s.residual for s in parts], 1),
            groups=parts[0].groups,
            count=np.concatenate([s.count for s in parts]),
            squares=np.concatenate([s.squares for s in parts]),
            conditional_variance=np.concatenate([s.conditional_variance for s in parts]),
            x=Standardized.joined([s.x for s in parts]),
            whitened=whitened,
            rows=np.arange(sum(len(s.rows) for s in parts)),
        )

    @property
    def nbytes(self) -> int:
        """Memory that it takes, to within small change."""
        arrays = (self.answered, self.residual, self.whitened, self.x.x)
        own = sum(a.nbytes for a in arrays if a is not None)
        return own + (0 if self.cross_survey is None else self.cross_survey.nbytes)

    @property
    def _binomial(self) -> Array:
        return np.maximum(self.mean * (1 - self.mean), 1e-3)

    @property
    def bare(self) -> PriorInputs:
        """Without all that only :meth:`CrossCovariance.of` reads."""
        # copies, as a view keeps all that it is of
        none = Standardized(self.x.x[:0].copy(), self.x.squared_norm[:0].copy())
        answered, residual = self.answered[:0].copy(), self.residual[:0].copy()
        return replace(self, answered=answered, residual=residual, x=none, whitened=None, table=None)

    @property
    def deviation(self) -> Array:
        """Standard deviation of the groups' residuals, over those who answered, (N,)."""
        return np.asarray(np.sqrt(self.squares / np.maximum(self.count, 1)))

    def own(self, scales: PriorScales) -> Array:
        """Variance of an observed share that no other question explains, (N,)."""
        return np.where(self.seen, 0.0, NUGGET) * self._binomial**2 + scales.noise * self._binomial

    def own_covariance(self) -> Array:
        """Covariance (N, N) of the part of unseen questions' shares that no other question explains."""
        return scaled_by_shares(np.diag(np.where(self.seen, 0.0, 2 * NUGGET)), self, self)

    def variance(self, scales: PriorScales) -> Array:
        """Prior variance of an observed share, (N,); for unseen questions that of a response by itself."""
        shared = self.deviation**2 if scales.soft_threshold else self.squares / max(1, self.groups)
        return np.asarray(
            shared + (self.conditional_variance + scales.outputscale) * self._binomial**2 + self.own(scales)
        )
