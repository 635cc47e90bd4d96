"""Bounds on the bytes and the time of an answer, for a server that is broken or hostile."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

with contextlib.suppress(ModuleNotFoundError):  # without httpx, making a client raises an error that says so
    import httpx

R = TypeVar("R")


class Body:
    """The body of an answer as it arrives, of bounded length.

    Args:
        response: the response, of which nothing but the head has been read.
        most: most bytes of it that are taken.

    Raises:
        DecodingError: if it is compressed.
    """

    def __init__(self, response: httpx.Response, most: int) -> None:
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":  # a few bytes may stand for gigabytes
            raise httpx.DecodingError("the answer is compressed, although that was not asked for")
        self._response, self._most, self._left = response, most, most
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        """Add a part.

        Raises:
            DecodingError: if there are more bytes than are taken now.
        """
        self._left -= len(part)
        if self._left < 0:
            raise httpx.DecodingError(f"the answer is longer than {self._most:,} bytes")
        self._parts.append(part)

    def whole(self) -> httpx.Response:
        """Return the response with its body."""
        old = self._response
        return httpx.Response(old.status_code, headers=old.headers, content=b"".join(self._parts))


def begun(work: Callable[[], R]) -> Future[R]:
    """Call a function in a thread that does not keep the process from ending, and return its result to be.

    The timeouts of sockets are for each read, so that a server that sends a byte at a time could hold the
    caller for ever; whoever waits for the result says how long.
    """
    found: Future[R] = Future()

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as e:  # noqa: BLE001 -- raised where the result is awaited
            found.set_exception(e)

    threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()
    return found


def too_slow(seconds: float) -> httpx.RequestError:
    """Return the error of a call that took longer than ``seconds``."""
    return httpx.ReadTimeout(f"not all of the answer arrived within {seconds:g} seconds")
