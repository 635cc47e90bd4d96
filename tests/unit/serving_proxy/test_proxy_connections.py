"""Connections that Serve's proxies wait for, keep and close, before anything of the application runs."""

import contextlib
import time

import pytest
from http_sockets import is_closed, request


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
