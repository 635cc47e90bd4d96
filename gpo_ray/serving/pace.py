"""How fast something may go on."""

from __future__ import annotations

import time


class Pace:
    """A token bucket.

    Args:
        per_second: what may be taken in the long run.
        at_once: what may be taken after a rest.
    """

    def __init__(self, per_second: float, at_once: float) -> None:
        self._per_second, self._at_once = per_second, at_once
        self._left, self._then = at_once, time.monotonic()

    def take(self, amount: float = 1) -> bool:
        """Whether so much is left; if it is, it is taken."""
        now = time.monotonic()
        self._left = min(self._at_once, self._left + (now - self._then) * self._per_second)
        self._then = now
        if amount > self._left:
            return False
        self._left -= amount
        return True
