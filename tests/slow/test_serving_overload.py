"""The running service when somebody asks for much, leaves, or only holds on: the others are answered."""

import asyncio
import contextlib
import json
import socket
import threading
import time

import httpx
import pytest
import websockets
from command import Command
from serving_backend import answer, question, write_service_bundle

pytestmark = pytest.mark.slow
SMALL = {"questions": [question(i) for i in range(9, 12)]}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def started(tmp_path_factory, tiny_language_model):
    """The service as it is by default, with its page; its command, and its address."""
    folder = tmp_path_factory.mktemp("service")
    bundle = write_service_bundle(folder / "bundle", tiny_language_model)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    config = {
        "bundle": str(bundle),
        "database": f"sqlite:///{folder}/groups.sqlite",
        "ingress": {"cpus": 0.3},
        "predictor": {"cpus": 0.3},
        "encoder": {"cpus": 0.3},
        "limits": {"body_seconds": 5, "request_tokens": 1_000_000},
    }
    (folder / "serve.yaml").write_text(json.dumps(config))
    run = Command("serve", "--config", folder / "serve.yaml", "--port", port, log=folder / "log.txt")
    run.wait_until(lambda: ready(url), 180, "ready")
    httpx.put(f"{url}/v1/groups/g", json={"context": [answer(i) for i in range(4)]}, timeout=60)
    predict(url)
    yield run, url
    run.kill_all()


@pytest.fixture(scope="module")
def service(started):
    return started[1]


@pytest.fixture(scope="module")
def encoder(started):
    """The encoder's process."""
    return started[0].workers("ray::ServeReplica:gpo:Encoder")[0]


def ready(url):
    try:
        return httpx.get(f"{url}/readyz", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def predict(url, body=SMALL, timeout=120):
    reply = httpx.post(f"{url}/v1/groups/g/predict", json=body, timeout=timeout)
    assert reply.status_code == 200, reply.text
    return reply.json()["predictions"]


def new_questions(count, words=1, responses=3):
    """Questions that nobody asked before."""
    stamp = time.time_ns()
    return [
        {"prompt": f"{stamp} {i} " + "word " * words, "responses": [f"r{k}" for k in range(responses)]}
        for i in range(count)
    ]


def test_a_request_of_many_new_questions_is_answered(service):
    assert len(predict(service, {"questions": new_questions(200)})) == 200


def test_small_requests_and_probes_are_answered_while_a_large_one_is_under_way(service):
    big = {
        "context": [
            answer(i, responses=[f"{k}" for k in range(15)], share=[1 / 15] * 15) for i in range(125)
        ],
        "questions": new_questions(50, responses=26),
    }
    replies = []
    thread = threading.Thread(
        target=lambda: replies.append(httpx.post(f"{service}/v1/predict", json=big, timeout=120))
    )
    predict(service)
    thread.start()
    waits = []
    while thread.is_alive():
        began = time.monotonic()
        predict(service)
        assert httpx.get(f"{service}/readyz", timeout=20).status_code == 200
        waits.append(time.monotonic() - began)
    thread.join()
    assert replies[0].status_code == 200, replies[0].text
    assert len(waits) >= 3
    assert max(waits) < 5


def test_the_encoder_reads_no_more_after_the_caller_has_left(service, encoder):
    def worked(seconds):
        before = encoder.cpu_times().user
        time.sleep(seconds)
        return encoder.cpu_times().user - before

    begun = worked(0)
    with pytest.raises(httpx.ReadTimeout):
        predict(service, {"questions": new_questions(200, words=55)}, timeout=2)
    assert encoder.cpu_times().user > begun
    time.sleep(2)  # what it reads in one turn
    assert worked(3) < 0.3
    predict(service, {"questions": new_questions(1)})


def test_slow_bodies_do_not_stop_others_and_are_given_up(service):
    host, port = service.removeprefix("http://").split(":")
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        "Content-Length: 1000\r\n\r\n{"
    )
    held = [socket.create_connection((host, int(port))) for _ in range(70)]
    for s in held:
        s.settimeout(30)
        s.sendall(head.encode())
    time.sleep(1)
    assert httpx.get(f"{service}/healthz", timeout=5).status_code == 200
    assert httpx.get(f"{service}/readyz", timeout=5).status_code == 200
    statuses = [s.recv(1000).split()[1] for s in held]
    assert set(statuses) == {b"408", b"429"}
    predict(service)
    for s in held:
        s.close()


