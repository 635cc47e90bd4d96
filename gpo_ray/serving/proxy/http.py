"""The HTTP protocol of the proxies, with bounds on time, connections and bytes."""

from __future__ import annotations

import asyncio
from typing import Any

from h11 import IDLE, SEND_BODY, SEND_RESPONSE, SERVER
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from gpo_ray.serving.proxy.connections import BODIES, CONNECTIONS, Counted, drop, keep_little, waiting_bytes
from gpo_ray.serving.proxy.parsing import BoundedConnection

HEADER_SECONDS = 10.0
"""Seconds for a request's headers to arrive, from the start of the connection or, later, from their first
byte."""
MAX_USELESS_BYTES = 262_144
"""Most bytes of a body that a client may send after the answer, which closing at once could make it lose."""
MAX_INCOMPLETE_BYTES = 16_384
"""Most bytes of headers that have not all arrived, as in h11, where Serve's configuration names no other."""
PIPELINE_PAUSE = 0.02
"""Seconds between an answer and the next request of a connection that was sent before that answer."""
PIPELINE_TURN = 0.05
"""Seconds between two such requests of any connections."""


class _Turns:
    """The turns of requests that were sent before the answer to the one before, of all connections."""

    def __init__(self) -> None:
        self._last = 0.0

    def wait(self, now: float) -> float:
        """Take the next turn and return the seconds until then."""
        self._last = max(now + PIPELINE_PAUSE, self._last + PIPELINE_TURN)
        return self._last - now


_TURNS = _Turns()


class BoundedHTTP(Counted, H11Protocol):
    """uvicorn's protocol for h11, for a bounded number of connections that must send their headers soon.

    Serve's ``keep_alive_timeout_s`` says how long an answered connection may stay idle.
    """

    _late: asyncio.TimerHandle | None = None
    _next: asyncio.TimerHandle | None = None
    _upgraded = _unreceived = False
    _useless = 0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = BoundedConnection(SERVER, config.h11_max_incomplete_event_size or MAX_INCOMPLETE_BYTES)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection if there is room for it."""
        super().connection_made(transport)
        keep_little(transport)
        if CONNECTIONS.admit(transport):
            self._expect_headers()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer for headers, then do what the parent does."""
        self._expect_nothing()
        if self._next is not None:
            self._next.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receive data; data that arrives while no request is being answered begins the next one."""
        if self._is_idle():
            self._expect_headers()
            if self.conn.their_state is SEND_BODY:  # of a request that was answered, and is thrown away
                self._useless += len(data)
                if self._useless > MAX_USELESS_BYTES:
                    self.transport.abort()
                    return
        BODIES.hold(self.transport, len(data))
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        """Finish as the parent does, which goes on with a request that has arrived meanwhile.

        While much of the answer waits to be received, nothing more is read: another answer would wait, too.
        Nor can requests that were sent all at once keep this process from serving others.
        """
        self._useless = 0
        self.watch()
        if self.flow.write_paused and not self.transport.is_closing():
            self._unreceived = True
            self.flow.pause_reading()
        elif self.conn.trailing_data[0] and not self.transport.is_closing():
            self.flow.pause_reading()
            self._next = self.loop.call_later(_TURNS.wait(self.loop.time()), self._go_on)
        else:
            super().on_response_complete()
        self._note()

    def _go_on(self) -> None:
        self._next = None
        super().on_response_complete()
        self._note()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request as the parent does; if its answer has begun already, drop the connection."""
        if self.conn.our_state in (IDLE, SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            drop(self.transport)

    def resume_writing(self) -> None:
        """Resume as the parent does, and finish with an answer that has been received."""
        super().resume_writing()
        if self._unreceived:
            self._unreceived = False
            self.on_response_complete()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Upgrade as the parent does; from now on another protocol has the connection."""
        self._upgraded = True
        self._note()
        BODIES.release(self.transport)
        super().handle_websocket_upgrade(event)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection as the parent does, and drop what the client has not received."""
        waiting = waiting_bytes(self.transport)
        super().timeout_keep_alive_handler()
        if waiting and self.transport.is_closing():
            drop(self.transport)

    def _is_idle(self) -> bool:
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self._upgraded and self._next is None

    def _note(self) -> None:
        if self._is_idle():
            CONNECTIONS.rests(self.transport)
            BODIES.release(self.transport)
        else:
            self._expect_nothing()
            CONNECTIONS.asks(self.transport)

    def _expect_headers(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
