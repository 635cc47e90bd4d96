"""Read and change the database in threads, in turns between callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")

WRITERS = 4
"""Most changes at the same time; SQLite makes one at a time, while others wait for it."""
READERS = 4
"""Most reads at the same time, in threads of their own."""
READERS_EACH = 2
"""Most reads of one caller at the same time."""


class _Threads:
    """A runner of functions in some threads, of which each caller may occupy a few."""

    def __init__(self, threads: int, each: int) -> None:
        self._limiter, self._each = CapacityLimiter(threads), each
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def run(self, caller: str, work: Callable[[], T]) -> T:
        """Return the result of a function; one that has begun is finished even if nobody waits for it.

        Args:
            caller: id of the caller.
            work: the function to call in a worker thread.
        """
        # removed when nobody holds or awaits it
        turn = self._turns.setdefault(caller, asyncio.Semaphore(self._each))
        async with turn:
            return await to_thread.run_sync(work, limiter=self._limiter)


class Writers(_Threads):
    """A runner of changes, one at a time for each caller, so that one caller's many delay others little."""

    def __init__(self) -> None:
        super().__init__(WRITERS, 1)


class Readers(_Threads):
    """A runner of reads, of which one caller's many occupy half of the threads."""

    def __init__(self) -> None:
        super().__init__(READERS, READERS_EACH)
