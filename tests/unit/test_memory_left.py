"""What is left is the least of the machine's memory and the container's."""

import pytest

from gpo_ray.runtime.memory_left import memory_left

MEMINFO = "MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:    2000 kB\n"
SECOND = {
    "memory.max": "1000000",
    "memory.current": "900000",
    "memory.stat": "anon 1\ninactive_file 300000\n",
}
FIRST = {
    "memory/memory.limit_in_bytes": "1000000",
    "memory/memory.usage_in_bytes": "900000",
    "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 300000\n",
}


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, 2_048_000),
        (SECOND, 400_000),
        (FIRST, 400_000),
        (SECOND | {"memory.max": "max"}, 2_048_000),
        (SECOND | {"memory.stat": "anon 1\n"}, 100_000),
        (SECOND | {"memory.current": "2000000", "memory.stat": ""}, 0),
        (SECOND | {"memory.max": "9" * 15}, 2_048_000),
    ],
)
def test_the_least_counts(tmp_path, files, left):
    (tmp_path / "meminfo").write_text(MEMINFO)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory_left(tmp_path, tmp_path / "meminfo") == left


def test_nothing_is_known_elsewhere(tmp_path):
    assert memory_left(tmp_path, tmp_path / "none") is None


def test_here():
    assert memory_left() > 0
