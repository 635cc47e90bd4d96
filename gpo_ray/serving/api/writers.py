"""Change the database in threads that no reader needs, in turns between callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")

WRITERS = 4
"""Most changes at the same time; SQLite makes one at a time, while others wait for it."""


class Writers:
    """A runner of changes, one at a time for each caller, so that one caller's many delay others little."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(WRITERS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, caller: str, change: Callable[[], T]) -> T:
        """Return the result of a change; a change that has begun is finished even if nobody waits for it.

        Args:
            caller: id of the caller.
            change: the function to call in a worker thread.
        """
        turn = self._turns.setdefault(caller, asyncio.Lock())  # removed when nobody holds or awaits it
        async with turn:
            return await to_thread.run_sync(change, limiter=self._limiter)
