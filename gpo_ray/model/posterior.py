"""What the memory of the meta-train groups expects of a group, given some of its answers.

Shapes: G meta-train groups, M responses of the questions in memory, N responses of the questions
asked about, C context rows, T target rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from gpo_ray.model.episodes import Ints, spans
from gpo_ray.model.kernel import (
    Array,
    Floats,
    RBFKernel,
    Standardized,
    columns,
    nearest_covariance,
    normalized,
    scaled_by_shares,
)
from gpo_ray.model.scales import PriorScales

if TYPE_CHECKING:
    from gpo_ray.model.memory import GroupMemory
    from gpo_ray.model.traits import Traits

NUGGET = 0.02
"""Variance of a log-share that is a question's own, relative to what the embeddings explain."""
TABLE_BYTES = 1 << 28
"""Largest table of the similarities of all pairs of a view's responses: 5,792 of them. Where there are more,
similarities are computed as they are asked for."""
LEAST_BOTH = 10
"""Fewest groups by which a covariance over those who answered both questions is divided."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of a view's responses (N, E)."""

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
class MemoryView:
    """A memory as seen from N responses of some questions.

    ``place``: number of each question in memory, and ``column`` (N,) of each response, -1 for new ones.
    What is estimated as if they were new: ``mean`` (N,), ``deviation`` (G, N) and ``spread`` (N,), the
    unexplained variance of a log-share. ``root`` (M, N') of the explained covariance of the N' rows of new
    questions, by the M that they are estimated from; ``without`` (G, N) the mean estimated without each
    group, no rows where that was not asked for; ``pairs``, what is the same for all groups;
    ``elsewhere``, that of the memory's ``elsewhere``.
    """

    memory: GroupMemory
    x: NDArray[np.float32]
    sizes: Ints
    place: Ints
    offsets: Ints
    column: Ints
    mean: Array
    deviation: Floats
    spread: Array
    root: NDArray[np.float32]
    kernel: RBFKernel
    without: Array
    pairs: Pairs
    elsewhere: MemoryView | None = None

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
        if self.elsewhere is not None and (self.place[context] < 0).all():
            return self.elsewhere.posterior(context, y, target, without, hidden)
        given, asked = self.sides(context, target, without, hidden)
        return Conditioned.given(given, y, self.memory, self.kernel).posterior(asked)

    def sides(
        self, context: Ints, target: Ints, without: int | None = None, hidden: Ints | None = None
    ) -> tuple[Side, Side]:
        """The prior at context and targets, to be asked about each other alone.

        Arguments as in :meth:`posterior`.
        """
        table = self.pairs.similarity
        return self._side(context, without, None, table), self._side(target, without, hidden, table)

    def side(self, questions: Ints, without: int | None = None, hidden: Ints | None = None) -> Side:
        """The prior of some questions' rows, to be asked about beside those of any view of the memory.

        Arguments as in :meth:`posterior`.
        """
        return self._side(questions, without, hidden, None)

    def _side(self, questions: Ints, without: int | None, hidden: Ints | None, table: Array | None) -> Side:
        rows, sizes = spans(self.offsets, questions), self.sizes[questions]
        # groups by rows is large where there are many people: in place, and no more than needed
        column = self.column[rows]
        residual = columns(self.memory.shares, column)
        residual[:, column < 0] = np.nan
        out = None if without is None else self.memory.number.get(without)
        if out is not None:
            residual[out] = np.nan
        missing = np.isnan(residual)
        np.copyto(residual, 0.0, where=missing)
        answered = len(residual) - np.count_nonzero(missing, axis=0)
        known = answered > 0
        if hidden is not None:
            known &= ~np.repeat(np.isin(questions, hidden), sizes)
        mean = self.mean[rows] if out is None or not len(self.without) else self.without[out, rows]
        evidence = np.where(np.isnan(mean), 0.0, self.memory.scales.evidence)
        total = residual.sum(0, dtype=np.float64) + np.nan_to_num(mean) * evidence
        weighed = total / np.maximum(answered + evidence, 1e-9)
        residual -= weighed
        np.copyto(residual, 0.0, where=missing)
        if not known.all():
            residual[:, ~known] = self._deviation(rows[~known], out)
            missing[:, ~known] = False
        if out is not None:
            missing[out] = True
        if self.memory.scales.stretch != 1:
            residual *= np.where(self.memory.single, 1.0, self.memory.scales.stretch)[:, None]
        return Side(
            view=self.offsets,
            questions=questions,
            place=self.place[questions],
            sizes=sizes,
            known=known,
            answered=(~missing).astype(np.float32),
            mean=np.where(known, weighed, mean),
            residual=residual,
            groups=len(residual) - (out is not None),
            count=(len(missing) - np.count_nonzero(missing, axis=0)).astype(np.float64),
            squares=np.einsum("gn,gn->n", residual, residual, dtype=np.float64),
            spread=np.where(known, 0.0, self.spread[rows]),
            x=self.kernel.standardized(self.x[rows] if table is None else self.x[:0]),
            rows=rows,
            table=table,
            root=None if known.all() else self._explained(rows),
        )

    @cached_property
    def new(self) -> Ints:
        """(N,) column in ``root`` of each row, -1 of those in memory."""
        new = self.column < 0
        return np.where(new, np.cumsum(new) - 1, -1)

    def _explained(self, rows: Ints) -> NDArray[np.float32]:
        """The root of some rows (M, N'), 0 for those in memory."""
        new = self.new[rows]
        root = np.zeros((len(self.root), len(rows)), np.float32)
        root[:, new >= 0] = self.root[:, new[new >= 0]]
        return root

    def _deviation(self, rows: Ints, out: int | None) -> Floats:
        """The groups' deviations (G, N') estimated as if new, 0 for the one that is left out."""
        deviation = columns(self.deviation, rows)
        if out is not None:
            own = deviation[out] / max(1, len(deviation) - 1)  # the mean of the others moves by this
            deviation += own
            deviation[out] = 0
        return deviation


