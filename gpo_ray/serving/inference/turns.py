"""Do work on one worker thread in bounded pieces, so that a large request does not hold up the others.

The event loop stays free for other events: health checks, small requests, and callers who disconnect.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from gpo_ray.serving.inference.backend import TooSlow

OPEN = 2
"""Most jobs of a lane that may be half done at the same time, since a half-done job takes memory."""


class Job(Protocol):
    """A piece of work that is done in several turns."""

    @property
    def cost(self) -> float:
        """Return the cost of the next turn, in any unit; 0 if nothing is left to do."""

    @property
    def last(self) -> bool:
        """Return whether nothing is left to do after the next turn."""


J = TypeVar("J", bound=Job)


@dataclass(eq=False)
class _Waiting(Generic[J]):
    job: J
    lane: Hashable
    deadline: float
    done: asyncio.Future[None]
    open: bool = False
    """Whether the job counts as one of its lane's half-done jobs."""

    @property
    def dropped(self) -> bool:
        """Return whether nobody waits for the job any more."""
        if not self.done.done() and self.deadline < time.time():
            self.done.set_exception(TooSlow())
        return self.done.done()


@dataclass
class _Lane(Generic[J]):
    fresh: deque[_Waiting[J]] = field(default_factory=deque)
    begun: deque[_Waiting[J]] = field(default_factory=deque)
    open: int = 0
    """Number of half-done jobs, including those that have a turn now."""

    def queue(self) -> deque[_Waiting[J]] | None:
        """Return the queue whose first job has the next turn, or None if no job can have one now."""
        for queue in (self.fresh, self.begun):
            while queue and queue[0].dropped:
                self.close(queue.popleft())
        if self.begun and (self.open >= OPEN or not self.fresh):
            return self.begun
        if self.fresh and (self.open < OPEN or self.fresh[0].job.last):
            return self.fresh
        return None

    def close(self, waiting: _Waiting[J]) -> None:
        """Stop counting a job as half done."""
        self.open -= waiting.open
        waiting.open = False

    @property
    def empty(self) -> bool:
        """Return whether the lane has no jobs left."""
        return not (self.fresh or self.begun or self.open)


class Turns(Generic[J]):
    """A scheduler that gives each job one turn after another until it is done; lanes take turns.

    A job is dropped when its caller stops waiting or its deadline passes.

    Args:
        work: function that does one turn of each of some jobs, in the worker thread. If it raises for several
            jobs, each of them is tried alone, so that only the failing job raises.
        most_cost: most cost of the jobs that have a turn together, unless one job alone costs more.
        most_jobs: most jobs that have a turn together.
        wait_seconds: how long the first job after a pause waits for others.
    """

    def __init__(
        self, work: Callable[[list[J]], None], most_cost: float, most_jobs: int, wait_seconds: float = 0
    ) -> None:
        self._work = work
        self._most_cost, self._most_jobs, self._wait = most_cost, most_jobs, wait_seconds
        self._lanes: dict[Hashable, _Lane[J]] = {}
        self._thread = ThreadPoolExecutor(1, "turns")
        self._running: asyncio.Task[None] | None = None

    async def run(self, job: J, lane: Hashable, deadline: float) -> None:
        """Wait until a job is done.

        Args:
            job: the job to do.
            lane: the caller's lane; no more than :data:`OPEN` jobs of one lane are half done at a time.
            deadline: time after which the job is dropped, in seconds since the epoch.

        Raises:
            TooSlow: if the deadline passed.
            Exception: the exception that the work raised for this job.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(job, lane, deadline, loop.create_future())
        self._lanes.setdefault(lane, _Lane()).fresh.append(waiting)
        if self._running is None:
            self._running = loop.create_task(self._serve())
        await waiting.done

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._wait and sum(len(lane.fresh) for lane in self._lanes.values()) < self._most_jobs:
                await asyncio.sleep(self._wait)
            while self._lanes:
                taken = self._take()
                if not taken:
                    continue
                outcomes = await loop.run_in_executor(self._thread, self._turn, [w.job for w in taken])
                for waiting, outcome in zip(taken, outcomes, strict=True):
                    self._settle(waiting, outcome)
        finally:
            self._running = None

    def _take(self) -> list[_Waiting[J]]:
        """Take the jobs that have the next turn, at most one of each lane in each rotation."""
        taken: list[_Waiting[J]] = []
        cost, idle = 0.0, 0
        while idle < len(self._lanes) and len(taken) < self._most_jobs:
            name = next(iter(self._lanes))
            lane = self._lanes[name]
            queue = lane.queue()
            if queue is None:
                idle += 1
            else:
                job = queue[0].job
                cost += job.cost
                if taken and cost > self._most_cost:
                    break
                idle = 0
                waiting = queue.popleft()
                taken.append(waiting)
                if not (waiting.open or job.last):
                    waiting.open = True
                    lane.open += 1
            del self._lanes[name]
            if not lane.empty:
                self._lanes[name] = lane  # now behind all other lanes
        return taken

    def _turn(self, jobs: list[J]) -> Sequence[Exception | None]:
        try:
            self._work(jobs)
        except Exception as e:  # noqa: BLE001 -- of which the caller is told
            return [e] if len(jobs) == 1 else [self._turn([job])[0] for job in jobs]
        return [None] * len(jobs)

    def _settle(self, waiting: _Waiting[J], outcome: Exception | None) -> None:
        if not waiting.done.done():
            if outcome is not None:
                waiting.done.set_exception(outcome)
            elif waiting.job.cost <= 0:
                waiting.done.set_result(None)
            else:
                lane = self._lanes.setdefault(waiting.lane, _Lane())
                lane.open += not waiting.open
                waiting.open = True
                lane.begun.append(waiting)
                return
        if waiting.open:
            lane = self._lanes[waiting.lane]
            lane.close(waiting)
            if lane.empty:
                del self._lanes[waiting.lane]
