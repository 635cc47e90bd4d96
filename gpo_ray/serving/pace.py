"""Bounds on how often something may happen, of two kinds.

:class:`RateLimit` keeps a promise about every minute, says how long to wait, and remembers the time of each
event for that. :class:`Pace` remembers two numbers, however much happens, so that it suits single messages;
for that it promises less: after a rest, a minute may hold the events of a rest and those of a minute. Neither
can stand for the other: a Pace would let a caller make twice the requests that a documented limit allows in
a minute, and a RateLimit of a minute would let a socket send a minute's messages in one second.
"""

from __future__ import annotations

import math
import time
from collections import deque

from cachetools import LRUCache

_WINDOW = 60.0
"""Seconds that a :class:`RateLimit` looks back."""
_CALLERS = 10_000
"""Number of callers whose events a :class:`RateLimit` remembers: those that asked most recently."""


class Pace:
    """A token bucket, from which each event takes an amount.

    Args:
        per_second: amount that may be taken each second in the long run.
        at_once: amount that may be taken at once after a rest.
    """

    def __init__(self, per_second: float, at_once: float) -> None:
        self._per_second, self._at_once = per_second, at_once
        self._left, self._then = at_once, time.monotonic()

    def take(self, amount: float = 1) -> bool:
        """Take an amount if so much is left, and return whether it was."""
        now = time.monotonic()
        self._left = min(self._at_once, self._left + (now - self._then) * self._per_second)
        self._then = now
        if amount > self._left:
            return False
        self._left -= amount
        return True


class RateLimit:
    """A limit on the events of each caller in any minute, counted in this process.

    Args:
        most: most events of a caller in a minute.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sent: LRUCache[str, deque[float]] = LRUCache(_CALLERS)

    def wait(self, who: str, count: int = 1) -> int:
        """Count an event, or something that counts as several events.

        Args:
            who: name of the caller.
            count: number of events; more than a minute may hold count as all that it may hold.

        Returns:
            Whole seconds after which to come back; 0 if the event may happen now and was counted.
        """
        now, count = time.monotonic(), min(count, self._most)
        sent = self._sent.get(who)
        if sent is None:
            sent = self._sent[who] = deque()
        while sent and sent[0] <= now - _WINDOW:
            sent.popleft()
        too_many = len(sent) + count - self._most
        if too_many > 0:
            return max(1, math.ceil(sent[too_many - 1] + _WINDOW - now))
        sent.extend([now] * count)
        return 0
