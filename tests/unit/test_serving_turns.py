"""Who asks for much does not hold up the others, and what is asked at once shares a call."""

import asyncio
import math
import threading
import time
from dataclasses import dataclass, field

import pytest

from gpo_ray.serving.inference.backend import TooSlow
from gpo_ray.serving.inference.joined import Joined
from gpo_ray.serving.inference.turns import OPEN, Turns

LATER = math.inf


@dataclass(eq=False)
class Work:
    """So many turns of a cost each."""

    name: str
    turns: int = 1
    each: float = 1
    fails: bool = False
    done: list = field(default_factory=list)

    @property
    def cost(self):
        return self.each if self.turns else 0

    @property
    def last(self):
        return self.turns <= 1


class Worker:
    """Does turns, and keeps a record of them."""

    def __init__(self, most_cost=10, most_jobs=100, seconds=0.0):
        self.turns = Turns(self.work, most_cost, most_jobs)
        self.record, self.seconds, self.threads = [], seconds, set()

    def work(self, jobs):
        self.threads.add(threading.current_thread())
        if any(j.fails for j in jobs):
            raise ArithmeticError
        time.sleep(self.seconds)
        for j in jobs:
            j.turns -= 1
        self.record.append([j.name for j in jobs])


def test_a_small_job_does_not_wait_for_the_whole_of_a_large_one():
    async def main():
        worker = Worker()
        large = asyncio.create_task(worker.turns.run(Work("large", 50, 10), "a", LATER))
        while not worker.record:
            await asyncio.sleep(0)
        before = len(worker.record)
        await worker.turns.run(Work("small"), "b", LATER)
        assert not large.done()
        assert sum("large" in names for names in worker.record[before:]) <= 3
        await large
        assert sum("large" in names for names in worker.record) == 50

    asyncio.run(main())


def test_callers_take_turns_however_many_jobs_each_has():
    async def main():
        worker = Worker(most_cost=2)
        many = [asyncio.create_task(worker.turns.run(Work("many", 3, 2), "a", LATER)) for _ in range(30)]
        few = asyncio.create_task(worker.turns.run(Work("few", 3, 2), "b", LATER))
        await few
        assert [n for names in worker.record[:6] for n in names].count("few") == 3
        await asyncio.gather(*many)

    asyncio.run(main())


def test_few_jobs_of_a_caller_are_half_done_at_a_time():
    async def main():
        worker, most = Worker(most_cost=100), 0
        jobs = [Work(str(i), 4) for i in range(9)]
        running = [asyncio.create_task(worker.turns.run(j, "a", LATER)) for j in jobs]
        while not all(r.done() for r in running):
            most = max(most, sum(0 < j.turns < 4 for j in jobs))
            await asyncio.sleep(0)
        assert most <= OPEN
        assert all(r.exception() is None for r in running)

    asyncio.run(main())


def test_small_jobs_share_a_turn_up_to_its_cost_and_number():
    async def main():
        worker = Worker(most_cost=10, most_jobs=4)
        await asyncio.gather(*(worker.turns.run(Work("x"), "a", LATER) for _ in range(9)))
        assert [len(names) for names in worker.record] == [4, 4, 1]
        worker = Worker(most_cost=3, most_jobs=100)
        await asyncio.gather(*(worker.turns.run(Work("x", 1, e), "a", LATER) for e in (2, 2, 1, 7)))
        assert [len(names) for names in worker.record] == [1, 2, 1]

    asyncio.run(main())


def test_the_event_loop_is_free_during_a_turn():
    async def main():
        worker = Worker(seconds=0.3)
        running = asyncio.create_task(worker.turns.run(Work("x"), "a", LATER))
        ticks = 0
        while not running.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks > 5
        assert threading.main_thread() not in worker.threads

    asyncio.run(main())


def test_a_job_whose_deadline_passed_or_whose_caller_left_gets_no_more_turns():
    async def main():
        worker = Worker(seconds=0.02)
        late = Work("late", 1000)
        with pytest.raises(TooSlow):
            await worker.turns.run(late, "a", time.time() + 0.1)
        left = Work("left", 1000)
        running = asyncio.create_task(worker.turns.run(left, "a", LATER))
        await asyncio.sleep(0.1)
        running.cancel()
        await asyncio.sleep(0.05)
        turns = left.turns
        await worker.turns.run(Work("next", 3), "a", LATER)
        assert (left.turns, late.turns > 900) == (turns, True)
        await asyncio.sleep(0.01)
        assert not worker.turns._lanes  # noqa: SLF001 -- nothing is left of the jobs

    asyncio.run(main())


def test_what_goes_wrong_with_one_job_goes_wrong_with_that_one_alone():
    async def main():
        worker = Worker()
        jobs = [Work("a"), Work("b", fails=True), Work("c")]
        found = await asyncio.gather(*(worker.turns.run(j, 0, LATER) for j in jobs), return_exceptions=True)
        assert [type(f) for f in found] == [type(None), ArithmeticError, type(None)]
        await worker.turns.run(Work("d"), 0, LATER)

    asyncio.run(main())


def test_what_comes_during_a_call_shares_the_next_one():
    async def main():
        calls = []

        async def call(items):
            calls.append(items)
            await asyncio.sleep(0.02)
            return [2 * i for i in items]

        joined = Joined(call, most=4, under_way=1)
        assert await asyncio.gather(*(joined.ask(i) for i in range(7))) == [0, 2, 4, 6, 8, 10, 12]
        assert calls == [[0], [1, 2, 3, 4], [5, 6]]

    asyncio.run(main())


def test_who_asks_much_at_once_waits_for_himself():
    async def main():
        calls = []

        async def call(items):
            calls.append(items)
            await asyncio.sleep(0.01)
            return items

        joined = Joined(call, most=3, under_way=1)
        many = [asyncio.create_task(joined.ask(f"many-{i}", "many")) for i in range(30)]
        await asyncio.sleep(0)
        others = [asyncio.create_task(joined.ask(name, name)) for name in ("one", "two")]
        assert await asyncio.gather(*others) == ["one", "two"]
        assert calls[:2] == [["many-0"], ["many-1", "one", "two"]]
        assert await asyncio.gather(*many) == [f"many-{i}" for i in range(30)]
        assert [i for c in calls for i in c if i.startswith("many")] == [f"many-{i}" for i in range(30)]

    asyncio.run(main())


def test_a_failed_call_fails_for_those_who_share_it_and_nobody_else():
    async def main():
        async def call(items):
            await asyncio.sleep(0)
            if 2 in items:
                raise ArithmeticError
            return items

        joined = Joined(call, most=2, under_way=1)
        asked = [asyncio.create_task(joined.ask(i)) for i in range(5)]
        await asyncio.sleep(0)
        asked[4].cancel()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(f) for f in found] == [
            int,
            ArithmeticError,
            ArithmeticError,
            int,
            asyncio.CancelledError,
        ]
        assert await joined.ask(9) == 9

    asyncio.run(main())
