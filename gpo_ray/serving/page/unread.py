"""Bound what waits to be read by a page's browser.

Ray Serve takes all that is sent on a websocket, whether or not anybody reads it. So a browser is asked now
and then, after what was sent to it, for a number that it can know only once it has read so far.
"""

from __future__ import annotations

import json
from collections import deque
from secrets import token_hex
from typing import Any

from nicegui.json import dumps
from starlette.types import Message

MAX_UNREAD_BYTES = 4_000_000
"""Most bytes that wait for one browser."""
ASKING_BYTES = 250_000
"""Bytes that are sent before a browser is asked whether it has read them."""
MAX_HISTORY_BYTES = 2_000_000
"""Most bytes of the messages that are kept for a page whose connection is interrupted; they are sent at once
when it returns."""
_ANSWER = '42["javascript_response"'
_MAX_ANSWER_CHARACTERS = 300


class Unread:
    """What was sent on one websocket, and how far it was read."""

    def __init__(self) -> None:
        self._sent = self._read = 0
        self._asked: tuple[str, int] | None = None

    def sends(self, message: Message) -> bool:
        """Count a message that is about to be sent, and return whether there is room for it."""
        self._sent += len((message.get("text") or "").encode()) + len(message.get("bytes") or b"")
        return self._sent - self._read <= MAX_UNREAD_BYTES

    def question(self) -> Message | None:
        """Return a message to send now, by which the browser is asked what it has read, if it is time."""
        if self._asked is not None or self._sent - self._read < ASKING_BYTES:
            return None
        self._asked = token_hex(16), self._sent
        asked = ["run_javascript", {"code": "0", "request_id": self._asked[0]}]
        return {"type": "websocket.send", "text": f"42{json.dumps(asked)}"}

    def is_answer(self, text: str) -> bool:
        """Return whether a message answers the last question, and note what was read then."""
        if self._asked is None or not text.startswith(_ANSWER) or len(text) > _MAX_ANSWER_CHARACTERS:
            return False
        if self._asked[0] not in text:
            return False
        self._read, self._asked = self._asked[1], None
        return True


class History(deque[Any]):
    """The messages that NiceGUI keeps for a page that may come back, at most :data:`MAX_HISTORY_BYTES`.

    Messages are added at the right; the oldest ones are dropped. A page that missed one of these is loaded
    again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sizes: deque[int] = deque()
        self._together = 0

    def append(self, entry: Any) -> None:
        """Add a message, and drop the oldest ones if there are too many bytes."""
        size = len(dumps(entry[-1]).encode())
        super().append(entry)
        self._sizes.append(size)
        self._together += size
        while self._together > MAX_HISTORY_BYTES:
            self.popleft()

    def popleft(self) -> Any:
        """Remove and return the oldest message."""
        found = super().popleft()
        self._together -= self._sizes.popleft()
        return found

    def pop(self) -> Any:  # type: ignore[override]
        """Remove and return the newest message."""
        found = super().pop()
        self._together -= self._sizes.pop()
        return found

    def clear(self) -> None:
        """Remove all messages."""
        super().clear()
        self._sizes.clear()
        self._together = 0
