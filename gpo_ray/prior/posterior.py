"""The posterior of a group's shares, given some of its answers: Gaussian process regression.

The prior (:mod:`gpo_ray.prior.group_prior`) is evaluated at the questions of the context and at the target
questions (:class:`PriorInputs`), their covariances are computed (:class:`CrossCovariance`), and the prior is
conditioned on the answers (:class:`ConditionedPrior`), as in Rasmussen and Williams (2006), section 2.2.

Shapes: G meta-train groups, M responses of seen questions, N responses of the questions
asked about, C context rows, T target rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from gpo_ray.preferences.slates import Array, Floats, Ints, normalized, spans
from gpo_ray.prior.covariance import CrossCovariance, PriorInputs
from gpo_ray.prior.kernel import RBFKernel, columns, nearest_covariance
from gpo_ray.prior.scales import PriorScales

if TYPE_CHECKING:
    from gpo_ray.prior.group_prior import GroupPrior
    from gpo_ray.prior.response_model import NominalResponseModel

TABLE_BYTES = 1 << 28
"""Largest table of the similarities of all pairs of a view's responses: 5,792 of them. Where there are more,
similarities are computed as they are asked for."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Similarities of all pairs of responses with embeddings ``x`` (N, E)."""

    x: NDArray[np.float32]
    kernel: RBFKernel

    @cached_property
    def similarity(self) -> Array | None:
        """(N, N), computed when it is first asked for and then kept; None if that would be too large."""
        if 8 * len(self.x) ** 2 > TABLE_BYTES:
            return None
        x = self.kernel.standardized(self.x)
        return self.kernel.between(x, x)

    def __getstate__(self) -> dict[str, Any]:
        return {"x": self.x, "kernel": self.kernel}  # another process computes its own in less time


