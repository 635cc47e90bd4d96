"""What the meta-train groups answered, as a prior for a new group on any question.

A Gaussian process in the space of shares. Its mean is the meta-train groups' mean answer, its
covariance says how their answers vary together: a group that sides with some of them in its context
is expected to side with them elsewhere (this part alone is a ridge-weighted mix of the groups). On
questions that nobody answered, mean and deviations of the groups are first estimated by kernel
regression from the questions that they did answer, over the language model's embeddings; what that
estimate does not know enters the covariance. The transformer then corrects the prior.

Shapes: G meta-train groups, M responses of the questions in memory, N responses of the questions
asked about, C context rows, T target rows, E embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from gpo_ray.errors import ConfigError
from gpo_ray.model.episodes import Ints, PreferenceArrays, Prior, Task, spans
from gpo_ray.model.kernel import Array, RBFKernel, centred, normalized, scaled_by_shares, softmax

TRANSFER = 0.85
"""Correlation assumed between the answers in memory and those to new questions."""
NUGGET = 0.05
"""Variance of a log-share that is a question's own, relative to what the embeddings explain."""
DEVIATION_NUGGET = 0.3
"""The same for a group's deviation from the mean."""
FOLDS = 5


@dataclass(frozen=True)
class PriorScales:
    """Hyperparameters of the prior; see :func:`gpo_ray.model.calibration.calibrated`."""

    noise: float = 0.03
    """Variance of an answer's error, in units of m (1 - m) where m is the mean share."""
    semantic: float = 0.02
    """Variance of a group's deviations that only the embeddings explain."""
    widths: tuple[float, float] = (1.645, 1.645)
    """Half width of a 90 % interval in standard deviations: on questions in memory, and on new ones."""


