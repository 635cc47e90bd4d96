"""No visitor of the page chooses what is in the service's log."""

import asyncio
import json
import logging

import httpx
import pytest
from asgi_lifespan import LifespanManager
from nicegui import Client, core
from serving_backend import LogLines, make_service

from gpo_ray.serving import pace
from gpo_ray.serving.log import LOG, MAX_LINES, BoundedLog
from gpo_ray.serving.page import log as page_log
from gpo_ray.serving.page.mount import mount_page
from gpo_ray.serving.settings import ServeSettings

EVIL = 'all is well\n{"event": "request"}\x1b]0;owned\x07'
SOCKET = "/_nicegui_ws/socket.io/"


@pytest.fixture
def lines(monkeypatch):
    found = LogLines()
    monkeypatch.setattr(LOG, "level", logging.DEBUG)
    monkeypatch.setattr(LOG, "propagate", True)
    monkeypatch.setattr(page_log, "_BOUNDED_LOG", BoundedLog())
    logging.getLogger().addHandler(found)
    yield found.text
    logging.getLogger().removeHandler(found)


@pytest.fixture
def service(tmp_path):
    service = make_service(tmp_path, None, require_keys=False)
    mount_page(service.api, ServeSettings(bundle="b", require_keys=False), None, service.registry, None)
    return service


def check(lines, capfd):
    """Nothing that was sent is anywhere, and every line is one of ours."""
    out, err = capfd.readouterr()
    for text in (*lines, out, err):
        assert "all is well" not in text
        assert "\x1b" not in text
    assert all(json.loads(line)["event"] in {"page", "request", "fault"} for line in lines)


def visit(service, paths):
    async def send():
        async with LifespanManager(service.api) as running:
            transport = httpx.ASGITransport(running.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return [(await client.get(path)).status_code for path in paths]

    return asyncio.run(send())


@pytest.mark.usefixtures("lines")
def test_addresses_that_are_none_make_no_page(service):
    """Each was a page kept for a minute, at the price of one request in the limit instead of twenty."""
    before = set(Client.instances)  # of which those of other tests' pages may go meanwhile
    assert visit(service, ["/_nicegui/nothing", "/_nicegui/a/b", "/_nicegui_ws/x"] * 2) == [404] * 6
    assert set(Client.instances) <= before


def test_addresses_that_are_asked_for(service, lines, capfd):
    evil = str(httpx.QueryParams({"x": EVIL}))[2:]
    paths = [
        f"/_nicegui/{evil}",
        f"/_nicegui/auto/static/{evil}",
        f"/_nicegui_ws/{evil}",
        f"{SOCKET}?EIO=4&transport=polling&sid={evil}",
        f"{SOCKET}?EIO={evil}&transport=polling",
        f"{SOCKET}?EIO=4&transport={evil}",
        f"{SOCKET}?EIO=4&transport=polling&j={evil}",
        f"/?x={evil}",
    ]
    assert visit(service, ["/"]) == [200]
    visit(service, paths)
    check(lines, capfd)


EVENTS = {
    "log": {"client_id": EVIL, "level": "error", "message": EVIL},
    "event": {"client_id": EVIL, "id": EVIL, "args": [EVIL]},
    "handshake": {"client_id": EVIL, "tab_id": EVIL, "document_id": EVIL, "next_message_id": EVIL},
    "javascript_response": {"client_id": EVIL, "request_id": EVIL},
    "ack": {"client_id": EVIL, "next_message_id": EVIL},
    "connect": {"QUERY_STRING": f"implicit_handshake=true&client_id={EVIL}&tab_id={EVIL}"},
    "disconnect": {"reason": EVIL},
}
SHAPES = (
    lambda m: m,
    lambda m: None,
    lambda m: [EVIL],
    lambda m: {EVIL: 1},
    lambda m: {k: [EVIL] for k in m},
)


class Open:
    """A page that is open, as far as its socket's events ask: every part of it raises what it was sent."""

    has_socket_connection = True

    def __getattr__(self, name):
        def fail(*arguments):
            raise RuntimeError(str(arguments))

        return fail


def send(event, message):
    """What the socket's server does with an event from a browser; it has no public way in but a socket."""
    asyncio.run(core.sio._trigger_event(event, "/", "test-sid", message))  # noqa: SLF001


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_browser_sends(service, lines, capfd, monkeypatch, event, shape):
    from nicegui import Client

    monkeypatch.setitem(Client.instances, EVIL, Open())
    send(event, shape(EVENTS[event]))
    check(lines, capfd)


def test_a_closed_connection_reaches_the_page_and_is_no_error(service, lines, monkeypatch):
    left = []

    class Visitor:
        handle_disconnect = left.append

    monkeypatch.setitem(Client.instances, "visitor", Visitor())
    monkeypatch.setattr(core.sio, "rooms", lambda sid: ["visitor"])
    send("disconnect", core.sio.reason.CLIENT_DISCONNECT)
    assert left == ["test-sid"]
    assert lines == []


def test_a_visitor_does_not_choose_how_much_is_logged(service, lines, monkeypatch):
    for _ in range(MAX_LINES + 40):
        send("ack", None)
    assert len(lines) == MAX_LINES
    monkeypatch.setattr(pace.time, "monotonic", lambda: 1e9)
    send("ack", None)
    assert [json.loads(line).get("dropped") for line in lines[-2:]] == [None, 40]


def test_what_the_pages_own_libraries_say(service, lines, capfd):
    for name in ("nicegui", "engineio.server", "socketio.server"):
        logging.getLogger(name).error("%s not found", EVIL)
        try:
            raise ValueError(EVIL)
        except ValueError as e:
            logging.getLogger(name).exception(e)
    check(lines, capfd)
    assert [json.loads(line).get("error") for line in lines] == [None, "ValueError"] * 3
    assert all("test_page_log.py" in json.loads(line)["where"][-1] for line in lines)
