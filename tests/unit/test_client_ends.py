"""Nothing goes on after a call of a client that took too long."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest

from gpo_ray.client import AsyncClient, Client, ServiceError

READY = b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"ready":true}'
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


class Server:
    """A server that answers the first requests of each connection, and then sends a piece without end."""

    def __init__(self, piece, first=b"", pause=0.0, answered=0):
        self.piece, self.first, self.pause, self.answered = piece, first, pause, answered
        self.asked, self.connections, self.over = [], [], threading.Event()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                self.connections.append(connection)
                self.threads.append(threading.Thread(target=self.serve, args=(connection,)))
                self.threads[-1].start()

    def serve(self, connection):
        with contextlib.suppress(OSError):
            for _ in range(self.answered):
                self.asked.append(connection.recv(65_536))
                connection.sendall(READY)
            self.asked.append(connection.recv(65_536))
            connection.sendall(self.first)
            while not self.over.wait(self.pause):
                connection.sendall(self.piece)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.over.set()
        for each in (self.listening, *self.connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(20)
        for each in (self.listening, *self.connections):
            each.close()


def is_soon(holds):
    end = time.monotonic() + 3
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def others(server):
    """The threads of this process that are not the server's, nor were there before."""
    return set(threading.enumerate()) - {*server.threads, threading.main_thread()}


ENDLESS = {
    "hints": (b"", HINTS),
    "many hints": (b"", HINTS * 1_000),
    "processing": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "nothing": (b"", b""),
}


@pytest.mark.parametrize("pause", [0, 0.02])
@pytest.mark.parametrize(("first", "piece"), ENDLESS.values(), ids=ENDLESS)
def test_no_thread_is_left(first, piece, pause):
    with (
        Server(piece, first, pause or 0.02 * (not piece)) as server,
        Client(server.url, timeout=0.4) as client,
    ):
        before = others(server)
        for calls in (1, 2):
            with pytest.raises(ServiceError, match="not all of the answer arrived within"):
                client.ready()
            assert is_soon(lambda: others(server) <= before)
            assert len(server.asked) == calls


def test_the_asynchronous_client_ends_in_its_time():
    async def ask(url):
        async with AsyncClient(url, timeout=0.4) as client:
            return await client.ready()

    with Server(HINTS) as server, pytest.raises(ServiceError, match="not all of the answer arrived within"):
        asyncio.run(ask(server.url))


def test_a_connection_that_was_used_before_is_ended_too():
    with Server(HINTS, answered=2) as server, Client(server.url, timeout=0.5) as client:
        before = others(server)
        assert [client.ready().ready for _ in range(2)] == [True, True]
        with pytest.raises(ServiceError, match="not all of the answer arrived within"):
            client.ready()
        assert is_soon(lambda: others(server) <= before)
        assert (len(server.asked), len(server.threads)) == (3, 2)  # one connection for all of them
        assert client.ready().ready  # on a new one


def test_other_calls_of_a_client_go_on():
    with Server(HINTS, answered=1) as server, Client(server.url, timeout=1) as client:
        before = others(server)
        assert client.ready().ready
        ends = []

        def wait():
            with pytest.raises(ServiceError):
                client.ready()
            ends.append(len(answers))

        answers, waiting = [], threading.Thread(target=wait)
        waiting.start()
        assert is_soon(lambda: len(server.asked) == 2)
        server.answered = 1_000
        while waiting.is_alive():
            answers.append(client.ready().ready)
        answers += [client.ready().ready for _ in range(3)]
        assert ends[0] > 0
        assert all(answers)
        assert len(server.threads) == 3  # the accepting one, the endless connection, and one for the rest
        waiting.join()
        assert is_soon(lambda: others(server) <= before)


def test_a_closed_client_makes_no_call():
    client = Client("http://127.0.0.1:9")
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.ready()
