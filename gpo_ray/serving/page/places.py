"""Bound how much of the service visitors of the page may take; anybody who reaches the port is one."""

from __future__ import annotations

import asyncio
from collections import Counter
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpo_ray.serving.api.problems import route_path
from gpo_ray.serving.pace import Pace, RateLimit
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
JOIN, UNUSUAL = "40", ("41", "45", "46")
"""Prefixes of Socket.IO messages. The first joins the page, which then sends all missed messages again. The
others leave the page, or announce bytes in further messages; the page's script sends neither."""


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
        cut, joined, pace = False, 0, Pace(EVENTS, EVENTS_AT_ONCE)

        async def receive_bounded() -> Message:
            """Receive the page's messages until they are too many; those that wait to be read take memory."""
            nonlocal cut, joined
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            text = str(message.get("text") or "")
            joined += text.startswith(JOIN)
            much = not pace.take(1 + len(text) // EVENT_CHARACTERS) or not self._may_send(address, message)
            if much or joined > 1 or not _is_plain(message, text):
                cut = True
                await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})
                return {"type": "websocket.disconnect", "code": TRY_AGAIN_LATER}
            return message

        async def send_unless_cut(message: Message) -> None:
            if not cut:
                await send(message)

        try:
            if not self._may_send(address, {}):
                await _refuse(scope, receive, send)
            else:
                await self._app(scope, receive_bounded, send_unless_cut)
        finally:
            self.taken[address] -= 1
            if not self.taken[address]:
                del self.taken[address]


def _is_plain(message: Message, text: str) -> bool:
    """Return whether the page's script sends such messages: no bytes, no leaving, nothing in pieces."""
    short = len(text) <= MAX_MESSAGE_CHARACTERS
    return message.get("bytes") is None and short and not text.startswith(UNUSUAL)


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
