"""Measure what this machine can do and what a piece of work takes; the benchmarks share this module."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

CPU_ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"
"""The name of torch's operator."""


def matmul_peak(size: int = 1024, seconds: float = 1.0) -> float:
    """Return the most float32 operations per CPU-second that a square matrix product reaches now.

    Args:
        size: number of rows and columns of the matrices.
        seconds: CPU seconds for which products are tried.
    """
    a, b = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)
    best, end = 0.0, time.process_time() + seconds
    while time.process_time() < end:
        best = max(best, 2 * size**3 / cpu_seconds(lambda: torch.mm(a, b, out=out)))
    return best


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the CPU seconds that work takes in this process, in all threads together.

    Other processes change them little, as they would change wall-clock time.
    """
    begun = time.process_time()
    work()
    return time.process_time() - begun


def product_weights(model: Any) -> int:
    """Return the number of weights with which a language model multiplies each token's state."""
    return sum(p.numel() for n, p in model.base_model.named_parameters() if p.dim() > 1 and "embed" not in n)


def matmul_flop(work: Callable[[], Any]) -> int:
    """Count the floating-point operations of the matrix products in some work, attention's too."""
    attention = {  # torch counts that of GPUs only
        "": lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
        "_backward": lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v),
    }
    counted = {getattr(torch.ops.aten, f"{CPU_ATTENTION}{which}"): flop for which, flop in attention.items()}
    with FlopCounterMode(display=False, custom_mapping=counted) as counter:
        work()
    return counter.get_total_flops()
