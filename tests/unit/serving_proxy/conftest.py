"""A server as Serve's proxies run it, with real sockets."""

import asyncio
import contextlib
import json
import socket
import threading
import time

import pytest
import uvicorn

from gpo_ray.serving import proxy
from gpo_ray.serving.proxy import connections, http, websocket


class Application:
    """Says what reached it."""

    def __init__(self):
        self.got = []
        self.headers = []
        self.asked = []
        self.taken = 0
        self.answers = threading.Event()
        self.answers.set()

    async def __call__(self, scope, receive, send):
        self.headers = scope["headers"]
        self.asked.append(scope["path"])
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
        if scope["path"] == "/middle":  # the kernel takes it over
            body = b"x" * 138_000
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
    monkeypatch.setattr(connections, "ANSWERS", connections.Answers(70_000_000))
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
