"""Define the prior of a new group on any question, which is made from the meta-train groups' answers.

The prior is a Gaussian process over shares. Its mean is the meta-train groups' mean answer, and its
covariance is the covariance of their answers: a group that agrees with some meta-train groups in its context
is expected to agree with them on other questions (this part alone is a ridge-weighted mix of the groups). On
unseen questions, which no meta-train group answered, the mean and the groups' deviations from it are
extrapolated by kernel ridge regression over the language model's embeddings, and the variance that this
leaves unexplained is added to the covariance.

The neighbouring files hold the steps: the mean is computed in ``at_questions.py``, the extrapolation in
``extrapolation.py``, the covariance in ``covariance.py`` and the posterior in ``posterior.py``;
``calibration.py`` chooses the hyperparameters. The transformer then corrects the posterior shares
(``gpo_ray/model/transformer.py``).

Shapes: G meta-train groups, M responses of the questions that they answered, C context rows, E embedding
width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.features import FeatureBlock
from gpo_ray.errors import ConfigError
from gpo_ray.preferences.slates import Array, Floats, Ints, spans
from gpo_ray.prior.covariance import PriorInputs
from gpo_ray.prior.extrapolation import KernelRidgeExtrapolator
from gpo_ray.prior.guessed import CalibratedGuesses, GuessState
from gpo_ray.prior.kernel import RBFKernel, columns
from gpo_ray.prior.posterior import ConditionedPrior
from gpo_ray.prior.response_model import NominalResponseModel
from gpo_ray.prior.scales import PriorScales

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by name, as a bundle stores them."""
Size = Annotated[int, Field(ge=1, le=1_000_000)]
"""A size that a bundle states."""
SINGLE_PRECISION_GROUPS = 100
"""Number of groups from which tables are kept in single precision; so many groups are usually people, whose
shares are 0 and 1."""
LEFT_OUT_BELOW = 100
"""With fewer groups than this, the means of unseen questions are also extrapolated without each group in
turn; with more groups, leaving one out makes no difference to a mean."""
MAX_KERNEL_RESPONSES = 8192
"""Maximum number of responses from which unseen questions are extrapolated; if there are more, questions are
chosen at random. The cost of factorising the kernel matrix is cubic in the number of responses."""


class CrossSurveyState(BaseModel):
    """The stored values of a :class:`CrossSurveyPrior`, beside its arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: Size
    """Column of the embeddings before which the block ends that this prior reads."""
    start: int = Field(default=0, ge=0)
    """Column at which the block begins."""
    scales: PriorScales
    guess_variance: float | None = Field(default=None, gt=0, le=1)
    """The ``variance`` of the guesses in this prior, which are those of the whole prior; None if they do not
    join it."""


class GroupPriorState(BaseModel):
    """The stored values of a :class:`GroupPrior`, beside its arrays and its questions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scales: PriorScales
    cross_survey: CrossSurveyState | None = None
    guesses: GuessState | None = None


