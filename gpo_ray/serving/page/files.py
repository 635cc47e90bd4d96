"""Serve the page's files from memory; each file is read and compressed once."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from dataclasses import dataclass
from http import HTTPStatus

from cachetools import LRUCache
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpo_ray.serving.api.problems import route_path

MAX_KEPT_BYTES = 64_000_000
"""Most bytes of the kept files, compressed and not; the page's own files take a tenth."""
_VERSIONED = re.compile(r"/_nicegui/[^/]+/(static|libraries|components|resources|esm)/.+")
_ICON = "/favicon.ico"
_YEAR, _DAY = 365 * 86_400, 86_400
_TEXT = re.compile(r"text/|application/(javascript|json)|image/svg")


@dataclass(frozen=True)
class _File:
    media_type: str
    plain: bytes
    compressed: bytes | None
    etag: str

    @classmethod
    def of(cls, media_type: str, plain: bytes) -> _File:
        compressed = gzip.compress(plain, mtime=0) if _TEXT.match(media_type) else plain
        smaller = len(compressed) < 0.9 * len(plain)
        etag = hashlib.sha256(plain).hexdigest()[:32]
        return cls(media_type, plain, compressed if smaller else None, etag)

    @property
    def size(self) -> int:
        return len(self.plain) + len(self.compressed or b"")

    def response(self, headers: Headers, max_age: int) -> Response:
        body, etag = self.plain, f'"{self.etag}"'
        sent = {"Cache-Control": f"public, max-age={max_age}, immutable", "Vary": "Accept-Encoding"}
        if self.compressed is not None and _takes_gzip(headers.get("accept-encoding", "")):
            body, etag = self.compressed, f'"{self.etag}-gzip"'
            sent["Content-Encoding"] = "gzip"
        sent["ETag"] = etag
        known = {tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")}
        if etag in known or "*" in known:
            sent.pop("Content-Encoding", None)
            return Response(None, HTTPStatus.NOT_MODIFIED, sent)
        return Response(body, HTTPStatus.OK, sent, self.media_type)


class KeptFiles:
    """ASGI middleware that serves files; they never change, since their paths hold NiceGUI's version.

    Args:
        app: the application that has the files, and everything else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._kept: LRUCache[str, _File] = LRUCache(MAX_KEPT_BYTES, lambda file: file.size)
        self._reads = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a file, and pass on any other request."""
        path = route_path(scope)
        if scope["type"] != "http" or not (path == _ICON or _VERSIONED.fullmatch(path)):
            await self._app(scope, receive, send)
            return
        response: Response = PlainTextResponse("There is nothing here.", HTTPStatus.NOT_FOUND)
        if scope["method"] not in ("GET", "HEAD"):
            response = PlainTextResponse(
                "Files are read only.", HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"}
            )
        elif (file := self._kept.get(path) or await self._read(scope, path)) is not None:
            response = file.response(Headers(scope=scope), _DAY if path == _ICON else _YEAR)
        if scope["method"] == "HEAD":
            response.body = b""
        await response(scope, receive, send)

    async def _read(self, scope: Scope, path: str) -> _File | None:
        async with self._reads:
            if path in self._kept:
                return self._kept[path]
            status, media_type, body = await _ask(self._app, scope)
            if status != HTTPStatus.OK:
                return None
            file = await asyncio.to_thread(_File.of, media_type, body)
            if file.size <= MAX_KEPT_BYTES:
                self._kept[path] = file
            return file


async def _ask(app: ASGIApp, scope: Scope) -> tuple[int, str, bytes]:
    """Return the status, media type and body of a whole file, without compression."""
    status, media_type, pieces, asked = 0, "", [], False

    async def receive() -> Message:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()  # this never ends, as for a client that stays connected
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, media_type
        if message["type"] == "http.response.start":
            status = message["status"]
            media_type = Headers(raw=message["headers"]).get("content-type", "application/octet-stream")
        elif message["type"] == "http.response.body":
            pieces.append(message.get("body", b""))

    await app({**scope, "method": "GET", "headers": [], "query_string": b"", "extensions": {}}, receive, send)
    return status, media_type, b"".join(pieces)


def _takes_gzip(accepted: str) -> bool:
    for coding in accepted.lower().split(","):
        name, _, quality = coding.partition(";")
        if name.strip() == "gzip":
            return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
