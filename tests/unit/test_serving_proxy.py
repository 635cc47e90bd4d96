"""What Serve's proxies let in, before anything of the application runs: with real sockets."""

import asyncio
import base64
import contextlib
import json
import os
import socket
import threading
import time
import zlib

import pytest
import uvicorn

from gpo_ray.serving import proxy
from gpo_ray.serving.page.places import MAX_MESSAGE_CHARACTERS
from gpo_ray.serving.proxy import connections, http, requests, websocket
from gpo_ray.serving.settings import Limits


class Application:
    """Says what reached it."""

    def __init__(self):
        self.got = []
        self.headers = []
        self.taken = 0
        self.answers = threading.Event()
        self.answers.set()

    async def __call__(self, scope, receive, send):
        self.headers = scope["headers"]
        if scope["type"] == "websocket":
            await receive()
            while not self.answers.is_set():
                await asyncio.sleep(0.01)
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] != "websocket.disconnect":
                self.got.append(message.get("text") or message.get("bytes"))
            return
        taking = asyncio.create_task(self.take(receive))  # as Serve's proxy does
        while not self.answers.is_set():
            await asyncio.sleep(0.01)
        taking.cancel()
        body = json.dumps({"path": scope["path"]}).encode()
        if scope["path"] == "/long":
            body = b"x" * 30_000_000
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def take(self, receive):
        while (message := await receive())["type"] == "http.request":
            self.taken += len(message["body"])


@pytest.fixture
def app():
    return Application()


@pytest.fixture
def connect(app, monkeypatch):
    """Connections to a server as a proxy would run it, with short times and few places."""
    monkeypatch.setattr(http, "HEADER_SECONDS", 0.4)
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.4)
    monkeypatch.setattr(websocket, "ACCEPT_SECONDS", 0.4)
    held = connections.Connections(6)
    bodies = connections.Bodies(1_000_000, 2_000_000)
    monkeypatch.setattr(http, "BODIES", bodies)
    monkeypatch.setattr(connections, "BODIES", bodies)
    monkeypatch.setattr(http, "CONNECTIONS", held)
    monkeypatch.setattr(connections, "CONNECTIONS", held)
    from uvicorn.config import HTTP_PROTOCOLS, WS_PROTOCOLS

    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", None)
    monkeypatch.setitem(WS_PROTOCOLS, "auto", None)
    wrapped = app
    for middleware in proxy.bounded():
        wrapped = middleware.cls(wrapped, **middleware.kwargs)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = uvicorn.Config(wrapped, lifespan="off", log_level="critical", timeout_keep_alive=30)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    with contextlib.ExitStack() as opened:

        def open_one(first=b""):
            s = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            s.sendall(first)
            return s

        yield open_one
    app.answers.set()
    server.should_exit = True
    thread.join()


def request(path="/", *headers):
    return b"\r\n".join([f"GET {path} HTTP/1.1".encode(), b"Host: here", *headers, b"", b""])


def is_closed(s, seconds=2.0):
    """Whether the other side closes a connection."""
    s.settimeout(seconds)
    try:
        return s.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def read_all(s):
    found = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while piece := s.recv(65536):
            found += piece
    return found


