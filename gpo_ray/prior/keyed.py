"""Define the prior in the form that a bundle keeps: its questions are found by the hash of their content."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gpo_ray.preferences.dataset import Question
from gpo_ray.preferences.guess_features import GuessFeatures
from gpo_ray.preferences.slates import Array, Ints
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.calibration import MAX_PRIOR_GROUPS
from gpo_ray.prior.covariance import PriorInputs
from gpo_ray.prior.group_prior import Arrays, GroupPrior, GroupPriorState, Size
from gpo_ray.prior.posterior import ConditionedPrior
from gpo_ray.prior.recognition import QuestionHashes, Recognizer
from gpo_ray.prior.response_model import NominalResponseModel


class PriorState(GroupPriorState):
    """The stored values of a prior whose questions have keys, beside its arrays."""

    sizes: dict[str, Size] = Field(min_length=1)
    """Number of responses of each question by its key, in the order of the arrays' rows."""
    questions: dict[str, QuestionHashes] = Field(default_factory=dict)
    """Hashes of the texts of all questions by their keys; bundles of earlier versions have none."""

    def shapes(self, groups: int, width: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all arrays that a prior may have, by name, for embeddings of width E."""
        rows = sum(self.sizes.values())
        guesses = {} if self.guesses is None else self.guesses.shapes(rows)
        return (
            guesses
            | {
                "shares": (groups, rows),
                "x": (rows, width),
                "expected": (rows,),
                "expected_cross_survey": (rows,),
            }
            | NominalResponseModel.state_shapes(rows)
        )

    def max_numbers(self, width: int) -> int:
        """Return the most numbers that the arrays can hold together, for embeddings of width E."""
        return sum(math.prod(shape) for shape in self.shapes(MAX_PRIOR_GROUPS, width).values())


@dataclass(frozen=True)
class KeyedGroupPrior:
    """A prior whose questions are found by the hash of their content, as a bundle keeps it."""

    prior: GroupPrior
    question_numbers: Mapping[str, int]
    """Number of each question in the prior, by its :func:`~gpo_ray.preferences.labels.slate_key`."""
    hashes: Mapping[str, QuestionHashes] = field(default_factory=dict)
    """Hashes by which texts of the questions are recognised, by key; empty in a bundle of an earlier
    version."""

    @classmethod
    def keyed(cls, prior: GroupPrior, questions: Sequence[Question]) -> KeyedGroupPrior:
        """Give a prior's questions their keys; if a question occurs twice, only the first one is kept."""
        keys = [q.slate_key for q in questions]
        first = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        kept = np.asarray(sorted(first.values()), np.int64)
        if len(kept) < len(keys):
            prior = prior.only(kept)
        hashes = {keys[i]: QuestionHashes.of(questions[i].prompt, questions[i].responses) for i in kept}
        return cls(prior, {keys[i]: number for number, i in enumerate(kept)}, hashes)

    @property
    def needs_guesses(self) -> bool:
        """Whether a language model's guesses join the prior, so that unseen questions should have some."""
        return self.prior.guesses is not None

    @cached_property
    def recognizer(self) -> Recognizer:
        """The recogniser of the questions that the meta-train groups were asked."""
        sizes = {key: int(self.prior.sizes[number]) for key, number in self.question_numbers.items()}
        return Recognizer(sizes, self.hashes)

    def vectors(self, key: str) -> NDArray[np.float32]:
        """Return the embeddings (R, E) of a seen question, in the prior's order of its responses."""
        start, end = self.prior.offsets[self.question_numbers[key] :][:2]
        return self.prior.x[start:end]

    def question_index(self, keys: Sequence[str | None], sizes: Sequence[int]) -> Ints:
        """Return the number of each question in the prior.

        It is -1 where the key is absent, or where the question has another number of responses.
        """
        found = [-1 if k is None else self.question_numbers.get(k, -1) for k in keys]
        index = [i if i >= 0 and self.prior.sizes[i] == n else -1 for i, n in zip(found, sizes, strict=True)]
        return np.asarray(index, np.int64)

    def inputs(
        self,
        x: NDArray[np.float32],
        sizes: Sequence[int],
        keys: Sequence[str | None],
        guesses: GuessFeatures | None = None,
    ) -> list[PriorInputs]:
        """Return the prior at each question separately.

        See :meth:`PriorAtQuestions.of` and :meth:`question_index` for the arguments. All unseen questions are
        extrapolated to in one go.
        """
        index = self.question_index(keys, sizes)
        at_questions = PriorAtQuestions.of(self.prior, x, np.asarray(sizes, np.int64), index, guesses=guesses)
        numbers = [np.asarray([i]) for i in range(len(sizes))]
        cross_survey = at_questions.cross_survey
        if cross_survey is None:
            return [at_questions.inputs(i) for i in numbers]
        return [replace(at_questions.inputs(i), cross_survey=cross_survey.inputs(i)) for i in numbers]

    def condition_on(
        self,
        questions: Sequence[PriorInputs],
        y: Array,
        sampling: Array | None = None,
        role: int | None = None,
    ) -> ConditionedPrior:
        """Condition the prior on a group's shares ``y`` (C,) of some questions' responses, end to end.

        ``questions`` is the prior at each of these questions, from :meth:`inputs`. If all are unseen
        and there is a ``cross_survey`` prior, that one is conditioned instead. ``sampling`` (C,) are the
        sampling variances of ``y``, and ``role`` is the number of the simulated group that simulates this
        one, as in :meth:`ConditionedPrior.of`.
        """
        cross_survey = self.prior.cross_survey
        if cross_survey is None or not all((q.question_index < 0).all() for q in questions):
            return self.prior.condition_on(PriorInputs.joined(questions), y, sampling, role)
        return cross_survey.condition_on(questions, y, sampling, role)

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
        """Return what is stored: the values of a :class:`PriorState`, and arrays by name."""
        values, arrays = self.prior.to_state()
        keys = sorted(self.question_numbers, key=lambda key: self.question_numbers[key])
        sizes = {key: int(self.prior.sizes[self.question_numbers[key]]) for key in keys}
        stored = {name: np.ascontiguousarray(a, np.float32) for name, a in arrays.items()}
        questions = {key: self.hashes[key].model_dump() for key in keys if key in self.hashes}
        return {"sizes": sizes} | ({"questions": questions} if questions else {}) | values, stored

    @classmethod
    def from_state(cls, state: PriorState, arrays: Arrays, width: int) -> KeyedGroupPrior:
        """Make the prior from what :meth:`to_state` returned.

        Args:
            state: the stored values.
            arrays: the stored arrays by name.
            width: width E of the embeddings.

        Raises:
            ValueError: if the arrays do not fit the values, or hold numbers that a prior cannot have.
        """
        sizes = np.asarray(list(state.sizes.values()), np.int64)
        _check_shapes(state, arrays, width)
        _check_numbers(arrays)
        prior = GroupPrior.from_state(state, arrays, sizes)
        hashes = state.questions
        if hashes and {k: len(h.responses) for k, h in hashes.items()} != state.sizes:
            raise ValueError("the hashes of questions do not fit their numbers of responses")
        return cls(prior, {key: i for i, key in enumerate(state.sizes)}, hashes)


def _check_shapes(state: PriorState, arrays: Arrays, width: int) -> None:
    """Check that there are the arrays that the values call for, each in its shape.

    Either ``expected`` may be missing, and the second must be without a ``cross_survey`` prior. The nominal
    response model is there if, and only if, it has weight.
    """
    shapes = {name: a.shape for name, a in arrays.items()}
    wanted = state.shapes(max([1, *shapes.get("shares", ())[:1]]), width)
    absent = {name for name in ("expected", "expected_cross_survey") if name not in shapes}
    if state.cross_survey is None:
        absent.add("expected_cross_survey")
    if not state.scales.response_model_weight:
        absent |= NominalResponseModel.state_shapes(1).keys()
    wanted = {name: shape for name, shape in wanted.items() if name not in absent}
    block = state.cross_survey
    if shapes != wanted or (block is not None and not block.start < block.columns <= width):
        raise ValueError(f"shapes {shapes} do not fit the questions and scales of the prior")


def _check_numbers(arrays: Arrays) -> None:
    """Check that shares are within 0 and 1, or NaN where not answered, and that other numbers are finite."""
    for name, values in arrays.items():
        if name == "shares":
            fit = not ((values < -1e-6) | (values > 1 + 1e-6)).any()
        else:
            fit = bool(np.isfinite(values).all())
        if not fit:
            raise ValueError(f"{name} holds numbers that cannot be {name}")
