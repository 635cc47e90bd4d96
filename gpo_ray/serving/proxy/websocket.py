"""The websocket protocol of the proxies, with bounds on what a socket may send."""

from __future__ import annotations

import asyncio
from asyncio import BaseTransport
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame

from gpo_ray.serving.pace import Pace
from gpo_ray.serving.proxy.connections import Counted

MAX_MESSAGE_BYTES = 4 * 65_536
"""Most bytes of a message: the page's longest message in UTF-8."""
FRAMES = 40
"""Frames that a socket may send in a second in the long run; a long one counts as several."""
FRAMES_AT_ONCE = 120
"""Frames that a socket may send at once after a rest."""
FRAME_BYTES = 4_096
"""Bytes of a frame that count as another frame."""
ACCEPT_SECONDS = 30.0
"""Seconds within which the application has to accept or refuse a socket."""
_SLICE = 4_096
_NO_HANDSHAKE = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedWebSocket(Counted, WebSocketsSansIOProtocol):
    """uvicorn's websocket protocol without compression, with bounds on the length and number of messages.

    Serve keeps all that a socket sends until the replica takes it; and a compressed message may become a
    thousand times longer. A socket that sends too much is closed, and what it sent is dropped.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        config.ws_max_size, config.ws_per_message_deflate = MAX_MESSAGE_BYTES, False
        super().__init__(config, server_state, app_state, _loop)
        self._pace = Pace(FRAMES, FRAMES_AT_ONCE)

    def connection_made(self, transport: BaseTransport) -> None:
        """Take over a connection, whose socket has to be accepted soon."""
        super().connection_made(transport)
        self._late = self.loop.call_later(ACCEPT_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer, then do what the parent does."""
        self._late.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receive data in slices, since one piece may hold tens of thousands of frames.

        The first data hold the whole handshake. If websockets cannot read it, although h11 could, the parent
        would do nothing, and the connection would stay open for ever.
        """
        for start in range(0, len(data), _SLICE):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + _SLICE])
        if not self.handshake_initiated:
            self.transport.write(_NO_HANDSHAKE)
            self.transport.close()

    def _give_up(self) -> None:
        if not self.handshake_complete:
            self.transport.abort()

    def handle_events(self) -> None:
        """Handle the frames received, unless there are too many."""
        frames = [e for e in self.conn.events if isinstance(e, Frame)]
        if frames and not self._pace.take(sum(1 + len(f.data) // FRAME_BYTES for f in frames)):
            self.conn.events_received()
            while not self.queue.empty():
                self.queue.get_nowait()
            self.conn.fail(CloseCode.TRY_AGAIN_LATER)
            self.handle_parser_exception()
            return
        super().handle_events()

    def handle_parser_exception(self) -> None:
        """Close after an error; the parent takes for granted that the socket was accepted before."""
        if self.conn.close_sent is None:
            self.transport.abort()
        else:
            super().handle_parser_exception()
