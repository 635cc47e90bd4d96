"""What goes over the wire: requests are strict and bounded, answers may gain fields later.

The docstrings of classes and fields are the descriptions in ``openapi.json``, and the names of the classes
are those of its schemas. So ``Question``, ``Prediction`` and ``Group`` are here what goes over the wire, not
the classes of these names in other rooms of the package, which the service does not use.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StringConstraints,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from gpo_ray.model.texts import AnsweredSlate, Slate
from gpo_ray.preferences.labels import first_repeated, same_responses

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


def _no_twins(options: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse responses that differ in little; the message, unlike that of a file, repeats no text."""
    if (same := same_responses(options)) is not None:
        about = dict(zip(("first", "second", "what"), same, strict=True))
        raise PydanticCustomError(
            "same_responses", "responses {first} and {second} are the same: they differ in {what}", about
        )
    return options


Options = Annotated[
    tuple[Option, ...],
    Field(fail_fast=True, json_schema_extra={**_RESPONSES, "uniqueItems": True}),
    _sized(2, MAX_RESPONSES),
    AfterValidator(_no_twins),
]
Shares = Annotated[
    tuple[Annotated[StrictFloat, Field(ge=0)], ...],
    Field(fail_fast=True, json_schema_extra={**_RESPONSES}),
    _sized(2, MAX_RESPONSES),
]

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Question(Slate):
    """A question whose shares are to be predicted."""

    model_config = _STRICT

    prompt: Prompt
    """The text of the question, of 1 to 4,000 characters."""
    responses: Options
    """The possible responses, 2 to 500 different texts of 1 to 1,000 characters each."""


class GroupAnswer(AnsweredSlate):
    """A question with the answer of a group, of which exactly one of ``share`` and ``choice`` is given."""

    model_config = _STRICT

    prompt: Prompt
    """The text of the question, of 1 to 4,000 characters."""
    responses: Options
    """The possible responses, 2 to 500 different texts of 1 to 1,000 characters each."""
    share: Shares | None = None
    """The share of the group that gave each response, in the order of ``responses``. Shares are numbers from
    0 to 1, and their sum is 1 (to 0.001)."""
    choice: Annotated[StrictInt, Field(ge=0, le=MAX_RESPONSES - 1)] | None = None
    """The index in ``responses`` of the one response that a single person gave; the first one has index 0."""
    n: Annotated[StrictFloat, Field(gt=0)] | None = None
    """The number of people behind ``share``, above 0 (an effective number where answers are weighted); null
    if it is not known. The fewer they are, the less a prediction relies on the answer."""


def _distinct(answers: tuple[GroupAnswer, ...]) -> tuple[GroupAnswer, ...]:
    """Refuse a second answer to a question, whatever the order and the spelling of its responses."""
    repeated = first_repeated((a.prompt, a.responses) for a in answers)
    if repeated is not None:
        about = dict(zip(("first", "second"), repeated, strict=True))
        raise PydanticCustomError("repeated", "answers {first} and {second} are to the same question", about)
    return answers


Context = Annotated[
    tuple[GroupAnswer, ...],
    Field(json_schema_extra={"minItems": 1, "maxItems": MAX_ANSWERS}),
    _sized(1, MAX_ANSWERS),
    AfterValidator(_distinct),
]
Questions = Annotated[
    tuple[Question, ...],
    Field(json_schema_extra={"minItems": 1, "maxItems": MAX_QUESTIONS}),
    _sized(1, MAX_QUESTIONS),
]


class _Request(BaseModel):
    model_config = _STRICT


class GroupPut(_Request):
    """A group to register, which is known by its answers."""

    description: Description = ""
    """A text about the group, of at most 1,000 characters. Predictions do not depend on it."""
    context: Context
    """The answers of the group, 1 to 500 of them."""


class PredictRequest(_Request):
    """Questions to predict for a registered group."""

    questions: Questions
    """The questions to predict, 1 to 200 of them."""


class InlinePredictRequest(_Request):
    """Questions to predict for a group that is not registered, with the answers of that group."""

    context: Context
    """The answers of the group, 1 to 500 of them. They are not kept."""
    questions: Questions
    """The questions to predict, 1 to 200 of them."""


class RankRequest(Question):
    """A question whose responses are to be sorted by the preference of a registered group."""


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Group(_Reply):
    """A registered group with its answers."""

    group_id: str
    """The id by which the group was registered."""
    version: int
    """The version of the group, which is 1 at first and grows by 1 with each change. Versions are not used
    again, not even after the group was deleted."""
    etag: str
    """A text that is another one for each version. The header ``If-Match`` takes it, in quotes."""
    description: str
    """The text about the group that was registered."""
    context: tuple[GroupAnswer, ...]
    """The answers of the group."""
    created_at: datetime
    """The time at which the group was registered, in UTC."""
    updated_at: datetime
    """The time of the last change, in UTC."""


