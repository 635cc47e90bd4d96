"""What the meta-train groups answered, as a prior for a new group on any question.

The prior is a Gaussian process over shares. Its mean is the meta-train groups' mean answer, and its
covariance is that of their answers: a group that agrees with some of them in its context is expected to
agree with them on other questions (this part alone is a ridge-weighted mix of the groups). On unseen
questions, which no meta-train group answered, the mean and the groups' deviations from it are extrapolated
by kernel ridge regression over the language model's embeddings, and the variance that this leaves
unexplained enters the covariance. The transformer then corrects the prior.

Shapes: G meta-train groups, M responses of the questions that they answered, N responses of the questions
asked about, C context rows, T target rows, E embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.errors import ConfigError
from gpo_ray.preferences.slates import Array, Floats, Ints, centred, softmax, spans
from gpo_ray.prior.covariance import NUGGET, PriorInputs
from gpo_ray.prior.kernel import RBFKernel, columns, filled
from gpo_ray.prior.posterior import ConditionedPrior, Pairs, PriorAtQuestions
from gpo_ray.prior.response_model import NominalResponseModel
from gpo_ray.prior.scales import PriorScales

MANY = 100
"""Groups from which on one more or less makes no difference to a mean, and tables of them are in single
precision: they are people, as a rule, whose shares are 0 and 1."""
TRANSFER = 0.9
"""Correlation that is assumed between the answers to seen and to unseen questions."""
DEVIATION_NUGGET = 0.2
"""Variance of a group's deviation from the mean that is a question's own, relative likewise."""
FOLDS = 5
MAX_RESPONSES = 8192
"""Responses from which unseen questions are extrapolated; where there are more, those of randomly chosen
questions. The cost of factorising their kernel matrix is cubic in them."""
BLOCK = 4096
"""Responses that are extrapolated at once."""


@dataclass(frozen=True)
class GroupPrior:
    """The prior of a new group: a Gaussian process fitted to the answers of the meta-train groups.

    ``shares`` (G, M) are NaN where a group did not answer; they are in Fortran order, since columns are
    looked up. ``x`` (M, E) are embeddings, and ``sizes`` is the number of responses of each question. Every
    question was answered by at least one group.
    """

    shares: Floats
    x: NDArray[np.float32]
    sizes: Ints
    expected: Array | None = None
    """(M,) mean shares as extrapolated from the other questions; None where they have no weight."""
    groups: tuple[int, ...] = ()
    """Numbers of the groups in the data set, by which one of them is left out; empty in a bundle."""
    scales: PriorScales = field(default_factory=PriorScales)
    traits: NominalResponseModel | None = None
    """Nominal response model of the people; None where there are too few of them."""
    cross_survey: GroupPrior | None = None
    """The prior for a context of another survey, no question of which is seen. It uses the embeddings of the
    published prompt alone, the first columns of ``x``: the other readings tell questions of one survey apart
    better and carry over to another survey worse."""

    @classmethod
    def from_groups(
        cls, arrays: PreferenceArrays, groups: Sequence[int], questions: Ints
    ) -> tuple[GroupPrior, Ints]:
        """The prior of what ``groups`` answered to ``questions``.

        Returns:
            The prior, and the number in it of each question of the data set, -1 for those not in it.

        Raises:
            ConfigError: if the groups answered none of the questions.
        """
        kept = np.intersect1d(questions, np.concatenate([arrays.answered[g] for g in groups]))
        if not len(kept):
            raise ConfigError("the groups to learn from answered none of the training questions")
        question_index = np.full(len(arrays.offsets) - 1, -1)
        question_index[kept] = np.arange(len(kept))
        prior = cls(
            shares=share_table(arrays, groups, kept),
            x=arrays.x.numpy()[arrays.rows(kept)],
            sizes=np.diff(arrays.offsets)[kept],
            groups=tuple(groups),
        )
        return prior, question_index

    @cached_property
    def kernel(self) -> RBFKernel:
        """Similarity of responses."""
        return RBFKernel.fit(self.x)

    @cached_property
    def offsets(self) -> Ints:
        """(Q + 1,) first row of each question, and the number of rows."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    @cached_property
    def number(self) -> dict[int, int]:
        """Row of each of ``groups``."""
        return {g: i for i, g in enumerate(self.groups)}

    @cached_property
    def single(self) -> NDArray[np.bool_]:
        """(G,) True for people, who gave one response to each question, and False for groups of people."""
        return np.asarray((np.isnan(self.shares) | np.isin(self.shares, (0, 1))).all(1))

    def only(self, questions: Ints) -> GroupPrior:
        """The prior of some of its questions."""
        rows = spans(self.offsets, questions)
        return replace(
            self,
            shares=columns(self.shares, rows),
            x=self.x[rows],
            sizes=self.sizes[questions],
            expected=None if self.expected is None else self.expected[rows],
            traits=None if self.traits is None else self.traits.only(questions),
            cross_survey=None if self.cross_survey is None else self.cross_survey.only(questions),
        )

    @property
    def leaves_out(self) -> bool:
        """Whether means are also extrapolated without each group; in a bundle no group is left out."""
        return 0 < len(self.groups) < MANY

    @cached_property
    def _estimator(self) -> KernelRidgeExtrapolator:
        """The extrapolator that is fitted to all seen questions."""
        return KernelRidgeExtrapolator(self, np.arange(len(self.sizes)))

    def view(
        self, x: NDArray[np.float32], sizes: Ints, question_index: Ints, cross_fit: bool = False
    ) -> PriorAtQuestions:
        """The prior at some questions.

        Args:
            x: (N, E) embeddings of their responses.
            sizes: number of responses of each question.
            question_index: number of each question in this prior, -1 for unseen questions.
            cross_fit: whether seen questions are also extrapolated from the other questions, as if they were
                unseen; this is needed where a group is left out or a question masked.
        """
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        inside = np.flatnonzero(question_index >= 0)
        rows, own = spans(offsets, inside), spans(self.offsets, question_index[inside])
        response_index, mean = np.full(len(x), -1), np.full(len(x), np.nan)
        response_index[rows] = own
        if self.expected is not None:
            mean[rows] = self.expected[own]
        unseen = np.flatnonzero(question_index < 0)
        found = PriorAtQuestions(
            prior=self,
            x=x,
            sizes=sizes,
            question_index=question_index,
            offsets=offsets,
            response_index=response_index,
            mean=mean,
            deviation=np.zeros((len(self.shares), len(x)), self.shares.dtype, order="F"),
            conditional_variance=np.zeros(len(x)),
            whitened=np.zeros(
                (self._estimator.rows if len(unseen) else 0, int(sizes[unseen].sum())), np.float32
            ),
            kernel=self.kernel,
            leave_out=np.full((len(self.groups) if cross_fit and self.leaves_out else 0, len(x)), np.nan),
            pairs=Pairs(x, self.kernel),
            cross_survey=self._cross_survey(x, sizes, question_index),
        )
        if len(unseen):
            self._estimator.fill(found, unseen)
        if cross_fit and len(self.sizes) > 1:
            fold = np.random.default_rng(0).permutation(np.arange(len(self.sizes)) % FOLDS)
            for k in np.unique(fold):
                asked = np.flatnonzero((question_index >= 0) & (fold[question_index] == k))
                if len(asked):
                    KernelRidgeExtrapolator(self, np.flatnonzero(fold != k)).fill(found, asked)
        return found

    def _cross_survey(
        self, x: NDArray[np.float32], sizes: Ints, question_index: Ints
    ) -> PriorAtQuestions | None:
        if self.cross_survey is None:
            return None
        return self.cross_survey.view(x[:, : self.cross_survey.x.shape[1]], sizes, question_index)


