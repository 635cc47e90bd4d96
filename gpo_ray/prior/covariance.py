"""Compute covariances between the responses of two sets of questions.

:class:`PriorInputs` is one side of a covariance matrix; ``at_questions.py`` makes it and ``posterior.py``
conditions the prior on answers with it. The kernel of the embeddings is in ``kernel.py``.

Shapes: G meta-train groups, M responses of seen questions, A and B responses of two sets of questions, N
responses of one set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gpo_ray.preferences.slates import Array, Floats, Ints
from gpo_ray.prior.guessed import nugget
from gpo_ray.prior.kernel import RBFKernel, Standardized, scaled_by_shares
from gpo_ray.prior.scales import PriorScales

NUGGET = 0.02
"""Variance of a log-share that is specific to its question, relative to the variance that the embeddings
explain."""
MIN_BOTH = 10
"""Smallest number by which a covariance over the groups that answered both questions is divided."""


@dataclass(frozen=True)
class GroupDeviations:
    """The deviations of the meta-train groups' shares of N responses from the prior mean.

    ``answered`` (G, N) is 1 where a group answered, and ``residual`` (G, N) is its deviation; both are 0 for
    a group that is left out. ``groups`` is the number of groups that are not left out, and ``count`` and
    ``squares`` (N,) are column sums of ``answered`` and of the squared residuals.
    """

    answered: NDArray[np.float32]
    residual: Floats
    groups: int
    count: Array
    squares: Array

    @classmethod
    def of(cls, residual: Floats, missing: NDArray[np.bool_], groups: int) -> GroupDeviations:
        """Make the deviations from the residuals.

        Args:
            residual: (G, N) residuals, 0 where they are missing.
            missing: (G, N) True where a residual is missing.
            groups: number of groups that are not left out.
        """
        return cls(
            answered=(~missing).astype(np.float32),
            residual=residual,
            groups=groups,
            count=(len(missing) - np.count_nonzero(missing, axis=0)).astype(np.float64),
            squares=np.einsum("gn,gn->n", residual, residual, dtype=np.float64),
        )

    @classmethod
    def joined(cls, parts: Sequence[GroupDeviations]) -> GroupDeviations:
        """Join the deviations of several sets of responses, end to end."""
        return cls(
            answered=np.concatenate([p.answered for p in parts], 1),
            residual=np.concatenate([p.residual for p in parts], 1),
            groups=parts[0].groups,
            count=np.concatenate([p.count for p in parts]),
            squares=np.concatenate([p.squares for p in parts]),
        )

    @property
    def bare(self) -> GroupDeviations:
        """The same without the groups' tables, so that variances can still be computed but no covariances."""
        # these are copies, since a view would keep the whole array in memory
        return replace(self, answered=self.answered[:0].copy(), residual=self.residual[:0].copy())

    @property
    def standard_deviation(self) -> Array:
        """Standard deviation (N,) of the residuals of the groups that answered."""
        return np.asarray(np.sqrt(self.squares / np.maximum(self.count, 1)))

    @property
    def nbytes(self) -> int:
        """Memory of the tables, in bytes."""
        return self.answered.nbytes + self.residual.nbytes


