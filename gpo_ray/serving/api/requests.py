"""Routes under /v1 that check the caller, and that read JSON with one meaning only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Coroutine, Set
from functools import partial
from typing import Any

from fastapi import Request, Response
from fastapi._compat import ModelField
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from gpo_ray.runtime.strict_json import TooMuchError, parse_strict_json
from gpo_ray.serving.api.access import caller_of
from gpo_ray.serving.api.headers import is_json
from gpo_ray.serving.api.problems import Refused
from gpo_ray.serving.api.schemas import MAX_ANSWERS, MAX_QUESTIONS
from gpo_ray.serving.settings import Limits

INLINE_BYTES = 2048
"""Longest body that is checked at once; a hop to another thread would take longer."""
MAX_KEYS = 16
"""Most keys of an object in a body; objects of the API have at most four."""
_INTEGER = re.compile(r"0|[1-9][0-9]{0,17}")


def most_values(limits: Limits) -> int:
    """Return the most values in a body: twice those of the largest request within the limits.

    The bound matters since errors are reported value by value, which takes far longer than parsing.
    """
    shares_and_responses = 2 * limits.context_responses + limits.question_responses
    return 2 * (shares_and_responses + 4 * MAX_ANSWERS + 3 * MAX_QUESTIONS)


def plain_integer(given: Any) -> Any:
    """Return what a query gives for an integer, if that is how JSON would write it.

    Pydantic would also take signs, spaces, underscores, fractions of zero and digits of other scripts.

    Raises:
        ValueError: if it is anything but ASCII digits without leading zeros, or as long as no number in use.
    """
    if isinstance(given, str) and not _INTEGER.fullmatch(given):
        raise ValueError("Input should be an integer in plain digits")
    return given


class StrictRequest(Request):
    """A request whose body is read by :func:`parse_strict_json`."""

    _checked: Any = None

    async def check(self, field: ModelField) -> None:
        """Read and check the body; a long one in another thread, since its labels take long to compare.

        Raises:
            Refused: if the body is not strict JSON, or holds far more than any request may.
            RequestValidationError: if the value is not what the route takes.
        """
        body = await self.body()
        if not body:
            return
        work = partial(_checked, body, self.app.state.most_values, field)
        if len(body) <= INLINE_BYTES:
            self._checked = work()
        else:
            self._checked = await self.app.state.checkers.run(caller_of(self), work)

    async def json(self) -> Any:
        """Return the checked value of the body, which FastAPI then takes as it is."""
        return self._checked


def _checked(body: bytes, most: int, field: ModelField) -> Any:
    """Return the value of a body as a route takes it; see :meth:`StrictRequest.check` for the errors."""
    try:
        given = parse_strict_json(body, most, MAX_KEYS)
    except TooMuchError as e:
        raise Refused(422, f"the body holds {e}") from e
    except ValueError as e:  # its message may hold a part of the body
        raise Refused(400, "the body is not strict JSON in UTF-8") from e
    value, errors = field.validate(given, {}, loc=("body",))
    if errors:
        raise RequestValidationError(errors, body=given)
    return value


class GuardedRoute(APIRoute):
    """A route that admits its caller before it reads anything of the body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that serves a request."""
        serve = super().get_route_handler()
        field = self.body_field
        known = {parameter.alias for parameter in self.dependant.query_params}

        async def guarded(request: Request) -> Response:
            guard = request.app.state.guard
            await guard.admit(request)
            _check_query(request, known)
            if field is not None:
                _check_content_type(request)
            with guard.place(request):
                strict = StrictRequest(request.scope, request.receive)
                if field is not None:
                    await strict.check(field)
                return await serve(strict)

        return guarded


def _check_query(request: Request, known: Set[str]) -> None:
    given = Counter(name for name, _ in request.query_params.multi_items())
    messages = {n: "Given more than once" for n, count in given.items() if count > 1}
    messages |= {n: "Extra inputs are not permitted" for n in given if n not in known}
    if messages:
        raise RequestValidationError([{"loc": ("query", n), "msg": m} for n, m in messages.items()])


def _check_content_type(request: Request) -> None:
    encoded = request.headers.get("content-encoding", "identity").lower() != "identity"
    if encoded or not is_json(request.headers.get("content-type", "")):
        raise Refused(415, "the body must be application/json in UTF-8, not compressed")
