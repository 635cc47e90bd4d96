"""A bound on how often something may happen."""

from __future__ import annotations

import time


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
