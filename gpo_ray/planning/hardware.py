"""Processors: what they compute, hold and cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gpo_ray.config import StrictConfig

Positive = Annotated[float, Field(gt=0)]
GIB = 2.0**30


class Processor(StrictConfig):
    """A GPU, or a CPU core."""

    name: str
    tflops: Positive
    """10^12 floating-point operations a second at most, dense, in the number format that the model computes
    in: bfloat16 on GPUs, float32 on CPU cores."""
    memory: Positive
    """GiB."""
    bandwidth: Positive
    """GB a second between the processor and its memory."""
    price: float = Field(ge=0)
    """US dollars an hour, on demand; rough, and different everywhere."""
    bytes_per_weight: int = Field(default=2, ge=1)
    """4 for float32, 2 for bfloat16."""
    efficiency: float = Field(default=0.35, gt=0, le=1)
    """Share of ``tflops`` that the encoder reaches; assumed for GPUs, measured for cores."""


GPUS = {
    p.name: p
    for p in (
        # figures of NVIDIA's data sheets: bfloat16 (T4: float16) without sparsity
        Processor(name="h200", tflops=989, memory=141, bandwidth=4800, price=5.0),
        Processor(name="h100", tflops=989, memory=80, bandwidth=3350, price=4.0),
        Processor(name="a100", tflops=312, memory=80, bandwidth=2039, price=2.5),
        Processor(name="a10g", tflops=70, memory=24, bandwidth=600, price=1.2),
        Processor(name="l4", tflops=121, memory=24, bandwidth=300, price=0.8),
        Processor(name="t4", tflops=65, memory=16, bandwidth=320, price=0.5),
    )
}
CORE = Processor(
    name="cpu", tflops=0.08, memory=4, bandwidth=10, price=0.05, bytes_per_weight=4, efficiency=0.6
)
"""A core of a current server; its memory is its share of the node's."""
PROCESSORS = GPUS | {CORE.name: CORE}
