"""Processors: their speed, memory and price."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gpo_ray.config import StrictConfig

Positive = Annotated[float, Field(gt=0)]
GIB = 2.0**30


class Processor(StrictConfig):
    """A processor of a cluster: a GPU or a CPU core."""

    name: str
    tflops: Positive
    """Peak speed in 10^12 dense floating-point operations a second, in the number format that the model
    computes in: bfloat16 on GPUs, float32 on CPU cores."""
    memory: Positive
    """Memory in GiB."""
    bandwidth: Positive
    """Bandwidth between the processor and its memory, in GB a second."""
    price: float = Field(ge=0)
    """Price in US dollars an hour, on demand; a rough figure, since prices differ between providers."""
    bytes_per_weight: int = Field(default=2, ge=1)
    """Bytes of a weight of the model: 4 for float32, 2 for bfloat16."""
    efficiency: float = Field(default=0.35, gt=0, le=1)
    """Share of ``tflops`` that the encoder reaches; assumed for GPUs, measured for cores."""


GPUS = {
    p.name: p
    for p in (
        # The figures are from NVIDIA's data sheets: bfloat16 (T4: float16) without sparsity.
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
"""A core of a current server; its memory is its share of the node's memory."""
PROCESSORS = GPUS | {CORE.name: CORE}
