"""Requests under /v1: who may send them, and JSON that means one thing only."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine, Set
from email.message import Message
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from gpo_ray.serving.problems import Refused


def parse_json(body: bytes) -> Any:
    """The value of a JSON text (RFC 8259), without the liberties that Python's parser takes.

    Raises:
        ValueError: if it is not UTF-8 or not JSON, repeats a key, holds a number that a double cannot,
            half a surrogate pair, or is nested too deeply.
    """
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite
        )
        if b"\\ud" in body or b"\\uD" in body:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as e:
        raise ValueError("nested too deeply") from e
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is repeated")
    return made


def _refuse(_: str) -> Any:
    raise ValueError("not a number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


class StrictRequest(Request):
    """A request whose body is read by :func:`parse_json`."""

    async def json(self) -> Any:
        """The body's value.

        Raises:
            Refused: if it is not strict JSON.
        """
        try:
            return parse_json(await self.body())
        except ValueError as e:  # its message may hold a piece of the body
            raise Refused(400, "the body is not strict JSON in UTF-8") from e


class GuardedRoute(APIRoute):
    """A route whose callers are let in before anything of the body is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What serves a request."""
        serve = super().get_route_handler()
        takes_body = self.body_field is not None
        known = {parameter.alias for parameter in self.dependant.query_params}

        async def guarded(request: Request) -> Response:
            await request.app.state.guard.admit(request)
            _check_query(request, known)
            if takes_body:
                _check_content_type(request)
            return await serve(StrictRequest(request.scope, request.receive))

        return guarded


def _check_query(request: Request, known: Set[str]) -> None:
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        message = "Extra inputs are not permitted"
        raise RequestValidationError([{"loc": ("query", name), "msg": message} for name in unknown])


def _check_content_type(request: Request) -> None:
    header = Message()
    header["content-type"] = request.headers.get("content-type", "none/none")
    charset = header.get_param("charset", "utf-8")
    encoded = request.headers.get("content-encoding", "identity").lower() != "identity"
    if header.get_content_type() != "application/json" or str(charset).lower() != "utf-8" or encoded:
        raise Refused(415, "the body must be application/json in UTF-8, not compressed")
