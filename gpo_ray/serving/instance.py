"""The Serve instance of a Ray cluster, which may be others': what it serves, and leaving it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve.config import HTTPOptions
from ray.serve.context import _disconnect, _get_global_client
from ray.serve.exceptions import RayServeException

from gpo_ray.errors import ConfigError

STOP_SECONDS = 5
"""How long requests in flight have when the service is told to stop, and how long Serve has after them."""
LOGGING = {"encoding": "JSON", "enable_access_log": False}
"""Of Serve: the application writes a line for each request itself, without what the caller wrote."""
_ITS_OWN = ("location", "middlewares", "num_cpus", "root_url")
"""Options that are deprecated, or that Serve fills in."""


def running() -> Any:
    """Serve's client, if it runs on the connected cluster; None where not, or where none is connected."""
    if not ray.is_initialized():
        return None
    try:
        return _get_global_client()
    except RayServeException:
        return None


def is_free(host: str, port: int, name: str) -> bool:
    """Whether Serve is yet to be started on the connected cluster; where it runs, it must fit.

    Args:
        host: to listen on.
        port: to listen on.
        name: of the application that will be deployed at ``/``.

    Raises:
        ConfigError: if it runs and listens on another address or otherwise, or has such an application.
    """
    found = running()
    if found is None:
        return True
    _check_options(found.http_config, HTTPOptions(host=host, port=port))
    _check_applications(found.get_serve_details().get("applications") or {}, name)
    return False


def _check_options(theirs: HTTPOptions, ours: HTTPOptions) -> None:
    have, want = ({k: v for k, v in o.model_dump().items() if k not in _ITS_OWN} for o in (theirs, ours))
    different = [k for k in want if have.get(k) != want[k]]
    if different:
        told = "; ".join(f"{k} {have.get(k)!r}, not {want[k]!r}" for k in different)
        raise ConfigError(
            f"Serve runs on this cluster already, with other HTTP options, which cannot be changed: {told}; "
            "give --host and --port as they are, or deploy there with: serve deploy CONFIG"
        )


def _check_applications(theirs: dict[str, Any], name: str) -> None:
    if name in theirs:
        raise ConfigError(
            f"an application named {name!r} runs on this cluster already; this would take its place: "
            f"end it first (serve.delete({name!r})), or use another cluster"
        )
    at_root = [n for n, details in theirs.items() if details.get("route_prefix") == "/"]
    if at_root:
        raise ConfigError(f"application {at_root[0]!r} of this cluster is served at / already")


def leave(name: str, end_serve: bool) -> None:
    """End an application and, if it is to, Serve itself where that serves nothing else.

    Requests in flight are finished. Serve is asked to end rather than waited for: a call that is still
    waiting when its controller dies makes Ray write warnings to the terminal.
    """
    found = running()
    if found is None:
        return
    with suppress(RayError, RayServeException, TimeoutError, ValueError):
        serve.delete(name)
        if not end_serve or found.get_serve_details().get("applications"):
            return
        found.shutdown_cached_handles()
        # Serve has no public call that does not wait for itself to end
        ray.get(found._controller.graceful_shutdown.remote(wait=False), timeout=STOP_SECONDS)  # noqa: SLF001
        _disconnect()
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)  # ValueError: it has ended
            time.sleep(0.1)
