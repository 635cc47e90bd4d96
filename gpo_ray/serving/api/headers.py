"""Bound what is parsed of a request's headers and address, before anything parses it.

Parsers in use here and in other packages take a time that grows with the square of a header's length:
a cookie or a Content-Type of 60 KB would keep the process busy for up to 40 seconds.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from starlette.types import Scope

from gpo_ray.serving.api.problems import Refused

MAX_HEADER_BYTES = 8_000
"""Most bytes of a header's value."""
MAX_TARGET_BYTES = 8_000
"""Most bytes of a request's path and query."""
MAX_CONTENT_TYPE_CHARACTERS = 200
"""Most characters of a Content-Type that is parsed."""
_UNUSED = {b"cookie", b"range"}
"""Headers that nothing here reads, and that Starlette and FastAPI parse all the same."""
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 -- RFC 9110 calls it so
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:({_TOKEN})[ \t]*=[ \t]*({_TOKEN}|"(?:[^"\\]|\\.)*")|(?=;|$))')
_JSON = re.compile(r"[ \t]*application/json(?![^ \t;])", re.IGNORECASE)


def drop_unused(scope: Scope) -> None:
    """Remove the headers of a request that nothing reads."""
    scope["headers"] = [(k, v) for k, v in scope["headers"] if k.lower() not in _UNUSED]


def refuse_long(scope: Scope) -> Refused | None:
    """Return why a request's address or headers are too long, or None if they are not."""
    if len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
        text = f"the path and query are longer than {MAX_TARGET_BYTES:,} bytes"
        return Refused(HTTPStatus.REQUEST_URI_TOO_LONG, text)
    if any(len(value) > MAX_HEADER_BYTES for _, value in scope["headers"]):
        text = f"a header is longer than {MAX_HEADER_BYTES:,} bytes"
        return Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text)
    return None


def is_json(content_type: str) -> bool:
    """Return whether a Content-Type is application/json in UTF-8."""
    begin = _JSON.match(content_type) if len(content_type) <= MAX_CONTENT_TYPE_CHARACTERS else None
    if begin is None:
        return False
    given, at = content_type.rstrip(" \t"), begin.end()
    while at < len(given):
        parameter = _PARAMETER.match(given, at)
        if parameter is None:
            return False
        name, value = (parameter[1] or "").lower(), (parameter[2] or "").strip('"').lower()
        if name.partition("*")[0] == "charset" and value != "utf-8":
            return False
        at = parameter.end()
    return True
