"""The HTTP API: headers and addresses that would take long to parse."""

import asyncio
import time

import pytest
from http_caller import Caller, check_problem
from serving_backend import answer, question

from gpo_ray.serving.api.headers import (
    MAX_CONTENT_TYPE_CHARACTERS,
    MAX_HEADER_BYTES,
    MAX_TARGET_BYTES,
    is_json,
)
from gpo_ray.serving.api.middleware import Gate

LONG = 60_000
PIECES = [";", '"', "\\", ",", " ", '\\"', 'a="', ";a=b", "-", "&", "%41", "é"]
HEADERS = [
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Cookie",
    "Host",
    "If-Match",
    "If-None-Match",
    "Origin",
    "Range",
    "Traceparent",
    "X-Forwarded-For",
    "X-Request-ID",
]
BODY = {"context": [answer()], "questions": [question()]}


def repeated(piece, length=LONG):
    """The piece after what parsers need to come to it, a header's worth of it."""
    return ('a="' + piece * (length // len(piece))).encode()


@pytest.mark.parametrize("name", HEADERS)
def test_no_header_keeps_the_service_busy(service, name):
    call = Caller(service, None if name == "Authorization" else "admin")
    for piece in PIECES:
        began = time.monotonic()
        response = call("POST", "/v1/predict", BODY, headers={name: repeated(piece)})
        assert time.monotonic() - began < 5, piece  # a square took 24 s and more
        assert response.status_code in {200, 401, 403, 415, 431}


@pytest.mark.parametrize("piece", PIECES)
def test_a_long_cookie_is_not_looked_at(call, piece):
    cookie = {"Cookie": repeated(piece)}
    assert call("GET", "/healthz", headers=cookie).status_code == 200
    assert call("POST", "/v1/predict", BODY, headers=cookie).status_code == 200


def test_the_application_sees_no_cookies_and_ranges():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["headers"])

    scope = {"path": "/", "query_string": b"", "method": "GET", "client": ("127.0.0.1", 1)}
    scope["headers"] = [(b"cookie", b"a"), (b"host", b"here"), (b"Range", b"bytes=0-")]
    for kind in ("http", "websocket"):
        asyncio.run(Gate(app, 1, 1)({**scope, "type": kind}, None, None))
    assert seen == [[(b"host", b"here")]] * 2


def test_long_headers_and_addresses_are_refused(call):
    check_problem(call("GET", "/healthz", headers={"X": "a" * (MAX_HEADER_BYTES + 1)}), 431)
    assert call("GET", "/healthz", headers={"X": "a" * MAX_HEADER_BYTES}).status_code == 200
    check_problem(call("GET", "/healthz?" + "a" * MAX_TARGET_BYTES), 414)
    check_problem(call("GET", "/v1/groups?" + "a&" * (MAX_TARGET_BYTES // 2)), 414)
    longest = "%F0%9F%8C%B3" * 200
    assert call("GET", f"/v1/groups?after={longest}").status_code == 200


def test_a_websocket_with_a_long_header_is_refused():
    reached, sent = [], []

    async def app(scope, receive, send):
        reached.append(scope)

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message["type"])

    scope = {"type": "websocket", "path": "/", "query_string": b"", "client": ("127.0.0.1", 1)}
    scope["headers"] = [(b"host", b"here"), (b"x", b"a" * (MAX_HEADER_BYTES + 1))]
    asyncio.run(Gate(app, 1, 1)(scope, receive, send))
    assert (reached, sent) == ([], ["websocket.close"])


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        'application/json; profile="a;b\\"c" ; charset = utf-8 ;',
        "application/json; " + "a" * (MAX_CONTENT_TYPE_CHARACTERS - 20) + "=b",
    ],
)
def test_content_types_that_are_json(kind):
    assert is_json(kind)


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "application/jsonp",
        "application/json+xml",
        "text/json",
        "application/json charset=utf-8",
        "application/json; charset=utf-16",
        "application/json; charset*=utf-16''utf-8",
        "application/json; charset=utf-8; charset=latin-1",
        'application/json; a="',
        "application/json" + " " * MAX_CONTENT_TYPE_CHARACTERS,
        'application/json;"' + ";" * LONG,
    ],
)
def test_content_types_that_are_not(kind):
    assert not is_json(kind)
