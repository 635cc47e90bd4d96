"""How much of requests' bodies Serve's proxies take in."""

import asyncio
import contextlib
import time

import pytest
from http_sockets import is_closed, read_all

from gpo_ray.serving.proxy import connections, requests
from gpo_ray.serving.settings import Limits

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
    assert connections.BODIES.together < 1_000_000


def test_a_body_has_one_length(connect):
    s = connect(CHUNKED.replace(b"Host", b"Content-Length: 3\r\nHost") + b"0\r\n\r\n")
    assert read_all(s).startswith(b"HTTP/1.1 400")
