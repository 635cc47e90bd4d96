"""The requests of a client, how their answers are read, and which may be sent twice."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from gpo_ray.api import Answer, Question
from gpo_ray.errors import DataError, GPOError
from gpo_ray.model.texts import AnsweredSlate, Slate
from gpo_ray.serving.api.schemas import (
    GROUP_ID_PATTERN,
    GroupPage,
    GroupPut,
    InlinePredictRequest,
    PredictRequest,
    Problem,
    RankRequest,
)

with contextlib.suppress(ModuleNotFoundError):  # without httpx, making a client raises an error that says so
    import httpx

AnyAnswer: TypeAlias = Answer | AnsweredSlate
"""An answer that was made by a caller of the public API, or one that was checked."""
AnyQuestion: TypeAlias = Question | Slate
"""A question that was made by a caller of the public API, or one that was checked."""
Reply = TypeVar("Reply", bound=BaseModel)
MAX_WAIT_SECONDS = 5.0
"""The longest time in seconds that a client waits before it tries again."""
_PAUSE = 0.2
_PASSING = {500, 502, 503, 504}
_PAGE = 100


class ServiceError(GPOError):
    """The service refused a request, failed, or could not be reached."""

    def __init__(self, status: int | None, problem: Problem | None, message: str) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status; None if no answer came."""
        self.problem = problem
        """The description of the error that the service sent, if it could be parsed."""


@dataclass(frozen=True)
class Call:
    """A request, with what is needed to decide whether it may be sent twice."""

    method: str
    path: str
    body: BaseModel | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str | int] = field(default_factory=dict)
    accepted: tuple[int, ...] = ()
    """HTTP statuses besides 2xx that do not count as errors."""

    @property
    def repeatable(self) -> bool:
        """Return whether sending it twice does no harm; a conditional PUT may succeed only the first time."""
        return self.method != "PUT" or not self.headers

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """Return what a client of httpx sends."""
        content = None if self.body is None else self.body.model_dump_json(exclude_none=True)
        kind = {} if content is None else {"Content-Type": "application/json"}
        return client.build_request(
            self.method, self.path, content=content, headers={**kind, **self.headers}, params=self.params
        )

    def wait(self, outcome: httpx.Response | httpx.RequestError) -> float | None:
        """Return the seconds after which to try again, or None if that would not help."""
        if isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout):  # the request was not sent
            return _PAUSE
        if isinstance(outcome, httpx.TransportError):
            return _PAUSE if self.repeatable else None
        if isinstance(outcome, httpx.RequestError):  # an answer that would be the same again
            return None
        if outcome.status_code in self.accepted:
            return None
        if outcome.status_code == 429 or (outcome.status_code in _PASSING and self.repeatable):
            asked = outcome.headers.get("retry-after", "")
            seconds = float(asked) if asked.isascii() and asked.isdigit() else _PAUSE
            return seconds if seconds <= MAX_WAIT_SECONDS else None
        return None

    def checked(self, outcome: httpx.Response | httpx.RequestError, repeated: bool) -> httpx.Response:
        """Return the response if it is a success.

        Raises:
            ServiceError: if it is not.
        """
        if isinstance(outcome, httpx.RequestError):
            reason = str(outcome) or type(outcome).__name__
            raise ServiceError(None, None, f"no answer from the service: {reason}") from outcome
        if outcome.is_success or outcome.status_code in self.accepted:
            return outcome
        if self.method == "DELETE" and repeated and outcome.status_code == 404:  # already deleted
            return outcome
        try:
            problem = Problem.model_validate_json(outcome.content)
        except ValidationError:
            said = outcome.reason_phrase
            raise ServiceError(outcome.status_code, None, f"{outcome.status_code}: {said}") from None
        fields = "".join(f"; {e.field}: {e.message}" for e in problem.errors or ())
        raise ServiceError(outcome.status_code, problem, f"{problem.status}: {problem.detail}{fields}")


def next_page(page: GroupPage, after: str | None) -> str | None:
    """Return the value of ``after`` for the next page, None if there is none.

    Raises:
        ServiceError: if the list would not go on, so that it would never end.
    """
    if page.next is not None and not (page.groups and page.next > (after or "")):
        raise ServiceError(None, None, "the service's list of groups does not go on; is the URL right?")
    return page.next


def parse(schema: type[Reply], response: httpx.Response) -> Reply:
    """Return what an answer holds.

    Raises:
        ServiceError: if it is not of the schema.
    """
    try:
        return schema.model_validate_json(response.content)
    except ValidationError:
        message = f"the service's answer is not the {schema.__name__} expected; is the URL right?"
        raise ServiceError(response.status_code, None, message) from None


def _build(schema: type[Reply], **values: Any) -> Reply:
    """Make a request from the caller's values; models of other classes are converted first."""
    plain = TypeAdapter[Any](Any).dump_python(values, exclude_none=True)
    try:
        return schema.model_validate(plain)
    except ValidationError as e:
        first = e.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{where}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")) from e


def group_path(group_id: str, action: str = "") -> str:
    """Return the path of a group, or of something to do with it.

    Raises:
        DataError: if the id is not one that a group can have.
    """
    if not re.fullmatch(GROUP_ID_PATTERN, group_id):
        raise DataError(f"group id {group_id!r}: expected {GROUP_ID_PATTERN}")
    return f"/v1/groups/{group_id}{action}"


def put(
    group_id: str, context: Sequence[AnyAnswer], description: str, if_match: str | None, new: bool
) -> Call:
    """Return the request that registers or replaces a group."""
    headers = {} if if_match is None else {"If-Match": f'"{if_match}"'}
    headers |= {"If-None-Match": "*"} if new else {}
    return Call(
        "PUT", group_path(group_id), _build(GroupPut, description=description, context=context), headers
    )


def delete(group_id: str, if_match: str | None) -> Call:
    """Return the request that deletes a group."""
    headers = {} if if_match is None else {"If-Match": f'"{if_match}"'}
    return Call("DELETE", group_path(group_id), headers=headers)


def page(after: str | None) -> Call:
    """Return the request for the page of groups after an id."""
    return Call("GET", "/v1/groups", params={"limit": _PAGE} | ({"after": after} if after else {}))


def predict(group_id: str, questions: Sequence[AnyQuestion]) -> Call:
    """Return the request for predictions of a registered group."""
    return Call("POST", group_path(group_id, "/predict"), _build(PredictRequest, questions=questions))


def predict_inline(context: Sequence[AnyAnswer], questions: Sequence[AnyQuestion]) -> Call:
    """Return the request for predictions of a group that is not registered."""
    body = _build(InlinePredictRequest, context=context, questions=questions)
    return Call("POST", "/v1/predict", body)


def rank(group_id: str, prompt: str, responses: Sequence[str]) -> Call:
    """Return the request that sorts a question's responses."""
    body = _build(RankRequest, prompt=prompt, responses=list(responses))
    return Call("POST", group_path(group_id, "/rank"), body)


READY = Call("GET", "/readyz", accepted=(503,))
