"""Compute the posterior of a group's shares, given some of its answers, by Gaussian process regression.

The prior (:mod:`gpo_ray.prior.group_prior`) is evaluated at the questions of the context and at the target
questions (:class:`~gpo_ray.prior.covariance.PriorInputs`), their covariances are computed
(:class:`~gpo_ray.prior.covariance.CrossCovariance`), and the prior is conditioned on the answers
(:class:`ConditionedPrior`), as in Rasmussen and Williams (2006), section 2.2.

Shapes: C context rows, T target rows, S samples, K traits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from gpo_ray.errors import DataError
from gpo_ray.preferences.slates import Array, Ints, normalized
from gpo_ray.prior.covariance import CrossCovariance, PriorInputs
from gpo_ray.prior.kernel import RBFKernel, nearest_covariance
from gpo_ray.prior.response_model import NominalResponseModel
from gpo_ray.prior.scales import PriorScales


@dataclass(frozen=True)
class Posterior:
    """The posterior of a group's shares of T responses, given its answers.

    ``mean`` (T,) is the mean of the Gaussian process. ``shares`` (T,) are the prediction: the mean, scaled to
    shares that sum to 1 within each question and, for people, averaged with the shares that the nominal
    response model predicts. ``sd`` (T,) is the standard deviation from which intervals are made; for unseen
    questions it is computed for each response separately, which needs no (T, T) matrix. ``seen`` (T,) is True
    where meta-train groups answered the question. ``half_width`` (T,) is the half width of 90 % intervals.
    """

    mean: Array
    shares: Array
    sd: Array
    seen: NDArray[np.bool_]
    half_width: Array
    sizes: Ints
    """Number of responses of each question, summing to T."""
    make_covariance: Callable[[], Array] = field(repr=False, compare=False)
    """Function that computes :attr:`covariance`."""

    @cached_property
    def covariance(self) -> Array:
        """Covariance (T, T) of the shares that would be observed, computed at the first use.

        It is the covariance of the Gaussian process (Rasmussen and Williams 2006, equation 2.24) plus the
        noise of answers. Rows of unseen questions use the hyperparameters for predicting unseen questions.
        """
        return self.make_covariance()

    @property
    def variance(self) -> Array:
        """Variance (T,) of each share, the diagonal of :attr:`covariance`, which is computed whole for it."""
        return np.diagonal(self.covariance)

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Draw shares from the posterior.

        Args:
            count: number S of draws.
            rng: source of random numbers.

        Returns:
            (S, T) draws of the Gaussian process, scaled to shares that sum to 1 within each question.
        """
        values, vectors = np.linalg.eigh(nearest_covariance(self.covariance))
        factor = vectors * np.sqrt(np.maximum(values, 0))
        draws = self.mean + rng.standard_normal((count, len(self.mean))) @ factor.T
        return np.stack([normalized(draw, self.sizes) for draw in draws])


