"""Use the Serve instance of a Ray cluster, which others may use too: check what it serves, and leave it."""

from __future__ import annotations

import http.client
import time
from contextlib import suppress
from http import HTTPStatus
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
"""Seconds that requests in flight have when the service stops, and that Serve has to end after them."""
LOGGING = {"encoding": "JSON", "enable_access_log": False}
"""Logging options of Serve. Its access log is off: the application itself writes a line for each request,
without what the caller sent."""
OWN_PATHS = ("/v1", "/healthz", "/readyz", "/openapi.json", "/favicon.ico", "/_nicegui", "/_nicegui_ws")
"""First parts of all paths that the ingress serves, besides ``/``."""
_ANSWER_SECONDS = 5
_EVERY_INTERFACE = ("0.0.0.0", "::")  # noqa: S104 -- to recognise them
_ITS_OWN = ("location", "middlewares", "num_cpus", "root_url")
"""Options that are deprecated, or that Serve fills in itself."""


def running() -> Any:
    """Return Serve's client, or None if Serve does not run on a connected cluster."""
    if not ray.is_initialized():
        return None
    try:
        return _get_global_client()
    except RayServeException:
        return None


def is_free(host: str, port: int, name: str) -> bool:
    """Return whether Serve is not running yet on the connected cluster; if it runs, check that it fits.

    Args:
        host: address to listen on.
        port: port to listen on.
        name: name of the application that will be deployed at ``/``.

    Raises:
        ConfigError: if Serve runs with another address or other HTTP options, or has an application of that
            name, or one that is served at ``/`` or would take requests for one of :data:`OWN_PATHS`.
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
    for other, details in theirs.items():  # Serve sends a request to the application of the longest prefix
        prefix = details.get("route_prefix") or ""
        if f"/{prefix.strip('/').partition('/')[0]}" in OWN_PATHS:
            raise ConfigError(
                f"application {other!r} of this cluster is served at {prefix}, where it would answer "
                f"instead of this service and receive its callers' keys: end it (serve.delete({other!r})), "
                "deploy it with another route prefix, or use another cluster"
            )


def is_unbounded(host: str, port: int) -> bool:
    """Return whether a proxy of Serve shows its routes, as none does that bounds what strangers send.

    Args:
        host: address that the proxies listen on; where it is every interface, all nodes are asked.
        port: port that the proxies listen on.

    Returns:
        False also where no proxy can be reached from here.
    """
    hosts = [host]
    if host in _EVERY_INTERFACE and (found := running()) is not None:
        hosts = [
            p["node_ip"]
            for p in (found.get_serve_details().get("proxies") or {}).values()
            if p.get("node_ip")
        ]
    return any(_shows_routes(h, port) for h in hosts)


def _shows_routes(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/-/routes")
        return connection.getresponse().status != HTTPStatus.NOT_FOUND
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def leave(name: str, end_serve: bool) -> None:
    """End an application and, if wanted, Serve itself if it serves nothing else.

    Requests in flight are finished. Serve is asked to end without waiting in the call: a call that still
    waits when Serve's controller dies makes Ray write warnings to the terminal.
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
