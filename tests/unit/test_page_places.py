"""What an open page may send, and what of the service its visitors may take."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse

from gpo_ray.serving.page.places import (
    BYTES,
    EVENT_CHARACTERS,
    EVENTS_AT_ONCE,
    MAX_ANSWERED,
    MAX_MESSAGE_CHARACTERS,
    MAX_WAITING,
    Places,
)
from gpo_ray.serving.refusal import TRY_AGAIN_LATER
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
    messages = ["40", '42["event",{}]', "3", '4217["event",{}]', '42["x",' + "x" * 1000]
    assert sent(texts(*messages)) == (messages, [])


@pytest.mark.parametrize(
    "message",
    [
        {"text": "40"},  # again: all that was missed would be sent once more
        {"text": "41"},
        {"text": '45999999999-["event",{}]'},
        {"text": '461-["event",{}]'},
        {"text": "42[" + "x" * MAX_MESSAGE_CHARACTERS},
        {"bytes": b"42"},
        {"text": "4\uff10"},
        {"text": "\uff140"},
        {"text": "4\u0660"},
        {"text": "4\uff11"},
        {"text": '4\uff15\uff11-["event",{"_placeholder":true,"num":0}]'},
        {"text": '42\uff11["event",{}]'},
        {"text": "40/other,"},
        {"text": "3x"},
        {"text": "2probe"},
        {"text": ""},
    ],
)
def test_what_no_page_sends_ends_the_connection(message):
    arrived, closed = sent([*texts("40"), {"type": "websocket.receive", **message}, *texts("42[]")])
    assert arrived == ["40"]
    assert closed == [TRY_AGAIN_LATER]


@pytest.mark.parametrize("length", [1, EVENT_CHARACTERS * 2])
def test_events_come_no_faster_than_a_visitor_acts(length):
    event = "42[" + "x" * (length - 3) if length > 3 else "3"
    most = int(EVENTS_AT_ONCE) // (1 + length // EVENT_CHARACTERS)
    arrived, closed = sent(texts(*[event] * 200))
    assert most <= len(arrived) <= most + 2  # what a second or so allows on top
    assert closed == [TRY_AGAIN_LATER]


def asked(app, *paths, **limits):
    """Statuses of requests sent together."""

    async def main():
        transport = httpx.ASGITransport(Places(app, Limits(**limits)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [r.status_code for r in await asyncio.gather(*(client.get(p) for p in paths))]

    return asyncio.run(main())


def test_long_answers_cost_more():
    answer = PlainTextResponse("x" * 10 * BYTES)
    paths = ["/_nicegui/long"] * 40
    assert asked(answer, *paths, page_requests_per_minute=110) == [200] * 10 + [429] * 30
    assert asked(PlainTextResponse("x"), *paths, page_requests_per_minute=110) == [200] * 40


def test_a_few_requests_are_answered_at_a_time_and_some_wait():
    now, most = 0, 0

    async def app(scope, receive, send):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        await PlainTextResponse("x")(scope, receive, send)
        now -= 1

    statuses = asked(app, *["/_nicegui/file"] * (MAX_ANSWERED + MAX_WAITING + 5))
    assert statuses.count(200) == MAX_ANSWERED + MAX_WAITING
    assert statuses.count(503) == 5
    assert most == MAX_ANSWERED
