"""The page at ``/``: NiceGUI beside the API in one FastAPI application.

**State.** The state of a visitor's page lives in this process, for as long as the browser's websocket is open
and :data:`RECONNECT_SECONDS` more; there is no cookie and no storage on disk, hence no storage secret. An API
key is kept in that state alone: reloading the page asks for it again. The websocket's address holds the
id of the open page, by which the browser returns to it after an interruption, so access logs with query
strings are as confidential as the pages that are open.

**Replicas.** The websocket must reach the process that made the page, also after an interruption, and Ray
Serve does not send a visitor to the same replica twice. So the page needs an ingress of one replica,
which :func:`mount_page` checks. For more, serve the API with ``page: false``, and the page beside it as an
application of one replica with a route prefix of its own. Behind a load balancer over several such
services, sessions must stick to one. Each open page holds one of the ingress's ongoing requests, of which
pages may take only a part (:mod:`gpo_ray.serving.page.places`).

**Lifespan.** NiceGUI starts and stops with the application's lifespan, which Serve runs in the replica. There
is one NiceGUI state for each process: several applications may mount the page, but those that run at the same
time must share one event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from nicegui import core, ui
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpo_ray.errors import ConfigError
from gpo_ray.serving.api.problems import route_path
from gpo_ray.serving.inference.backend import Backend
from gpo_ray.serving.page.actions import PageActions
from gpo_ray.serving.page.files import KeptFiles
from gpo_ray.serving.page.log import keep_log_closed, log_failure
from gpo_ray.serving.page.places import Places
from gpo_ray.serving.page.unread import History
from gpo_ray.serving.page.views import PageView
from gpo_ray.serving.registry.groups import Registry
from gpo_ray.serving.registry.keys import KeyRing
from gpo_ray.serving.settings import ServeSettings

PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        # inline: NiceGUI writes the import map and the start of the page into the HTML, with contents that
        # differ for each visitor. eval: Vue compiles templates, and NiceGUI event handlers, in the browser.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        # inline: cascade layers in the HTML, and the lengths of bars, as style attributes
        "style-src 'self' 'unsafe-inline'",
        "font-src 'self'",
        # data: Quasar's style sheet holds small pictures
        "img-src 'self' data:",
        # 'self' covers the websocket
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content-Security-Policy of the page; everything that it loads comes from this service."""

PAGE_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of every response under :func:`is_page_path`, set by the page itself."""

RECONNECT_SECONDS = 30.0
"""Seconds for which an interrupted visitor can return to the page as it was."""
MAX_PATH_CHARACTERS = 300
"""Most characters of a path of the page."""
HISTORY = 50
"""Messages that are kept for a page whose connection is interrupted."""

_ACTIONS = "gpo_ray.page_actions"


def is_page_path(path: str) -> bool:
    """Return whether a path, without the route prefix, belongs to the page."""
    return path in {"", "/", "/favicon.ico"} or path.startswith(("/_nicegui/", "/_nicegui_ws/"))


def mount_page(
    app: FastAPI, settings: ServeSettings, backend: Backend, registry: Registry, keys: KeyRing | None
) -> None:
    """Add the page to an application that has not started yet.

    Args:
        app: the application; its own routes come first, and it also answers unknown paths.
        settings: ``survey``, ``require_keys``, ``limits`` and ``ingress`` are used.
        backend: the backend that makes predictions.
        registry: the registry of groups.
        keys: the API keys; may be None if no keys are needed.

    Raises:
        ConfigError: if there may be several ingress replicas, or keys are needed but not given.
        DataError: if the survey cannot be read.
    """
    settings.check_page()
    keep_log_closed()
    if settings.require_keys and keys is None:
        raise ConfigError("page: require_keys is on and there are no keys")
    host = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    host.add_middleware(KeptFiles)
    host.add_middleware(Places, limits=settings.limits)
    host.add_middleware(Surroundings, actions=PageActions(settings, backend, registry, keys))
    # a started server refuses new middleware; another application in this process starts afresh
    core.app.user_middleware.clear()
    core.app.middleware_stack = None
    # NiceGUI would make a page for each unknown address, and keep it for a minute
    core.app.add_exception_handler(404, _not_found)
    ui.page("/", title="Group preferences", language="en-US", dark=None)(_show)
    ui.run_with(
        host,
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=RECONNECT_SECONDS,
        message_history_length=HISTORY,
    )
    core.sio.eio.transports = ["websocket"]  # polling would send messages as ordinary requests, of any size
    app.router.routes.append(_PageMount("", app=host))
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(running: Any) -> AsyncIterator[Any]:
        async with host.router.lifespan_context(host), inner(running) as state:
            yield state

    app.router.lifespan_context = lifespan


def _show(request: Request) -> None:
    ui.context.client.outbox.message_history = History()
    PageView(request.scope[_ACTIONS]).build()


def _not_found(request: Request, error: Exception) -> Response:  # noqa: ARG001 -- as Starlette asks
    return _nothing()


def _nothing() -> Response:
    return PlainTextResponse("There is nothing here.", HTTPStatus.NOT_FOUND)


def is_plain_path(path: str) -> bool:
    """Return whether a path may be the page's: short, and with only one way to name each file."""
    inner = path.strip("/").split("/")
    return len(path) <= MAX_PATH_CHARACTERS and path.isprintable() and not {"", ".", ".."} & set(inner[1:])


class _PageMount(Mount):
    """A mount at the root that leaves other paths than the page's to the application."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return super().matches(scope) if is_page_path(path) else (Match.NONE, {})


class Surroundings:
    """A wrapper that gives the page its actions, and the page's responses their headers.

    NiceGUI registers pages once for each process; the ASGI scope gives each application its own actions.
    """

    def __init__(self, app: ASGIApp, actions: PageActions) -> None:
        self._app, self._actions = app, actions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the page, whatever the page raises."""
        gone = started = ended = False

        async def note_disconnect() -> Message:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "websocket.disconnect"
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal started, ended
            if gone:
                # a message after a disconnect reaches nobody, but Ray Serve's proxy logs an error for it
                return
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(PAGE_HEADERS)
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope[_ACTIONS] = self._actions
        # NiceGUI writes this header into the page some forty times, however long it is
        scope["headers"] = [(k, v) for k, v in scope["headers"] if k.lower() != b"x-forwarded-prefix"]
        if scope["type"] == "http" and not is_plain_path(route_path(scope)):
            await _nothing()(scope, note_disconnect, send_with_headers)
            return
        try:
            await self._app(scope, note_disconnect, send_with_headers)
        except Exception as e:  # noqa: BLE001 -- a server would log its message, with what was sent
            log_failure(e)
            if scope["type"] == "websocket":
                with suppress(Exception):
                    await send_with_headers({"type": "websocket.close", "code": 1011})
            elif not started:
                failed = PlainTextResponse("Something went wrong.", HTTPStatus.INTERNAL_SERVER_ERROR)
                await failed(scope, note_disconnect, send_with_headers)
            elif not ended:  # a started answer cannot be taken back: the server closes the connection
                raise RuntimeError("an answer of the page's was not finished") from None