class GroupSummary(_Reply):
    """A registered group without its answers."""

    group_id: str
    """The id by which the group was registered."""
    version: int
    """The version of the group, which is 1 at first and grows by 1 with each change."""
    description: str
    """The text about the group that was registered."""
    answers: int
    """The number of questions that the group has answered, 1 to 500."""
    updated_at: datetime
    """The time of the last change, in UTC."""


class GroupPage(_Reply):
    """Some of the registered groups, sorted by id."""

    groups: tuple[GroupSummary, ...]
    """The groups of this page, as many as ``limit`` allows."""
    next: str | None
    """The value of ``after`` that gives the next page; null on the last page."""


class Prediction(_Reply):
    """The predicted preferences of a group over the R responses of one question."""

    prompt: str
    """The text of the question, as it was asked."""
    responses: tuple[str, ...]
    """The R responses, in the order in which they were given."""
    share: tuple[float, ...]
    """The predicted share of the group that would give each response: R numbers from 0 to 1 with the sum
    1."""
    interval: tuple[tuple[float, float], ...] | None
    """The lower and the upper end of the 90 % interval of each share: R pairs of numbers from 0 to 1; null if
    the model of the bundle gives no intervals."""
    language_model: tuple[float, ...]
    """The probability that the language model by itself, which knows nothing of the group, gives each
    response: R numbers from 0 to 1 with the sum 1."""
    seen: bool | None = None
    """Whether the bundle's meta-train groups answered the question, in whatever order and spelling of its
    responses; null if the model of the bundle keeps no answers."""
    recognised: bool | None = None
    """True for a seen question and for one that the group itself answered; false if the bundle knows the
    prompt, but with other responses, so that the question is taken as unseen; null if it does not know the
    prompt either."""
    note: str | None = None
    """What to know about the prediction, in words; null if there is nothing."""


class Predictions(_Reply):
    """The predictions of all questions that were asked."""

    predictions: tuple[Prediction, ...]
    """One prediction for each question, in the order of the questions."""
    bundle: str
    """The id of the bundle that made the predictions, a hash of its contents."""
    group: str | None = None
    """The id of the group; null if the answers of the group came with the request."""
    version: int | None = None
    """The version of the group whose answers were used; null if they came with the request."""
    notes: tuple[str, ...] = ()
    """What to know about the answers of the group, in words, such as those to a question that is taken as
    unseen, because the bundle knows its prompt with other responses."""


class RankedResponse(_Reply):
    """A response with its predicted share."""

    response: str
    """The text of the response."""
    index: int
    """The place of the response in the request, where the first one has index 0."""
    share: float
    """The predicted share of the group that would give the response, from 0 to 1."""
    interval: tuple[float, float] | None
    """The lower and the upper end of the 90 % interval of the share, from 0 to 1; null if the model of the
    bundle gives no intervals."""


class Ranking(_Reply):
    """The responses of a question, sorted by the preference of a group."""

    prompt: str
    """The text of the question, as it was asked."""
    ranked: tuple[RankedResponse, ...]
    """All responses, the one with the largest predicted share first."""
    bundle: str
    """The id of the bundle that made the prediction, a hash of its contents."""
    group: str | None = None
    """The id of the group."""
    version: int | None = None
    """The version of the group whose answers were used."""


class FieldProblem(_Reply):
    """What is wrong with one field of a request, without the value that was sent."""

    field: str
    """The place of the field: keys and indices, joined by dots, that begin with ``body``, ``path``, ``query``
    or ``header``."""
    message: str
    """A sentence that says what is wrong."""


class Problem(_Reply):
    """A problem document (RFC 9457), which says why a request was not carried out."""

    type: str = "about:blank"
    """Always ``about:blank``: the status says which kind of problem it is."""
    title: str
    """The name of the HTTP status."""
    status: int
    """The HTTP status, 400 to 599."""
    detail: str
    """What is wrong with this request, in words."""
    request_id: str
    """The id of the request, by which the log of the service names it. It is also in the header
    ``X-Request-ID``."""
    errors: tuple[FieldProblem, ...] | None = None
    """The fields that are wrong, at most 20 of them; only with status 422."""


class Health(_Reply):
    """A sign that the process is alive."""

    status: Literal["ok"] = "ok"
    """Always ``ok``."""


class Readiness(_Reply):
    """Whether predictions can be made now."""

    ready: bool
    """Whether predictions can be made now."""
    bundle: str | None = None
    """The id of the bundle that makes the predictions, a hash of its contents."""
    problem: str | None = None
    """The reason why no predictions can be made, or why the last change to another bundle failed; null if
    there is no problem."""


class NotReady(Problem):
    """A problem document that says why no predictions can be made now."""

    ready: Literal[False] = False
    """Always false."""
    bundle: str | None = None
    """The id of the bundle that makes predictions when the service is ready again; null if it is not
    known."""
    problem: str | None = None
    """The reason why no predictions can be made now."""


def group_from(stored: Any) -> Group:
    """Return a group of the registry as it goes over the wire."""
    values = {name: getattr(stored, name) for name in Group.model_fields if name != "context"}
    context = tuple(GroupAnswer.model_construct(**dict(a)) for a in stored.context)
    return Group.model_construct(**values, context=context)  # checked when it was stored
