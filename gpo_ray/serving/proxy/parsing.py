"""A parser of HTTP/1.1 that refuses what takes long to parse although it is short."""

from __future__ import annotations

import re
from typing import Any

import h11

MAX_HEADER_LINES = 100
"""Most header lines of a request; each takes as long to parse and to pass on as kilobytes of another."""
FREE_CHUNKS = 1_000
"""Chunks of a body that may be of any length; further ones must be of :data:`CHUNK_BYTES` on average."""
CHUNK_BYTES = 1_024
_HEAD_END = re.compile(rb"\n\r?\n")


class BoundedConnection(h11.Connection):
    """h11's state machine of a server's connection, with a bound on the lines and pieces of a request.

    Bytes are bounded elsewhere. But 64 KiB of headers may be 15,000 lines, and each chunk of a body is an
    event of its own: 250 kB in chunks of one byte take as much time as 100 MB in long ones, in one go.
    """

    _chunks = 0
    _body_bytes = 0

    def next_event(self) -> Any:
        """Return the next event, as h11 does.

        Raises:
            RemoteProtocolError: if the request is malformed, or has too many header lines or chunks.
        """
        if self.their_state is h11.IDLE:
            self._require_few_lines()
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._body_bytes = 0
        elif isinstance(event, h11.Data):
            self._body_bytes += len(event.data)
            self._chunks += event.chunk_start
            if self._chunks > FREE_CHUNKS + self._body_bytes / CHUNK_BYTES:
                raise h11.RemoteProtocolError("too many chunks", error_status_hint=400)
        return event

    def _require_few_lines(self) -> None:
        waiting, _ = self.trailing_data
        # h11 skips blank lines before a request
        head = bytes(waiting).lstrip(b"\r\n")
        end = _HEAD_END.search(head)
        if head.count(b"\n", 0, end.end() if end else len(head)) > MAX_HEADER_LINES + 2:
            raise h11.RemoteProtocolError("too many header lines", error_status_hint=431)
