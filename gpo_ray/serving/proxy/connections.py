"""The connections of a proxy: how many there are, and how long they may hold on to nothing."""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING

MOST = 4_096
"""Connections at once, or half of the files that the process may open where that is less."""
STALL_SECONDS = 30.0
"""After which a client has to have taken some of what waits for it."""
STALL_BYTES = 16_384
"""That it has to have taken."""


class Connections:
    """Those that are open. Where there are too many, the one that has waited longest makes room.

    There is no limit for each address: behind a reverse proxy all visitors have the same one.

    Args:
        most: connections at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[asyncio.Transport] = set()
        self._idle: dict[asyncio.Transport, None] = {}  # in the order in which they began to be

    def admit(self, transport: asyncio.Transport) -> bool:
        """Count one more, which has not asked yet; False if all that there may be are being answered."""
        if len(self._open) >= self._most:
            oldest = next(iter(self._idle), None)
            if oldest is None:
                return False
            self.leave(oldest)
            oldest.abort()
        self._open.add(transport)
        self._idle[transport] = None
        return True

    def asks(self, transport: asyncio.Transport) -> None:
        """Keep one, whose request is being answered."""
        self._idle.pop(transport, None)

    def rests(self, transport: asyncio.Transport) -> None:
        """One was answered, and may make room for others from now on."""
        if transport in self._open:
            self._idle.setdefault(transport)

    def leave(self, transport: asyncio.Transport) -> None:
        """One is closed, or about to be."""
        self._open.discard(transport)
        self._idle.pop(transport, None)


CONNECTIONS = Connections(min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))
"""Of this process."""

if TYPE_CHECKING:
    _Protocol = asyncio.Protocol
else:
    _Protocol = object


class Counted(_Protocol):
    """Mixed into a protocol of uvicorn's: ends connections that take nothing, and counts those that end."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    _stall: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """As its parent's; from now on something waits for the client."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """As its parent's; little waits now."""
        self._rest()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """As its parent's."""
        self._rest()
        CONNECTIONS.leave(self.transport)
        super().connection_lost(exc)

    def _watch(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._stall = self.loop.call_later(STALL_SECONDS, self._check, waiting)

    def _check(self, waited: int) -> None:
        if waited - self.transport.get_write_buffer_size() < STALL_BYTES:
            self.transport.abort()
        else:
            self._watch()

    def _rest(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