@pytest.mark.parametrize("first", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: here\r\n"])
def test_headers_that_do_not_come_are_not_waited_for(connect, first):
    assert is_closed(connect(first))


def test_the_next_requests_headers_are_not_waited_for_either(connect):
    s = connect(request())
    assert s.recv(1000).startswith(b"HTTP/1.1 200")
    assert not is_closed(s, 0.8)  # a connection may rest
    s.settimeout(5)
    s.sendall(request("/again"))
    assert b"/again" in s.recv(1000)
    s.sendall(b"G")
    assert is_closed(s)


def test_bytes_that_trickle_do_not_keep_a_connection(connect):
    s = connect()
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < began + 3:
            s.sendall(b"G")
            time.sleep(0.05)
    assert time.monotonic() - began < 2


def test_an_answer_that_takes_long_is_waited_for(connect, app):
    app.answers.clear()
    s = connect(request())
    assert not is_closed(s, 0.8)
    app.answers.set()
    s.settimeout(5)
    assert s.recv(1000).startswith(b"HTTP/1.1 200")


def test_more_connections_than_there_may_be_close_the_one_that_waited_longest(connect):
    resting = [connect(request()) for _ in range(6)]
    for s in resting:
        assert s.recv(1000).startswith(b"HTTP/1.1 200")
    new = connect(request())
    assert new.recv(1000).startswith(b"HTTP/1.1 200")
    assert is_closed(resting[0])
    assert not is_closed(resting[1], 0.1)


def test_requests_under_way_make_no_room(connect, app):
    app.answers.clear()
    busy = [connect(request()) for _ in range(6)]
    time.sleep(0.2)
    assert is_closed(connect(request()))
    app.answers.set()
    for s in busy:
        assert s.recv(1000).startswith(b"HTTP/1.1 200")


def test_an_answer_that_nobody_takes_is_dropped(connect):
    s = connect(request("/long"))
    time.sleep(1.5)
    assert len(read_all(s)) < 30_000_000


def test_an_answer_that_is_taken_slowly_is_not(connect):
    s, found = connect(request("/long")), 0
    while found < 20_000_000:
        found += len(s.recv(500_000))
        time.sleep(0.02)
    assert found


CHUNKED = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"


def send_chunks(s, count):
    """Whether a connection takes chunks of 64 KiB."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        for _ in range(count):
            s.sendall(b"10000\r\n" + b"a" * 0x10000 + b"\r\n")
        return True
    return False


def test_a_body_without_end_is_not_taken_in(connect, app):
    app.answers.clear()
    s = connect(CHUNKED)
    assert not send_chunks(s, 1_000)
    assert app.taken <= 1_000_000


def test_settings_allow_no_longer_bodies_than_proxies_do():
    assert Limits(body_bytes=connections.MAX_BODY_BYTES)
    with pytest.raises(ValueError, match="body_bytes"):
        Limits(body_bytes=connections.MAX_BODY_BYTES + 1)


def test_of_bodies_that_are_too_long_together_the_longest_is_dropped(connect, app):
    app.answers.clear()
    short, long, *others = [connect(CHUNKED) for _ in range(5)]
    assert send_chunks(short, 1)
    assert send_chunks(long, 14)
    time.sleep(0.5)
    for s in others:
        send_chunks(s, 10)
        time.sleep(0.2)
    assert is_closed(long)
    short.sendall(b"0\r\n\r\n")
    app.answers.set()
    assert short.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_body_is_not_read_on_after_the_answer(connect):
    s = connect(CHUNKED)
    assert s.recv(1000).startswith(b"HTTP/1.1 200")
    assert send_chunks(s, 2)
    assert not send_chunks(s, 1_000)


def test_long_bodies_are_taken_in_slowly_and_leave_room_for_other_events(monkeypatch):
    monkeypatch.setattr(requests, "BODY_RATE", 200 * requests.FREE_BYTES)
    passed, others, began = 0, 0, time.monotonic()

    async def take(scope, receive, send):
        nonlocal passed
        while (await receive())["more_body"]:
            passed += 1

    async def flood(chunks):
        left = iter(range(chunks, -1, -1))

        async def receive():
            return {"type": "http.request", "body": bytes(requests.FREE_BYTES), "more_body": next(left) > 0}

        await own({"type": "http", "path": "/", "headers": []}, receive, None)

    async def count():
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    async def run():
        counting = asyncio.create_task(count())
        await asyncio.gather(*(flood(20) for _ in range(10)))
        counting.cancel()

    own = requests.OwnRequests(take)
    asyncio.run(run())
    assert passed == 200
    assert others > 180
    assert time.monotonic() - began > 0.9  # the first piece of each body is free


def test_answered_requests_do_not_count(connect, app):
    s = connect()
    for _ in range(20):
        s.sendall(CHUNKED)
        send_chunks(s, 3)
        s.sendall(b"0\r\n\r\n")
        if not s.recv(1000).startswith(b"HTTP/1.1 200"):
            pytest.fail("no answer")
        s = connect()
    assert connections.BODIES._together < 1_000_000


def test_a_body_has_one_length(connect):
    s = connect(CHUNKED.replace(b"Host", b"Content-Length: 3\r\nHost") + b"0\r\n\r\n")
    assert read_all(s).startswith(b"HTTP/1.1 400")


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


def frame(data, opcode=1, flags=0x80):
    n = len(data)
    length = (
        bytes([128 | n]) if n < 126 else b"\xfe" + n.to_bytes(2) if n < 65536 else b"\xff" + n.to_bytes(8)
    )
    return bytes([flags | opcode]) + length + b"\0\0\0\0" + data


@pytest.fixture
def joined(connect):
    """A websocket that was accepted, and how."""
    key = base64.b64encode(os.urandom(16))
    s = connect(
        request(
            "/",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Extensions: permessage-deflate",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: " + key,
        )
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += s.recv(1)
    assert answer.startswith(b"HTTP/1.1 101")
    return s, answer


HANDSHAKE = (
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)),
)


@pytest.mark.parametrize(
    ("path", "more"),
    [("/" + "a" * 9_000, ()), ("/", (b"Content-Length: 1",)), ("/", (b"X: " + b"a" * 9_000,))],
)
def test_a_handshake_that_cannot_be_read_is_refused(connect, path, more):
    assert read_all(connect(request(path, *HANDSHAKE, *more))).startswith(b"HTTP/1.1 400")


def test_a_socket_that_is_not_accepted_soon_is_closed(connect, app):
    app.answers.clear()
    assert is_closed(connect(request("/", *HANDSHAKE)))


def code(s):
    """With which code a websocket is closed."""
    end = read_all(s)
    at = end.index(b"\x88")
    return int.from_bytes(end[at + 2 : at + 4])


def wait_for(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_messages_arrive_for_as_long_as_a_page_is_open(joined, app):
    s, _ = joined
    s.sendall(frame(b"40") + frame(b"x" * MAX_MESSAGE_CHARACTERS))
    wait_for(lambda: len(app.got) == 2)
    time.sleep(0.8)  # longer than headers may take
    s.sendall(frame(b"3"))
    wait_for(lambda: app.got == ["40", "x" * MAX_MESSAGE_CHARACTERS, "3"])


def test_nothing_is_compressed(joined, app):
    s, answer = joined
    assert b"permessage-deflate" not in answer
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(16_000_000)) + packer.flush(zlib.Z_SYNC_FLUSH)
    s.sendall(frame(packed[:-4], 2, 0xC0))
    assert code(s) == 1002
    assert app.got == []


def test_a_message_is_no_longer_than_the_pages(joined, app):
    assert websocket.MAX_MESSAGE_BYTES == 4 * MAX_MESSAGE_CHARACTERS  # UTF-8
    s, _ = joined
    s.sendall(frame(bytes(websocket.MAX_MESSAGE_BYTES + 1), 2)[:100])
    assert code(s) == 1009
    assert app.got == []


@pytest.mark.parametrize(
    "flood",
    [
        frame(b"3") * 30_000,
        frame(bytes(100_000), 2) * 20,
        frame(b"x", 9) * 1_000,
        frame(b"", 10) * 1_000,
        frame(b"x", 1, 0) + frame(b"", 0, 0) * 1_000,
    ],
    ids=["many", "long", "pings", "pongs", "pieces"],
)
def test_a_socket_that_sends_too_much_is_closed(joined, app, flood):
    s, _ = joined
    with contextlib.suppress(ConnectionError):
        s.sendall(flood)
    assert is_closed(s) or read_all(s)
    assert len(app.got) <= websocket.FRAMES_AT_ONCE
