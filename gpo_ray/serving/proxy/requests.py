"""A filter for what Ray Serve's proxy sees of a request."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections import Counter
from http import HTTPStatus

from cachetools import TTLCache
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpo_ray.serving.bearer import ACCEPTED, bearer_secret
from gpo_ray.serving.bounds import REQUESTS_AT_ONCE
from gpo_ray.serving.refusal import POLICY_VIOLATION, refuse_websocket

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_SERVES_OWN = {
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"serve-multiplexed-model-id",
    os.environ.get("RAY_SERVE_SESSION_ID_HEADER_KEY", "x-session-id").lower().replace("_", "-").encode(),
}
"""Headers, with underscores too, by which anybody could change what the proxy does."""
_HEALTH = "/-/healthz"
_PROBES = ("/healthz", "/readyz")


ACCEPTED_SECONDS = 600.0
"""Seconds for which a key that the application accepted counts as a caller of its own."""
MAX_ACCEPTED = 10_000
"""Most such keys at once."""
FREE_BYTES = 65_536
"""Bytes of a body that are taken in at once."""
BODY_RATE = 40e6
"""Bytes a second that are taken in of longer bodies, of all together; parsing takes a core at 300 MB/s."""


class OwnRequests:
    """ASGI middleware around Serve's proxy: requests cannot control the proxy, which shows only its health.

    Nor can they occupy it: of long bodies, one piece of all requests' together is taken in at a time, at no
    more than :data:`BODY_RATE`. And no caller can take all places of the application: further requests of
    one that has ``at_once`` under way are refused here, however cheap they are. The application counts the
    requests of a key, too, but only once it gets round to them, when they wait in its places already. A key
    is a caller of its own once the application has accepted it: anybody can invent others.

    Args:
        app: the proxy.
        at_once: most requests under way of each accepted API key, and of each client address besides.
    """

    def __init__(self, app: ASGIApp, at_once: int = REQUESTS_AT_ONCE) -> None:
        self._app = app
        self._turn = asyncio.Lock()
        self._most = at_once
        self._under_way: Counter[tuple[str | bytes, bool]] = Counter()
        self._accepted: TTLCache[bytes, bool] = TTLCache(MAX_ACCEPTED, ACCEPTED_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on without the headers that are meant for Serve."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif _is_serves(scope["path"]):
            await _refuse(scope, receive, send)
        elif _is_of_two_lengths(scope["headers"]):
            text = "Content-Length and Transfer-Encoding exclude one another."
            answer = PlainTextResponse(text, HTTPStatus.BAD_REQUEST, {"Connection": "close"})
            await answer(scope, receive, send)
        else:
            own = {**scope, "headers": _plain(scope["headers"])}
            if scope["type"] == "websocket":
                await self._app(own, receive, send)
            else:
                await self._in_place(own, self._in_turn(receive), send)

    async def _in_place(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _key(scope)
        address: str = scope["client"][0] if scope.get("client") else ""
        caller = address if key is None or key not in self._accepted else key
        who = (caller, scope["path"] in _PROBES)  # probes count apart from other requests

        async def note_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if ACCEPTED in headers:
                    del headers[ACCEPTED]
                    if key is not None:
                        self._accepted[key] = True
            await send(message)

        if self._under_way[who] >= self._most:
            text = f"This caller has {self._most} requests under way already."
            answer = PlainTextResponse(text, HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": "1"})
            await answer(scope, receive, send)
            return
        self._under_way[who] += 1
        try:
            await self._app(scope, receive, note_and_send)
        finally:
            self._under_way[who] -= 1
            if not self._under_way[who]:
                del self._under_way[who]

    def _in_turn(self, receive: Receive) -> Receive:
        taken = 0

        async def receive_in_turn() -> Message:
            nonlocal taken
            message = await receive()
            size = len(message.get("body", b""))
            taken += size
            if taken > FREE_BYTES:
                async with self._turn:  # until then uvicorn reads no more of this body
                    await asyncio.sleep(size / BODY_RATE)
            return message

        return receive_in_turn


def _key(scope: Scope) -> bytes | None:
    """Return the digest of the API key that a request is sent with, None if there is none."""
    given = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"authorization"]
    secret = bearer_secret(given)
    return None if secret is None else hashlib.sha256(secret.encode()).digest()


def _is_serves(path: str) -> bool:
    """Return whether Serve would answer itself: on its own paths, or with an error for an invalid path."""
    return not path.startswith("/") or (path.startswith("/-/") and path != _HEALTH)


def _is_of_two_lengths(headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether a request gives its length twice, which smuggles a second one past some proxies.

    RFC 9112, section 6.1, lets a server refuse it.
    """
    names = {name.lower() for name, _ in headers}
    return {b"content-length", b"transfer-encoding"} <= names


def _plain(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    kept, ids = [], 0
    for name, value in headers:
        normal = name.lower().replace(b"_", b"-")
        if normal == b"x-request-id":
            ids += 1
            if ids > 1 or not _REQUEST_ID.fullmatch(value):
                continue
        if normal not in _SERVES_OWN:
            kept.append((name, value))
    return kept


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await refuse_websocket(receive, send, POLICY_VIOLATION)
        return
    await PlainTextResponse("There is nothing here.", HTTPStatus.NOT_FOUND)(scope, receive, send)
