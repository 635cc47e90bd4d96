"""The page's log: it says where and how something failed, never what a visitor sent.

NiceGUI by itself logs whatever a browser asks it to log (by the socket's event ``log``), requested addresses,
and messages of errors, which repeat what was sent; engine.io logs unknown session ids. Nor can a visitor
decide how much is logged: there are at most :data:`LINES` lines in a minute, and the next line says how many
were dropped.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from nicegui import core
from socketio.exceptions import SocketIOError  # type: ignore[import-untyped]

from gpo_ray.serving.api.middleware import LOG, raised_at

LINES = 60
"""Most lines in a minute."""
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
            handlers[event] = _guarded(_connecting(handler) if event == "connect" else handler)


class _Places(logging.Handler):
    """A log handler that writes the place of each record instead of its text."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the place of a record or of its exception."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            log_failure(error)
        else:
            _write(record.levelno, where=[f"{record.pathname}:{record.lineno} {record.funcName}"])


class _Minute:
    """The number of lines that were written and dropped in the current minute."""

    def __init__(self) -> None:
        self._began, self._written, self._dropped = -math.inf, 0, 0

    def room(self) -> int | None:
        """Return how many lines were dropped before one that may be written now, or None if it may not."""
        now = time.monotonic()
        if now >= self._began + 60:
            self._began, self._written = now, 0
        if self._written == LINES:
            self._dropped += 1
            return None
        self._written += 1
        dropped, self._dropped = self._dropped, 0
        return dropped


_MINUTE = _Minute()


def _write(level: int, **fields: object) -> None:
    dropped = _MINUTE.room()
    if dropped is not None:
        fields |= {"dropped": dropped} if dropped else {}
        LOG.log(level, "%s", json.dumps({"event": "page", **fields}))


def _connecting(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the handler of new connections, which a visitor could also call by an event of any content."""

    async def connect(sid: str, data: object, *more: object) -> Any:
        return data is core.sio.get_environ(sid) and await handler(sid, data, *more)

    return connect


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
