"""Answers that Serve's proxies keep for clients that do not receive them."""

import contextlib
import socket
import sys
import time

import pytest
from http_sockets import read_all, request

from gpo_ray.serving.proxy import connections
from gpo_ray.serving.proxy.connections import STALL_BYTES, Answers

LONG = 30_000_000
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs what Linux says and does about connections")


def test_an_answer_that_nobody_takes_is_dropped(connect):
    s = connect(request("/long"))
    time.sleep(1.5)
    assert len(read_all(s)) < LONG


def test_an_answer_that_is_taken_slowly_is_not(connect, monkeypatch):
    monkeypatch.setattr(connections, "STALL_SECONDS", 2)  # a busy machine may take half of that for itself
    s, found = connect(request("/long")), 0
    while found < LONG:
        found += len(s.recv(500_000, socket.MSG_WAITALL))
        time.sleep(0.02)


def test_an_answer_of_which_only_a_little_is_taken_is_dropped(connect):
    s = connect(request("/long"))
    began, found = time.monotonic(), 0
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < began + 5 and (piece := s.recv(4 * STALL_BYTES)):
            found += len(piece)
            time.sleep(0.05)
    assert found < LONG / 2
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("count", [1, 50])
def test_a_request_behind_an_answer_waits_until_it_was_received(connect, app, monkeypatch, count):
    monkeypatch.setattr(connections, "STALL_SECONDS", 30)
    s = connect(request("/long") + request("/behind") * count)
    time.sleep(0.2)
    assert app.asked == ["/long"]
    found = b""
    with contextlib.suppress(TimeoutError):
        s.settimeout(1)
        while piece := s.recv(10_000_000):
            found += piece
    assert found.count(b"HTTP/1.1 200") == 1 + count
    assert app.asked == ["/long"] + ["/behind"] * count


def test_a_request_behind_an_answer_does_not_keep_it(connect, app):
    s = connect(request("/long"))
    time.sleep(0.1)
    s.sendall(request("/behind"))
    time.sleep(1.4)
    assert len(read_all(s)) < LONG
    assert app.asked == ["/long"]


def test_a_connection_goes_on_after_a_long_answer(connect):
    s = connect()
    for _ in range(3):
        s.sendall(request("/long"))
        found = 0
        while found < LONG:
            found += len(s.recv(10_000_000))
        s.sendall(request("/next"))
        assert b"/next" in s.recv(1000)


def test_an_answer_before_the_end_of_its_connection_is_received(connect, monkeypatch):
    monkeypatch.setattr(connections, "STALL_SECONDS", 30)
    s = connect(request("/long", b"Connection: close"))
    time.sleep(0.1)
    assert len(read_all(s)) > LONG


def test_of_answers_that_are_too_long_together_the_oldest_is_dropped(connect, monkeypatch):
    monkeypatch.setattr(connections, "STALL_SECONDS", 30)
    first, second = connect(request("/long")), connect(request("/long"))
    time.sleep(0.3)
    third = connect(request("/long"))
    time.sleep(0.3)
    assert len(read_all(first)) < LONG
    assert is_full(second)
    assert is_full(third)


def is_full(s):
    s.settimeout(2)
    return len(read_all(s)) > LONG


def test_what_was_received_does_not_count():
    aborted = []

    class Transport:
        def __init__(self, name, size):
            self.name, self.size = name, size

        def get_write_buffer_size(self):
            return self.size

        def get_extra_info(self, name):
            return None

        def abort(self):
            aborted.append(self.name)

    answers = Answers(100)
    a, b, c, d = (Transport(name, 40) for name in "abcd")
    answers.hold(a)
    answers.hold(b)
    a.size = 10
    answers.hold(c)
    assert aborted == []
    answers.release(b)
    answers.release(b)
    answers.hold(b)
    assert aborted == []
    answers.hold(d)
    assert aborted == ["a", "c"]


def test_the_kernel_keeps_little_of_an_answer(connect):
    s = connect()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    s.sendall(request("/long"))
    time.sleep(1.5)  # until the answer is dropped
    with pytest.raises(ConnectionResetError):
        take_all(s)


def take_all(s):
    while s.recv(65_536):
        pass


def little_room(connect):
    s = connect()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    return s


@LINUX
def test_an_answer_that_the_kernel_took_over_is_dropped_too(connect, monkeypatch):
    monkeypatch.setattr(connections, "_USER_TIMEOUT", None, raising=False)
    s = little_room(connect)
    s.sendall(request("/middle"))
    time.sleep(1.5)
    with pytest.raises(ConnectionResetError):
        take_all(s)


@LINUX
def test_what_the_kernel_keeps_of_a_closed_connection_is_dropped_too(connect):
    s = little_room(connect)
    s.sendall(request("/middle", b"Connection: close"))
    time.sleep(4)  # the kernel looks at it less and less often
    with pytest.raises(ConnectionResetError):
        take_all(s)


@LINUX
def test_what_the_kernel_keeps_counts_with_the_other_answers(connect, monkeypatch):
    monkeypatch.setattr(connections, "STALL_SECONDS", 30)
    monkeypatch.setattr(connections, "ANSWERS", Answers(200_000))
    first, second = little_room(connect), little_room(connect)
    for s in (first, second):
        s.sendall(request("/middle"))
        time.sleep(0.3)
    with pytest.raises(ConnectionResetError):
        take_all(first)
    assert len(read_all(second)) > 138_000


def test_many_answers_that_are_taken_are_not_dropped(connect, monkeypatch):
    monkeypatch.setattr(connections, "ANSWERS", Answers(150_000))
    held = [connect() for _ in range(5)]
    for s in held * 3:
        s.sendall(request("/middle"))
        found = 0
        while found < 138_000:
            piece = s.recv(100_000)
            assert piece
            found += len(piece)
        time.sleep(0.05)
        s.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            s.recv(1000)
        s.setblocking(True)


@pytest.mark.parametrize("name", ["_USER_TIMEOUT", "_SEND_QUEUE"])
def test_systems_whose_kernel_can_do_less(connect, monkeypatch, name):
    monkeypatch.setattr(connections, name, None)
    s = connect(request("/long", b"Connection: close"))
    assert len(read_all(s)) > LONG
