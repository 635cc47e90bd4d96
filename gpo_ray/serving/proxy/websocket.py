"""The websocket protocol of the proxies, with bounds on what a socket may send."""

from __future__ import annotations

import asyncio
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
_SLICE = 4_096


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

    def data_received(self, data: bytes) -> None:
        """Receive data in slices, since one piece may hold tens of thousands of frames."""
        for start in range(0, len(data), _SLICE):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + _SLICE])

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