@dataclass(frozen=True)
class EmbeddedResponses:
    """The embeddings of N responses, in the form that the kernel needs.

    ``x`` are the standardised embeddings. It is empty where ``table`` already holds the similarities of all
    pairs of responses; ``rows`` (N,) are then the rows of these responses in the table. ``whitened``
    (M, N) is the whitened cross-covariance with the seen responses, None if all questions are seen.
    """

    x: Standardized
    whitened: Floats | None
    rows: Ints
    table: Array | None = None

    @classmethod
    def joined(cls, parts: Sequence[EmbeddedResponses]) -> EmbeddedResponses:
        """Join several sets of responses, end to end; seen ones get a whitened cross-covariance of 0."""
        factors = [p.whitened for p in parts if p.whitened is not None]
        whitened: Floats | None = None
        if factors:
            seen = len(factors[0])
            each: list[Floats] = []
            for p in parts:
                each.append(np.zeros((seen, len(p.rows))) if p.whitened is None else p.whitened)
            whitened = np.concatenate(each, 1)
        x = Standardized.joined([p.x for p in parts])
        return cls(x, whitened, np.arange(sum(len(p.rows) for p in parts)))

    @property
    def bare(self) -> EmbeddedResponses:
        """The same without the large arrays."""
        none = Standardized(self.x.x[:0].copy(), self.x.squared_norm[:0].copy())
        return replace(self, x=none, whitened=None, table=None)

    def similarity(self, other: EmbeddedResponses, kernel: RBFKernel) -> Array:
        """Return the kernel (A, B) between these responses and others."""
        if self.table is not None and self.table is other.table:
            return self.table[self.rows[:, None], other.rows]
        return kernel.between(self.x, other.x)

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes."""
        return self.x.x.nbytes + (0 if self.whitened is None else self.whitened.nbytes)


class Numbering:
    """An opaque token for the questions that a prior was evaluated at, which gave them numbers.

    A number means the same question in two inputs if, and only if, both have the very same token; tokens are
    compared with ``is`` and hold nothing. A copy of a token is another one, so inputs that go to another
    process keep their common token only if they go together.
    """

    __slots__ = ()


@dataclass(frozen=True)
class PriorInputs:
    """The prior at the N responses of some questions, as one side of a covariance matrix.

    ``questions`` are the questions' numbers among those that the prior was evaluated at, which ``numbering``
    stands for. ``question_index`` are their numbers in the prior, -1 if it does not hold them, and ``sizes``
    their numbers of responses. ``seen`` (N,) is True where meta-train groups answered. ``mean`` (N,) is the
    prior mean and ``conditional_variance`` (N,) the variance of a log-share that the embeddings leave
    unexplained, 0 for seen questions. ``simulated`` (V, N) are the deviations of simulated groups, as which a
    language model was asked, and ``guess_scale`` (N,) is the ``scale`` of
    :class:`~gpo_ray.prior.guessed.MeanGuess`, 1 for seen questions. ``cross_survey`` is the prior's
    ``cross_survey`` at the same questions, where it may be needed.
    """

    numbering: Numbering
    questions: Ints
    question_index: Ints
    sizes: Ints
    seen: NDArray[np.bool_]
    mean: Array
    conditional_variance: Array
    deviations: GroupDeviations
    embedded: EmbeddedResponses
    simulated: Floats
    guess_scale: Array
    cross_survey: PriorInputs | None = None

    @classmethod
    def joined(cls, parts: Sequence[PriorInputs]) -> PriorInputs:
        """Join the same prior at several single questions."""
        return cls(
            numbering=Numbering(),
            questions=np.arange(len(parts)),
            question_index=np.concatenate([p.question_index for p in parts]),
            sizes=np.concatenate([p.sizes for p in parts]),
            seen=np.concatenate([p.seen for p in parts]),
            mean=np.concatenate([p.mean for p in parts]),
            conditional_variance=np.concatenate([p.conditional_variance for p in parts]),
            deviations=GroupDeviations.joined([p.deviations for p in parts]),
            embedded=EmbeddedResponses.joined([p.embedded for p in parts]),
            simulated=np.concatenate([p.simulated for p in parts], 1),
            guess_scale=np.concatenate([p.guess_scale for p in parts]),
        )

    @classmethod
    def joined_cross_survey(cls, parts: Sequence[PriorInputs]) -> PriorInputs:
        """Join the ``cross_survey`` of the same prior at several single questions."""
        return cls.joined([p.cross_survey for p in parts if p.cross_survey is not None])

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes."""
        own = self.deviations.nbytes + self.embedded.nbytes + self.simulated.nbytes
        return own + (0 if self.cross_survey is None else self.cross_survey.nbytes)

    @property
    def bare(self) -> PriorInputs:
        """The same without the arrays that only :meth:`CrossCovariance.of` reads."""
        return replace(self, deviations=self.deviations.bare, embedded=self.embedded.bare)

    @property
    def binomial(self) -> Array:
        """Product m (1 - m) (N,) for the mean shares m, at least 0.001."""
        return np.maximum(self.mean * (1 - self.mean), 1e-3)

    def noise(self, scales: PriorScales) -> Array:
        """Return the variance (N,) of an answer's error."""
        return scales.noise * self.binomial

    def own(self, scales: PriorScales) -> Array:
        """Return the variance (N,) of an observed share that no other question explains."""
        return self.nugget * self.binomial**2 + self.noise(scales)

    @property
    def nugget(self) -> Array:
        """Variance (N,) of a log-share that is specific to its question; seen questions have none."""
        return np.where(self.seen, 0.0, nugget(self.guess_scale, NUGGET))

    def idiosyncratic_covariance(self) -> Array:
        """Return the covariance (N, N) of that part of the shares which no other question explains.

        Only unseen questions have such a part; noise is not included.
        """
        return scaled_by_shares(np.diag(2 * self.nugget), self, self)

    def variance(self, scales: PriorScales) -> Array:
        """Return the prior variance (N,) of an observed share.

        For unseen questions it is computed from the variance of the response's own log-share only.
        """
        d = self.deviations
        shared = d.standard_deviation**2 if scales.soft_threshold else d.squares / max(1, d.groups)
        if scales.simulated_weight:
            shared = shared + scales.simulated_weight * (self.simulated**2).sum(0) / max(1, d.groups)
        return np.asarray(
            shared + (self.conditional_variance + scales.outputscale) * self.binomial**2 + self.own(scales)
        )


