"""The page's websockets, as Serve's proxies let them in."""

import base64
import contextlib
import os
import time
import zlib

import pytest
from http_sockets import is_closed, read_all, request

from gpo_ray.serving.page.places import MAX_MESSAGE_CHARACTERS
from gpo_ray.serving.proxy import websocket


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
