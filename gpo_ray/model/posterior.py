"""What the memory of the meta-train groups expects of a group, given some of its answers.

Shapes: G meta-train groups, M responses of the questions in memory, N responses of the questions
asked about, C context rows, T target rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, NonNegativeFloat
from pydantic.dataclasses import dataclass as pydantic_dataclass
from scipy.linalg import cho_factor, cho_solve

from gpo_ray.model.episodes import Ints, spans
from gpo_ray.model.kernel import Array, RBFKernel, nearest_covariance, normalized, scaled_by_shares

if TYPE_CHECKING:
    from gpo_ray.model.memory import GroupMemory

NUGGET = 0.05
"""Variance of a log-share that is a question's own, relative to what the embeddings explain."""
LEAST_BOTH = 10
"""Fewest groups by which a covariance over those who answered both questions is divided."""


@pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class PriorScales:
    """Hyperparameters of the prior; see :func:`gpo_ray.model.calibration.calibrated`."""

    noise: float = Field(default=0.03, gt=0)
    """Variance of an answer's error, in units of m (1 - m) where m is the mean share."""
    semantic: float = Field(default=0.02, ge=0)
    """Variance of a group's deviations that only the embeddings explain."""
    threshold: float = Field(default=0.0, ge=0)
    """Standard errors taken off the correlations between responses, and with it, correlations over those
    who answered both: for many people who each answer a few questions. 0: covariances as they are."""
    evidence: float = Field(default=0.0, ge=0)
    """Groups' answers for which the estimate from other questions counts in a question's mean."""
    stretch: float = Field(default=1.0, gt=0)
    """Factor on the deviations of groups where single people are in memory too: groups differ as their
    members do, but by less."""
    traits: float = Field(default=0.0, ge=0, le=1)
    """Weight of the nominal response model in the shares of questions that were answered; 0 without one."""
    widths: tuple[NonNegativeFloat, NonNegativeFloat] = (1.645, 1.645)
    """Half width of a 90 % interval in standard deviations: on questions in memory, and on new ones."""


