"""What runs in Ray Serve's HTTP proxies, before anything of the application does."""

from __future__ import annotations

from typing import Any

CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Environment variable of Serve: a function that each of its proxies calls as it starts."""
BOUNDED = "gpo_ray.serving.proxy.bounded"
"""The function for it; on a cluster that is joined its nodes' environment has to name it."""


def bounded() -> list[Any]:
    """Have this process bound what connections may take, whoever they are from.

    HTTP is parsed with h11, which gives up on headers of more than 64 KiB in all: httptools, which uvicorn
    prefers where it is installed, takes headers without end, and keeps 26 times their size.

    Returns:
        Middlewares to add to the proxy.
    """
    from starlette.middleware import Middleware
    from uvicorn.config import HTTP_PROTOCOLS, WS_PROTOCOLS

    from gpo_ray.serving.proxy.requests import OwnRequests

    HTTP_PROTOCOLS["auto"] = "gpo_ray.serving.proxy.http:BoundedHTTP"
    WS_PROTOCOLS["auto"] = "gpo_ray.serving.proxy.websocket:BoundedWebSocket"
    return [Middleware(OwnRequests)]
