"""Bounds on the connections of a proxy: how many there are, what they send, and what waits to be received."""

from __future__ import annotations

import asyncio
import fcntl
import resource
import socket
import struct
import termios
from contextlib import suppress
from typing import TYPE_CHECKING

from gpo_ray.serving.bounds import MAX_BODY_BYTES

MAX_CONNECTIONS = 4_096
"""Most connections at once; half of the files that the process may open, if that is less."""
MAX_BODIES_BYTES = 128_000_000
"""Most bytes of all requests that are not answered yet."""
MAX_ANSWERS_BYTES = 128_000_000
"""Most bytes of all answers that wait to be received."""
FREE_BYTES = 16_384
"""Bytes of an answer that may wait without being watched or counted."""
KERNEL_BYTES = 131_072
"""Bytes of an answer that the kernel may take over; it allots twice as many, by itself up to megabytes."""
STALL_SECONDS = 30.0
"""Seconds in which a client has to receive half of what waited for it at first; all, in twice that time."""
STALL_BYTES = 16_384
"""Least bytes that the client has to receive in this time, however little waits."""
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux has it
_SEND_QUEUE = getattr(termios, "TIOCOUTQ", None)


class Connections:
    """The open connections; if there are too many, the one that has been idle for longest is closed.

    There is no limit for each address: behind a reverse proxy all visitors have the same one.

    Args:
        most: most connections at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[asyncio.Transport] = set()
        self._idle: dict[asyncio.Transport, None] = {}  # in the order in which they became idle

    def admit(self, transport: asyncio.Transport) -> bool:
        """Count a new connection, idle at first; return False if all possible connections are busy."""
        if len(self._open) >= self._most:
            oldest = next(iter(self._idle), None)
            if oldest is None:
                return False
            self.leave(oldest)
            drop(oldest)
        self._open.add(transport)
        self._idle[transport] = None
        return True

    def asks(self, transport: asyncio.Transport) -> None:
        """Mark a connection as busy, so that it is kept while its request is answered."""
        self._idle.pop(transport, None)

    def rests(self, transport: asyncio.Transport) -> None:
        """Mark a connection as idle, so that it may be closed to make room for others."""
        if transport in self._open:
            self._idle.setdefault(transport)

    def leave(self, transport: asyncio.Transport) -> None:
        """Stop counting a connection that is closed or about to be closed."""
        self._open.discard(transport)
        self._idle.pop(transport, None)


CONNECTIONS = Connections(min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))
"""The connections of this process."""


class Bodies:
    """The bytes of the requests that are not answered yet; if there are too many, the largest one is dropped.

    Serve takes in all that a request sends until it is answered, whether or not the application reads it, so
    that without a bound anybody could fill the memory of this process and of the replica.

    Args:
        most: most bytes of one request.
        most_together: most bytes of all requests.
    """

    def __init__(self, most: int, most_together: int) -> None:
        self._most, self._most_together = most, most_together
        self._held: dict[asyncio.Transport, int] = {}
        self.together = 0
        """Bytes of all requests now."""

    def hold(self, transport: asyncio.Transport, size: int) -> None:
        """Count bytes of the request that a connection sends; close connections that hold too many."""
        held = self._held[transport] = self._held.get(transport, 0) + size
        self.together += size
        if held > self._most:
            self._drop(transport)
        while self.together > self._most_together:
            self._drop(max(self._held, key=self._held.__getitem__))

    def release(self, transport: asyncio.Transport) -> None:
        """Stop counting a connection's request, which was answered or dropped."""
        self.together -= self._held.pop(transport, 0)

    def _drop(self, transport: asyncio.Transport) -> None:
        self.release(transport)
        transport.abort()


BODIES = Bodies(MAX_BODY_BYTES, MAX_BODIES_BYTES)
"""The requests of this process."""