@dataclass(frozen=True)
class ConditionedPrior:
    """The prior conditioned on a group's answers, ready for any targets; made by :meth:`of`.

    ``context`` is the prior at the questions answered, and ``context_covariance`` is the covariance between
    them. ``residual`` (C,) is the answers less the prior mean. ``traits`` (K,) are the group's traits in the
    nominal response model, None where that model has no weight.
    """

    scales: PriorScales
    response_model: NominalResponseModel | None
    kernel: RBFKernel
    context: PriorInputs
    context_covariance: CrossCovariance
    residual: Array
    traits: Array | None
    sampling: Array | float = 0.0
    """Sampling variances (C,) of the answers, in units of m (1 - m) where m is the mean share."""
    is_cross_survey: bool = False
    """Whether the ``cross_survey`` prior was conditioned, because all questions of the context are unseen."""
    role: int | None = None
    """Number of the simulated group that simulates this group; None if there is none."""

    @classmethod
    def of(
        cls,
        context: PriorInputs,
        y: Array,
        scales: PriorScales,
        response_model: NominalResponseModel | None,
        kernel: RBFKernel,
        sampling: Array | None = None,
        is_cross_survey: bool = False,
        role: int | None = None,
    ) -> ConditionedPrior:
        """Condition a prior on a group's answers; see :meth:`GroupPrior.condition_on`.

        Args:
            context: the prior at the questions that the group answered.
            y: (C,) the group's shares of the responses of these questions, end to end.
            scales: the prior's hyperparameters.
            response_model: the prior's nominal response model.
            kernel: the prior's kernel.
            sampling: (C,) sampling variances of the answers, in units of m (1 - m) where m is the mean share:
                1 / n where n people answered, 0 where this is not known. They add to the noise.
            is_cross_survey: whether this prior is the ``cross_survey`` of another.
            role: number of the simulated group that simulates this group; None if there is none.
        """
        traits = None
        if scales.response_model_weight and response_model is not None:
            inside = context.question_index >= 0
            answers = y[np.repeat(inside, context.sizes)]
            traits = response_model.mode(context.question_index[inside], answers)
        context_covariance = CrossCovariance.of(context, context, scales, kernel)
        return cls(
            scales=scales,
            response_model=response_model,
            kernel=kernel,
            context=context,
            context_covariance=context_covariance,
            residual=y - context.mean,
            traits=traits,
            sampling=0.0 if sampling is None else sampling,
            is_cross_survey=is_cross_survey,
            role=role,
        )

    @property
    def bare(self) -> ConditionedPrior:
        """The same without large arrays of the context; :meth:`posterior` then needs ``cross_covariance``."""
        return replace(self, context=self.context.bare)

    def with_scales(self, scales: PriorScales) -> ConditionedPrior:
        """Return the same for other hyperparameters, which may differ only in some respects.

        These are noise, outputscale, the response model's weight and the widths of intervals; the parts of
        the covariance do not depend on them.
        """
        return replace(self, scales=scales)

    @property
    def log_marginal_likelihood(self) -> float:
        """Log-density, in nats, of the context's answers under the prior.

        The answers are taken as Gaussian around the prior mean (Rasmussen and Williams 2006, equation 2.30).
        """
        factor, r = self._seen_factor, self.residual
        fit = float(r @ cho_solve((factor, True), r))
        log_determinant = 2 * float(np.log(np.diagonal(factor)).sum())
        return -0.5 * (fit + log_determinant + len(r) * math.log(2 * math.pi))

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes after both seen and unseen questions have been predicted."""
        squares = (
            4 if self.scales.same_for_unseen else 5
        )  # the three parts of ``context_covariance`` and one or two factors
        return squares * self.residual.nbytes * len(self.residual) + self.context.nbytes

    def posterior(self, target: PriorInputs, cross_covariance: CrossCovariance | None = None) -> Posterior:
        """Predict the group's shares of the targets.

        Args:
            target: the same prior at the targets.
            cross_covariance: covariance between targets and context, if it was computed before.
        """
        t = target
        cross = cross_covariance or CrossCovariance.of(t, self.context, self.scales, self.kernel)
        if self.scales.same_for_unseen or t.seen.all():
            mean, sd = self._predicted(t, cross, self.scales, self._seen_factor)
        else:
            mean, sd = self._predicted(t, cross, self.scales.for_unseen, self._unseen_factor, self.role)
            if t.seen.any():
                seen = self._predicted(t, cross, self.scales, self._seen_factor)
                mean, sd = np.where(t.seen, seen, (mean, sd))
        return Posterior(
            mean=mean,
            shares=self._with_response_model(normalized(mean, t.sizes), t),
            sd=sd,
            seen=t.seen,
            half_width=np.where(t.seen, *self.scales.widths) * sd,
            sizes=t.sizes,
            make_covariance=lambda: self._covariance(t, cross),
        )

    def posterior_at(self, questions: Sequence[PriorInputs]) -> Posterior:
        """Predict the group's shares of the responses of some questions.

        Args:
            questions: the whole prior at each question, as :meth:`KeyedGroupPrior.inputs` returns it.
        """
        join = PriorInputs.joined_cross_survey if self.is_cross_survey else PriorInputs.joined
        return self.posterior(join(questions))

    @cached_property
    def _seen_factor(self) -> Array:
        """Lower Cholesky factor (C, C) of the answers' covariance, for predicting seen questions."""
        return self._factor(self.scales)

    @cached_property
    def _unseen_factor(self) -> Array:
        """Lower Cholesky factor (C, C) of the answers' covariance, for predicting unseen questions."""
        return self._seen_factor if self.scales.same_for_unseen else self._factor(self.scales.for_unseen)

    def _factor(self, scales: PriorScales) -> Array:
        """Return the lower Cholesky factor (C, C) of the answers' covariance for some hyperparameters."""
        c = self.context
        covariance = self.context_covariance.covariance(c, c, scales)
        if scales.soft_threshold:
            covariance = nearest_covariance(covariance)
        noise = c.noise(scales) + self.sampling * c.binomial
        factor, _ = cho_factor(covariance + c.idiosyncratic_covariance() + np.diag(noise), lower=True)
        return np.asarray(factor)

    def _predicted(
        self,
        t: PriorInputs,
        cross_covariance: CrossCovariance,
        scales: PriorScales,
        factor: Array,
        role: int | None = None,
    ) -> tuple[Array, Array]:
        """Return the means and the standard deviations (T,) of the shares."""
        cross = cross_covariance.covariance(t, self.context, scales)
        mean, residual = t.mean, self.residual
        if role is not None and scales.role_weight:
            mean = mean + scales.role_weight * t.simulated[role]
            residual = residual - scales.role_weight * self.context.simulated[role]
        gain = cho_solve((factor, True), cross.T).T
        variance = t.variance(scales) - (gain * cross).sum(1)
        return mean + gain @ residual, np.sqrt(np.maximum(variance, t.own(scales)))

    def _covariance(self, t: PriorInputs, cross: CrossCovariance) -> Array:
        """Compute the posterior covariance (T, T) of observed shares."""
        own = CrossCovariance.of(t, t, self.scales, self.kernel)

        def given(scales: PriorScales, factor: Array) -> Array:
            prior = own.covariance(t, t, scales)
            if scales.soft_threshold:
                prior = nearest_covariance(prior)
            with_context = cross.covariance(t, self.context, scales)
            explained = with_context @ cho_solve((factor, True), with_context.T)
            return np.asarray(prior + t.idiosyncratic_covariance() + np.diag(t.noise(scales)) - explained)

        if self.scales.same_for_unseen or t.seen.all():
            return given(self.scales, self._seen_factor)
        seen = np.outer(t.seen, t.seen)
        return np.where(
            seen,
            given(self.scales, self._seen_factor),
            given(self.scales.for_unseen, self._unseen_factor),
        )

    def _with_response_model(self, shares: Array, t: PriorInputs) -> Array:
        """Average the shares (T,) of seen questions with those that the nominal response model predicts."""
        weight = self.scales.response_model_weight
        if self.response_model is None or self.traits is None or not weight:
            return shares
        asked = t.seen[np.cumsum(t.sizes) - t.sizes]
        mixed = shares.copy()
        mixed[t.seen] *= 1 - weight
        mixed[t.seen] += weight * self.response_model.shares(self.traits, t.question_index[asked])
        return mixed


def sampling_variances(respondents: Sequence[float | None], sizes: Sequence[int]) -> NDArray[np.float64]:
    """Return the sampling variances (C,) of answers by n people each, 0 where n is not known.

    Raises:
        DataError: if an n is not a positive number.
    """
    if len(respondents) != len(sizes):
        raise DataError(f"context: {len(respondents)} numbers of respondents for {len(sizes)} questions")
    for i, n in enumerate(respondents):
        if n is not None and not 0 < n < np.inf:
            raise DataError(f"context question {i}: the number of respondents must be above 0, not {n}")
    each = [0.0 if n is None else 1 / max(n, 1) for n in respondents]
    return np.repeat(each, sizes)
