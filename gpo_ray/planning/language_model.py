"""The shape of a language model of a given size."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from gpo_ray.config import StrictConfig


class Shape(StrictConfig):
    """The sizes of a causal language model on which its cost depends."""

    parameters: float = Field(gt=0)
    """Number of all parameters."""
    body: float = Field(gt=0)
    """Number of parameters that every token is multiplied with, which are all but the embeddings."""
    width: int = Field(ge=1)
    """Width E of the hidden layers."""
    layers: int = Field(ge=1)
    """Number of layers."""
    key_width: int = Field(ge=1)
    """Width of the keys, and of the values, of a layer."""


# Published models: SmolLM2 135M, 360M, 1.7B, Llama 3.2 3B, 3.1 8B, Qwen 2.5 14B, 32B, Llama 3.1 70B.
KNOWN = (
    Shape(parameters=0.135e9, body=0.106e9, width=576, layers=30, key_width=192),
    Shape(parameters=0.362e9, body=0.315e9, width=960, layers=32, key_width=320),
    Shape(parameters=1.71e9, body=1.61e9, width=2048, layers=24, key_width=2048),
    Shape(parameters=3.21e9, body=2.82e9, width=3072, layers=28, key_width=1024),
    Shape(parameters=8.03e9, body=6.98e9, width=4096, layers=32, key_width=1024),
    Shape(parameters=14.8e9, body=13.2e9, width=5120, layers=48, key_width=1024),
    Shape(parameters=32.8e9, body=31.2e9, width=5120, layers=64, key_width=1024),
    Shape(parameters=70.6e9, body=68.5e9, width=8192, layers=80, key_width=1024),
)


def shape_of(parameters: float) -> Shape:
    """Return a usual shape of a model of this size, interpolated between published models."""
    known = np.log([s.parameters for s in KNOWN])

    def between(field: str) -> float:
        values = np.log([getattr(s, field) for s in KNOWN])
        return float(np.exp(np.interp(np.log(parameters), known, values)))

    share = np.interp(np.log(parameters), known, [s.body / s.parameters for s in KNOWN])
    return Shape(
        parameters=parameters,
        body=parameters * float(share),
        width=round(between("width")),
        layers=round(between("layers")),
        key_width=round(between("key_width")),
    )
