"""Telling ``gpo serve`` to stop: it does so in seconds and quietly, whatever it is doing."""

import signal
import socket
import time

import httpx
import pytest
from serving_backend import answer, write_service_bundle
from serving_cluster import free_ports

pytestmark = pytest.mark.slow
SECONDS = 10
SMALL = "{cpus: 0.3}"
HELLO = (
    "GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_language_model):
    return write_service_bundle(tmp_path_factory.mktemp("bundles") / "tiny", tiny_language_model)


@pytest.fixture
def started(gpo, bundle, tmp_path):
    """The command, and the port that it will serve on."""
    (port,) = free_ports(1)
    (tmp_path / "serve.yaml").write_text(
        f"bundle: {bundle}\ndatabase: sqlite:///{tmp_path}/groups.sqlite\n"
        f"ingress: {SMALL}\npredictor: {SMALL}\nencoder: {SMALL}\n"
    )
    return gpo("serve", "--config", tmp_path / "serve.yaml", "--port", port), port


def ready(port):
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def stopped(run, number):
    """Seconds that it took."""
    began = time.monotonic()
    run.process.send_signal(number)
    assert run.process.wait(timeout=60) == 0, run.log.read_text()
    return time.monotonic() - began


@pytest.mark.minutes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_pages_are_open(started, number):
    run, port = started
    run.wait_until(lambda: ready(port), 120, "ready")
    run.wait_until(
        lambda: "no API keys" in run.log.read_text(), 30, "word of it"
    )  # it answers before it says so
    url = f"http://127.0.0.1:{port}"
    assert httpx.put(f"{url}/v1/groups/g", json={"context": [answer()]}).status_code == 201
    with socket.create_connection(("127.0.0.1", port)) as page:
        page.sendall(HELLO.encode())
        assert b"101" in page.recv(1000)
        assert stopped(run, number) < SECONDS
    first, second, last = run.log.read_text().splitlines()
    assert first.startswith("serving ")
    assert second.startswith("no API keys")
    assert last == "stopping"


def test_while_it_starts(started):
    run, port = started
    run.wait_until(lambda: run.workers("raylet"), 60, "Ray")
    time.sleep(3)
    assert not ready(port)
    assert stopped(run, signal.SIGTERM) < SECONDS
    assert run.log.read_text() in ("", "stopping\n")
