"""The plan of an evaluation: which methods are evaluated with what context, and on which splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.methods import METHODS, FitSettings, Needs
from gpo_ray.evaluation.methods.method import PUBLISHED_POOLING, LanguageModelSettings
from gpo_ray.evaluation.protocols import protocol_named


@dataclass(frozen=True)
class EvaluationPlan:
    """The part of an evaluation's plan that is the same for all splits."""

    methods: tuple[str, ...]
    """Names of the methods, in :data:`gpo_ray.evaluation.methods.METHODS`."""
    context: int
    """Number of context questions of each test group."""
    steps: int | None = None
    """Number of meta-training steps; None keeps the preset's."""
    context_sizes: tuple[int, ...] | None = None
    """Context sizes of the curve, in place of :data:`gpo_ray.evaluation.tasks.CURVE`; sizes that leave a
    typical test group no answer to predict are skipped. Empty means no curve."""
    objective: str | None = None
    """``average`` or ``robust``, for the methods that do not fix it themselves; None keeps the preset's."""
    language_model: LanguageModelSettings = field(default_factory=LanguageModelSettings)
    """The language model that methods ask."""
    guesses: tuple[str, ...] = ()
    """Folders of guesses, which methods read."""
    guesses_model: str | None = None
    """The model whose guesses are read, if the folders hold those of several."""
    max_questions: int | None = None
    """Most target questions of each test group, the same for all methods; None sets no limit."""

    def __post_init__(self) -> None:
        unknown = [m for m in self.methods if m not in METHODS]
        if unknown or not self.methods:
            raise ConfigError(f"unknown method {unknown[:1]}; methods: {', '.join(METHODS)}")
        if self.context < 1:
            raise ConfigError(f"context must be at least 1, not {self.context}")
        if self.context_sizes and min(self.context_sizes) < 1:
            raise ConfigError(f"context sizes must be at least 1, not {min(self.context_sizes)}")
        if self.max_questions is not None and self.max_questions < 1:
            raise ConfigError(f"the most target questions must be at least 1, not {self.max_questions}")

    @property
    def settings(self) -> FitSettings:
        """The settings that the plan changes in the methods' own configurations."""
        return FitSettings(self.steps, self.objective, self.language_model)

    def has_curve(self, method: str) -> bool:
        """Return whether a method is scored along the context-size curve.

        Methods that ask a language model are so only if the sizes are named: each size costs as much as the
        evaluation itself.
        """
        return self.context_sizes is not None or not METHODS[method].needs(self.settings).language_model

    def needs(self) -> Needs:
        """Combine the needs of all methods; the published embeddings are always among them."""
        each = [METHODS[m].needs(self.settings) for m in self.methods]
        return Needs(
            poolings=frozenset({PUBLISHED_POOLING}).union(*(n.poolings for n in each)),
            texts=bool(self.guesses) or any(n.texts or n.language_model for n in each),
            language_model=any(n.language_model for n in each),
            gpus=max(self._gpus(n.gpus, n.language_model) for n in each),
        )

    def on_cluster(self, gpus: float) -> EvaluationPlan:
        """Return the plan for a cluster with so many GPUs: the language model is given one if it may."""
        if self.language_model.gpus is not None:
            return self
        return replace(self, language_model=replace(self.language_model, gpus=float(gpus >= 1)))

    def parts(self) -> list[tuple[float, EvaluationPlan]]:
        """Return plans with some of the methods each, and the number of GPUs that these need.

        Methods whose needs are alike are in the same part, on any cluster, so that an interrupted evaluation
        finds the parts that it has scored. Each method that asks a language model is a part of its own: it
        takes long, and what it has scored should not wait for the others.
        """
        parts: dict[tuple[float, str | None], list[str]] = {}
        for method in self.methods:
            needs = METHODS[method].needs(self.settings)
            parts.setdefault((needs.gpus, method if needs.language_model else None), []).append(method)
        return [
            (self._gpus(gpus, asking is not None), replace(self, methods=tuple(some)))
            for (gpus, asking), some in parts.items()
        ]

    def _gpus(self, own: float, asks_language_model: bool) -> float:
        return own + (self.language_model.gpus or 0.0) * asks_language_model


@dataclass(frozen=True)
class SplitPlan:
    """The splits that an evaluation draws: one for each fraction and seed."""

    protocol: str
    """Name of the protocol that draws them, in :data:`gpo_ray.evaluation.protocols.PROTOCOLS`."""
    fractions: Sequence[float]
    """Shares of the groups that are for meta-training."""
    seeds: int
    """Number of splits for each fraction."""
    max_test_groups: int | None = None
    """Most test groups of a split; None sets no limit."""

    def __post_init__(self) -> None:
        protocol_named(self.protocol)