@dataclass(frozen=True)
class MemoryView:
    """A memory as seen from N responses of some questions.

    ``place``: number of each question in memory, -1 for new ones; ``shares`` (G, N), NaN where not
    answered. What is estimated as if they were new: ``mean`` (N,), ``deviation`` (G, N) and ``spread``
    (N,), the unexplained variance of a log-share. ``root`` (M, N) of new questions' explained covariance;
    ``without`` (G, N) the mean estimated without each group, no rows where that was not asked for.
    """

    memory: GroupMemory
    x: NDArray[np.float32]
    sizes: Ints
    place: Ints
    offsets: Ints
    shares: Array
    mean: Array
    deviation: Array
    spread: Array
    root: Array
    kernel: RBFKernel
    without: Array

    def posterior(
        self,
        context: Ints,
        y: Array,
        target: Ints,
        without: int | None = None,
        hidden: Ints | None = None,
    ) -> Posterior:
        """A group's shares, given its answers.

        Args:
            context: numbers of the questions it answered.
            y: (C,) its shares there, end to end.
            target: numbers of the questions to predict.
            without: a group of the data set to leave out, so that training does not see its answers.
            hidden: target questions to treat as new.
        """
        scales = self.memory.scales
        c, t = self._side(context, without), self._side(target, without, hidden)
        noise = scales.noise * np.maximum(c.mean * (1 - c.mean), 1e-3)
        covariance, cross = self._covariance(c, c), self._covariance(t, c)
        if scales.threshold:
            covariance = nearest_covariance(covariance)
        factor = cho_factor(covariance + self._own(c) + np.diag(noise), lower=True)
        gain = cho_solve(factor, cross.T).T
        scores = t.mean + gain @ (y - c.mean)
        variance = t.variance(scales) - (gain * cross).sum(1)
        sd = np.sqrt(np.maximum(variance, t.own(scales)))
        shares = self._with_traits(normalized(scores, t.sizes), t, context, y)
        return Posterior(shares, sd, t.known, np.where(t.known, *scales.widths) * sd)

    def _with_traits(self, shares: Array, t: _Side, context: Ints, y: Array) -> Array:
        """The shares (T,), averaged with those of the nominal response model where that has any."""
        weight, traits = self.memory.scales.traits, self.memory.traits
        if not weight or traits is None:
            return shares
        inside = self.place[context] >= 0
        theirs = y[np.repeat(inside, self.sizes[context])]
        asked = t.known[np.cumsum(t.sizes) - t.sizes]
        found = traits.shares(self.place[context[inside]], theirs, self.place[t.questions[asked]])
        mixed = shares.copy()
        mixed[t.known] = (1 - weight) * shares[t.known] + weight * found
        return mixed

    def _side(self, questions: Ints, without: int | None, hidden: Ints | None = None) -> _Side:
        rows, sizes = spans(self.offsets, questions), self.sizes[questions]
        mean, deviation, keep = self._estimates(rows, without)
        shares = self.shares[:, rows][keep]
        answered = ~np.isnan(shares)
        count = answered.sum(0)
        known = count > 0
        if hidden is not None:
            known &= ~np.repeat(np.isin(questions, hidden), sizes)
        evidence = np.where(np.isnan(mean), 0.0, self.memory.scales.evidence)
        total = np.where(answered, shares, 0.0).sum(0) + np.nan_to_num(mean) * evidence
        weighed = total / np.maximum(count + evidence, 1e-9)
        stretch = np.where(self.memory.single, 1.0, self.memory.scales.stretch)[keep, None]
        residual = stretch * np.where(known, np.where(answered, shares - weighed, 0.0), deviation)
        return _Side(
            rows=rows,
            questions=questions,
            sizes=sizes,
            known=known,
            answered=~known | answered,
            mean=np.where(known, weighed, mean),
            residual=residual,
            spread=np.where(known, 0.0, self.spread[rows]),
        )

    def _estimates(self, rows: Ints, without: int | None) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Mean (N',) and deviations (G', N') estimated as if new, and which (G,) groups are left."""
        groups = self.memory.groups
        keep = np.ones(len(self.shares), bool)
        if without not in groups:
            return self.mean[rows], self.deviation[:, rows], keep
        out = groups.index(without)
        keep[out] = False
        mean = self.without[out, rows] if len(self.without) else self.mean[rows]
        own = self.deviation[out, rows] / max(1, len(keep) - 1)  # the mean of the others moves by this
        return mean, self.deviation[:, rows][keep] + own, keep

    def _covariance(self, a: _Side, b: _Side) -> Array:
        """Covariance (A, B) of a group's shares at two sets of rows, without what is a question's own."""
        kernel = self.kernel(self.x[a.rows], self.x[b.rows])
        latent = self.memory.scales.semantic * kernel
        if not a.known.all() and not b.known.all():
            new = kernel - self.root[:, a.rows].T @ self.root[:, b.rows]
            latent = latent + np.where(a.known[:, None] | b.known, 0.0, new)
        return scaled_by_shares(latent, a, b) + self._together(a, b)

    def _together(self, a: _Side, b: _Side) -> Array:
        """Covariance (A, B) of the meta-train groups' answers."""
        products = a.residual.T @ b.residual
        threshold = self.memory.scales.threshold
        if not threshold:
            return np.asarray(products / max(1, len(a.residual)))
        both = np.maximum(a.answered.T.astype(np.float64) @ b.answered, LEAST_BOTH)
        chance = threshold * np.outer(a.deviation, b.deviation) / np.sqrt(both)
        chance[np.repeat(a.questions, a.sizes)[:, None] == np.repeat(b.questions, b.sizes)] = 0
        covariance = products / both
        return np.asarray(np.sign(covariance) * np.maximum(np.abs(covariance) - chance, 0))

    @staticmethod
    def _own(c: _Side) -> Array:
        """Covariance of the part of new context questions that no other question shares."""
        return scaled_by_shares(np.diag(np.where(c.known, 0.0, 2 * NUGGET)), c, c)


@dataclass(frozen=True)
class _Side:
    """Rows of some questions and the prior there."""

    rows: Ints
    questions: Ints
    sizes: Ints
    known: NDArray[np.bool_]
    answered: NDArray[np.bool_]
    mean: Array
    residual: Array
    spread: Array

    @property
    def _binomial(self) -> Array:
        return np.maximum(self.mean * (1 - self.mean), 1e-3)

    @property
    def deviation(self) -> Array:
        """Standard deviation of the groups' residuals, over those who answered, (N,)."""
        return np.asarray(np.sqrt((self.residual**2).sum(0) / np.maximum(self.answered.sum(0), 1)))

    def own(self, scales: PriorScales) -> Array:
        """Variance of an observed share that no other question explains, (N,)."""
        return np.where(self.known, 0.0, NUGGET) * self._binomial**2 + scales.noise * self._binomial

    def variance(self, scales: PriorScales) -> Array:
        """Prior variance of an observed share, (N,); for new questions that of a response alone."""
        everyone = max(1, len(self.residual))
        shared = self.deviation**2 if scales.threshold else (self.residual**2).sum(0) / everyone
        return np.asarray(shared + (self.spread + scales.semantic) * self._binomial**2 + self.own(scales))


@dataclass(frozen=True)
class Posterior:
    """Prediction of the prior.

    ``shares`` (T,); their standard deviation ``sd`` (T,); ``known`` (T,), True where meta-train groups
    answered the question; ``half_width`` (T,) of 90 % intervals.
    """

    shares: Array
    sd: Array
    known: NDArray[np.bool_]
    half_width: Array
