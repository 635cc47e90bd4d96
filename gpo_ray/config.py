"""Configurations of the model and its training, and the presets that ship with the package."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gpo_ray.errors import ConfigError
from gpo_ray.likelihoods import LIKELIHOODS
from gpo_ray.runtime.documents import read_yaml_documents

C = TypeVar("C", bound=BaseModel)


class StrictConfig(BaseModel):
    """Settings that nothing changes, with no key that is not known and no number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelConfig(StrictConfig):
    """The in-context transformer; the defaults are the published ones, the bounds only keep nonsense out."""

    width: int = Field(default=128, ge=1, le=2**24)
    """D, width of the tokens."""
    layers: int = Field(default=6, ge=1, le=256)
    """Encoder layers."""
    heads: int = Field(default=4, ge=1, le=1_024)
    """Attention heads; must divide ``width``."""
    feedforward: int = Field(default=128, ge=1, le=2**24)
    """Hidden width of the encoder's and the head's feed-forward parts."""
    embedder_depth: int = Field(default=4, ge=2, le=64)
    """Linear layers from (x, y) to a token."""
    likelihood: str = "gaussian"
    """One of :data:`gpo_ray.likelihoods.LIKELIHOODS`: ``gaussian`` around the softmax of the means, as
    published, or the shares' ``cross_entropy``."""
    pooling: Literal[
        "mean", "answer_mean", "last", "opinion", "person", "last+mean", "last+mean+opinion+person"
    ] = "mean"
    """Which of the stored vectors stands for a response; joined by ``+``: all of them, end to end."""
    prior: Literal["none", "memory"] = "none"
    """``memory``: start from a Gaussian process over the meta-train groups' answers; ``none``, as
    published."""

    @field_validator("likelihood")
    @classmethod
    def _there_is_the_likelihood(cls, name: str) -> str:
        if name not in LIKELIHOODS:
            raise ValueError(f"Input should be one of {', '.join(LIKELIHOODS)}, not {name}")
        return name

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelConfig:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self


class EpisodeConfig(StrictConfig):
    """What one meta-training step draws."""

    groups: int = Field(default=32, ge=1)
    """Groups in a step, over all workers; all of them where there are fewer."""
    context_questions: tuple[int, int] = (10, 100)
    """Least and most context questions; the number is drawn anew each step."""
    target_questions: tuple[int, int] = (10, 100)
    """Least and most target questions."""
    hidden_prior: float = Field(default=0.5, ge=0, le=1)
    """Share of the target questions that the prior treats as new, so that the model learns to answer
    those too (with ``prior: memory``)."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> EpisodeConfig:
        for name in ("context_questions", "target_questions"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(f"{name} must be [least, most] with 1 <= least <= most, not [{low}, {high}]")
        return self


class ValidationConfig(StrictConfig):
    """Early stopping on groups taken out of the meta-train groups."""

    fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the meta-train groups; at least one group."""
    question_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training questions kept from training steps, on which validation groups are scored
    without a prior; 0 scores only questions that are trained on."""
    context_questions: int = Field(default=20, ge=1)
    """Context of each validation group; its other questions are targets."""
    most_groups: int = Field(default=2000, ge=1)
    """Validation groups that are scored: a random choice where there are more."""
    every: int = Field(default=50, ge=1)
    """Steps between validations; each also saves a checkpoint and reports."""
    patience: int = Field(default=10, ge=1)
    """Validations without a better alignment after which training stops."""
    least_gain: float = Field(default=0.0, ge=0)
    """Alignment by which a step must beat the best one before it to take its place."""
    prior_patience: int = Field(default=2, ge=1)
    """Likewise ``patience``, as long as no step has taken the prior's place (with ``prior: memory``)."""
    confidence: float = Field(default=0.95, ge=0, lt=1)
    """With which a step's gain over the prior must be more than chance for it to take the prior's place; 0
    asks for no such thing."""


class ObjectiveConfig(StrictConfig):
    """What the fit is best at; in a file, ``objective: robust`` alone is enough."""

    kind: Literal["average", "robust"] = "average"
    """``average``: the mean over the training groups; ``robust``: the groups that are served worst, by
    weights on the groups' losses (Group Robust Preference Optimization, arXiv 2405.20304)."""
    step_size: float = Field(default=0.3, gt=0)
    """Growth of the log of a group's weight per step and nat of its excess loss (with ``robust``)."""

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, values: Any) -> Any:
        return {"kind": values} if isinstance(values, str) else values


class TrainConfig(StrictConfig):
    """Meta-training."""

    model: ModelConfig = ModelConfig()
    episodes: EpisodeConfig = EpisodeConfig()
    validation: ValidationConfig = ValidationConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    steps: int = Field(default=1000, ge=1)
    """Optimiser steps at most (published: 200,000)."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Highest learning rate; it falls to zero along a cosine over ``steps``."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises linearly."""
    clip_norm: float = Field(default=0.0, ge=0)
    """Largest norm of the gradient; 0 leaves it as it is."""
    standardize: bool = False
    """Scale each embedding dimension to mean 0 and variance 1 over the training questions; it is
    folded into the first layer afterwards."""
    seed: int = Field(default=0, ge=0)
    """Of initial weights and episodes."""


def parse(model: type[C], values: Any, where: str) -> C:
    """Validate ``values``; raises :class:`ConfigError` with ``where``, the first bad key and the reason."""
    try:
        return model.model_validate(values)
    except ValidationError as e:
        first = e.errors()[0]
        key = ".".join(str(k) for k in first["loc"]) or "(top level)"
        more = f" (and {e.error_count() - 1} more)" if e.error_count() > 1 else ""
        raise ConfigError(f"{where}: {key}: {first['msg'].removeprefix('Value error, ')}{more}") from e


def presets() -> list[str]:
    """Names of the presets that ship with the package."""
    return sorted(
        p.name.removesuffix(".yaml") for p in _preset_folder().iterdir() if p.name.endswith(".yaml")
    )


def load_train_config(name: str | os.PathLike[str], **changes: Any) -> TrainConfig:
    """A preset by name, or a YAML file, with some top-level fields changed.

    Raises:
        ConfigError: naming the file and key that is wrong.
    """
    if str(name) in presets():
        values, where = _mapping(_preset_folder() / f"{name}.yaml", f"preset {name}"), f"preset {name}"
    elif Path(name).is_file():
        values, where = _mapping(Path(name), str(name)), str(name)
    else:
        raise ConfigError(f"{name}: neither a file nor a preset (presets: {', '.join(presets())})")
    return parse(TrainConfig, values | {k: v for k, v in changes.items() if v is not None}, where)


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Raises:
        ConfigError: naming the file, if it is not there or holds something else.
    """
    if not Path(path).is_file():
        raise ConfigError(f"{path}: no such file")
    return _mapping(Path(path), str(path))


def _mapping(file: Any, where: str) -> dict[str, Any]:
    documents = read_yaml_documents(file, where, ConfigError)
    if len(documents) > 1:
        raise ConfigError(f"{where}: holds {len(documents)} YAML documents, expected one")
    values = (documents[0] if documents else None) or {}
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected keys and values, found {type(values).__name__}")
    return values


def _preset_folder() -> Any:
    return resources.files("gpo_ray") / "presets"
