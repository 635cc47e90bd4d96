"""Routes under /v1 that check the caller, and that read JSON with one meaning only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Coroutine, Set
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from gpo_ray.runtime.strict_json import TooMuchError, parse_strict_json
from gpo_ray.serving.api.headers import is_json
from gpo_ray.serving.api.problems import Refused
from gpo_ray.serving.api.schemas import MAX_ANSWERS, MAX_QUESTIONS
from gpo_ray.serving.settings import Limits

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

    async def json(self) -> Any:
        """Return the value of the body.

        Raises:
            Refused: if the body is not strict JSON, or holds far more than any request may.
        """
        body, most = await self.body(), self.app.state.most_values
        try:
            return parse_strict_json(body, most, MAX_KEYS)
        except TooMuchError as e:
            raise Refused(422, f"the body holds {e}") from e
        except ValueError as e:  # its message may hold a part of the body
            raise Refused(400, "the body is not strict JSON in UTF-8") from e


class GuardedRoute(APIRoute):
    """A route that admits its caller before it reads anything of the body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that serves a request."""
        serve = super().get_route_handler()
        takes_body = self.body_field is not None
        known = {parameter.alias for parameter in self.dependant.query_params}

        async def guarded(request: Request) -> Response:
            guard = request.app.state.guard
            await guard.admit(request)
            _check_query(request, known)
            if takes_body:
                _check_content_type(request)
            with guard.place(request):
                return await serve(StrictRequest(request.scope, request.receive))

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