@dataclass(frozen=True)
class PriorAtQuestions:
    """The prior at N responses of some questions.

    ``question_index`` is the number of each question in the prior, and ``response_index`` (N,) that of each
    response; both are -1 for unseen questions, which no meta-train group answered. ``mean`` (N,),
    ``deviation`` (G, N) and ``conditional_variance`` (N,), the variance of a log-share that the embeddings
    leave unexplained, are estimated as if all questions were unseen. ``whitened`` (M, N') is the whitened
    cross-covariance between the M responses that the estimates rest on and the N' responses of unseen
    questions. ``leave_out`` (G, N) is the mean estimated without each group; it has no rows where that was
    not asked for. ``pairs`` holds similarities, which are the same for all groups. ``cross_survey`` is the
    same for the prior's ``cross_survey``.
    """

    prior: GroupPrior
    x: NDArray[np.float32]
    sizes: Ints
    question_index: Ints
    offsets: Ints
    response_index: Ints
    mean: Array
    deviation: Floats
    conditional_variance: Array
    whitened: NDArray[np.float32]
    kernel: RBFKernel
    leave_out: Array
    pairs: Pairs
    cross_survey: PriorAtQuestions | None = None

    def posterior(
        self,
        context: Ints,
        y: Array,
        target: Ints,
        leave_out: int | None = None,
        masked: Ints | None = None,
    ) -> Posterior:
        """A group's shares, given its answers.

        Args:
            context: numbers of the questions it answered.
            y: (C,) its shares there, end to end.
            target: numbers of the questions to predict.
            leave_out: a group of the data set to leave out, so that training does not see its answers.
            masked: target questions to treat as unseen.
        """
        if self.cross_survey is not None and (self.question_index[context] < 0).all():
            return self.cross_survey.posterior(context, y, target, leave_out, masked)
        given, asked = self.joint_inputs(context, target, leave_out, masked)
        return ConditionedPrior.condition_on(given, y, self.prior, self.kernel).posterior(asked)

    def joint_inputs(
        self, context: Ints, target: Ints, leave_out: int | None = None, masked: Ints | None = None
    ) -> tuple[PriorInputs, PriorInputs]:
        """The prior at the context and at the targets, whose covariance with each other is then computed.

        The arguments are those of :meth:`posterior`.
        """
        table = self.pairs.similarity
        return self._inputs(context, leave_out, None, table), self._inputs(target, leave_out, masked, table)

    def inputs(
        self, questions: Ints, leave_out: int | None = None, masked: Ints | None = None
    ) -> PriorInputs:
        """The prior at some questions, for covariances with the inputs of any view of the same prior.

        The arguments are those of :meth:`posterior`.
        """
        return self._inputs(questions, leave_out, masked, None)

    def _inputs(
        self, questions: Ints, leave_out: int | None, masked: Ints | None, table: Array | None
    ) -> PriorInputs:
        rows, sizes = spans(self.offsets, questions), self.sizes[questions]
        # groups by rows is large where there are many people: in place, and no more than needed
        response_index = self.response_index[rows]
        residual = columns(self.prior.shares, response_index)
        residual[:, response_index < 0] = np.nan
        out = None if leave_out is None else self.prior.number.get(leave_out)
        if out is not None:
            residual[out] = np.nan
        missing = np.isnan(residual)
        np.copyto(residual, 0.0, where=missing)
        answered = len(residual) - np.count_nonzero(missing, axis=0)
        known = answered > 0
        if masked is not None:
            known &= ~np.repeat(np.isin(questions, masked), sizes)
        mean = self.mean[rows] if out is None or not len(self.leave_out) else self.leave_out[out, rows]
        pseudo_count = np.where(np.isnan(mean), 0.0, self.prior.scales.pseudo_count)
        total = residual.sum(0, dtype=np.float64) + np.nan_to_num(mean) * pseudo_count
        weighed = total / np.maximum(answered + pseudo_count, 1e-9)
        residual -= weighed
        np.copyto(residual, 0.0, where=missing)
        if not known.all():
            residual[:, ~known] = self._deviation(rows[~known], out)
            missing[:, ~known] = False
        if out is not None:
            missing[out] = True
        if self.prior.scales.group_scale != 1:
            residual *= np.where(self.prior.single, 1.0, self.prior.scales.group_scale)[:, None]
        return PriorInputs(
            view=self.offsets,
            questions=questions,
            question_index=self.question_index[questions],
            sizes=sizes,
            seen=known,
            answered=(~missing).astype(np.float32),
            mean=np.where(known, weighed, mean),
            residual=residual,
            groups=len(residual) - (out is not None),
            count=(len(missing) - np.count_nonzero(missing, axis=0)).astype(np.float64),
            squares=np.einsum("gn,gn->n", residual, residual, dtype=np.float64),
            conditional_variance=np.where(known, 0.0, self.conditional_variance[rows]),
            x=self.kernel.standardized(self.x[rows] if table is None else self.x[:0]),
            rows=rows,
            table=table,
            whitened=None if known.all() else self._whitened(rows),
        )

    @cached_property
    def unseen_index(self) -> Ints:
        """(N,) column in ``whitened`` of each response, -1 for seen questions."""
        unseen = self.response_index < 0
        return np.where(unseen, np.cumsum(unseen) - 1, -1)

    def _whitened(self, rows: Ints) -> NDArray[np.float32]:
        """The whitened cross-covariance (M, N') of some rows, 0 for responses of seen questions."""
        unseen = self.unseen_index[rows]
        whitened = np.zeros((len(self.whitened), len(rows)), np.float32)
        whitened[:, unseen >= 0] = self.whitened[:, unseen[unseen >= 0]]
        return whitened

    def _deviation(self, rows: Ints, out: int | None) -> Floats:
        """The groups' deviations (G, N'), extrapolated as for unseen questions; 0 for the group left out."""
        deviation = columns(self.deviation, rows)
        if out is not None:
            own = deviation[out] / max(1, len(deviation) - 1)  # the mean of the others moves by this
            deviation += own
            deviation[out] = 0
        return deviation


