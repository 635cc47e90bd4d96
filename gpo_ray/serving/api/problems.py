"""Answer every error of the service with a problem document (RFC 9457).

It says where a mistake is, by names of parameters and fields, unknown ones too, but repeats no values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import Scope

from gpo_ray.errors import GPOError, QuestionTooLongError, UnknownGroupError
from gpo_ray.serving.api.schemas import FieldProblem, Problem
from gpo_ray.serving.inference.backend import Overloaded, TooSlow, Unavailable
from gpo_ray.serving.registry.database import RegistryUnavailable
from gpo_ray.serving.registry.groups import VersionConflict
from gpo_ray.serving.registry.room import NoRoom

MEDIA_TYPE = "application/problem+json"
Reason = Literal["unknown_group", "overloaded", "unavailable", "registry", "too_slow"]
"""Why a well-formed request was not carried out: the group does not exist, too many requests wait, the
predictor is not running, the database does not answer, or the prediction took too long."""
_TRACE = "gpo_ray.trace"
_MAX_FIELD_CHARACTERS = 200
_MAX_ERRORS = 20


class Refused(HTTPException):
    """A request is refused, and answered with a problem document."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, dict(headers or {}))


@dataclass
class Trace:
    """The data about a request for its log line."""

    request_id: str
    key_id: str | None = None
    tenant: str | None = None
    error: str | None = None
    """Type of the exception, if the service itself failed."""
    counted: bool = False
    """Whether the request is within what its caller may ask in a minute, which bounds the number of lines."""


def start_trace(scope: Scope, request_id: str) -> Trace:
    """Make the trace of a request."""
    trace = Trace(request_id)
    scope[_TRACE] = trace
    return trace


def trace_of(scope: Scope) -> Trace:
    """Return the trace of a request."""
    trace: Trace = scope[_TRACE]
    return trace


def route_path(scope: Scope) -> str:
    """Return the path without the route prefix of the application."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def problem(
    scope: Scope,
    status: int,
    detail: str,
    errors: Sequence[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem document as a response."""
    return problem_response(
        Problem(
            title=HTTPStatus(status).phrase,
            status=status,
            detail=detail,
            request_id=trace_of(scope).request_id,
            errors=tuple(errors) if errors else None,
        ),
        headers,
    )


def problem_response(body: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return ``body`` as a response, without its empty fields."""
    return Response(
        body.model_dump_json(exclude_none=True), body.status, dict(headers or {}), media_type=MEDIA_TYPE
    )


def answer_with_problems(api: FastAPI, on_refusal: Callable[[Reason], None] | None = None) -> None:
    """Make ``api`` answer every exception that is not a fault of its own with a problem document.

    Args:
        api: the application.
        on_refusal: function that is called for each request that is refused for a :data:`Reason`.
    """
    api.state.on_refusal = on_refusal
    api.add_exception_handler(StarletteHTTPException, _refused)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(GPOError, _unpredictable)
    api.add_exception_handler(UnknownGroupError, _unknown_group)
    api.add_exception_handler(VersionConflict, _conflict)
    api.add_exception_handler(NoRoom, _no_room)
    api.add_exception_handler(Overloaded, _overloaded)
    api.add_exception_handler(TooSlow, _too_slow)
    api.add_exception_handler(Unavailable, _unavailable)
    api.add_exception_handler(RegistryUnavailable, _unavailable)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)  # noqa: S101 -- for the type checker
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:  # the router names only one route's methods
        headers["Allow"] = ", ".join(_methods(request))
    return problem(request.scope, error.status_code, str(error.detail), headers=headers)


def _methods(request: Request) -> list[str]:
    found: set[str] = set()
    for route in request.app.routes:
        pattern, methods = getattr(route, "path_regex", None), getattr(route, "methods", None)
        if pattern is not None and methods and pattern.match(route_path(request.scope)):
            found |= methods
    return sorted(found)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- for the type checker
    errors = [FieldProblem(field=_path(e["loc"]), message=_message(e)) for e in error.errors()[:_MAX_ERRORS]]
    return problem(
        request.scope, HTTPStatus.UNPROCESSABLE_ENTITY, "the request does not fit its schema", errors
    )


def _path(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location)[:_MAX_FIELD_CHARACTERS]


def _message(error: Mapping[str, Any]) -> str:
    message: str = error["msg"]
    return message.removeprefix("Value error, ")


def _unpredictable(request: Request, error: Exception) -> Response:
    # answers repeat nothing of the request
    detail = (
        f"a question is too long: {error.reason}" if isinstance(error, QuestionTooLongError) else str(error)
    )
    return problem(request.scope, HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def _tell(request: Request, reason: Reason) -> None:
    if (on_refusal := request.app.state.on_refusal) is not None:
        on_refusal(reason)


def _unknown_group(request: Request, _: Exception) -> Response:
    _tell(request, "unknown_group")
    return problem(request.scope, HTTPStatus.NOT_FOUND, "no group of that id is registered")


def _conflict(request: Request, _: Exception) -> Response:
    return problem(request.scope, HTTPStatus.CONFLICT, "the group is not in the state that the request names")


def _no_room(request: Request, error: Exception) -> Response:
    return problem(request.scope, HTTPStatus.INSUFFICIENT_STORAGE, str(error))


def _come_back(request: Request, reason: Reason, status: HTTPStatus, detail: str) -> Response:
    _tell(request, reason)
    return problem(request.scope, status, detail, headers={"Retry-After": "1"})


def _overloaded(request: Request, _: Exception) -> Response:
    status = HTTPStatus.TOO_MANY_REQUESTS
    return _come_back(request, "overloaded", status, "too many requests are waiting already")


def _too_slow(request: Request, _: Exception) -> Response:
    detail = "the prediction takes too long; what was done is kept: ask again, or for less"
    return _come_back(request, "too_slow", HTTPStatus.GATEWAY_TIMEOUT, detail)


def _unavailable(request: Request, error: Exception) -> Response:
    trace_of(request.scope).error = type(error).__name__
    status = HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, RegistryUnavailable):
        return _come_back(request, "registry", status, "the registry of groups cannot be reached")
    return _come_back(request, "unavailable", status, "predictions cannot be made now")
