"""Bound how much of the service visitors of the page may take; anybody who reaches the port is one."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpo_ray.serving.api.problems import route_path
from gpo_ray.serving.pace import Pace, RateLimit
from gpo_ray.serving.page.unread import Unread
from gpo_ray.serving.refusal import TRY_AGAIN_LATER, refuse_websocket
from gpo_ray.serving.settings import Limits

OPENING_COST = 20
"""Number of requests that opening the page counts as, since the service then keeps the page's state."""
BYTES = 50_000
"""Bytes of an answer that count as another request."""
MAX_ANSWERED = 4
"""Most requests for the page and its parts that are answered at a time; requests of the API have turns of
their own."""
MAX_WAITING = 64
"""Most requests for the page that wait for their turn."""
ADDRESSES = 4
"""Number of client addresses whose limits all addresses together have."""
SENDING = 3
"""Messages, or kilobytes of them, that an open page may send for each request that it may make: what is
typed is sent in several messages."""
EVENTS = 10.0
"""Messages that a page may send in a second in the long run; a long one counts as several."""
EVENTS_AT_ONCE = 60.0
"""Messages that a page may send at once after a rest; a visitor may have typed during an interruption."""
EVENT_CHARACTERS = 4_000
"""Characters of a message that count as another message."""
MAX_MESSAGE_CHARACTERS = 65_536
"""Most characters of a message that a page sends."""
JOIN = "40"
"""The Socket.IO message that joins the page, which then sends all missed messages again."""
_MESSAGE = re.compile(r"3\Z|40(\Z|\{)|42[0-9]{0,9}\[")
"""What the page's script sends: an answer to a ping, a request to join, and events. Others would leave the
page, or announce bytes in further messages. Socket.IO itself takes any Unicode digit for these."""


class Places:
    """ASGI middleware around the page that bounds its connections and requests, in all and for each address.

    Args:
        app: the page.
        limits: limits, of which those of the page are used.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self.taken: Counter[str] = Counter()
        """Number of sockets that each address holds open."""
        each = limits.page_requests_per_minute
        self._each, self._all = RateLimit(each), RateLimit(ADDRESSES * each)
        self._sent, self._sent_by_all = RateLimit(SENDING * each), RateLimit(SENDING * ADDRESSES * each)
        self._turns, self._waiting = asyncio.Semaphore(MAX_ANSWERED), 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it if it is too much."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else "unknown"
        if not self._may_ask(address, OPENING_COST if route_path(scope) in ("", "/") else 1):
            await _refuse(scope, receive, send)
        elif (
            scope["type"] == "websocket" or "/_nicegui_ws/" in scope["path"]
        ):  # Socket.IO can also poll over HTTP
            await self._connect(address, scope, receive, send)
        elif self._waiting >= MAX_ANSWERED + MAX_WAITING:
            await _refuse(scope, receive, send, HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            await self._answer(address, scope, receive, send)

    def _may_ask(self, address: str, cost: int) -> bool:
        return not (self._each.wait(address, cost) or self._all.wait("all", cost))

    async def _answer(self, address: str, scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def send_paid(message: Message) -> None:
            """Send the answer, unless it costs too much, which is known only from its length."""
            nonlocal refused
            if message["type"] == "http.response.start":
                cost = int(Headers(raw=message["headers"]).get("content-length", 0)) // BYTES
                if cost and not self._may_ask(address, cost):
                    refused = True
                    await _refuse(scope, receive, send)
            if not refused:
                await send(message)

        self._waiting += 1
        try:
            async with self._turns:
                await self._app(scope, receive, send_paid)
        finally:
            self._waiting -= 1

    def _may_send(self, address: str, message: Message) -> bool:
        cost = 1 + (len(message.get("text") or "") + len(message.get("bytes") or b"")) // 1000
        return not (self._sent.wait(address, cost) or self._sent_by_all.wait("all", cost))

    async def _connect(self, address: str, scope: Scope, receive: Receive, send: Send) -> None:
        limits = self._limits
        if self.taken.total() >= limits.page_sockets or self.taken[address] >= limits.page_sockets_each:
            await _refuse(scope, receive, send)
            return
        self.taken[address] += 1
        try:
            if not self._may_send(address, {}):
                await _refuse(scope, receive, send)
            else:
                socket = _Socket(receive, send, lambda message: self._may_send(address, message))
                await self._app(scope, socket.receive, socket.send)
        finally:
            self.taken[address] -= 1
            if not self.taken[address]:
                del self.taken[address]


class _Socket:
    """A page's websocket with bounds on what it sends, and on what it leaves unread."""

    def __init__(self, receive: Receive, send: Send, may_send: Callable[[Message], bool]) -> None:
        self._receive, self._send, self._may_send = receive, send, may_send
        self._pace, self._unread = Pace(EVENTS, EVENTS_AT_ONCE), Unread()
        self._cut = self._full = False
        self._joined = 0

    async def receive(self) -> Message:
        """Receive the page's messages until they are too many; those that wait to be read take memory."""
        while True:
            message = await self._receive()
            if message["type"] != "websocket.receive":
                return message
            if self._full:  # its place is free when what waits was dropped
                continue
            if self._unread.is_answer(message.get("text") or ""):  # only asked for: it counts as nothing
                await self._ask()
            elif self._is_much(message):
                await self._close()
                return {"type": "websocket.disconnect", "code": TRY_AGAIN_LATER}
            else:
                return message

    async def send(self, message: Message) -> None:
        """Send a message, unless the socket was closed or too much waits to be read."""
        if self._cut:
            return
        if not self._unread.sends(message):
            self._full = True
            await self._close()
            return
        await self._send(message)
        await self._ask()

    async def _ask(self) -> None:
        if not self._cut and (question := self._unread.question()) is not None:
            await self._send(question)

    async def _close(self) -> None:
        self._cut = True
        await self._send({"type": "websocket.close", "code": TRY_AGAIN_LATER})

    def _is_much(self, message: Message) -> bool:
        text = str(message.get("text") or "")
        self._joined += text.startswith(JOIN)
        if not self._pace.take(1 + len(text) // EVENT_CHARACTERS) or not self._may_send(message):
            return True
        return self._joined > 1 or not _is_plain(message, text)


def _is_plain(message: Message, text: str) -> bool:
    """Return whether the page's script sends such messages: no bytes, no leaving, nothing in pieces."""
    short = len(text) <= MAX_MESSAGE_CHARACTERS
    return message.get("bytes") is None and short and _MESSAGE.match(text) is not None


async def _refuse(
    scope: Scope, receive: Receive, send: Send, status: HTTPStatus = HTTPStatus.TOO_MANY_REQUESTS
) -> None:
    if scope["type"] == "websocket":
        await refuse_websocket(receive, send, TRY_AGAIN_LATER)
        return
    seconds = "60" if status == HTTPStatus.TOO_MANY_REQUESTS else "1"
    response = PlainTextResponse(
        f"Too many requests; try again in {seconds} s.", status, {"Retry-After": seconds}
    )
    await response(scope, receive, send)
