"""What runs in Ray Serve's HTTP proxies, before anything of the application does."""

from __future__ import annotations

from typing import Any

CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Environment variable of Serve: a function that each of its proxies calls as it starts."""
BOUNDED = "gpo_ray.serving.proxy.bounded_headers"
"""The function for it; on a cluster that is joined its nodes' environment has to name it."""


def bounded_headers() -> list[Any]:
    """Have this process parse HTTP with h11, which gives up on headers of more than 64 KiB in all.

    httptools, which uvicorn prefers where it is installed, takes headers without end: it holds up all other
    requests meanwhile, and keeps 26 times their size.

    Returns:
        Middlewares to add to the proxy, of which there are none.
    """
    from uvicorn.config import HTTP_PROTOCOLS

    HTTP_PROTOCOLS["auto"] = HTTP_PROTOCOLS["h11"]
    return []
