"""How many threads a process computes with: one rule for torch, OpenMP, OpenBLAS and MKL alike.

Most of what is computed here are small matrix products, whose threads spend their time waiting for one
another as soon as there are more of them than free cores. So the processes that compute at the same time on a
machine share its physical cores out among themselves, and threads that wait do so asleep.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from threadpoolctl import threadpool_limits

from gpo_ray.errors import ConfigError

OVERRIDE = "GPO_THREADS"
"""Environment variable: threads of every process, whatever the rule says."""
COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that libraries read when they are loaded."""
WAITING = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "OPENBLAS_THREAD_TIMEOUT": "4",
}
"""Has threads that wait for others sleep instead of spinning; likewise read when libraries are loaded."""
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def physical_cores() -> int:
    """Cores that this process may use: no hyperthreads, and no more than its affinity and container allow."""
    logical = psutil.cpu_count() or 1
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical)
    cores = usable * (psutil.cpu_count(logical=False) or logical) / logical
    try:
        quota, period = _QUOTA.read_text().split()
        cores = min(cores, math.inf if quota == "max" else int(quota) / int(period))
    except (OSError, ValueError):  # no container, or an older kind
        pass
    return max(1, int(cores))


def threads_each(processes: int) -> int:
    """Threads of each of some processes that compute at the same time on this machine.

    Raises:
        ConfigError: if GPO_THREADS is not a number of threads.
    """
    return _override() or max(1, physical_cores() // max(1, processes))


def use_threads(count: int) -> None:
    """Compute with so many threads in this process from now on, GPO_THREADS allowing.

    Raises:
        ConfigError: if GPO_THREADS is not a number of threads.
    """
    count = _override() or count
    os.environ |= dict.fromkeys(COUNTS, str(count))  # for libraries that are loaded later
    threadpool_limits(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


def settle() -> None:
    """Set the environment of a process that has loaded none of the libraries yet; what it says already stays.

    OMP_NUM_THREADS, where the user gave it, is then meant for all processes and libraries.
    """
    given = os.environ.get(COUNTS[0])
    if given is not None:
        os.environ.setdefault(OVERRIDE, given)
    count = str(threads_each(1))
    for name, value in (dict.fromkeys(COUNTS, count) | WAITING).items():
        os.environ.setdefault(name, value)


@contextmanager
def environment_of_workers() -> Iterator[None]:
    """While a local cluster is started: what its processes inherit.

    They load libraries with one thread each, and those that compute then say how many they take.
    """
    values: Mapping[str, str] = dict.fromkeys(COUNTS, str(_override() or 1)) | {
        k: os.environ.get(k, v) for k, v in WAITING.items()
    }
    with environment(values):
        yield


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have these environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ |= values
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _override() -> int | None:
    text = os.environ.get(OVERRIDE, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 4096):
        raise ConfigError(f"{OVERRIDE}={text[:20]!r}: give the number of threads of each process, such as 1")
    return int(text)
