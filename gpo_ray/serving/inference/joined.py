"""Join questions that are asked at the same time into one call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Joined(Generic[K, V]):
    """A queue that calls at once while few calls run, and joins what is asked meanwhile into the next call.

    No question joins a call that has begun, so that each answer is computed after its question was asked.
    Callers take turns: a caller with many questions delays only its own.

    Args:
        call: function that answers several questions in order; if it raises, all of them raise.
        most: most questions in one call.
        under_way: most calls at the same time.
    """

    def __init__(self, call: Callable[[list[K]], Awaitable[Sequence[V]]], most: int, under_way: int) -> None:
        self._call, self._most, self._free = call, most, under_way
        self._waiting: dict[Hashable, deque[tuple[K, asyncio.Future[V]]]] = {}
        self._calls: set[asyncio.Task[None]] = set()

    async def ask(self, item: K, caller: Hashable = None) -> V:
        """Return the answer to one question.

        Args:
            item: the question.
            caller: id of the caller.
        """
        answer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append((item, answer))
        self._begin()
        return await answer

    def _begin(self) -> None:
        while self._waiting and self._free:
            asked: list[tuple[K, asyncio.Future[V]]] = []
            while self._waiting and len(asked) < self._most:
                caller, items = next(iter(self._waiting.items()))
                item, answer = items.popleft()
                del self._waiting[caller]
                if items:
                    self._waiting[caller] = items  # now behind all other callers
                if not answer.done():
                    asked.append((item, answer))
            if asked:
                self._free -= 1
                task = asyncio.get_running_loop().create_task(self._run(asked))
                self._calls.add(task)  # nothing else refers to the task while it runs
                task.add_done_callback(self._calls.discard)

    async def _run(self, asked: list[tuple[K, asyncio.Future[V]]]) -> None:
        try:
            found = await self._call([item for item, _ in asked])
            for (_, answer), value in zip(asked, found, strict=True):
                if not answer.done():
                    answer.set_result(value)
        except BaseException as e:
            for _, answer in asked:
                if answer.done():
                    continue
                if isinstance(e, Exception):
                    answer.set_exception(e)
                else:
                    answer.cancel()
            if not isinstance(e, Exception):
                raise
        finally:
            self._free += 1
            self._begin()
