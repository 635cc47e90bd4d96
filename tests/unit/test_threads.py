"""How many threads processes compute with."""

import os
import subprocess
import sys

import pytest
import torch
from threadpoolctl import threadpool_info

from gpo_ray.errors import ConfigError
from gpo_ray.runtime import threads
from gpo_ray.runtime.threads import (
    COUNTS,
    OVERRIDE,
    WAITING,
    environment_of_workers,
    threads_each,
    use_threads,
)


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    for name in (OVERRIDE, *COUNTS, *WAITING):
        monkeypatch.delenv(name, raising=False)
    yield
    monkeypatch.undo()
    use_threads(1)


@pytest.fixture
def cores(monkeypatch):
    monkeypatch.setattr(threads, "physical_cores", lambda: 8)


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize(("processes", "each"), [(1, 8), (2, 4), (3, 2), (8, 1), (9, 1), (0, 8)])
def test_processes_share_the_cores_out(processes, each):
    assert threads_each(processes) == each
    assert processes * each <= max(8, processes)


def test_no_more_cores_than_the_process_may_run_on():
    usable = os.sched_getaffinity(0)
    code = "from gpo_ray.runtime.threads import physical_cores; print(physical_cores())"
    run = ["taskset", "-c", str(min(usable)), sys.executable, "-c", code]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == "1"
    assert 1 <= threads.physical_cores() <= len(usable)


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 8), ("400000 100000", 4), ("50000 100000", 1), ("", 8)]
)
def test_no_more_cores_than_the_container_may_use(quota, cores, tmp_path, monkeypatch):
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    monkeypatch.setattr(threads, "_QUOTA", file)
    monkeypatch.setattr(threads.psutil, "cpu_count", lambda logical=True: 16 if logical else 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16))
    assert threads.physical_cores() == cores


@pytest.mark.parametrize("count", [1, 2])
def test_all_libraries_of_a_process_follow(count):
    use_threads(count)
    assert torch.get_num_threads() == count
    assert {lib["num_threads"] for lib in threadpool_info()} == {count}
    assert {os.environ[name] for name in COUNTS} == {str(count)}


def test_the_user_may_say_otherwise(monkeypatch):
    monkeypatch.setenv(OVERRIDE, "2")
    assert threads_each(100) == 2
    use_threads(1)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "9" * 100_000, "²"])
def test_an_override_that_is_no_number_of_threads_is_refused(text, monkeypatch):
    monkeypatch.setenv(OVERRIDE, text[:100_000])
    with pytest.raises(ConfigError, match=r"GPO_THREADS=.*give the number of threads"):
        threads_each(1)


def test_workers_of_a_local_cluster_load_libraries_with_one_thread_that_waits_asleep(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = dict(os.environ)
    with environment_of_workers():
        assert {os.environ[name] for name in COUNTS} == {"1"}
        assert {name: os.environ[name] for name in WAITING} == WAITING
    assert dict(os.environ) == before


def test_a_command_takes_all_cores_and_what_the_user_set_stays():
    code = (
        "import os; from gpo_ray.runtime.threads import settle; settle(); import numpy, torch\n"
        "from threadpoolctl import threadpool_info\n"
        "print(os.environ['OMP_WAIT_POLICY'], os.environ.get('GPO_THREADS'), torch.get_num_threads(),"
        " *(l['num_threads'] for l in threadpool_info()))"
    )

    def run(**settings):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | settings,
        )
        return done.stdout.split()

    policy, override, *counts = run()
    assert (policy, override) == ("PASSIVE", "None")
    assert set(counts) == {str(threads.physical_cores())}
    policy, override, *counts = run(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="ACTIVE")
    assert (policy, override, set(counts)) == ("ACTIVE", "1", {"1"})
