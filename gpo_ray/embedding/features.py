"""Define blocks of embedding columns; several poolings joined by ``+`` have their columns end to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PUBLISHED = "published prompt"
"""Name of the block with the poolings that use the prompt of Zhao et al. (appendix D)."""


@dataclass(frozen=True)
class FeatureBlock:
    """A range of adjacent columns of embeddings (N, E) that come from texts of one kind."""

    name: str
    start: int
    stop: int

    def of(self, x: Any) -> Any:
        """Return the block's columns (N, stop - start) of an array or tensor (N, E)."""
        return x[:, self.start : self.stop]

    def to_state(self) -> dict[str, int]:
        """Return the values that are stored; the name is not."""
        return {"columns": self.stop, "start": self.start}

    @classmethod
    def from_state(cls, columns: int, start: int) -> FeatureBlock:
        """Make the block of the published prompt from the values that :meth:`to_state` returned."""
        return cls(PUBLISHED, start, columns)