@dataclass(frozen=True)
class ConditionedPrior:
    """The prior conditioned on a group's answers, ready for any targets.

    ``context`` is the prior at the questions answered and ``common`` their covariance; ``residual`` (C,) is
    the answers less the prior mean; ``trait`` (K,) is the group's position in the nominal response model,
    None where that model has no weight.
    """

    scales: PriorScales
    traits: NominalResponseModel | None
    kernel: RBFKernel
    context: PriorInputs
    common: CrossCovariance
    residual: Array
    trait: Array | None
    cross_survey: bool = False
    """Whether all questions of the context are unseen, so that the ``cross_survey`` prior was conditioned."""

    @classmethod
    def condition_on(
        cls, context: PriorInputs, y: Array, prior: GroupPrior, kernel: RBFKernel
    ) -> ConditionedPrior:
        """Condition the prior on a group's answers.

        Args:
            context: the prior at the questions that the group answered.
            y: (C,) its shares of their responses, end to end.
            prior: the prior that ``context`` was made from.
            kernel: its kernel.
        """
        scales, traits = prior.scales, prior.traits
        trait = None
        if scales.traits and traits is not None:
            inside = context.question_index >= 0
            trait = traits.mode(context.question_index[inside], y[np.repeat(inside, context.sizes)])
        common = CrossCovariance.of(context, context, scales, kernel)
        return cls(scales, traits, kernel, context, common, y - context.mean, trait)

    @cached_property
    def _seen_factor(self) -> Array:
        """(C, C) lower Cholesky factor of the answers' covariance, for predicting seen questions."""
        return self._factor(self.scales)

    @cached_property
    def _unseen_factor(self) -> Array:
        """(C, C) lower Cholesky factor of the answers' covariance, for predicting unseen questions."""
        return self._seen_factor if self.scales.alike else self._factor(self.scales.for_unseen)

    def _factor(self, scales: PriorScales) -> Array:
        c = self.context
        covariance = self.common.covariance(c, c, scales)
        if scales.soft_threshold:
            covariance = nearest_covariance(covariance)
        noise = scales.noise * np.maximum(c.mean * (1 - c.mean), 1e-3)
        factor, _ = cho_factor(covariance + c.own_covariance() + np.diag(noise), lower=True)
        return np.asarray(factor)

    @property
    def nbytes(self) -> int:
        """Bytes that this takes after seen and unseen questions were predicted, apart from small arrays."""
        squares = 4 if self.scales.alike else 5  # one or two factors, and what is in common
        return squares * self.residual.nbytes * len(self.residual) + self.context.nbytes

    def posterior(self, target: PriorInputs, common: CrossCovariance | None = None) -> Posterior:
        """The group's shares.

        Args:
            target: the prior at the targets, from any view of the same prior.
            common: covariance of target and context, if it was computed before.
        """
        t = target
        common = common or CrossCovariance.of(t, self.context, self.scales, self.kernel)
        if self.scales.alike or t.seen.all():
            scores, sd = self._predicted(t, common, self.scales, self._seen_factor)
        else:
            scores, sd = self._predicted(t, common, self.scales.for_unseen, self._unseen_factor)
            if t.seen.any():
                known = self._predicted(t, common, self.scales, self._seen_factor)
                scores, sd = np.where(t.seen, known, (scores, sd))
        shares = self._with_traits(normalized(scores, t.sizes), t)
        return Posterior(shares, sd, t.seen, np.where(t.seen, *self.scales.widths) * sd)

    def _predicted(
        self, t: PriorInputs, common: CrossCovariance, scales: PriorScales, factor: Array
    ) -> tuple[Array, Array]:
        """Means and standard deviations (T,) of the shares."""
        cross = common.covariance(t, self.context, scales)
        gain = cho_solve((factor, True), cross.T).T
        variance = t.variance(scales) - (gain * cross).sum(1)
        return t.mean + gain @ self.residual, np.sqrt(np.maximum(variance, t.own(scales)))

    def _with_traits(self, shares: Array, t: PriorInputs) -> Array:
        """The shares (T,), averaged with those of the nominal response model where that has any."""
        if self.traits is None or self.trait is None or not self.scales.traits:
            return shares
        weight, asked = self.scales.traits, t.seen[np.cumsum(t.sizes) - t.sizes]
        mixed = shares.copy()
        mixed[t.seen] *= 1 - weight
        mixed[t.seen] += weight * self.traits.shares(self.trait, t.question_index[asked])
        return mixed


@dataclass(frozen=True)
class Posterior:
    """Prediction of the prior.

    ``shares`` (T,); their standard deviation ``sd`` (T,); ``seen`` (T,), True where meta-train groups
    answered the question; ``half_width`` (T,) of 90 % intervals.
    """

    shares: Array
    sd: Array
    seen: NDArray[np.bool_]
    half_width: Array