@dataclass(frozen=True)
class GroupMemory:
    """Answers of the meta-train groups.

    ``shares`` (G, M), NaN where a group did not answer; ``x`` (M, E) embeddings; ``sizes``, the number of
    responses of each question. Every question has an answer.
    """

    shares: Array
    x: NDArray[np.float32]
    sizes: Ints
    groups: tuple[int, ...] = ()
    """Their numbers in the data set, for leaving one out; empty in a bundle."""
    scales: PriorScales = field(default_factory=PriorScales)

    @cached_property
    def kernel(self) -> RBFKernel:
        """Similarity of responses."""
        return RBFKernel.fit(self.x)

    @cached_property
    def offsets(self) -> Ints:
        """(Q + 1,) where each question's rows start."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    @cached_property
    def _estimator(self) -> _NewQuestions:
        """Estimates from all that is in memory."""
        return _NewQuestions(self, np.arange(len(self.sizes)))

    def view(self, x: NDArray[np.float32], sizes: Ints, place: Ints, cross_fit: bool = False) -> MemoryView:
        """The memory as seen from some questions.

        Args:
            x: (N, E) embeddings of their responses.
            sizes: number of responses of each.
            place: number of each question in memory, -1 for new ones.
            cross_fit: also estimate what is in memory as if it were new, from the other questions; needed
                to leave out a group or to withhold a question.
        """
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        shares = np.full((len(self.shares), len(x)), np.nan)
        inside = np.flatnonzero(place >= 0)
        shares[:, spans(offsets, inside)] = self.shares[:, spans(self.offsets, place[inside])]
        found = MemoryView(
            memory=self,
            x=x,
            sizes=sizes,
            place=place,
            offsets=offsets,
            shares=shares,
            mean=np.full(len(x), np.nan),
            deviation=np.zeros_like(shares),
            spread=np.zeros(len(x)),
            root=np.zeros((0, len(x))),
        )
        new = np.flatnonzero(place < 0)
        if len(new):
            part = found._estimate(self._estimator, new)
            found = replace(found, root=np.zeros((len(part), len(x))))
            found.root[:, spans(offsets, new)] = part
        if cross_fit and len(self.sizes) > 1:
            fold = np.random.default_rng(0).permutation(np.arange(len(self.sizes)) % FOLDS)
            for k in np.unique(fold):
                asked = np.flatnonzero((place >= 0) & (fold[place] == k))
                if len(asked):
                    found._estimate(_NewQuestions(self, np.flatnonzero(fold != k)), asked)
        return found


class _NewQuestions:
    """Kernel regression from the embeddings to the mean's log-shares and to the groups' deviations."""

    def __init__(self, memory: GroupMemory, questions: Ints) -> None:
        rows = spans(memory.offsets, questions)
        self._sizes = memory.sizes[questions]
        self._kernel, self._x = memory.kernel, memory.x[rows]
        found = filled(memory.shares[:, rows])
        kernel = self._kernel(self._x, self._x)
        same = centred(centred(kernel, self._sizes).T, self._sizes)
        kernel[np.diag_indices(len(rows))] += NUGGET
        self._root = np.linalg.cholesky(kernel)
        log_shares = centred(np.log(found.mean + 0.01)[:, None], self._sizes)[:, 0]
        self._mean = solve_triangular(self._root, log_shares, lower=True)
        same[np.diag_indices(len(rows))] += DEVIATION_NUGGET
        self._deviation = cho_solve(cho_factor(same, lower=True), found.residual.T)

    def estimate(self, x: NDArray[np.float32], sizes: Ints) -> tuple[Array, Array, Array]:
        """Mean shares (N,), deviations (G, N) and a root of the explained covariance, (M, N)."""
        cross = self._kernel(self._x, x)
        root = TRANSFER * solve_triangular(self._root, cross, lower=True)
        mean = softmax(root.T @ self._mean, sizes)
        near = centred(centred(cross, self._sizes).T, sizes)
        return mean, (near @ self._deviation).T, root


@dataclass(frozen=True)
class MemoryView:
    """A memory as seen from N responses of some questions.

    ``place``: number of each question in memory, -1 for new ones; ``shares`` (G, N), NaN where not
    answered. What is estimated as if they were new: ``mean`` (N,), ``deviation`` (G, N) and ``spread``
    (N,), the unexplained variance of a log-share. ``root`` (M, N) of new questions' explained covariance.
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

    def _estimate(self, fitted: _NewQuestions, questions: Ints) -> Array:
        """Fill in what is estimated for some questions; returns the root of their explained covariance."""
        rows = spans(self.offsets, questions)
        self.mean[rows], self.deviation[:, rows], root = fitted.estimate(self.x[rows], self.sizes[questions])
        self.spread[rows] = 1 - (root**2).sum(0)
        return root

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
        covariance, cross = self._covariance(c, c) + np.diag(noise), self._covariance(t, c)
        factor = cho_factor(covariance + self._own(c), lower=True)
        gain = cho_solve(factor, cross.T).T
        scores = t.mean + gain @ (y - c.mean)
        variance = t.variance(scales) - (gain * cross).sum(1)
        sd = np.sqrt(np.maximum(variance, t.own(scales)))
        return Posterior(normalized(scores, t.sizes), sd, t.known, np.where(t.known, *scales.widths) * sd)

    def _side(self, questions: Ints, without: int | None, hidden: Ints | None = None) -> _Side:
        rows = spans(self.offsets, questions)
        keep = np.asarray([g != without for g in self.memory.groups] or [True] * len(self.shares))
        found = filled(self.shares[:, rows][keep])
        known = ~np.isnan(found.mean)
        if hidden is not None:
            known &= ~np.repeat(np.isin(questions, hidden), self.sizes[questions])
        return _Side(
            rows=rows,
            sizes=self.sizes[questions],
            known=known,
            mean=np.where(known, found.mean, self.mean[rows]),
            residual=np.where(known, found.residual, self.deviation[:, rows][keep]),
            spread=np.where(known, 0.0, self.spread[rows]),
        )

    def _covariance(self, a: _Side, b: _Side) -> Array:
        """Covariance (A, B) of a group's shares at two sets of rows, without what is a question's own."""
        kernel = self.memory.kernel(self.x[a.rows], self.x[b.rows])
        latent = self.memory.scales.semantic * kernel
        if not a.known.all() and not b.known.all():
            new = kernel - self.root[:, a.rows].T @ self.root[:, b.rows]
            latent = latent + np.where(a.known[:, None] | b.known, 0.0, new)
        return scaled_by_shares(latent, a, b) + a.residual.T @ b.residual / max(1, len(a.residual))

    @staticmethod
    def _own(c: _Side) -> Array:
        """Covariance of the part of new context questions that no other question shares."""
        return scaled_by_shares(np.diag(np.where(c.known, 0.0, 2 * NUGGET)), c, c)


