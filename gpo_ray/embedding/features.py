"""Blocks of the features of embeddings, which several poolings joined by ``+`` have end to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PUBLISHED = "published prompt"
"""Name of the block of poolings that read the prompt of Zhao et al. (appendix D)."""


@dataclass(frozen=True)
class FeatureBlock:
    """Adjacent columns of embeddings (N, E) that are of one kind."""

    name: str
    start: int
    stop: int

    def of(self, x: Any) -> Any:
        """The columns (N, stop - start) of an array or tensor (N, E)."""
        return x[:, self.start : self.stop]