@dataclass(frozen=True)
class CrossCovariance:
    """The parts of the covariance between two sets of responses, before noise and outputscale are applied.

    ``answers`` (A, B) is the empirical covariance of the meta-train groups' answers, ``similarity`` (A, B)
    the kernel of the embeddings, and ``conditional`` (A, B) that kernel given the seen responses, 0 where
    either response is seen. ``simulated`` (A, B) is the covariance of simulated groups. The latter three are
    None where they have no weight.
    """

    answers: Array
    similarity: Array | None
    conditional: Array | None
    simulated: Array | None = None

    @classmethod
    def of(cls, a: PriorInputs, b: PriorInputs, scales: PriorScales, kernel: RBFKernel) -> CrossCovariance:
        """Compute the parts for two sets of responses; the kernel is computed only where it has weight."""
        answers = empirical_covariance(a, b, scales.soft_threshold)
        simulated = None
        if len(a.simulated) and scales.simulated_weight:
            simulated = a.simulated.T @ b.simulated / max(1, a.deviations.groups)
        whitened = a.embedded.whitened, b.embedded.whitened
        both_unseen = whitened[0] is not None and whitened[1] is not None
        if not (both_unseen or scales.outputscale or scales.for_unseen.outputscale):
            return cls(answers, None, None, simulated)
        similarity = a.embedded.similarity(b.embedded, kernel)
        if whitened[0] is None or whitened[1] is None:
            return cls(answers, similarity, None, simulated)
        explained = whitened[0].T @ whitened[1]
        left = a.guess_scale[:, None] * b.guess_scale * similarity - explained
        # questions with a guess and without are extrapolated apart, by factors that do not fit each other
        apart = a.seen[:, None] | b.seen | (a.guess_scale[:, None] != b.guess_scale)
        conditional = np.where(apart, 0.0, left)
        return cls(answers, similarity, conditional, simulated)

    def covariance(self, a: PriorInputs, b: PriorInputs, scales: PriorScales) -> Array:
        """Return the covariance (A, B) of a group's shares.

        It excludes noise and the variance that is specific to each question.
        """
        latent = self.conditional
        if self.similarity is not None and scales.outputscale:
            scaled = scales.outputscale * self.similarity
            latent = scaled if latent is None else scaled + latent
        groups = self.answers
        if self.simulated is not None and scales.simulated_weight:
            groups = groups + scales.simulated_weight * self.simulated
        return groups if latent is None else scaled_by_shares(latent, a, b) + groups


def empirical_covariance(a: PriorInputs, b: PriorInputs, soft_threshold: float) -> Array:
    """Return the covariance (A, B) of the groups' answers, shrunk if ``soft_threshold`` is positive."""
    one, other = a.deviations, b.deviations
    products = one.residual.T @ other.residual
    if not soft_threshold:
        return np.asarray(products / max(1, one.groups))
    both = np.maximum((one.answered.T @ other.answered).astype(np.float64), MIN_BOTH)
    chance = soft_threshold * np.outer(one.standard_deviation, other.standard_deviation) / np.sqrt(both)
    if a.numbering is b.numbering:  # responses of one question do not covary by chance
        chance[np.repeat(a.questions, a.sizes)[:, None] == np.repeat(b.questions, b.sizes)] = 0
    covariance = products / both
    return np.asarray(np.sign(covariance) * np.maximum(np.abs(covariance) - chance, 0))