@dataclass(frozen=True)
class _Side:
    """Rows of some questions and the prior there."""

    rows: Ints
    sizes: Ints
    known: NDArray[np.bool_]
    mean: Array
    residual: Array
    spread: Array

    @property
    def _binomial(self) -> Array:
        return np.maximum(self.mean * (1 - self.mean), 1e-3)

    def own(self, scales: PriorScales) -> Array:
        """Variance of an observed share that no other question explains, (N,)."""
        return np.where(self.known, 0.0, NUGGET) * self._binomial**2 + scales.noise * self._binomial

    def variance(self, scales: PriorScales) -> Array:
        """Prior variance of an observed share, (N,); for new questions that of a response alone."""
        shared = (self.residual**2).sum(0) / max(1, len(self.residual))
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


@dataclass(frozen=True)
class Filled:
    """Mean (N',) of the groups that answered, and residuals (G, N'), 0 where a group did not."""

    mean: Array
    residual: Array


def filled(shares: Array) -> Filled:
    """Mean and residuals of shares (G, N'), NaN where a group did not answer."""
    answered = ~np.isnan(shares)
    count = answered.sum(0)
    total = np.where(answered, shares, 0.0).sum(0)
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return Filled(mean, np.where(answered, shares - np.nan_to_num(mean), 0.0))


def share_table(arrays: PreferenceArrays, groups: Sequence[int], questions: Ints) -> Array:
    """(G, N) shares of ``groups`` over all responses, NaN outside what they answered of ``questions``."""
    table = np.full((len(groups), len(arrays.x)), np.nan)
    for row, g in enumerate(groups):
        known = np.intersect1d(arrays.answered[g], questions)
        table[row, arrays.rows(known)] = arrays.shares_of(g, known)
    return table


def remember(arrays: PreferenceArrays, groups: Sequence[int], questions: Ints) -> tuple[GroupMemory, Ints]:
    """The answers of ``groups`` to ``questions``.

    Returns:
        The memory, and the number in it of each question of the data set, -1 for those not in it.

    Raises:
        ConfigError: if the groups answered none of the questions.
    """
    kept = np.intersect1d(questions, np.concatenate([arrays.answered[g] for g in groups]))
    if not len(kept):
        raise ConfigError("the groups to learn from answered none of the training questions")
    rows = arrays.rows(kept)
    place = np.full(len(arrays.offsets) - 1, -1)
    place[kept] = np.arange(len(kept))
    memory = GroupMemory(
        shares=share_table(arrays, groups, kept)[:, rows],
        x=arrays.x.numpy()[rows],
        sizes=np.diff(arrays.offsets)[kept],
        groups=tuple(groups),
    )
    return memory, place


@dataclass(frozen=True)
class QuestionMemory:
    """A memory whose questions are found by content, as it travels in a bundle."""

    memory: GroupMemory
    number: Mapping[str, int]
    """Number of each question, by :func:`~gpo_ray.preferences.dataset.question_key`."""

    def place(self, keys: Sequence[str | None], sizes: Sequence[int]) -> Ints:
        """Number in memory of each question, -1 where its key is not known or its slate has another size."""
        found = [-1 if k is None else self.number.get(k, -1) for k in keys]
        known = [i if i >= 0 and self.memory.sizes[i] == n else -1 for i, n in zip(found, sizes, strict=True)]
        return np.asarray(known, np.int64)


def task_prior(view: MemoryView, arrays: PreferenceArrays) -> Prior:
    """The log prior of a task's target responses, and where it rests on answers to that question."""

    def prior(task: Task) -> tuple[Array, NDArray[np.bool_]]:
        y = arrays.shares_of(task.group, task.context)
        found = view.posterior(task.context, y, task.target, task.group, task.hidden)
        return np.log(found.shares), found.known

    return prior
