"""Run the service from the command line until a signal stops it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress

import ray
from ray import serve

from gpo_ray.errors import ConfigError
from gpo_ray.runtime import signals
from gpo_ray.runtime.ray_session import ray_session, require
from gpo_ray.serving.app import assemble, check
from gpo_ray.serving.instance import LOGGING, STOP_SECONDS, is_free, is_unbounded, leave
from gpo_ray.serving.log import rotate
from gpo_ray.serving.proxy import AT_ONCE, BOUNDED, CALLBACK
from gpo_ray.serving.reach import MAKE_A_KEY, check_reach, is_loopback
from gpo_ray.serving.registry.database import open_database
from gpo_ray.serving.registry.keys import KeyRing
from gpo_ray.serving.settings import ServeSettings

NAME = "gpo"


def run(
    settings: ServeSettings,
    host: str,
    port: int,
    address: str | None,
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM, then finish the requests in flight and stop.

    Without API keys everybody who reaches the port may do everything, so the port is then open to this
    machine only.

    Args:
        settings: settings of the service; unless given, ``require_keys`` is set if there are any API keys.
        host: address to listen on.
        port: port to listen on.
        address: address of the Ray cluster; by default a local one is started.
        announce: function that shows a message to the user.

    Raises:
        GPOError: if a setting names something that cannot be used, the cluster is too small, or a Serve
            instance that runs on it already cannot be joined.
    """
    stop, alone = Stop(), not (ray.is_initialized() or address or os.environ.get("RAY_ADDRESS"))
    # If _ToldToStop interrupts Ray while it waits, Ray raises KeyboardInterrupt instead.
    with suppress(_ToldToStop, KeyboardInterrupt), reserved(host, port) if alone else nullcontext():
        stop.listen()
        if not ray.is_initialized():  # on a cluster that was joined, Serve may listen on the port already
            _check_free(host, port)
        settings = _settled(settings, host)
        check(settings)
        # A lost proxy is replaced after three missed checks, which by default are ten seconds apart.
        os.environ.setdefault("RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "2")
        rotate(os.environ)
        os.environ.setdefault(CALLBACK, BOUNDED)
        os.environ.setdefault(AT_ONCE, str(settings.limits.requests_at_once))
        with ray_session(address):
            stop.listen()  # Ray has set handlers of its own in place of these
            require(settings.resource_request())
            logging.getLogger("ray.serve").setLevel(logging.WARNING)
            _serve(settings, host, port, stop, announce, alone)


def _settled(settings: ServeSettings, host: str) -> ServeSettings:
    """Decide what the settings leave open: whether keys are needed, and whether to use one process.

    This makes the database, if there is none.

    Raises:
        ConfigError: if no keys are needed and ``host`` is not this machine alone, or as :func:`keys_needed`.
    """
    keyed = keys_needed(settings)
    check_reach(keyed, host, "--host")
    together = settings.one_process
    if "one_process" not in settings.model_fields_set:
        together = settings.may_be_one_process
    return settings.model_copy(update={"require_keys": keyed, "one_process": together})


def _serve(
    settings: ServeSettings,
    host: str,
    port: int,
    stop: Stop,
    announce: Callable[[str], None],
    alone: bool,
) -> None:
    """Serve on the connected cluster until a signal, then leave it.

    Args:
        settings: settings of the service, with nothing left open.
        host: address to listen on.
        port: port to listen on.
        stop: says when to stop.
        announce: function that shows a message to the user.
        alone: whether the cluster was started for this service only, so that it ends with it.
    """
    first = is_free(host, port, NAME)
    if first:
        _check_free(host, port)
    try:
        if first:
            serve.start(http_options={"host": host, "port": port}, logging_config=LOGGING)
        application = assemble(settings, patience=STOP_SECONDS)
        serve.run(application, name=NAME, logging_config=LOGGING)
        where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        announce(f"serving {settings.bundle} at {where} (page: {where}/, API: {where}/v1)")
        if not settings.require_keys:
            announce("no API keys: only this machine may ask, and everybody on it may do everything")
        if not alone and is_unbounded(host, port):
            announce(
                "Serve's proxies on this cluster do not bound what strangers send: "
                f"set {CALLBACK}={BOUNDED} in the nodes' environment, and start Serve anew"
            )
        stop.wait()
    finally:
        if stop.told():
            announce("stopping")
        leave(NAME, first and not alone)  # a cluster for this service only ends with everything on it


def keys_needed(settings: ServeSettings) -> bool:
    """Return whether requests need keys, which they do if any API key works.

    Raises:
        ConfigError: if the settings contradict this, or if all keys are revoked and the settings say nothing,
            since a service with keys must not become open by itself.
    """
    said = settings.require_keys if "require_keys" in settings.model_fields_set else None
    engine = open_database(settings.database)
    try:
        ring = KeyRing(engine)
        works, were = ring.any(), bool(ring.list())
    finally:
        engine.dispose()
    if works and said is False:
        raise ConfigError(
            "require_keys: false, and there are API keys; leave it out, or revoke them (gpo serve key list)"
        )
    if not works and said:
        raise ConfigError(f"require_keys: true, and no API key works; make one with: {MAKE_A_KEY}")
    if not works and were and said is None:
        raise ConfigError(
            f"every API key is revoked; make one with: {MAKE_A_KEY}; or say require_keys: false in --config"
        )
    return works


class _ToldToStop(BaseException):
    """SIGINT or SIGTERM arrived while the service was starting, which may take minutes."""


class Stop:
    """A handler of signals that interrupts the service while it starts and later ends its wait."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self._starting = True

    def listen(self) -> None:
        """Handle SIGINT and SIGTERM from now on, as the proper end of this process."""
        signals.serves()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._tell)

    def _tell(self, *_: object) -> None:
        self._told.set()
        if self._starting:
            self._starting = False
            raise _ToldToStop

    def wait(self) -> None:
        """Wait until a signal arrives."""
        self._starting = False
        self._told.wait()

    def told(self) -> bool:
        """Return whether a signal has arrived; from now on signals do not interrupt this process."""
        self._starting = False
        return self._told.is_set()


@contextmanager
def reserved(host: str, port: int) -> Iterator[None]:
    """Keep other ``gpo serve`` processes on this machine from using an address, before it is listened on.

    The kernel holds a name for the address, and releases it when this process ends.

    Raises:
        ConfigError: if another process has it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as holder:
        try:
            # All names of this machine stand for the same address.
            holder.bind(f"\0gpo_ray-serve-{'loopback' if is_loopback(host) else host[:60]}:{port}")
        except (OSError, UnicodeError) as e:
            raise ConfigError(
                f"cannot listen on {host}:{port}: another gpo serve has it; choose another --port"
            ) from e
        yield


def _check_free(host: str, port: int) -> None:
    """Raise ConfigError if the port is taken already; Serve would share it with the other listener."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # bind where a listener just stopped
        try:
            probe.bind((host, port))
        except (OSError, TypeError, UnicodeError) as e:
            why = e.strerror if isinstance(e, OSError) else "not the name of a host"
            raise ConfigError(
                f"cannot listen on {host}:{port}: {why}; choose another --host or --port"
            ) from e
