"""What the page logs: where something failed and how, never what a visitor sent.

NiceGUI writes to the log what a browser asks it to (its socket's event ``log``), addresses that were asked
for, and messages of errors, which repeat what was sent; engine.io writes session ids that it does not know.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import traceback
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from nicegui import core

from gpo_ray.serving.middleware import LOG

_LIBRARIES = ("nicegui", "engineio", "engineio.server", "socketio", "socketio.server")
_HANDLED = ("handshake", "event", "javascript_response", "ack")
_FRAMES = 12


def log_failure(error: BaseException) -> None:
    """One line that says where an exception was raised, and of which type it is."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    where = [f"{f.filename}:{f.lineno} {f.name}" for f in frames]
    _write(logging.ERROR, error=type(error).__name__, where=where)


def keep_log_closed() -> None:
    """Let no visitor of the page choose what is logged in this process; doing so again changes nothing."""
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers[:] = [_Places(logging.WARNING)]
        library.propagate = False
    handlers = core.sio.handlers["/"]
    handlers.pop("log", None)
    for event in _HANDLED:
        handlers[event] = _guarded(handlers[event])


class _Places(logging.Handler):
    """Writes the place of each record instead of its text."""

    def emit(self, record: logging.LogRecord) -> None:
        """As its parent's."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            log_failure(error)
        else:
            _write(record.levelno, where=[f"{record.pathname}:{record.lineno} {record.funcName}"])


def _write(level: int, **fields: object) -> None:
    LOG.log(level, "%s", json.dumps({"event": "page", **fields}))


def _guarded(handler: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """A handler of an event of the page's socket whose errors are ours to log."""
    if getattr(handler, "guarded", False):
        return handler

    @wraps(handler)
    async def guarded(*arguments: Any) -> Any:
        try:
            made = handler(*arguments)
            return await made if inspect.isawaitable(made) else made
        except asyncio.CancelledError:
            raise
        except Exception as e:  # noqa: BLE001 -- what was sent may be anything
            log_failure(e)
            return False

    guarded.guarded = True  # type: ignore[attr-defined]
    return guarded
