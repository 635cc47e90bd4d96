"""Define the prior in the form that a bundle keeps: its questions are found by the hash of their content."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from gpo_ray.embedding.features import PUBLISHED, FeatureBlock
from gpo_ray.preferences.slates import Array, Floats, Ints
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.calibration import MAX_GROUPS
from gpo_ray.prior.covariance import PriorInputs
from gpo_ray.prior.group_prior import CrossSurveyPrior, GroupPrior, precision
from gpo_ray.prior.posterior import ConditionedPrior
from gpo_ray.prior.response_model import NominalResponseModel
from gpo_ray.prior.scales import PriorScales

Arrays = dict[str, NDArray[np.float32]]
Size = Annotated[int, Field(ge=1, le=1_000_000)]


class _CrossSurveyState(BaseModel):
    """The stored values, beside the arrays, of the prior for a context of another survey."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: Size
    """Column of the embeddings before which the block ends that this prior reads."""
    start: int = Field(default=0, ge=0)
    """Column at which the block begins."""
    scales: PriorScales


class PriorState(BaseModel):
    """The stored values of a prior, beside its arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sizes: dict[str, Size] = Field(min_length=1)
    """Number of responses of each question by its key, in the order of the arrays' rows."""
    scales: PriorScales
    cross_survey: _CrossSurveyState | None = None

    def shapes(self, groups: int, width: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all arrays that a prior may have, by name, for embeddings of width E."""
        rows = sum(self.sizes.values())
        return {
            "shares": (groups, rows),
            "x": (rows, width),
            "expected": (rows,),
            "expected_cross_survey": (rows,),
        } | NominalResponseModel.state_shapes(rows)

    def max_numbers(self, width: int) -> int:
        """Return the most numbers that the arrays can hold together, for embeddings of width E."""
        return sum(math.prod(shape) for shape in self.shapes(MAX_GROUPS, width).values())


@dataclass(frozen=True)
class KeyedGroupPrior:
    """A prior whose questions are found by the hash of their content, as a bundle keeps it."""

    prior: GroupPrior
    number: Mapping[str, int]
    """Number of each question in the prior, by :func:`~gpo_ray.preferences.dataset.question_key`."""

    @classmethod
    def keyed(cls, prior: GroupPrior, keys: Sequence[str]) -> KeyedGroupPrior:
        """Give a prior's questions these keys; if a question occurs twice, only the first one is kept."""
        first = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        kept = np.asarray(sorted(first.values()), np.int64)
        if len(kept) < len(keys):
            prior = prior.only(kept)
        return cls(prior, {keys[i]: number for number, i in enumerate(kept)})

    def question_index(self, keys: Sequence[str | None], sizes: Sequence[int]) -> Ints:
        """Return the number of each question in the prior.

        It is -1 where the key is absent, or where the question has another number of responses.
        """
        found = [-1 if k is None else self.number.get(k, -1) for k in keys]
        index = [i if i >= 0 and self.prior.sizes[i] == n else -1 for i, n in zip(found, sizes, strict=True)]
        return np.asarray(index, np.int64)

    def inputs(
        self, x: NDArray[np.float32], sizes: Sequence[int], keys: Sequence[str | None]
    ) -> list[PriorInputs]:
        """Return the prior at each question separately.

        See :meth:`PriorAtQuestions.of` and :meth:`question_index` for the arguments. All unseen questions are
        extrapolated to in one go.
        """
        at_questions = PriorAtQuestions.of(
            self.prior, x, np.asarray(sizes, np.int64), self.question_index(keys, sizes)
        )
        numbers = [np.asarray([i]) for i in range(len(sizes))]
        cross_survey = at_questions.cross_survey
        if cross_survey is None:
            return [at_questions.inputs(i) for i in numbers]
        return [replace(at_questions.inputs(i), cross_survey=cross_survey.inputs(i)) for i in numbers]

    def conditioned(self, priors: Sequence[PriorInputs], y: Array) -> ConditionedPrior:
        """Condition the prior on a group's shares ``y`` (C,) of some questions' responses, end to end.

        If all questions are unseen and there is a ``cross_survey`` prior, that one is conditioned instead.
        """
        cross_survey = self.prior.cross_survey
        if cross_survey is None or not all((p.question_index < 0).all() for p in priors):
            return self.prior.condition_on(PriorInputs.joined(priors), y)
        given = cross_survey.prior.condition_on(PriorInputs.joined(priors, cross_survey=True), y)
        return replace(given, cross_survey=True)

    def to_state(self) -> tuple[dict[str, Any], Arrays]:
        """Return what is stored: the values of a :class:`PriorState`, and arrays by name."""
        prior, cross_survey = self.prior, self.prior.cross_survey
        arrays = {"shares": prior.shares, "x": prior.x}
        if prior.expected is not None:
            arrays["expected"] = prior.expected
        if prior.traits is not None:
            arrays |= prior.traits.to_state()
        order = sorted(self.number, key=lambda key: self.number[key])
        values = {
            "sizes": {key: int(prior.sizes[self.number[key]]) for key in order},
            "scales": asdict(prior.scales),
        }
        if cross_survey is not None:
            block, scales = cross_survey.block, asdict(cross_survey.prior.scales)
            values["cross_survey"] = {"columns": block.stop, "start": block.start, "scales": scales}
            if cross_survey.prior.expected is not None:
                arrays["expected_cross_survey"] = cross_survey.prior.expected
        return values, {name: np.ascontiguousarray(a, np.float32) for name, a in arrays.items()}

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
        shares: Floats = np.asfortranarray(arrays["shares"], precision(len(arrays["shares"])))
        if np.isnan(shares).all(0).any():
            raise ValueError("holds a question that nobody answered")
        expected, expected_cross_survey = (
            arrays[name].astype(np.float64) if name in arrays else None
            for name in ("expected", "expected_cross_survey")
        )
        traits = NominalResponseModel.from_state(arrays, sizes) if state.scales.traits else None
        cross_survey = None
        if state.cross_survey is not None:
            block = FeatureBlock(PUBLISHED, state.cross_survey.start, state.cross_survey.columns)
            x, scales = block.of(arrays["x"]), state.cross_survey.scales
            other = GroupPrior(shares, x, sizes, expected_cross_survey, scales=scales)
            cross_survey = CrossSurveyPrior(other, block)
        prior = GroupPrior(
            shares,
            arrays["x"],
            sizes,
            expected,
            scales=state.scales,
            traits=traits,
            cross_survey=cross_survey,
        )
        return cls(prior, {key: i for i, key in enumerate(state.sizes)})


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
    if not state.scales.traits:
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