@dataclass(frozen=True)
class Conditioned:
    """A group whose answers have been taken in, ready for any targets.

    ``context``, the prior there, and what its rows have in ``common``; ``surprise`` (C,), the answers less
    what was expected; ``trait`` (K,), None where traits do not count.
    """

    scales: PriorScales
    traits: Traits | None
    kernel: RBFKernel
    context: Side
    common: Common
    surprise: Array
    trait: Array | None
    elsewhere: bool = False
    """Whether no question of the context was in memory, so that targets too have to be sides elsewhere."""

    @classmethod
    def given(cls, context: Side, y: Array, memory: GroupMemory, kernel: RBFKernel) -> Conditioned:
        """Take in a group's answers.

        Args:
            context: the prior at the questions it answered.
            y: (C,) its shares there, end to end.
            memory: that the prior is of.
            kernel: of that memory.
        """
        scales, traits = memory.scales, memory.traits
        trait = None
        if scales.traits and traits is not None:
            inside = context.place >= 0
            trait = traits.mode(context.place[inside], y[np.repeat(inside, context.sizes)])
        common = Common.of(context, context, scales, kernel)
        return cls(scales, traits, kernel, context, common, y - context.mean, trait)

    @cached_property
    def _known(self) -> Array:
        """(C, C) lower Cholesky factor of the answers' covariance, for predicting known questions."""
        return self._factor(self.scales)

    @cached_property
    def _new(self) -> Array:
        """Likewise, for predicting new ones."""
        return self._known if self.scales.alike else self._factor(self.scales.for_new)

    def _factor(self, scales: PriorScales) -> Array:
        c = self.context
        covariance = self.common.covariance(c, c, scales)
        if scales.threshold:
            covariance = nearest_covariance(covariance)
        noise = scales.noise * np.maximum(c.mean * (1 - c.mean), 1e-3)
        factor, _ = cho_factor(covariance + c.own_covariance() + np.diag(noise), lower=True)
        return np.asarray(factor)

    @property
    def nbytes(self) -> int:
        """Memory that it takes once it has been asked about both kinds, to within small change."""
        squares = 4 if self.scales.alike else 5  # one or two factors, and what is in common
        return squares * self.surprise.nbytes * len(self.surprise) + self.context.nbytes

    def posterior(self, target: Side, common: Common | None = None) -> Posterior:
        """The group's shares.

        Args:
            target: from any view of the same memory.
            common: of the target and the context, if that is known already.
        """
        t = target
        common = common or Common.of(t, self.context, self.scales, self.kernel)
        if self.scales.alike or t.known.all():
            scores, sd = self._predicted(t, common, self.scales, self._known)
        else:
            scores, sd = self._predicted(t, common, self.scales.for_new, self._new)
            if t.known.any():
                known = self._predicted(t, common, self.scales, self._known)
                scores, sd = np.where(t.known, known, (scores, sd))
        shares = self._with_traits(normalized(scores, t.sizes), t)
        return Posterior(shares, sd, t.known, np.where(t.known, *self.scales.widths) * sd)

    def _predicted(self, t: Side, common: Common, scales: PriorScales, factor: Array) -> tuple[Array, Array]:
        """Means and standard deviations (T,) of the shares."""
        cross = common.covariance(t, self.context, scales)
        gain = cho_solve((factor, True), cross.T).T
        variance = t.variance(scales) - (gain * cross).sum(1)
        return t.mean + gain @ self.surprise, np.sqrt(np.maximum(variance, t.own(scales)))

    def _with_traits(self, shares: Array, t: Side) -> Array:
        """The shares (T,), averaged with those of the nominal response model where that has any."""
        if self.traits is None or self.trait is None or not self.scales.traits:
            return shares
        weight, asked = self.scales.traits, t.known[np.cumsum(t.sizes) - t.sizes]
        mixed = shares.copy()
        mixed[t.known] *= 1 - weight
        mixed[t.known] += weight * self.traits.shares(self.trait, t.place[asked])
        return mixed


