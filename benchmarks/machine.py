"""What this machine can do, and what a piece of work takes, for the benchmarks to share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def matmul_peak(size: int = 1024, seconds: float = 1.0) -> float:
    """Most float32 operations per CPU-second of a square matrix product, in this process now."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)
    best, end = 0.0, time.process_time() + seconds
    while time.process_time() < end:
        best = max(best, 2 * size**3 / cpu_seconds(lambda: torch.mm(a, b, out=out)))
    return best


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU time of this process, all threads together: others on the machine hardly count."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def matmul_flop(work: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products in it (attention's too), forward and backward."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
