"""Which headers and paths Serve's proxies let in."""

import asyncio
import contextlib

import pytest
from http_sockets import read_all, request
from starlette.responses import PlainTextResponse
from uvicorn.config import HTTP_PROTOCOLS, WS_PROTOCOLS

from gpo_ray.serving.bearer import ACCEPTED, bearer_secret
from gpo_ray.serving.proxy import AT_ONCE, bounded
from gpo_ray.serving.proxy.requests import OwnRequests


@pytest.mark.parametrize(
    "header",
    [
        b"x-request-timeout-seconds: \xff",
        b"x-request-timeout-seconds: 1e-7",
        b"x-request-disconnect-disabled: \xff",
        b"x-session-id: \xff",
        b"X-Session_Id: a",
        b"serve-multiplexed-model-id: \xff",
        b"serve_multiplexed_model_id: a",
        b"x-request-id: \xff",
        b"x-request-id: \x1b[31mred",
        b"x-request-id: " + b"a" * 129,
    ],
)
def test_serves_own_headers_do_not_reach_it(connect, app, header):
    s = connect(request("/", header, b"x-other: 1"))
    s.recv(1000)
    assert [name for name, _ in app.headers] == [b"host", b"x-other"]


def test_a_request_may_have_an_id(connect, app):
    s = connect(request("/", b"x-request-id: a.b-c_1", b"x-request-id: other"))
    s.recv(1000)
    assert app.headers == [(b"host", b"here"), (b"x-request-id", b"a.b-c_1")]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/-/routes", b"404"),
        ("/-/x", b"404"),
        ("http://CHOSEN/", b"404"),
        ("*", b"404"),
        ("/-/healthz", b"200"),
    ],
)
def test_of_serves_own_paths_its_health_is_shown(connect, path, status):
    reply = connect(request(path)).recv(1000)
    assert reply.split()[1] == status
    assert b"CHOSEN" not in reply


class Held:
    """An application that answers when it is told to, counts what it has under way, and knows some keys."""

    def __init__(self, *keys):
        self.under_way, self.free, self.keys = [], asyncio.Event(), keys

    async def __call__(self, scope, receive, send):
        self.under_way.append(scope["path"])
        await self.free.wait()
        key = bearer_secret([value.decode("latin-1") for _, value in scope["headers"]])
        await PlainTextResponse("ok", headers={ACCEPTED: "yes"} if key in self.keys else {})(
            scope, receive, send
        )

    async def accept(self, app):
        """Have an application in front of it know its keys."""
        self.free.set()
        for key in self.keys:
            assert await ask(app, key=f"Bearer {key}") == 200
        self.free.clear()
        self.under_way.clear()


async def ask(app, path="/v1/groups", key=None, address="10.0.0.1"):
    """The status of a request's answer."""
    told = []

    async def send(message):
        told.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [] if key is None else [(b"authorization", key.encode("latin-1"))]
    scope = {"type": "http", "path": path, "headers": headers, "client": (address, 1)}
    await app(scope, receive, send)
    assert ACCEPTED.encode() not in dict(told[0]["headers"])
    return told[0]["status"]


def test_one_caller_cannot_take_all_places():
    async def run():
        held = Held("a", "b")
        app = OwnRequests(held, at_once=2)
        await held.accept(app)
        waiting = [asyncio.create_task(ask(app, key="Bearer a")) for _ in range(2)]
        await asyncio.sleep(0)
        for spelling in ("Bearer a", "bearer  a", "BEARER a ", "Bearer \xa0a"):
            assert await ask(app, key=spelling) == 429
        others = [{"key": "Bearer b"}, {}, {"path": "/readyz"}, {"path": "/healthz"}, {"address": "10.0.0.2"}]
        waiting += [asyncio.create_task(ask(app, **other)) for other in others]
        await asyncio.sleep(0)
        assert len(held.under_way) == 7
        held.free.set()
        assert await asyncio.gather(*waiting) == [200] * 7
        assert await ask(app, key="Bearer a") == 200

    asyncio.run(run())


def test_invented_keys_count_by_their_address():
    async def run():
        held = Held("known")
        app = OwnRequests(held, at_once=3)
        await held.accept(app)
        waiting = [asyncio.create_task(ask(app, key=f"Bearer {i}")) for i in range(3)]
        await asyncio.sleep(0)
        assert [await ask(app, key=f"Bearer {i}") for i in (0, 3, 4)] == [429] * 3
        waiting += [asyncio.create_task(ask(app, key="Bearer known")) for _ in range(3)]
        waiting += [asyncio.create_task(ask(app, key="Bearer 5", address="10.0.0.2"))]
        await asyncio.sleep(0)
        assert len(held.under_way) == 7
        held.free.set()
        assert await asyncio.gather(*waiting) == [200] * 7

    asyncio.run(run())


@pytest.mark.parametrize("lines", [0, 98])
def test_some_header_lines_are_read(connect, app, lines):
    reply = connect(request("/", *[b"a: b"] * lines)).recv(1000)
    assert reply.split()[1] == b"200"
    assert len(app.headers) == lines + 1


@pytest.mark.parametrize("parts", [1, 7, 3000])
def test_many_header_lines_are_refused_before_they_are_parsed(connect, app, parts):
    s, head = connect(), request("/", *[b"a:"] * 3000)
    with contextlib.suppress(ConnectionError):
        for i in range(parts):
            s.sendall(head[len(head) * i // parts : len(head) * (i + 1) // parts])
    assert read_all(s).split()[1:2] in ([b"400"], [])
    assert app.asked == []


def test_a_second_request_of_many_header_lines_is_refused_too(connect, app):
    s = connect(request("/one") + request("/two", *[b"a:"] * 200))
    assert read_all(s).count(b"HTTP/1.1 200") == 1
    assert app.asked == ["/one"]


def test_callers_without_a_key_count_by_their_address_and_probes_apart():
    async def run():
        held = Held()
        app = OwnRequests(held, at_once=1)
        waiting = [asyncio.create_task(ask(app, path)) for path in ("/", "/readyz")]
        await asyncio.sleep(0)
        assert [await ask(app, path) for path in ("/other", "/healthz")] == [429, 429]
        held.free.set()
        assert await asyncio.gather(*waiting) == [200] * 2

    asyncio.run(run())


def test_a_request_that_fails_gives_its_place_back():
    async def fail(scope, receive, send):
        raise ConnectionError

    async def run():
        app = OwnRequests(fail, at_once=1)
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await ask(app)

    asyncio.run(run())


@pytest.mark.parametrize(("said", "most"), [("7", 7), ("0", 1), ("many", 64), ("", 64)])
def test_how_many_a_caller_may_have_is_told_by_the_environment(monkeypatch, said, most):
    monkeypatch.setenv(AT_ONCE, said)
    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", None)
    monkeypatch.setitem(WS_PROTOCOLS, "auto", None)
    assert bounded()[0].kwargs == {"at_once": most}
