"""The page's log: it says where and how something failed, never what a visitor sent.

NiceGUI by itself logs whatever a browser asks it to log (by the socket's event ``log``), requested addresses,
and messages of errors, which repeat what was sent; engine.io logs unknown session ids. Nor can a visitor
decide how much is logged (:class:`~gpo_ray.serving.log.BoundedLog`).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from nicegui import core
from socketio.exceptions import SocketIOError  # type: ignore[import-untyped]

from gpo_ray.serving.api.middleware import raised_at
from gpo_ray.serving.log import BoundedLog

_LIBRARIES = ("nicegui", "engineio", "engineio.server", "socketio", "socketio.server")


def log_failure(error: BaseException) -> None:
    """Write one line that says where an exception was raised, and of which type it is."""
    _write(logging.ERROR, error=type(error).__name__, where=raised_at(error))


def keep_log_closed() -> None:
    """Keep visitors from choosing what this process logs; a second call changes nothing."""
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers[:] = [_Places(logging.WARNING)]
        library.propagate = False
    handlers = core.sio.handlers["/"]
    handlers.pop("log", None)
    for event, handler in handlers.items():
        if not getattr(handler, "guarded", False):
            handlers[event] = _guarded(_ADAPTED.get(event, lambda own: own)(handler))


class _Places(logging.Handler):
    """A log handler that writes the place of each record instead of its text."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the place of a record or of its exception."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            log_failure(error)
        else:
            _write(record.levelno, where=[f"{record.pathname}:{record.lineno} {record.funcName}"])


_BOUNDED_LOG = BoundedLog()


def _write(level: int, **fields: object) -> None:
    _BOUNDED_LOG.write(level, {"event": "page", **fields}, "page")


def _connecting(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the handler of new connections, which a visitor could also call by an event of any content."""

    async def connect(sid: str, data: object, *more: object) -> Any:
        return data is core.sio.get_environ(sid) and await handler(sid, data, *more)

    return connect


def _disconnecting(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the handler of closed connections, which does not take the reason that socketio gives.

    For a handler that fails by a TypeError socketio leaves the reason out, but this module catches errors.
    """

    def disconnect(sid: str, *_reason: object) -> Any:
        return handler(sid)

    return disconnect


_ADAPTED = {"connect": _connecting, "disconnect": _disconnecting}


def _guarded(handler: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Wrap the handler of a socket event so that this module logs its errors."""

    @wraps(handler)
    async def guarded(*arguments: Any) -> Any:
        try:
            made = handler(*arguments)
            return await made if inspect.isawaitable(made) else made
        except (asyncio.CancelledError, SocketIOError):
            raise  # a SocketIOError may be a refused connection
        except Exception as e:  # noqa: BLE001 -- what was sent may be anything
            log_failure(e)
            return False

    guarded.guarded = True  # type: ignore[attr-defined]
    return guarded
