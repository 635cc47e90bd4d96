"""Middleware for every request: an id, a bound on its body, safe headers, and one line in the log."""

from __future__ import annotations

import asyncio
import re
import traceback
from http import HTTPStatus
from logging import ERROR, INFO
from time import perf_counter
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpo_ray.serving.api.headers import drop_unused, refuse_long
from gpo_ray.serving.api.problems import Refused, Trace, problem, route_path, start_trace
from gpo_ray.serving.bearer import ACCEPTED
from gpo_ray.serving.log import BoundedLog
from gpo_ray.serving.reach import is_loopback
from gpo_ray.serving.refusal import POLICY_VIOLATION, refuse_websocket

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_FRAMES = 12


class Gate:
    """ASGI middleware around the whole application.

    Args:
        app: the application.
        body_bytes: longest body of a request; longer ones get 413 as soon as the length is known.
        body_seconds: seconds for the body to arrive; slower ones get 408.
        page_policy: Content-Security-Policy of answers outside /v1 that do not set one themselves.
        local: whether to answer only this machine, and only under its own names: without API keys, a website
            whose name is made to point here (DNS rebinding) could send requests in its visitor's place.
    """

    def __init__(
        self,
        app: ASGIApp,
        body_bytes: int,
        body_seconds: float,
        page_policy: str = API_POLICY,
        local: bool = False,
    ) -> None:
        self._app = app
        self._body_seconds = body_seconds
        self._local = local
        self._body_bytes = body_bytes
        self._page_policy = page_policy
        self._log = BoundedLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        drop_unused(scope)
        if scope["type"] == "websocket":
            if self._refuse_caller(scope) is not None:
                await refuse_websocket(receive, send, POLICY_VIOLATION)
            else:
                await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        trace = start_trace(scope, given if _REQUEST_ID.fullmatch(given) else uuid4().hex)
        began, status = perf_counter(), 0

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                self._add_headers(route_path(scope), trace.request_id, headers)
                if trace.key_id is not None:
                    headers[ACCEPTED] = "yes"
            await send(message)

        try:
            await self._bounded(scope, receive, send_safely)
        except Exception as e:
            self._log_fault(e, trace)
            if status:  # a started answer cannot be taken back: the server closes the connection
                raise
            await problem(scope, 500, "the service failed; its log has the request id")(
                scope, receive, send_safely
            )
        finally:
            self._log_access(scope, trace, status, perf_counter() - began)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application so that it can neither read more than the longest body nor wait long for it."""
        refused = self._refuse_caller(scope) or self._refuse_declared(scope)
        if refused is not None:
            await problem(scope, refused.status_code, refused.detail, headers=refused.headers)(
                scope, receive, send
            )
            return
        taken, arriving = 0, True
        deadline = asyncio.get_running_loop().time() + self._body_seconds

        async def receive_bounded() -> Message:
            nonlocal taken, arriving
            try:
                async with asyncio.timeout_at(deadline if arriving else None):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            arriving = message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > self._body_bytes:
                raise self._too_long()
            return message

        await self._app(scope, receive_bounded, send)

    def _refuse_caller(self, scope: Scope) -> Refused | None:
        return refuse_long(scope) or self._refuse_foreign(scope)

    def _refuse_foreign(self, scope: Scope) -> Refused | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._local and not (is_loopback(_hostname(host)) and _is_near(scope, headers)):
            return Refused(HTTPStatus.MISDIRECTED_REQUEST, "without API keys only this machine may ask")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return Refused(HTTPStatus.FORBIDDEN, "pages of other sites may not ask")
        return None

    def _refuse_declared(self, scope: Scope) -> Refused | None:
        declared = Headers(scope=scope).get("content-length", "0")
        if not (declared.isascii() and declared.isdigit()):
            return Refused(HTTPStatus.BAD_REQUEST, "Content-Length is not a number", {"Connection": "close"})
        digits = declared.lstrip("0")
        if len(digits) > 18 or int(digits or "0") > self._body_bytes:
            return self._too_long()
        return None

    def _too_long(self) -> Refused:
        return Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body is longer than {self._body_bytes} bytes",
            {"Connection": "close"},  # the rest of the body is not read
        )

    def _too_slow(self) -> Refused:
        return Refused(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body did not arrive within {self._body_seconds:g} seconds",
            {"Connection": "close"},
        )

    def _add_headers(self, path: str, request_id: str, headers: MutableHeaders) -> None:
        headers["X-Request-ID"] = request_id
        for name, value in _SAFE.items():
            headers.setdefault(name, value)
        if path.startswith("/v1/"):
            headers["Content-Security-Policy"] = API_POLICY
            headers["Cache-Control"] = "no-store"
        else:
            headers.setdefault("Content-Security-Policy", self._page_policy)

    def _log_fault(self, error: Exception, trace: Trace) -> None:
        """Log where the service failed, without the exception's message, which may hold what was sent."""
        trace.error = type(error).__name__
        fields = {
            "event": "fault",
            "request_id": trace.request_id,
            "error": trace.error,
            "where": raised_at(error),
        }
        self._log.write(ERROR, fields, None if trace.counted else f"fault {trace.error}")

    def _log_access(self, scope: Scope, trace: Trace, status: int, seconds: float) -> None:
        fields = {
            "event": "request",
            "request_id": trace.request_id,
            "method": scope["method"][:20],
            "route": getattr(scope.get("route"), "path", None),  # the raw path may hold anything
            "status": status or None,
            "milliseconds": round(1000 * seconds, 2),
            "key": trace.key_id,
            "tenant": trace.tenant,
        }
        more = {"error": trace.error} if trace.error else {}
        kind = None if trace.counted else f"{fields['route']} {status}"
        self._log.write(INFO, fields | more, kind)


_PASSED_ON = re.compile(
    r"(x-)?forwarded(-.*)?|via|cf-(ray|visitor)|x-(envoy|amzn|amz-cf|azure|arr|appengine|cloud)-.*"
    r"|((.*-)?(client|real|connecting|remote|cluster-client|original)-?(ip|addr))|.*-external-address"
    r"|x-original-(host|forwarded-for|url)|x-proxyuser-ip|x-host|x-nginx-proxy|cdn-loop|x-varnish"
)
"""Headers by which proxies, tunnels and content networks show that they passed a request on."""


def _is_near(scope: Scope, headers: Headers) -> bool:
    """Return whether a request comes from this machine, and no proxy on it passed it on for another one."""
    client = scope.get("client")
    passed_on = any(_PASSED_ON.fullmatch(name.lower().replace("_", "-")) for name in headers)
    return client is not None and is_loopback(client[0]) and not passed_on


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def raised_at(error: BaseException) -> list[str]:
    """Return the innermost places through which an exception went, without its message."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{f.filename}:{f.lineno} {f.name}" for f in frames]