@dataclass(frozen=True)
class GroupPrior:
    """The prior of a new group: a Gaussian process fitted to the answers of the meta-train groups.

    ``shares`` (G, M) are NaN where a group did not answer; they are in Fortran order, since columns are
    looked up. ``x`` (M, E) are the responses' embeddings, and ``sizes`` is the number of responses of each
    question. Every question was answered by at least one group.
    """

    shares: Floats
    x: NDArray[np.float32]
    sizes: Ints
    expected: Array | None = None
    """Mean shares (M,), extrapolated from the other questions; None where they have no weight."""
    groups: tuple[int, ...] = ()
    """Numbers of the groups in the data set, by which a group to leave out is found; empty in a bundle."""
    scales: PriorScales = field(default_factory=PriorScales)
    response_model: NominalResponseModel | None = None
    """Nominal response model of the people; None where there are too few of them."""
    cross_survey: CrossSurveyPrior | None = None
    """The prior for a context of another survey, no question of which is seen; None if there is none."""
    guesses: CalibratedGuesses | None = None
    """A language model's guesses of the seen questions; None if they do not join the prior."""

    @classmethod
    def from_groups(
        cls, arrays: PreferenceArrays, groups: Sequence[int], questions: Ints
    ) -> tuple[GroupPrior, Ints]:
        """Make the prior from the answers of ``groups`` to ``questions``.

        Returns:
            The prior, and the number in the prior of each question of the data set, -1 for questions outside
            it.

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
        """Kernel that measures the similarity of responses."""
        return RBFKernel.fit(self.x)

    @cached_property
    def offsets(self) -> Ints:
        """First row of each question, followed by the number of rows, (Q + 1,)."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    @cached_property
    def group_rows(self) -> dict[int, int]:
        """Row of each group in ``shares``, by its number in the data set."""
        return {g: i for i, g in enumerate(self.groups)}

    @cached_property
    def single(self) -> NDArray[np.bool_]:
        """Mask (G,) that is True for people, whose shares are all 0 or 1, and False for groups of people."""
        return np.asarray((np.isnan(self.shares) | np.isin(self.shares, (0, 1))).all(1))

    @property
    def leaves_out(self) -> bool:
        """Whether means are also extrapolated without each group in turn; this is never so in a bundle."""
        return 0 < len(self.groups) < LEFT_OUT_BELOW

    def only(self, questions: Ints) -> GroupPrior:
        """Return the prior restricted to some of its questions."""
        rows = spans(self.offsets, questions)
        return replace(
            self,
            shares=columns(self.shares, rows),
            x=self.x[rows],
            sizes=self.sizes[questions],
            expected=None if self.expected is None else self.expected[rows],
            response_model=None if self.response_model is None else self.response_model.only(questions),
            cross_survey=None if self.cross_survey is None else self.cross_survey.only(questions),
            guesses=None if self.guesses is None else self.guesses.at(rows),
        )

    @cached_property
    def extrapolator(self) -> KernelRidgeExtrapolator:
        """The extrapolator fitted to all seen questions, or to as many as ``MAX_KERNEL_RESPONSES`` allows."""
        return self.extrapolator_from(np.arange(len(self.sizes)))

    def extrapolator_from(self, questions: Ints, weights: Array | None = None) -> KernelRidgeExtrapolator:
        """Fit an extrapolator to some of the seen questions; see :data:`MAX_KERNEL_RESPONSES`.

        Args:
            questions: numbers of the questions in the prior.
            weights: (K,) weights of the guesses, for questions with a guess; None for questions without.
        """
        questions = within(questions, self.sizes, MAX_KERNEL_RESPONSES)
        rows = spans(self.offsets, questions)
        shares, sizes = columns(self.shares, rows), self.sizes[questions]
        guess = None
        if weights is not None and self.guesses is not None:
            guess = self.guesses.of_mean(self.guesses.features.at(rows), weights)
        return KernelRidgeExtrapolator(self.kernel, self.x[rows], shares, sizes, self.leaves_out, guess)

    @cached_property
    def guess_extrapolator(self) -> KernelRidgeExtrapolator:
        """The extrapolator for unseen questions with a guess."""
        weights = None if self.guesses is None else self.guesses.weights
        return self.extrapolator_from(np.arange(len(self.sizes)), weights)

    def with_cross_survey(self, other: GroupPrior, block: FeatureBlock) -> GroupPrior:
        """Return this prior with one for contexts of another survey.

        Args:
            other: the other prior, fitted to ``block`` and to the same answers, whose table is shared.
            block: the features that it reads.
        """
        return replace(self, cross_survey=CrossSurveyPrior(replace(other, shares=self.shares), block))

    def condition_on(
        self, context: PriorInputs, y: Array, sampling: Array | None = None, role: int | None = None
    ) -> ConditionedPrior:
        """Condition the prior on a group's answers.

        Args:
            context: this prior at the questions that the group answered.
            y: (C,) the group's shares of the responses of these questions, end to end.
            sampling: (C,) sampling variances of ``y``, as in :meth:`ConditionedPrior.of`.
            role: number of the simulated group that simulates this group; None if there is none.
        """
        return ConditionedPrior.of(
            context, y, self.scales, self.response_model, self.kernel, sampling, role=role
        )

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what is stored: the values of a :class:`GroupPriorState`, and arrays by name.

        The questions' ``sizes`` are stored apart from them.
        """
        values: dict[str, Any] = {"scales": self.scales.to_state()}
        arrays: dict[str, NDArray[Any]] = {"shares": self.shares, "x": self.x}
        if self.expected is not None:
            arrays["expected"] = self.expected
        if self.response_model is not None:
            arrays |= self.response_model.to_state()
        if self.cross_survey is not None:
            values["cross_survey"], its_arrays = self.cross_survey.to_state()
            arrays |= its_arrays
        if self.guesses is not None:
            values["guesses"], its_arrays = self.guesses.to_state()
            arrays |= its_arrays
        return values, arrays

    @classmethod
    def from_state(cls, state: GroupPriorState, arrays: Arrays, sizes: Ints) -> GroupPrior:
        """Make the prior from what :meth:`to_state` returned.

        Args:
            state: the stored values.
            arrays: the stored arrays by name.
            sizes: number of responses of each question.

        Raises:
            ValueError: if nobody answered one of the questions.
        """
        shares: Floats = np.asfortranarray(arrays["shares"], precision(len(arrays["shares"])))
        if np.isnan(shares).all(0).any():
            raise ValueError("holds a question that nobody answered")
        prior = cls(shares, arrays["x"], sizes, _expected(arrays, "expected"), scales=state.scales)
        if state.scales.response_model_weight:
            prior = replace(prior, response_model=NominalResponseModel.from_state(arrays, sizes))
        if state.guesses is not None:
            prior = replace(prior, guesses=CalibratedGuesses.from_state(state.guesses, arrays))
        if state.cross_survey is None:
            return prior
        return replace(prior, cross_survey=CrossSurveyPrior.from_state(state.cross_survey, arrays, prior))


@dataclass(frozen=True)
class CrossSurveyPrior:
    """The prior for a context of another survey, no question of which is seen.

    It reads only one block of the embeddings' columns, the one from the published prompt, because the other
    poolings distinguish questions of one survey better but transfer worse to another survey.
    """

    prior: GroupPrior
    """The prior fitted to the block's columns of the embeddings."""
    block: FeatureBlock

    def only(self, questions: Ints) -> CrossSurveyPrior:
        """Return the prior restricted to some of its questions."""
        return replace(self, prior=self.prior.only(questions))

    def condition_on(
        self,
        questions: Sequence[PriorInputs],
        y: Array,
        sampling: Array | None = None,
        role: int | None = None,
    ) -> ConditionedPrior:
        """Condition the prior on a group's answers.

        Args:
            questions: the whole prior at each question that the group answered.
            y: (C,) the group's shares of the responses of these questions, end to end.
            sampling: (C,) sampling variances of ``y``, as in :meth:`ConditionedPrior.of`.
            role: number of the simulated group that simulates this group; None if there is none.
        """
        given, prior = PriorInputs.joined_cross_survey(questions), self.prior
        return ConditionedPrior.of(
            given, y, prior.scales, prior.response_model, prior.kernel, sampling, True, role
        )

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what is stored beside the arrays of the whole prior.

        Returns:
            The values of a :class:`CrossSurveyState`, and arrays by name.
        """
        expected = self.prior.expected
        values: dict[str, Any] = self.block.to_state() | {"scales": self.prior.scales.to_state()}
        if self.prior.guesses is not None:
            values["guess_variance"] = self.prior.guesses.variance
        return values, {} if expected is None else {"expected_cross_survey": expected}

    @classmethod
    def from_state(cls, state: CrossSurveyState, arrays: Arrays, whole: GroupPrior) -> CrossSurveyPrior:
        """Make the prior from what :meth:`to_state` returned.

        Args:
            state: the stored values.
            arrays: the stored arrays by name.
            whole: the prior that reads all columns; its table of shares and its questions are shared.
        """
        block = FeatureBlock.from_state(state.columns, state.start)
        expected = _expected(arrays, "expected_cross_survey")
        prior = GroupPrior(whole.shares, block.of(whole.x), whole.sizes, expected, scales=state.scales)
        if state.guess_variance is not None and whole.guesses is not None:
            prior = replace(prior, guesses=replace(whole.guesses, variance=state.guess_variance))
        return cls(prior, block)


def _expected(arrays: Arrays, name: str) -> Array | None:
    """Return stored mean shares in double precision, None if there are none of that name."""
    return arrays[name].astype(np.float64) if name in arrays else None


def within(questions: Ints, sizes: Ints, most: int) -> Ints:
    """Choose questions at random, with at most ``most`` responses in all, and return them in ascending order.

    If the questions have no more responses than that, all of them are returned.
    """
    if sizes[questions].sum() <= most:
        return questions
    order = np.random.default_rng(0).permutation(questions)
    return np.sort(order[np.cumsum(sizes[order]) <= most])


def precision(groups: int) -> type[np.float32 | np.float64]:
    """Return the floating-point type of the tables for a number of groups."""
    return np.float32 if groups >= SINGLE_PRECISION_GROUPS else np.float64


def share_table(arrays: PreferenceArrays, groups: Sequence[int], questions: Ints) -> Floats:
    """Return the shares (G, N) of ``groups`` over the responses of ``questions``, NaN where not answered.

    The questions must be in ascending order. The table has the layout of :attr:`GroupPrior.shares`.
    """
    offsets = np.concatenate([[0], np.cumsum(np.diff(arrays.offsets)[questions])])
    table = np.full((len(groups), offsets[-1]), np.nan, precision(len(groups)), order="F")
    for row, g in enumerate(groups):
        answered = np.intersect1d(arrays.answered[g], questions)
        table[row, spans(offsets, np.searchsorted(questions, answered))] = arrays.shares_of(g, answered)
    return table
