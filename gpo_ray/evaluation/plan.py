"""What is evaluated: which methods with what context, and on which splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.methods import METHODS, FitSettings, Needs
from gpo_ray.evaluation.methods.method import PUBLISHED
from gpo_ray.evaluation.protocols import protocol_named


@dataclass(frozen=True)
class EvaluationPlan:
    """What is the same for all splits."""

    methods: tuple[str, ...]
    """Names in :data:`gpo_ray.evaluation.methods.METHODS`."""
    context: int
    """Context questions of each test group."""
    steps: int | None = None
    """Meta-training steps, if not the preset's."""
    context_sizes: tuple[int, ...] | None = None
    """Context sizes of the curve in place of :data:`gpo_ray.evaluation.tasks.CURVE`, as far as they leave
    a typical test group an answer to predict; empty for no curve."""
    objective: str | None = None
    """``average`` or ``robust`` for the methods whose name does not say, if not the preset's."""

    def __post_init__(self) -> None:
        unknown = [m for m in self.methods if m not in METHODS]
        if unknown or not self.methods:
            raise ConfigError(f"unknown method {unknown[:1]}; methods: {', '.join(METHODS)}")
        if self.context < 1:
            raise ConfigError(f"context must be at least 1, not {self.context}")
        if self.context_sizes and min(self.context_sizes) < 1:
            raise ConfigError(f"context sizes must be at least 1, not {min(self.context_sizes)}")

    @property
    def settings(self) -> FitSettings:
        """What the plan changes in the methods' own configurations."""
        return FitSettings(self.steps, self.objective)

    def needs(self) -> Needs:
        """What the methods need together, the published embeddings in any case."""
        each = [METHODS[m].needs(self.settings) for m in self.methods]
        return Needs(
            poolings=frozenset({PUBLISHED}).union(*(n.poolings for n in each)),
            texts=any(n.texts for n in each),
            gpus=max(n.gpus for n in each),
        )


@dataclass(frozen=True)
class SplitPlan:
    """Which splits an evaluation draws: one for each fraction and seed."""

    protocol: str
    """How they are drawn: a name in :data:`gpo_ray.evaluation.protocols.PROTOCOLS`."""
    fractions: Sequence[float]
    """Shares of the groups for meta-training."""
    seeds: int
    """Splits for each fraction."""
    max_test_groups: int | None = None
    """Most test groups of a split."""

    def __post_init__(self) -> None:
        protocol_named(self.protocol)