class KernelRidgeExtrapolator:
    """Kernel ridge regression from embeddings to the mean's log-shares and to the groups' deviations."""

    def __init__(self, prior: GroupPrior, questions: Ints) -> None:
        questions = _within(questions, prior.sizes, MAX_RESPONSES)
        rows = spans(prior.offsets, questions)
        self._sizes = prior.sizes[questions]
        self._kernel, self._x = prior.kernel, prior.kernel.standardized(prior.x[rows])
        shares = columns(prior.shares, rows)
        found = filled(shares)
        kernel = self._kernel.between(self._x, self._x)
        same = centred(centred(kernel, self._sizes).T, self._sizes)
        kernel[np.diag_indices(len(rows))] += NUGGET
        means = [found.mean]
        if prior.leaves_out:
            count = (~np.isnan(shares)).sum(0)
            total = np.where(np.isnan(shares), 0.0, shares).sum(0)
            means += list((total - np.nan_to_num(shares)) / np.maximum(count - ~np.isnan(shares), 1))
        del shares
        factor = cholesky(kernel.T, lower=True, overwrite_a=True, check_finite=False)
        self._means = cho_solve((factor, True), centred(np.log(np.stack(means, 1) + 0.01), self._sizes))
        self._factor = factor.astype(np.float32)
        same[np.diag_indices(len(rows))] += DEVIATION_NUGGET
        self._same = cho_factor(same.T, lower=True, overwrite_a=True)
        self._residual = found.residual

    @cached_property
    def _deviation(self) -> Floats:
        """(M, G) dual coefficients of the groups' deviations."""
        return np.asarray(cho_solve(self._same, self._residual.T), self._residual.dtype)

    def _deviations(self, near: Array, by_group: bool) -> Floats:
        """(N, G) deviations of the groups, for similarities ``near`` (N, M) to the training responses."""
        if by_group:
            return np.asarray(near.astype(self._residual.dtype) @ self._deviation)
        weights = cho_solve(self._same, near.T).T
        return np.asarray(weights.astype(self._residual.dtype) @ self._residual.T)

    @property
    def rows(self) -> int:
        """Number of responses that are extrapolated from."""
        return len(self._factor)

    def fill(self, view: PriorAtQuestions, questions: Ints) -> None:
        """Write into a view the estimates for some questions, and their whitened cross-covariance."""
        ends, groups = np.cumsum(view.sizes[questions]), len(self._residual)
        # what is solved for the groups is kept, and so best for few of them whatever is asked
        by_group = groups < MANY or groups < ends[-1]
        for i in np.unique(ends // BLOCK):
            self._fill(view, questions[ends // BLOCK == i], by_group)

    def _fill(self, view: PriorAtQuestions, questions: Ints, by_group: bool) -> None:
        rows, sizes = spans(view.offsets, questions), view.sizes[questions]
        cross = self._kernel.between(self._x, self._kernel.standardized(view.x[rows]))
        view.mean[rows] = softmax(TRANSFER * (cross.T @ self._means[:, 0]), sizes)
        for i in range(len(view.leave_out)):
            view.leave_out[i, rows] = softmax(TRANSFER * (cross.T @ self._means[:, i + 1]), sizes)
        near = centred(centred(cross, self._sizes).T, sizes)
        view.deviation.T[rows] = self._deviations(near, by_group)
        # its cost is the square of the responses for each: in single precision, and it takes longest even so
        whitened = solve_triangular(self._factor, cross.astype(np.float32), lower=True, check_finite=False)
        whitened *= TRANSFER
        view.conditional_variance[rows] = 1 - (whitened**2).sum(0, dtype=np.float64)
        unseen = view.unseen_index[rows]
        if (unseen >= 0).any():
            view.whitened[:, unseen[unseen >= 0]] = whitened[:, unseen >= 0]


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

    The table is laid out as :attr:`GroupPrior.shares`.
    """
    offsets = np.concatenate([[0], np.cumsum(np.diff(arrays.offsets)[questions])])
    table = np.full((len(groups), offsets[-1]), np.nan, precision(len(groups)), order="F")
    for row, g in enumerate(groups):
        known = np.intersect1d(arrays.answered[g], questions)
        table[row, spans(offsets, np.searchsorted(questions, known))] = arrays.shares_of(g, known)
    return table


@dataclass(frozen=True)
class KeyedGroupPrior:
    """A prior whose questions are found by their content, as it is kept in a bundle."""

    prior: GroupPrior
    number: Mapping[str, int]
    """Number of each question, by :func:`~gpo_ray.preferences.dataset.question_key`."""

    @classmethod
    def keyed(cls, prior: GroupPrior, keys: Sequence[str]) -> KeyedGroupPrior:
        """A prior of questions with these keys; of a question that was asked twice the first is kept."""
        first = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        kept = np.asarray(sorted(first.values()), np.int64)
        if len(kept) < len(keys):
            prior = prior.only(kept)
        return cls(prior, {keys[i]: number for number, i in enumerate(kept)})

    def question_index(self, keys: Sequence[str | None], sizes: Sequence[int]) -> Ints:
        """Number of each question in the prior; -1 where its key is absent or its slate has another size."""
        found = [-1 if k is None else self.number.get(k, -1) for k in keys]
        known = [i if i >= 0 and self.prior.sizes[i] == n else -1 for i, n in zip(found, sizes, strict=True)]
        return np.asarray(known, np.int64)

    def inputs(
        self, x: NDArray[np.float32], sizes: Sequence[int], keys: Sequence[str | None]
    ) -> list[PriorInputs]:
        """The prior at each question by itself.

        The arguments are those of :meth:`GroupPrior.view` and :meth:`question_index`. Unseen questions are
        extrapolated for all of them at once.
        """
        view = self.prior.view(x, np.asarray(sizes, np.int64), self.question_index(keys, sizes))
        numbers = [np.asarray([i]) for i in range(len(sizes))]
        if view.cross_survey is None:
            return [view.inputs(i) for i in numbers]
        return [replace(view.inputs(i), cross_survey=view.cross_survey.inputs(i)) for i in numbers]

    def conditioned(self, priors: Sequence[PriorInputs], y: Array) -> ConditionedPrior:
        """The prior conditioned on answers to some questions, with the shares ``y`` (C,), end to end."""
        unseen = all((p.question_index < 0).all() for p in priors)
        prior = self.prior.cross_survey if unseen and self.prior.cross_survey is not None else self.prior
        cross_survey = prior is not self.prior
        given = ConditionedPrior.condition_on(
            PriorInputs.joined(priors, cross_survey), y, prior, prior.kernel
        )
        return replace(given, cross_survey=cross_survey)