@pytest.mark.parametrize("piece", [b"a" * 65536, b"a:b\r\n" * 13107])
@pytest.mark.parametrize("start", ["GET /healthz HTTP/1.1\r\nHost: {host}\r\nX-A: ", "GET /"])
def test_headers_without_end_are_given_up(service, start, piece):
    host, port = service.removeprefix("http://").split(":")
    waits = []

    def ask():
        while not waits or waits[-1] is not None:
            began = time.monotonic()
            httpx.get(f"{service}/healthz", timeout=30)
            waits.insert(0, time.monotonic() - began)
            time.sleep(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    sent = 0
    with socket.create_connection((host, int(port))) as s:
        s.settimeout(30)
        s.sendall(start.format(host=f"{host}:{port}").encode())
        with contextlib.suppress(ConnectionError):
            while sent < 50 * 2**20:
                s.sendall(piece)
                sent += len(piece)
    waits.append(None)
    asking.join()
    assert sent < 20 * 2**20
    assert max(waits[:-1]) < 3


def test_open_pages_do_not_stop_the_service(service):
    address = service.replace("http", "ws") + "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"

    async def main():
        async def connect():
            try:
                return await websockets.connect(address, open_timeout=20)
            except websockets.exceptions.InvalidStatus:
                return None

        opened = [s for s in await asyncio.gather(*(connect() for _ in range(300))) if s is not None]
        assert len(opened) == 8
        async with httpx.AsyncClient(timeout=10) as client:
            assert (await client.get(f"{service}/healthz")).status_code == 200
            assert (await client.post(f"{service}/v1/groups/g/predict", json=SMALL)).status_code == 200
        for s in opened:
            await s.close()
        await asyncio.sleep(1)
        again = await connect()
        assert again is not None
        await again.close()

    asyncio.run(main())


def test_connections_that_ask_nothing_are_closed(service):
    host, port = service.removeprefix("http://").split(":")
    held = [socket.create_connection((host, int(port)), timeout=20) for _ in range(50)]
    for s in held[::2]:
        s.sendall(b"GET /")
    assert httpx.get(f"{service}/healthz", timeout=5).status_code == 200
    for s in held:
        with contextlib.suppress(ConnectionError):
            assert s.recv(1) == b""
        s.close()


@pytest.mark.parametrize(
    ("message", "code"),
    [(bytes(16_000_000), 1009), (bytes(200_000), 1013), ("3", 1013)],
    ids=["huge", "long", "many"],
)
def test_a_socket_that_sends_too_much_is_closed(service, message, code):
    address = service.replace("http", "ws") + "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"

    async def main():
        async with websockets.connect(address, open_timeout=20) as page:
            assert page.protocol.extensions == []
            with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                for _ in range(2_000):
                    await page.send(message)
            await asyncio.wait_for(page.wait_closed(), 20)
            assert page.close_code in (code, 1006)  # what was sent in vain may reset the connection first

    asyncio.run(main())
    assert httpx.get(f"{service}/healthz", timeout=5).status_code == 200


def test_serves_own_headers_and_paths_are_not_served(service):
    assert httpx.get(f"{service}/-/routes", timeout=5).status_code == 404
    assert httpx.get(f"{service}/-/healthz", timeout=5).status_code == 200
    for header in ("x-request-timeout-seconds", "x-session-id", "serve-multiplexed-model-id"):
        for value in (b"\xff", b"1e-7"):
            assert httpx.get(f"{service}/v1/groups", headers={header: value}, timeout=5).status_code == 200
