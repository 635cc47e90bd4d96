"""What an open page may send."""

import asyncio

import pytest

from gpo_ray.serving.page.places import MESSAGE, TRY_AGAIN, Places
from gpo_ray.serving.settings import Limits


def sent(messages):
    """What reaches the page of some messages of a visitor, and with what code the socket was closed."""
    waiting = [{"type": "websocket.connect"}, *messages]
    arrived, closed = [], []

    async def page(scope, receive, send):
        while (message := await receive())["type"] != "websocket.disconnect":
            arrived.append(message.get("text"))

    async def receive():
        return waiting.pop(0) if waiting else {"type": "websocket.disconnect", "code": 1000}

    async def send(message):
        closed.append(message.get("code"))

    scope = {
        "type": "websocket",
        "path": "/_nicegui_ws/socket.io/",
        "client": ("127.0.0.1", 1),
        "headers": [],
    }
    asyncio.run(Places(page, Limits())(scope, receive, send))
    return arrived[1:], closed


def texts(*values):
    return [{"type": "websocket.receive", "text": v} for v in values]


def test_what_a_page_sends_arrives():
    assert sent(texts("40", '42["event",{}]', "3", "4" + "x" * 1000)) == (
        ["40", '42["event",{}]', "3", "4" + "x" * 1000],
        [],
    )


@pytest.mark.parametrize(
    "message",
    [
        {"text": "40"},  # again: all that was missed would be sent once more
        {"text": "41"},
        {"text": '45999999999-["event",{}]'},
        {"text": '461-["event",{}]'},
        {"text": "42" + "x" * MESSAGE},
        {"bytes": b"42"},
    ],
    ids=["joins again", "leaves", "binary event", "binary answer", "long", "bytes"],
)
def test_what_no_page_sends_ends_the_connection(message):
    arrived, closed = sent([*texts("40"), {"type": "websocket.receive", **message}, *texts("42[]")])
    assert arrived == ["40"]
    assert closed == [TRY_AGAIN]
