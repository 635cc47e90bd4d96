"""What goes over the wire: requests are strict and bounded, answers may gain fields later."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StringConstraints,
)
from pydantic_core import PydanticKnownError

from gpo_ray.model.texts import AnsweredSlate, Slate

MAX_RESPONSES = 500
"""Most responses of a question."""
MAX_ANSWERS = 500
"""Most answers of a group."""
MAX_QUESTIONS = 200
"""Most questions of a request."""
GROUP_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._=:-]{0,199}$"
GROUP_ID_WORDS = "1 to 200 letters, digits and . _ = : -, the first a letter or digit"
"""The pattern of group ids in words."""
_NO_NUL = r"^[^\x00]*$"  # PostgreSQL cannot store NUL


def _sized(least: int, most: int) -> BeforeValidator:
    """Refuse a list of a wrong length at once, instead of after a message for each of its items."""

    def check(items: Any) -> Any:
        if isinstance(items, (list, tuple)) and not least <= len(items) <= most:
            about = {"field_type": "Tuple", "actual_length": len(items)}
            if len(items) > most:
                raise PydanticKnownError("too_long", about | {"max_length": most})
            raise PydanticKnownError("too_short", about | {"min_length": least})
        return items

    return BeforeValidator(check)


_RESPONSES = {"minItems": 2, "maxItems": MAX_RESPONSES}
GroupId = Annotated[str, StringConstraints(pattern=GROUP_ID_PATTERN)]
Description = Annotated[str, StringConstraints(max_length=1_000, pattern=_NO_NUL)]
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=4_000, pattern=_NO_NUL)]
Option = Annotated[str, StringConstraints(min_length=1, max_length=1_000, pattern=_NO_NUL)]
Options = Annotated[
    tuple[Option, ...],
    Field(fail_fast=True, json_schema_extra={**_RESPONSES, "uniqueItems": True}),
    _sized(2, MAX_RESPONSES),
]
Shares = Annotated[
    tuple[Annotated[StrictFloat, Field(ge=0)], ...],
    Field(fail_fast=True, json_schema_extra={**_RESPONSES}),
    _sized(2, MAX_RESPONSES),
]

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Question(Slate):
    """A question to predict."""

    model_config = _STRICT

    prompt: Prompt
    """What was asked."""
    responses: Options
    """What can be answered; no two the same."""


class GroupAnswer(AnsweredSlate):
    """A question with the group's answer: exactly one of ``share`` and ``choice``."""

    model_config = _STRICT

    prompt: Prompt
    """What was asked."""
    responses: Options
    """What can be answered; no two the same."""
    share: Shares | None = None
    """The group's shares over the responses, summing to 1."""
    choice: Annotated[StrictInt, Field(ge=0, le=MAX_RESPONSES - 1)] | None = None
    """Index of the one response given."""


Context = Annotated[
    tuple[GroupAnswer, ...],
    Field(json_schema_extra={"minItems": 1, "maxItems": MAX_ANSWERS}),
    _sized(1, MAX_ANSWERS),
]
Questions = Annotated[
    tuple[Question, ...],
    Field(json_schema_extra={"minItems": 1, "maxItems": MAX_QUESTIONS}),
    _sized(1, MAX_QUESTIONS),
]


class _Request(BaseModel):
    model_config = _STRICT


class GroupPut(_Request):
    """A group to register: its answers."""

    description: Description = ""
    context: Context


class PredictRequest(_Request):
    """Questions to predict for a registered group."""

    questions: Questions


class InlinePredictRequest(_Request):
    """Questions to predict for a group that is not registered, given its answers."""

    context: Context
    questions: Questions


class RankRequest(Question):
    """Responses to sort by a registered group's preference."""


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Group(_Reply):
    """A registered group."""

    group_id: str
    version: int
    """1 when registered, one more after each change."""
    etag: str
    """What ``If-Match`` takes."""
    description: str
    context: tuple[GroupAnswer, ...]
    created_at: datetime
    updated_at: datetime


class GroupSummary(_Reply):
    """A registered group without its answers."""

    group_id: str
    version: int
    description: str
    answers: int
    """How many questions it answered."""
    updated_at: datetime


class GroupPage(_Reply):
    """Some registered groups, by id."""

    groups: tuple[GroupSummary, ...]
    next: str | None
    """What to give as ``after`` for the groups that follow; None where none does."""


class Prediction(_Reply):
    """A group's predicted preferences over one question's R responses."""

    prompt: str
    responses: tuple[str, ...]
    share: tuple[float, ...]
    """(R,), summing to 1."""
    interval: tuple[tuple[float, float], ...] | None
    """(R,) ends of 90 % intervals; None for a model without a prior."""
    language_model: tuple[float, ...]
    """(R,) the language model's own distribution."""


class Predictions(_Reply):
    """Predictions of all questions asked, in their order."""

    predictions: tuple[Prediction, ...]
    bundle: str
    """Id of the bundle that made them."""
    group: str | None = None
    """Id of the registered group."""
    version: int | None = None
    """Version of the group's answers."""


class RankedResponse(_Reply):
    """A response with its predicted share."""

    response: str
    index: int
    """Where the request had it."""
    share: float
    interval: tuple[float, float] | None


class Ranking(_Reply):
    """A question's responses, the most preferred one first."""

    prompt: str
    ranked: tuple[RankedResponse, ...]
    bundle: str
    group: str | None = None
    version: int | None = None


class FieldProblem(_Reply):
    """What is wrong with one field of a request; never holds its value."""

    field: str
    message: str


class Problem(_Reply):
    """Why a request failed (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str
    errors: tuple[FieldProblem, ...] | None = None


class Health(_Reply):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(_Reply):
    """Whether predictions can be made now."""

    ready: bool
    bundle: str | None = None
    """Id of the bundle that is serving."""
    problem: str | None = None
    """Why it is not ready, or why another bundle was not taken."""


class NotReady(Problem):
    """The problem that says why predictions cannot be made now."""

    ready: Literal[False] = False
    bundle: str | None = None
    problem: str | None = None


def group_from(stored: Any) -> Group:
    """What the registry holds of a group, as it goes over the wire."""
    values = {name: getattr(stored, name) for name in Group.model_fields if name != "context"}
    context = tuple(GroupAnswer.model_construct(**dict(a)) for a in stored.context)
    return Group(**values, context=context)
