"""Connections of synchronous HTTP clients that can be cut while a thread reads from them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

with contextlib.suppress(ModuleNotFoundError):  # without httpx, making a client raises an error that says so
    import httpx

MAX_IDLE = 10
"""Most lines that are kept for later calls."""


class Line:
    """A client of httpx for one call at a time, so that its last connection is that call's.

    httpx itself has no way to end a call from another thread, and reads on as long as anything arrives: of
    ``103 Early Hints``, say, there may be any number.

    Args:
        http: the client, which is used by this line only, or one for tests, which has no connection.
    """

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self._stream: Any = None
        self._is_cut = False

    def note(self, event: str, about: Mapping[str, Any]) -> None:  # noqa: ARG002 -- as httpx calls it
        """Note a new connection; httpx calls this, as the extension ``trace`` of a request, at every step."""
        stream = about.get("return_value")
        if hasattr(stream, "get_extra_info"):
            self._stream = stream
            if self._is_cut:  # while it connected
                self.cut()

    def cut(self) -> None:
        """End the connection, whatever another thread does with it; that thread then gets an error."""
        self._is_cut = True
        connection = self._stream and self._stream.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):  # it has ended already
                socket.socket.shutdown(connection, socket.SHUT_RDWR)  # TLS would change what is read


class Lines:
    """The lines of a client, of which a call takes one; as many are made as there are calls at once.

    Args:
        make: function that makes a client of httpx.
    """

    def __init__(self, make: Callable[[], httpx.Client]) -> None:
        self._make, self._is_closed = make, False
        self._idle = [Line(make())]  # so that what is wrong with the options is said now

    def take(self) -> Line:
        """Return a line for one call.

        Raises:
            RuntimeError: after :meth:`close`.
        """
        if self._is_closed:
            raise RuntimeError("the client has been closed")
        try:
            return self._idle.pop()  # the one used last, whose connection is most likely still open
        except IndexError:
            return Line(self._make())

    def give_back(self, line: Line, call: Future[Any]) -> None:
        """Keep a line for later calls; if its call is still under way, end that."""
        if not call.done():
            line.cut()
            call.add_done_callback(lambda _: line.http.close())
        elif self._is_closed or len(self._idle) >= MAX_IDLE:
            line.http.close()
        else:
            self._idle.append(line)

    def close(self) -> None:
        """Close all lines; those in use are closed when their calls end."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().http.close()
