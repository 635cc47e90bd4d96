"""Running the service from the command line, until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable

from ray import serve

from gpo_ray.errors import ConfigError
from gpo_ray.ray_session import ray_session, require
from gpo_ray.serving.app import assemble, check
from gpo_ray.serving.database import open_database
from gpo_ray.serving.keys import KeyRing
from gpo_ray.serving.middleware import LOOPBACK
from gpo_ray.serving.settings import ServeSettings

NAME = "gpo"


def run(
    settings: ServeSettings,
    host: str,
    port: int,
    address: str | None,
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was asked and stop.

    Without API keys everybody who reaches the port may do everything, so that only this machine may.

    Args:
        settings: of the service; ``require_keys`` is set by whether there are any.
        host: address to listen on.
        port: port to listen on.
        address: of the Ray cluster; by default a local one is started.
        announce: told what the user should know.

    Raises:
        GPOError: if a setting names something that cannot be used, or the cluster is too small.
    """
    engine = open_database(settings.database)
    keyed = KeyRing(engine).any()
    engine.dispose()
    if not keyed and host not in LOOPBACK:
        raise ConfigError(
            f"without API keys only this machine may ask, and --host is {host}; make one with: "
            "gpo serve key create --name NAME --tenant TENANT --scope read --scope write"
        )
    settings = settings.model_copy(update={"require_keys": keyed})
    _check_free(host, port)
    check(settings)
    # a lost proxy is replaced after three missed checks, by default ten seconds apart
    os.environ.setdefault("RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "2")
    stop = threading.Event()
    with ray_session(address):
        for number in (signal.SIGINT, signal.SIGTERM):  # after Ray, which sets its own
            signal.signal(number, lambda *_: stop.set())
        require(settings.need())
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(http_options={"host": host, "port": port})
        try:
            serve.run(assemble(settings), name=NAME, logging_config={"encoding": "JSON"})
            where = f"http://{host}:{port}"
            announce(f"serving {settings.bundle} at {where} (page: {where}/, API: {where}/v1)")
            if not keyed:
                announce("no API keys: only this machine may ask, and everybody on it may do everything")
            stop.wait()
            announce("stopping")
        finally:
            serve.shutdown()


def _check_free(host: str, port: int) -> None:
    """Serve would share a port with whoever listens there already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as one that was stopped just now may be
        try:
            probe.bind((host, port))
        except OSError as e:
            raise ConfigError(f"cannot listen on {host}:{port}: {e.strerror}; choose another --port") from e