def keep_little(transport: asyncio.Transport) -> None:
    """Have little of what is written to a new connection wait in the kernel, or unnoticed by its protocol.

    Where the kernel can, it ends a connection whose client receives nothing for as long as a whole answer may
    take, even after it was closed here, and although the client answers that it has no room.
    """
    transport.set_write_buffer_limits(FREE_BYTES)
    if (found := transport.get_extra_info("socket")) is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        if _USER_TIMEOUT is not None:
            found.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, round(2_000 * STALL_SECONDS))


def waiting_bytes(transport: asyncio.Transport) -> int:
    """Return the bytes that a connection's client has not received, those in the kernel included.

    Where the kernel does not tell how many these are, as outside Linux, they are not counted.
    """
    found = transport.get_extra_info("socket")
    waiting = 0
    if found is not None and _SEND_QUEUE is not None:
        with suppress(OSError, ValueError):  # it was closed already
            waiting = struct.unpack("i", fcntl.ioctl(found.fileno(), _SEND_QUEUE, bytes(4)))[0]
    return transport.get_write_buffer_size() + waiting


def drop(transport: asyncio.Transport) -> None:
    """Close a connection at once, with what waits in the kernel, which would go on sending it otherwise."""
    if (found := transport.get_extra_info("socket")) is not None:
        with suppress(OSError):  # it was closed already
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Answers:
    """The bytes of answers that wait to be received; if there are too many, the oldest answer is dropped.

    Those who receive their answers soon never wait longest, however many others do not receive theirs.

    Args:
        most: most bytes of all answers.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[asyncio.Transport, int] = {}  # in the order in which they began to wait
        self._together = 0

    def hold(self, transport: asyncio.Transport) -> None:
        """Count what waits for a connection's client; it can only become less until :meth:`release`."""
        self.release(transport)
        self._count(transport)
        if self._together <= self._most:
            return
        for each in list(self._waiting):
            self._count(each)
            if not self._waiting[each]:
                self.release(each)
        while self._together > self._most:
            oldest = next(iter(self._waiting))
            self.release(oldest)
            drop(oldest)

    def release(self, transport: asyncio.Transport) -> None:
        """Stop counting a connection, whose client received what waited."""
        self._together -= self._waiting.pop(transport, 0)

    def _count(self, transport: asyncio.Transport) -> None:
        size = waiting_bytes(transport)
        self._together += size - self._waiting.get(transport, 0)
        self._waiting[transport] = size


ANSWERS = Answers(MAX_ANSWERS_BYTES)
"""The answers of this process."""

if TYPE_CHECKING:
    _Protocol = asyncio.Protocol
else:
    _Protocol = object


class Counted(_Protocol):
    """A mixin for uvicorn's protocols that counts connections, and ends those that receive too little."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    _stall: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Pause as the parent does, and watch whether the client receives what waits for it."""
        super().pause_writing()
        self.watch()

    def resume_writing(self) -> None:
        """Resume as the parent does; what waits in the kernel goes on being watched."""
        super().resume_writing()
        self.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching and counting the connection, then do what the parent does."""
        self._rest()
        CONNECTIONS.leave(self.transport)
        BODIES.release(self.transport)
        super().connection_lost(exc)

    def watch(self) -> None:
        """Watch and count what waits for the client now, if it is much."""
        self._rest()
        waiting = waiting_bytes(self.transport)
        if waiting > FREE_BYTES and not self.transport.is_closing():
            self._stall = self.loop.call_later(STALL_SECONDS, self._check, waiting, 1)
            ANSWERS.hold(self.transport)

    def _check(self, waited: int, times: int) -> None:
        left = waiting_bytes(self.transport)
        if left <= FREE_BYTES:
            self._rest()
        elif waited - left < times * max(waited / 2, STALL_BYTES):
            drop(self.transport)
        else:
            self._stall = self.loop.call_later(STALL_SECONDS, self._check, waited, times + 1)

    def _rest(self) -> None:
        ANSWERS.release(self.transport)
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
