"""Reads and changes of one caller leave room for those of others."""

import asyncio
import threading

import pytest

from gpo_ray.serving.api.threads import READERS, READERS_EACH, WRITERS, Readers, Writers


@pytest.mark.parametrize(
    ("kind", "each", "all_together"), [(Readers, READERS_EACH, READERS), (Writers, 1, WRITERS)]
)
def test_one_callers_many_do_not_delay_anothers(kind, each, all_together):
    release, running, most = threading.Event(), 0, 0
    lock = threading.Lock()

    def work():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert release.wait(30)
        with lock:
            running -= 1

    async def main():
        threads = kind()
        many = [asyncio.create_task(threads.run("many", work)) for _ in range(64)]
        while running < each:
            await asyncio.sleep(0.01)
        assert await asyncio.wait_for(threads.run("other", lambda: "read"), 10) == "read"
        assert most == each
        others = [asyncio.create_task(threads.run(f"other {i}", work)) for i in range(64)]
        while running < all_together:
            await asyncio.sleep(0.01)
        release.set()
        await asyncio.gather(*many, *others)
        assert most == all_together

    asyncio.run(main())
