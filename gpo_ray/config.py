"""Configurations of the model and of its training, and the presets that ship with the package."""

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
FORMER_KEYS = {"hidden_prior": "masked_fraction", "most_groups": "max_groups", "least_gain": "min_gain"}
"""Former names of configuration keys, which files may still use, with their present names."""


def present_keys(values: Any) -> Any:
    """Give the keys of nested plain values their present names; of a dotted path, the last part is renamed.

    Raises:
        ValueError: if a key occurs by its former and by its present name.
    """
    if isinstance(values, list | tuple):
        return [present_keys(v) for v in values]
    if not isinstance(values, dict):
        return values
    renamed = {_present_key(k): present_keys(v) for k, v in values.items()}
    if len(renamed) < len(values):
        twice = next(k for k in values if k != _present_key(k) and _present_key(k) in values)
        raise ValueError(f"{twice}: is the former name of {_present_key(twice)}; give only one of them")
    return renamed


def _present_key(key: Any) -> Any:
    if not isinstance(key, str):
        return key
    sections, dot, name = key.rpartition(".")
    return f"{sections}{dot}{FORMER_KEYS.get(name, name)}"


class StrictConfig(BaseModel):
    """A base class of settings that cannot change; it rejects unknown keys and numbers not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelConfig(StrictConfig):
    """The shape of the in-context transformer.

    The defaults are the published values; the bounds only reject values that make no sense.
    """

    width: int = Field(default=128, ge=1, le=2**24)
    """Width D of the tokens."""
    layers: int = Field(default=6, ge=1, le=256)
    """Number of encoder layers."""
    heads: int = Field(default=4, ge=1, le=1_024)
    """Number of attention heads, which must divide ``width``."""
    feedforward: int = Field(default=128, ge=1, le=2**24)
    """Hidden width of the feed-forward parts of the encoder and of the head."""
    embedder_depth: int = Field(default=4, ge=2, le=64)
    """Number of linear layers from (x, y), an embedding and a share, to a token."""
    likelihood: str = "gaussian"
    """Name of a likelihood in :data:`gpo_ray.likelihoods.LIKELIHOODS`: ``gaussian`` is a Gaussian around the
    softmax of the means, as published; ``cross_entropy`` is the cross-entropy of the shares."""
    pooling: Literal[
        "mean", "answer_mean", "last", "opinion", "person", "last+mean", "last+mean+opinion+person"
    ] = "mean"
    """Which of the stored vectors embeds a response; poolings joined by ``+`` are concatenated."""
    prior: Literal["none", "memory"] = "none"
    """The prior that predictions start from: ``memory`` is a Gaussian process over the meta-train groups'
    answers; ``none`` is no prior, as published."""

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
    """The numbers of groups and questions that one meta-training step draws."""

    groups: int = Field(default=32, ge=1)
    """Number of groups in a step, over all workers; if there are fewer training groups, all of them."""
    context_questions: tuple[int, int] = (10, 100)
    """Least and most context questions; each step draws the number anew."""
    target_questions: tuple[int, int] = (10, 100)
    """Least and most target questions; each step draws the number anew."""
    masked_fraction: float = Field(default=0.5, ge=0, le=1)
    """Fraction of the target questions that are masked from the prior, so that the model learns to predict
    unseen questions too (only with ``prior: memory``)."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> EpisodeConfig:
        for name in ("context_questions", "target_questions"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(f"{name} must be [least, most] with 1 <= least <= most, not [{low}, {high}]")
        return self


class ValidationConfig(StrictConfig):
    """The settings of early stopping, by validation on groups taken out of the meta-train groups."""

    fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the meta-train groups that are for validation; at least one group is."""
    question_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training questions that training steps do not use; validation scores them too, masked
    from the prior. With 0, validation scores only questions that are trained on."""
    context_questions: int = Field(default=20, ge=1)
    """Number of context questions of each validation group; its other questions are targets."""
    max_groups: int = Field(default=2000, ge=1)
    """Maximum number of validation groups that are scored; if there are more, they are drawn at random."""
    every: int = Field(default=50, ge=1)
    """Number of steps between validations; each validation also saves a checkpoint and reports progress."""
    patience: int = Field(default=10, ge=1)
    """Number of validations without a better alignment after which training stops."""
    min_gain: float = Field(default=0.0, ge=0)
    """Alignment by which a step must exceed the best earlier step to replace it."""
    prior_patience: int = Field(default=2, ge=1)
    """Patience that replaces ``patience`` until a step has been better than the prior (only with
    ``prior: memory``)."""
    confidence: float = Field(default=0.95, ge=0, lt=1)
    """Confidence with which a step's gain over the prior must be more than chance before the step replaces
    the prior; 0 switches this test off."""


class ObjectiveConfig(StrictConfig):
    """The objective of training; in a file, ``objective: robust`` alone is enough."""

    kind: Literal["average", "robust"] = "average"
    """``average`` minimises the mean loss over the training groups; ``robust`` favours the groups that are
    predicted worst by weighting the groups' losses (Group Robust Preference Optimization, arXiv
    2405.20304)."""
    step_size: float = Field(default=0.3, gt=0)
    """Growth of the log of a group's weight per step and nat of its excess loss (only with ``robust``)."""

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, values: Any) -> Any:
        return {"kind": values} if isinstance(values, str) else values


