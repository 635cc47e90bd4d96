"""Decide with how many threads a process computes, by one rule for torch, OpenMP, OpenBLAS and MKL.

Most computations of this package are small matrix products, whose threads spend their time waiting for one
another if there are more threads than free cores. So the processes that compute at the same time on a machine
divide its physical cores among themselves, and threads sleep while they wait.
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
"""Environment variable with the number of threads of every process; it overrides the rule."""
COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables with numbers of threads that libraries read when they are loaded."""
WAITING = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "OPENBLAS_THREAD_TIMEOUT": "4",
}
"""Environment variables that let waiting threads sleep instead of spin; libraries read them when loaded."""
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def physical_cores() -> int:
    """Return the cores for this process, without hyperthreads and within its affinity and container."""
    logical = psutil.cpu_count() or 1
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical)
    cores = usable * (psutil.cpu_count(logical=False) or logical) / logical
    try:
        quota, period = _QUOTA.read_text().split()
        cores = min(cores, math.inf if quota == "max" else int(quota) / int(period))
    except (OSError, ValueError):  # no container, or one of an older kind
        pass
    return max(1, int(cores))


def threads_each(processes: int) -> int:
    """Return the number of threads for each of several processes that compute at once on this machine.

    Raises:
        ConfigError: if GPO_THREADS is not a number of threads.
    """
    return _override() or max(1, physical_cores() // max(1, processes))


def use_threads(count: int) -> None:
    """Compute with ``count`` threads in this process from now on, or with GPO_THREADS of them if that is set.

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
    """Set the environment variables of a process that has not loaded the libraries; values already set stay.

    If the user has set OMP_NUM_THREADS, it counts for all processes and libraries.
    """
    given = os.environ.get(COUNTS[0])
    if given is not None:
        os.environ.setdefault(OVERRIDE, given)
    count = str(threads_each(1))
    for name, value in (dict.fromkeys(COUNTS, count) | WAITING).items():
        os.environ.setdefault(name, value)


@contextmanager
def environment_of_workers() -> Iterator[None]:
    """Set, during the block, the environment that the processes of a starting local cluster inherit.

    They load libraries with one thread each; those that compute then call :func:`use_threads`.
    """
    values: Mapping[str, str] = dict.fromkeys(COUNTS, str(_override() or 1)) | {
        k: os.environ.get(k, v) for k, v in WAITING.items()
    }
    with environment(values):
        yield


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set some environment variables during the block."""
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
