"""Work in threads, in turns between callers: checks of requests, reads and changes of the database."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, fail_after, to_thread

from gpo_ray.serving.registry.database import RegistryUnavailable

T = TypeVar("T")

READ_SECONDS, WRITE_SECONDS = 15.0, 40.0
"""Seconds that a request waits for the database to read and to change something; a change of SQLite may wait
for others' for :data:`~gpo_ray.serving.registry.database.BUSY_SECONDS`."""
WRITERS = 4
"""Most changes at the same time; SQLite makes one at a time, while others wait for it."""
READERS = 4
"""Most reads at the same time, in threads of their own."""
READERS_EACH = 2
"""Most reads of one caller at the same time."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give what is awaited in a block some seconds; the database is taken to be away after these.

    Raises:
        RegistryUnavailable: when they are over.
    """
    try:
        with fail_after(seconds):
            yield
    except TimeoutError as e:
        raise RegistryUnavailable("the database of groups and keys does not answer; try again later") from e


async def read_in_time(read: Callable[..., T], *given: Any) -> T:
    """Return what a function reads from the database, in a worker thread.

    Raises:
        RegistryUnavailable: if it takes longer than :data:`READ_SECONDS`; what has begun goes on.
    """
    with within(READ_SECONDS):
        return await to_thread.run_sync(read, *given, abandon_on_cancel=True)


class _Threads:
    """A runner of functions in some threads, of which each caller may occupy a few."""

    def __init__(self, threads: int, each: int, seconds: float = math.inf) -> None:
        self._limiter, self._each, self._seconds = CapacityLimiter(threads), each, seconds
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def run(self, caller: str, work: Callable[[], T]) -> T:
        """Return the result of a function; one that has begun is finished even if nobody waits for it.

        Args:
            caller: id of the caller.
            work: the function to call in a worker thread.

        Raises:
            RegistryUnavailable: if there is a time in which the work and all before it must be done, and it
                is over; what has begun goes on.
        """
        # removed when nobody holds or awaits it
        turn = self._turns.setdefault(caller, asyncio.Semaphore(self._each))
        with within(self._seconds):
            async with turn:
                return await to_thread.run_sync(work, limiter=self._limiter, abandon_on_cancel=True)


class Checkers(_Threads):
    """A runner of checks of what was sent, one at a time: they compute, and would only slow each other down.

    The event loop goes on meanwhile, so that one caller's large requests hold up nobody else's.
    """

    def __init__(self) -> None:
        super().__init__(1, 1)


class Writers(_Threads):
    """A runner of changes, one at a time for each caller, so that one caller's many delay others little."""

    def __init__(self) -> None:
        super().__init__(WRITERS, 1, WRITE_SECONDS)


class Readers(_Threads):
    """A runner of reads, of which one caller's many occupy half of the threads."""

    def __init__(self) -> None:
        super().__init__(READERS, READERS_EACH, READ_SECONDS)
