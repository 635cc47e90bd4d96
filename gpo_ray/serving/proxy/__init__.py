"""Code that runs in Ray Serve's HTTP proxies, before a request reaches the application."""

from __future__ import annotations

import os
from typing import Any

CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Environment variable of Serve that names a function; each of its proxies calls it as it starts."""
BOUNDED = "gpo_ray.serving.proxy.bounded"
"""The name of :func:`bounded` for that variable; on a cluster that was joined, the nodes' environment has to
set it."""

AT_ONCE = "GPO_PROXY_REQUESTS_AT_ONCE"
"""Environment variable with the most unanswered requests of a caller at a proxy, where
``limits.requests_at_once`` is not the default: a proxy starts before it knows of any application."""


def bounded() -> list[Any]:
    """Make this process bound what a connection may take, whoever it is from.

    HTTP is parsed with h11, which refuses headers of more than 64 KiB in all. httptools, which uvicorn
    prefers if it is installed, accepts headers of any length, and takes 26 times their size in memory.

    Returns:
        Middlewares to add to the proxy.
    """
    from starlette.middleware import Middleware
    from uvicorn.config import HTTP_PROTOCOLS, WS_PROTOCOLS

    from gpo_ray.serving.bounds import REQUESTS_AT_ONCE
    from gpo_ray.serving.proxy.requests import OwnRequests

    HTTP_PROTOCOLS["auto"] = "gpo_ray.serving.proxy.http:BoundedHTTP"
    WS_PROTOCOLS["auto"] = "gpo_ray.serving.proxy.websocket:BoundedWebSocket"
    said = os.environ.get(AT_ONCE, "")
    at_once = int(said) if said.isascii() and said.isdigit() else REQUESTS_AT_ONCE
    return [Middleware(OwnRequests, at_once=max(1, at_once))]