@dataclass(frozen=True)
class Common:
    """What two sets of rows have in common, whatever noise and semantic variance are.

    ``answers`` (A, B), the covariance of the meta-train groups' answers; ``similarity`` (A, B) of the
    embeddings, and the part of it that is ``new`` (A, B), which memory leaves open; None where neither
    counts.
    """

    answers: Array
    similarity: Array | None
    new: Array | None

    @classmethod
    def of(cls, a: Side, b: Side, scales: PriorScales, kernel: RBFKernel) -> Common:
        """That of two sides, with similarity only where the scales or new questions ask for it."""
        answers = together(a, b, scales.threshold)
        roots = None if a.root is None or b.root is None else (a.root, b.root)
        if not (roots or scales.semantic or scales.for_new.semantic):
            return cls(answers, None, None)
        if a.table is not None and a.table is b.table:
            similarity = a.table[a.rows[:, None], b.rows]
        else:
            similarity = kernel.between(a.x, b.x)
        if roots is None:
            return cls(answers, similarity, None)
        new = np.where(a.known[:, None] | b.known, 0.0, similarity - roots[0].T @ roots[1])
        return cls(answers, similarity, new)

    def covariance(self, a: Side, b: Side, scales: PriorScales) -> Array:
        """Covariance (A, B) of a group's shares there, without what is a question's own."""
        latent = self.new
        if self.similarity is not None and scales.semantic:
            semantic = scales.semantic * self.similarity
            latent = semantic if latent is None else semantic + latent
        return self.answers if latent is None else scaled_by_shares(latent, a, b) + self.answers


def together(a: Side, b: Side, threshold: float) -> Array:
    """Covariance (A, B) of the meta-train groups' answers."""
    products = a.residual.T @ b.residual
    if not threshold:
        return np.asarray(products / max(1, a.groups))
    both = np.maximum((a.answered.T @ b.answered).astype(np.float64), LEAST_BOTH)
    chance = threshold * np.outer(a.deviation, b.deviation) / np.sqrt(both)
    if a.view is b.view:
        chance[np.repeat(a.questions, a.sizes)[:, None] == np.repeat(b.questions, b.sizes)] = 0
    covariance = products / both
    return np.asarray(np.sign(covariance) * np.maximum(np.abs(covariance) - chance, 0))


