"""Changes of the database, in threads that no reader needs, and in turns between callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")

WRITERS = 4
"""Changes at the same time; SQLite makes one at a time, and others wait for it."""


class Writers:
    """Makes changes; of those of one caller one at a time, so that many of them delay others' by one each."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(WRITERS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, caller: str, change: Callable[[], T]) -> T:
        """What a change gives; one that has begun is ended also if nobody waits for it any more.

        Args:
            caller: who asks.
            change: what to do, in a worker thread.
        """
        turn = self._turns.setdefault(caller, asyncio.Lock())  # it is gone when nobody holds it or waits
        async with turn:
            return await to_thread.run_sync(change, limiter=self._limiter)
