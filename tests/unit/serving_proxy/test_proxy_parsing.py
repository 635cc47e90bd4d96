"""What is short but takes long to parse is refused, and requests sent at once take turns with others'."""

import contextlib
import time

import h11
import pytest
from http_sockets import is_closed, read_all, request

from gpo_ray.serving.proxy import http
from gpo_ray.serving.proxy.parsing import CHUNK_BYTES, FREE_CHUNKS, BoundedConnection

CHUNKED = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"


def parsed(data):
    """How many pieces of a body are read from a request, and whether it is refused then."""
    connection = BoundedConnection(h11.SERVER)
    connection.receive_data(data)
    pieces = 0
    try:
        while (event := connection.next_event()) is not h11.NEED_DATA and type(event) is not h11.EndOfMessage:
            pieces += isinstance(event, h11.Data)
    except h11.RemoteProtocolError:
        return pieces, True
    return pieces, False


def test_short_chunks_are_free_up_to_a_number():
    assert parsed(CHUNKED + b"1\r\na\r\n" * FREE_CHUNKS) == (FREE_CHUNKS, False)
    assert parsed(CHUNKED + b"1\r\na\r\n" * 100_000) == (FREE_CHUNKS, True)


def test_long_chunks_make_up_for_short_ones():
    long = f"{CHUNK_BYTES:x}\r\n".encode() + b"a" * CHUNK_BYTES + b"\r\n"
    assert parsed(CHUNKED + long * 5 * FREE_CHUNKS) == (5 * FREE_CHUNKS, False)
    assert parsed(CHUNKED + (long + b"1\r\na\r\n") * FREE_CHUNKS)[1] is False
    assert parsed(CHUNKED + (long + b"1\r\na\r\n" * 2) * FREE_CHUNKS)[1] is True


def test_each_request_has_its_own():
    connection = BoundedConnection(h11.SERVER)
    for _ in range(3):
        connection.receive_data(CHUNKED + b"1\r\na\r\n" * FREE_CHUNKS + b"0\r\n\r\n")
        while type(connection.next_event()) is not h11.EndOfMessage:
            pass
        connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()


@pytest.mark.parametrize("answered", [False, True])
def test_a_body_of_short_chunks_ends_its_connection(connect, app, answered):
    if not answered:
        app.answers.clear()
    s = connect(CHUNKED)
    if answered:
        assert s.recv(1000).startswith(b"HTTP/1.1 200")
    with contextlib.suppress(ConnectionError):
        s.sendall(b"1\r\na\r\n" * 2 * FREE_CHUNKS)
    if answered:
        assert is_closed(s)
    else:
        assert read_all(s).split()[1:2] in ([b"400"], [])


def test_requests_sent_at_once_are_answered_one_after_the_other_with_pauses(connect, app, monkeypatch):
    monkeypatch.setattr(http, "PIPELINE_PAUSE", 0.1)
    began = time.monotonic()
    s = connect(b"".join(request(f"/{i}") for i in range(8)))
    found = b""
    while found.count(b"HTTP/1.1 200") < 8:
        found += s.recv(65536)
    assert app.asked == [f"/{i}" for i in range(8)]
    assert time.monotonic() - began >= 0.6


def test_requests_sent_at_once_on_several_connections_take_turns(connect, app, monkeypatch):
    monkeypatch.setattr(http, "PIPELINE_TURN", 0.1)
    began = time.monotonic()
    each = [connect(request("/") * 3) for _ in range(4)]
    for s in each:
        found = b""
        while found.count(b"HTTP/1.1 200") < 3:
            found += s.recv(65536)
    assert time.monotonic() - began >= 0.7


def test_requests_sent_one_after_the_other_do_not_wait(connect, monkeypatch):
    monkeypatch.setattr(http, "PIPELINE_PAUSE", 30)
    s = connect()
    for i in range(5):
        s.sendall(request(f"/{i}"))
        assert s.recv(1000).startswith(b"HTTP/1.1 200")