@dataclass(frozen=True)
class Side:
    """The prior at the N rows of some questions, one side of a covariance.

    ``questions``: their numbers in the view whose offsets ``view`` is; ``place``: their numbers in memory;
    ``known`` (N,), True where groups in memory answered; ``answered`` and ``residual`` (G, N), 0 for a group
    that is left out, of ``groups`` others, with ``count`` and ``squares`` (N,), their sums; ``mean`` and
    ``spread`` (N,); ``x``, the embeddings, none where ``table`` holds the similarities of the view's
    ``rows``; ``root`` (M, N), None if all are known; ``elsewhere``, the same in the memory's ``elsewhere``,
    if that may be asked for.
    """

    view: Ints
    questions: Ints
    place: Ints
    sizes: Ints
    known: NDArray[np.bool_]
    answered: NDArray[np.float32]
    mean: Array
    residual: Floats
    groups: int
    count: Array
    squares: Array
    spread: Array
    x: Standardized
    root: NDArray[np.float32] | None
    rows: Ints
    table: Array | None = None
    elsewhere: Side | None = None

    @classmethod
    def joined(cls, sides: Sequence[Side], elsewhere: bool = False) -> Side:
        """Sides of one memory, of one question each, as one.

        Args:
            sides: of the questions.
            elsewhere: whether to take those of the memory's ``elsewhere`` instead.
        """
        if elsewhere:
            sides = [s.elsewhere for s in sides if s.elsewhere is not None]
        roots = [s.root for s in sides if s.root is not None]
        root = (
            np.concatenate(
                [np.zeros((len(roots[0]), len(s.mean))) if s.root is None else s.root for s in sides], 1
            )
            if roots
            else None
        )
        return cls(
            view=np.arange(len(sides) + 1),
            questions=np.arange(len(sides)),
            place=np.concatenate([s.place for s in sides]),
            sizes=np.concatenate([s.sizes for s in sides]),
            known=np.concatenate([s.known for s in sides]),
            answered=np.concatenate([s.answered for s in sides], 1),
            mean=np.concatenate([s.mean for s in sides]),
            residual=np.concatenate([s.residual for s in sides], 1),
            groups=sides[0].groups,
            count=np.concatenate([s.count for s in sides]),
            squares=np.concatenate([s.squares for s in sides]),
            spread=np.concatenate([s.spread for s in sides]),
            x=Standardized.joined([s.x for s in sides]),
            root=root,
            rows=np.arange(sum(len(s.rows) for s in sides)),
        )

    @property
    def nbytes(self) -> int:
        """Memory that it takes, to within small change."""
        arrays = (self.answered, self.residual, self.root, self.x.x)
        own = sum(a.nbytes for a in arrays if a is not None)
        return own + (0 if self.elsewhere is None else self.elsewhere.nbytes)

    @property
    def _binomial(self) -> Array:
        return np.maximum(self.mean * (1 - self.mean), 1e-3)

    @property
    def bare(self) -> Side:
        """Without all that only :meth:`Common.of` reads."""
        # copies, as a view keeps all that it is of
        none = Standardized(self.x.x[:0].copy(), self.x.squared_norm[:0].copy())
        answered, residual = self.answered[:0].copy(), self.residual[:0].copy()
        return replace(self, answered=answered, residual=residual, x=none, root=None, table=None)

    @property
    def deviation(self) -> Array:
        """Standard deviation of the groups' residuals, over those who answered, (N,)."""
        return np.asarray(np.sqrt(self.squares / np.maximum(self.count, 1)))

    def own(self, scales: PriorScales) -> Array:
        """Variance of an observed share that no other question explains, (N,)."""
        return np.where(self.known, 0.0, NUGGET) * self._binomial**2 + scales.noise * self._binomial

    def own_covariance(self) -> Array:
        """Covariance (N, N) of the part of new questions that no other question shares."""
        return scaled_by_shares(np.diag(np.where(self.known, 0.0, 2 * NUGGET)), self, self)

    def variance(self, scales: PriorScales) -> Array:
        """Prior variance of an observed share, (N,); for new questions that of a response alone."""
        shared = self.deviation**2 if scales.threshold else self.squares / max(1, self.groups)
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
