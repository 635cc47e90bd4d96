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
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

from gpo_ray.errors import ConfigError
from gpo_ray.model.episodes import Ints, PreferenceArrays, Prior, Task, spans
from gpo_ray.model.kernel import Array, Floats, RBFKernel, centred, columns, filled, softmax
from gpo_ray.model.posterior import NUGGET, Conditioned, MemoryView, Pairs, Side
from gpo_ray.model.scales import PriorScales
from gpo_ray.model.traits import Traits

MANY = 100
"""Groups from which on one more or less makes no difference to a mean, and tables of them are in single
precision: they are people, as a rule, whose shares are 0 and 1."""
TRANSFER = 0.9
"""Correlation assumed between the answers in memory and those to new questions."""
DEVIATION_NUGGET = 0.2
"""Variance of a group's deviation from the mean that is a question's own, relative likewise."""
FOLDS = 5
MOST_RESPONSES = 8192
"""Responses from which new questions are estimated, those of randomly chosen questions where there are more:
factorising their kernel is cubic."""
BLOCK = 4096
"""Responses estimated at once."""


@dataclass(frozen=True)
class GroupMemory:
    """Answers of the meta-train groups.

    ``shares`` (G, M), NaN where a group did not answer, in Fortran's order, as columns are looked up;
    ``x`` (M, E) embeddings; ``sizes``, the number of responses of each question. Every question has an
    answer.
    """

    shares: Floats
    x: NDArray[np.float32]
    sizes: Ints
    expected: Array | None = None
    """(M,) mean shares as estimated from the other questions; None if that does not count."""
    groups: tuple[int, ...] = ()
    """Their numbers in the data set, for leaving one out; empty in a bundle."""
    scales: PriorScales = field(default_factory=PriorScales)
    traits: Traits | None = None
    """Of the people, where there are many."""
    elsewhere: GroupMemory | None = None
    """The same answers as read from the published prompt alone, the first columns of ``x``: predicts where no
    question of the context is in memory. Readings tell questions of one survey apart better, and carry over
    to another survey worse."""

    @cached_property
    def kernel(self) -> RBFKernel:
        """Similarity of responses."""
        return RBFKernel.fit(self.x)

    @cached_property
    def offsets(self) -> Ints:
        """(Q + 1,) where each question's rows start."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    @cached_property
    def number(self) -> dict[int, int]:
        """Row of each of ``groups``."""
        return {g: i for i, g in enumerate(self.groups)}

    @cached_property
    def single(self) -> NDArray[np.bool_]:
        """(G,) True for those who gave single answers: people rather than groups of them."""
        return np.asarray((np.isnan(self.shares) | np.isin(self.shares, (0, 1))).all(1))

    def only(self, questions: Ints) -> GroupMemory:
        """The memory of some of its questions."""
        rows = spans(self.offsets, questions)
        return replace(
            self,
            shares=columns(self.shares, rows),
            x=self.x[rows],
            sizes=self.sizes[questions],
            expected=None if self.expected is None else self.expected[rows],
            traits=None if self.traits is None else self.traits.only(questions),
            elsewhere=None if self.elsewhere is None else self.elsewhere.only(questions),
        )

    @property
    def leaves_out(self) -> bool:
        """Whether means are also estimated without each group; never in a bundle, where none is left out."""
        return 0 < len(self.groups) < MANY

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
        inside = np.flatnonzero(place >= 0)
        rows, own = spans(offsets, inside), spans(self.offsets, place[inside])
        column, mean = np.full(len(x), -1), np.full(len(x), np.nan)
        column[rows] = own
        if self.expected is not None:
            mean[rows] = self.expected[own]
        new = np.flatnonzero(place < 0)
        found = MemoryView(
            memory=self,
            x=x,
            sizes=sizes,
            place=place,
            offsets=offsets,
            column=column,
            mean=mean,
            deviation=np.zeros((len(self.shares), len(x)), self.shares.dtype, order="F"),
            spread=np.zeros(len(x)),
            root=np.zeros((self._estimator.rows if len(new) else 0, int(sizes[new].sum())), np.float32),
            kernel=self.kernel,
            without=np.full((len(self.groups) if cross_fit and self.leaves_out else 0, len(x)), np.nan),
            pairs=Pairs(x, self.kernel),
            elsewhere=self._elsewhere(x, sizes, place),
        )
        if len(new):
            self._estimator.fill(found, new)
        if cross_fit and len(self.sizes) > 1:
            fold = np.random.default_rng(0).permutation(np.arange(len(self.sizes)) % FOLDS)
            for k in np.unique(fold):
                asked = np.flatnonzero((place >= 0) & (fold[place] == k))
                if len(asked):
                    _NewQuestions(self, np.flatnonzero(fold != k)).fill(found, asked)
        return found

    def _elsewhere(self, x: NDArray[np.float32], sizes: Ints, place: Ints) -> MemoryView | None:
        if self.elsewhere is None:
            return None
        return self.elsewhere.view(x[:, : self.elsewhere.x.shape[1]], sizes, place)


class _NewQuestions:
    """Kernel regression from the embeddings to the mean's log-shares and to the groups' deviations."""

    def __init__(self, memory: GroupMemory, questions: Ints) -> None:
        questions = _within(questions, memory.sizes, MOST_RESPONSES)
        rows = spans(memory.offsets, questions)
        self._sizes = memory.sizes[questions]
        self._kernel, self._x = memory.kernel, memory.kernel.standardized(memory.x[rows])
        shares = columns(memory.shares, rows)
        found = filled(shares)
        kernel = self._kernel.between(self._x, self._x)
        same = centred(centred(kernel, self._sizes).T, self._sizes)
        kernel[np.diag_indices(len(rows))] += NUGGET
        means = [found.mean]
        if memory.leaves_out:
            count = (~np.isnan(shares)).sum(0)
            total = np.where(np.isnan(shares), 0.0, shares).sum(0)
            means += list((total - np.nan_to_num(shares)) / np.maximum(count - ~np.isnan(shares), 1))
        del shares
        root = cholesky(kernel.T, lower=True, overwrite_a=True, check_finite=False)
        self._means = cho_solve((root, True), centred(np.log(np.stack(means, 1) + 0.01), self._sizes))
        self._root = root.astype(np.float32)
        same[np.diag_indices(len(rows))] += DEVIATION_NUGGET
        self._same = cho_factor(same.T, lower=True, overwrite_a=True)
        self._residual = found.residual

    @cached_property
    def _deviation(self) -> Floats:
        """(M, G) weights of the similarities in the groups' deviations."""
        return np.asarray(cho_solve(self._same, self._residual.T), self._residual.dtype)

    def _deviations(self, near: Array, by_group: bool) -> Floats:
        """(N, G) of the groups, where responses are similar by ``near`` (N, M)."""
        if by_group:
            return np.asarray(near.astype(self._residual.dtype) @ self._deviation)
        weights = cho_solve(self._same, near.T).T
        return np.asarray(weights.astype(self._residual.dtype) @ self._residual.T)

    @property
    def rows(self) -> int:
        """Number of responses from which it estimates."""
        return len(self._root)

    def fill(self, view: MemoryView, questions: Ints) -> None:
        """Write the estimates for some of a view's questions into it, and the root of what is new."""
        ends, groups = np.cumsum(view.sizes[questions]), len(self._residual)
        # what is solved for the groups is kept, and so best for few of them whatever is asked
        by_group = groups < MANY or groups < ends[-1]
        for i in np.unique(ends // BLOCK):
            self._fill(view, questions[ends // BLOCK == i], by_group)

    def _fill(self, view: MemoryView, questions: Ints, by_group: bool) -> None:
        rows, sizes = spans(view.offsets, questions), view.sizes[questions]
        cross = self._kernel.between(self._x, self._kernel.standardized(view.x[rows]))
        view.mean[rows] = softmax(TRANSFER * (cross.T @ self._means[:, 0]), sizes)
        for i in range(len(view.without)):
            view.without[i, rows] = softmax(TRANSFER * (cross.T @ self._means[:, i + 1]), sizes)
        near = centred(centred(cross, self._sizes).T, sizes)
        view.deviation.T[rows] = self._deviations(near, by_group)
        # the square of the responses for each: in single precision, and most of the time even so
        root = solve_triangular(self._root, cross.astype(np.float32), lower=True, check_finite=False)
        root *= TRANSFER
        view.spread[rows] = 1 - (root**2).sum(0, dtype=np.float64)
        new = view.new[rows]
        if (new >= 0).any():
            view.root[:, new[new >= 0]] = root[:, new >= 0]


def _within(questions: Ints, sizes: Ints, most: int) -> Ints:
    """A random choice of questions, in their order, with at most so many responses."""
    if sizes[questions].sum() <= most:
        return questions
    order = np.random.default_rng(0).permutation(questions)
    return np.sort(order[np.cumsum(sizes[order]) <= most])


def precision(groups: int) -> type[np.float32 | np.float64]:
    """Of the tables of so many groups."""
    return np.float32 if groups >= MANY else np.float64


def share_table(arrays: PreferenceArrays, groups: Sequence[int], questions: Ints) -> Floats:
    """Shares (G, N) of ``groups`` over the responses of ``questions`` (ascending), NaN where not answered.

    As a memory holds them: see :attr:`GroupMemory.shares`.
    """
    offsets = np.concatenate([[0], np.cumsum(np.diff(arrays.offsets)[questions])])
    table = np.full((len(groups), offsets[-1]), np.nan, precision(len(groups)), order="F")
    for row, g in enumerate(groups):
        known = np.intersect1d(arrays.answered[g], questions)
        table[row, spans(offsets, np.searchsorted(questions, known))] = arrays.shares_of(g, known)
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
        shares=share_table(arrays, groups, kept),
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

    @classmethod
    def keyed(cls, memory: GroupMemory, keys: Sequence[str]) -> QuestionMemory:
        """A memory of questions with these keys; of a question that was asked twice the first is kept."""
        first = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        kept = np.asarray(sorted(first.values()), np.int64)
        if len(kept) < len(keys):
            memory = memory.only(kept)
        return cls(memory, {keys[i]: number for number, i in enumerate(kept)})

    def place(self, keys: Sequence[str | None], sizes: Sequence[int]) -> Ints:
        """Number in memory of each question, -1 where its key is not known or its slate has another size."""
        found = [-1 if k is None else self.number.get(k, -1) for k in keys]
        known = [i if i >= 0 and self.memory.sizes[i] == n else -1 for i, n in zip(found, sizes, strict=True)]
        return np.asarray(known, np.int64)

    def sides(self, x: NDArray[np.float32], sizes: Sequence[int], keys: Sequence[str | None]) -> list[Side]:
        """The prior of each question by itself; arguments as in :meth:`GroupMemory.view` and :meth:`place`.

        What is new in memory is estimated for all of them at once.
        """
        view = self.memory.view(x, np.asarray(sizes, np.int64), self.place(keys, sizes))
        numbers = [np.asarray([i]) for i in range(len(sizes))]
        if view.elsewhere is None:
            return [view.side(i) for i in numbers]
        return [replace(view.side(i), elsewhere=view.elsewhere.side(i)) for i in numbers]

    def conditioned(self, sides: Sequence[Side], y: Array) -> Conditioned:
        """A group that gave answers to questions, with the shares ``y`` (C,), end to end."""
        new = all((s.place < 0).all() for s in sides)
        memory = self.memory.elsewhere if new and self.memory.elsewhere is not None else self.memory
        elsewhere = memory is not self.memory
        given = Conditioned.given(Side.joined(sides, elsewhere), y, memory, memory.kernel)
        return replace(given, elsewhere=elsewhere)


def task_prior(view: MemoryView, arrays: PreferenceArrays) -> Prior:
    """The log prior of a task's target responses, and where it rests on answers to that question."""

    def prior(task: Task) -> tuple[Array, NDArray[np.bool_]]:
        y = arrays.shares_of(task.group, task.context)
        found = view.posterior(task.context, y, task.target, task.group, task.hidden)
        return np.log(found.shares), found.known

    return prior
