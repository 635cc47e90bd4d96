"""What clients take from a server that is broken or hostile."""

import asyncio
import gzip
import json
import socket
import threading

import httpx
import pytest

from gpo_ray.client import AsyncClient, Client, ServiceError, clients
from gpo_ray.errors import ConfigError

READY = b'{"ready":true}'
SUMMARY = {"version": 1, "description": "", "answers": 1, "updated_at": "2026-01-01T00:00:00Z"}


class Server:
    """A server of one connection after another, which sends what it is told, piece by piece."""

    def __init__(self, *pieces, pause=0.0):
        self.pieces, self.pause, self.asked = pieces, pause, []
        self.listening, self.over = socket.create_server(("127.0.0.1", 0)), threading.Event()
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(65_536))
                try:
                    for piece in self.pieces:
                        connection.sendall(piece)
                        self.over.wait(self.pause)
                except OSError:
                    pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.over.set()
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join(20)


def ready(kind, url, **options):
    """What one of the clients says of a server."""
    if kind is Client:
        with Client(url, **options) as client:
            return client.ready()

    async def ask():
        async with AsyncClient(url, **options) as client:
            return await client.ready()

    return asyncio.run(ask())


def listed(kind, script):
    """The ids of all groups that one of the clients lists."""
    transport = httpx.MockTransport(script)
    if kind is Client:
        return [g.group_id for g in Client("http://gpo", transport=transport).list_groups()]

    async def ask():
        return [g.group_id async for g in AsyncClient("http://gpo", transport=transport).list_groups()]

    return asyncio.run(ask())


def head(*headers, length=14):
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % length, *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


BOTH = pytest.mark.parametrize("kind", [Client, AsyncClient])


@BOTH
def test_compressed_answers_are_not_asked_for_and_not_taken(kind):
    packed = gzip.compress(READY)
    for body in (packed, b"hello"):
        with Server(head(b"Content-Encoding: gzip", length=len(body)), body) as server:
            with pytest.raises(ServiceError, match="compressed, although"):
                ready(kind, server.url)
            assert b"accept-encoding: identity" in server.asked[0].lower()
            assert len(server.asked) == 1


@BOTH
def test_an_answer_has_a_longest_length(kind, monkeypatch):
    monkeypatch.setattr(clients, "MAX_ANSWER_BYTES", 20)
    unending = [b"HTTP/1.1 200 OK\r\n\r\n", *[b" "] * 21]
    for pieces in ([head(length=21), READY, b" " * 7], unending):
        with Server(*pieces) as server, pytest.raises(ServiceError, match="longer than 20 bytes"):
            ready(kind, server.url)
    with Server(head(length=20), READY, b" " * 6) as server:
        assert ready(kind, server.url).ready


SLOW = {
    "body": [head(length=400), *[b" "] * 386, READY],
    "headers": [head()[:-2], *[b"X-%d: a\r\n" % i for i in range(400)], b"\r\n", READY],
    "status": [b"HTTP/1.1 200 ", *[b"O"] * 400, b"\r\n" + head().partition(b"\r\n")[2], READY],
}


@BOTH
@pytest.mark.parametrize("part", SLOW)
def test_a_call_ends_in_its_time_although_something_arrives_again_and_again(kind, part):
    with Server(*SLOW[part], pause=0.02) as server:
        with pytest.raises(ServiceError, match=r"not all of the answer arrived within 0\.4 seconds") as error:
            ready(kind, server.url, timeout=0.4)
        assert error.value.status is None
    with Server(*SLOW[part]) as server:
        assert ready(kind, server.url).ready


@BOTH
def test_the_second_attempt_counts_too(kind):
    again = b"HTTP/1.1 429 Wait\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with Server(again) as server:
        with pytest.raises(ServiceError, match="429"):
            ready(kind, server.url, timeout=3)
        assert len(server.asked) == 1


@BOTH
@pytest.mark.parametrize(
    "broken", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n", head(length=100)]
)
def test_answers_that_are_no_http(kind, broken):
    with Server(broken) as server, pytest.raises(ServiceError, match="no answer from the service"):
        ready(kind, server.url)


@BOTH
@pytest.mark.parametrize("error", [httpx.DecodingError, httpx.TooManyRedirects, httpx.RequestError])
def test_every_error_of_a_request_is_one_of_the_service(kind, error):
    def fail(request):
        raise error("hm", request=request)

    with pytest.raises(ServiceError, match="hm"):
        listed(kind, fail)


@BOTH
@pytest.mark.parametrize(
    "pages", [[(["a"], "a"), (["a"], "a")], [(["b"], "b"), (["c"], "a")], [([], "a")], [([], "")]]
)
def test_a_list_goes_on_or_ends(kind, pages):
    left = list(pages)

    def script(request):
        ids, after = left.pop(0)
        groups = [SUMMARY | {"group_id": i} for i in ids]
        return httpx.Response(200, content=json.dumps({"groups": groups, "next": after}))

    with pytest.raises(ServiceError, match="does not go on"):
        listed(kind, script)


@BOTH
def test_long_words_of_a_service_are_cut(kind):
    problem = {"title": "x", "status": 422, "detail": "y" * 100_000, "request_id": "1"}
    with pytest.raises(ServiceError) as error:
        listed(kind, lambda _: httpx.Response(422, json=problem))
    assert str(error.value).startswith("422: yyy")
    assert len(str(error.value)) <= 1_000
    assert error.value.problem.detail == "y" * 100_000


@BOTH
def test_values_of_no_meaning(kind):
    for timeout in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="timeout"):
            kind("http://gpo", timeout=timeout)
    with pytest.raises(ConfigError, match="URL"):
        kind("http://gpo:port")