class TrainConfig(StrictConfig):
    """The configuration of one meta-training."""

    model: ModelConfig = ModelConfig()
    episodes: EpisodeConfig = EpisodeConfig()
    validation: ValidationConfig = ValidationConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    steps: int = Field(default=1000, ge=1)
    """Largest number of optimiser steps (published: 200,000)."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Highest learning rate; it falls to zero along a cosine over ``steps``."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    warmup_steps: int = Field(default=0, ge=0)
    """Number of first steps over which the learning rate rises linearly."""
    clip_norm: float = Field(default=0.0, ge=0)
    """Norm to which longer gradients are clipped; 0 clips none."""
    standardize: bool = False
    """Whether each embedding dimension is scaled to mean 0 and variance 1 over the training questions; after
    training the scaling is folded into the first layer."""
    seed: int = Field(default=0, ge=0)
    """Seed of the initial weights and the episodes."""

    @model_validator(mode="before")
    @classmethod
    def _present_keys(cls, values: Any) -> Any:
        return present_keys(values)


def parse(model: type[C], values: Any, where: str) -> C:
    """Validate ``values`` as a ``model``.

    Raises:
        ConfigError: naming ``where``, the first bad key and the reason.
    """
    try:
        return model.model_validate(values)
    except ValidationError as e:
        first = e.errors()[0]
        key = ".".join(str(k) for k in first["loc"]) or "(top level)"
        more = f" (and {e.error_count() - 1} more)" if e.error_count() > 1 else ""
        raise ConfigError(f"{where}: {key}: {first['msg'].removeprefix('Value error, ')}{more}") from e


def presets() -> list[str]:
    """List the names of the presets that ship with the package."""
    return sorted(
        p.name.removesuffix(".yaml") for p in _preset_folder().iterdir() if p.name.endswith(".yaml")
    )


def load_train_config(name: str | os.PathLike[str], **changes: Any) -> TrainConfig:
    """Load a preset by its name, or a YAML file, and change some top-level fields.

    A change to None leaves the field as it is.

    Raises:
        ConfigError: naming the file and the key that is wrong.
    """
    if str(name) in presets():
        values, where = _mapping(_preset_folder() / f"{name}.yaml", f"preset {name}"), f"preset {name}"
    elif Path(name).is_file():
        values, where = _mapping(Path(name), str(name)), str(name)
    else:
        raise ConfigError(f"{name}: neither a file nor a preset (presets: {', '.join(presets())})")
    return parse(TrainConfig, values | {k: v for k, v in changes.items() if v is not None}, where)


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the keys and values of a YAML file.

    Raises:
        ConfigError: naming the file, if it does not exist or does not hold keys and values.
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
