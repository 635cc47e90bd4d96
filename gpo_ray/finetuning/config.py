"""Configurations of fine-tuning, with the names of TRL and peft where these have one."""

from __future__ import annotations

from importlib import metadata
from typing import Literal

from pydantic import Field

from gpo_ray.config import StrictConfig
from gpo_ray.errors import ConfigError

LIBRARIES = ("trl", "peft")


class LoraSettings(StrictConfig):
    """The shape of an adapter (Hu et al., arXiv 2106.09685): low-rank updates beside frozen weights."""

    r: int = Field(default=8, ge=1, le=1024)
    """Rank of each update."""
    lora_alpha: int = Field(default=16, ge=1)
    """Scale of the updates, which are multiplied by ``lora_alpha / r``."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Probability with which an update's input is dropped in training."""
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Names of the modules with updates; ``all-linear`` are all linear ones but the output layer."""
    upper_layers: float = Field(default=0.4, gt=0, le=1)
    """Share of the model's layers that have updates: the last ones, so that gradients end at the first of
    them."""


class FinetuneConfig(StrictConfig):
    """The configuration of one fine-tuning, whatever its loss."""

    learning_rate: float = Field(default=2e-3, gt=0)
    """Highest learning rate of AdamW; it falls linearly to zero."""
    num_train_epochs: int = Field(default=3, ge=1)
    """Number of passes over the training examples."""
    max_steps: int = Field(default=-1, ge=-1)
    """Most optimiser steps; -1 leaves the number to ``num_train_epochs``."""
    per_device_train_batch_size: int = Field(default=4, ge=1)
    """Number of examples of a step."""
    validation_fraction: float = Field(default=0.25, gt=0, lt=1)
    """Share of the examples that is held back for early stopping, at least one."""
    early_stopping_patience: int = Field(default=2, ge=1)
    """Number of validations without a lower loss after which training stops."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the adapter's initial weights and of the order of the examples."""
    lora: LoraSettings = LoraSettings()


class SftConfig(FinetuneConfig):
    """The configuration of supervised fine-tuning on a group's answers."""

    loss_type: Literal["kl", "nll"] = "kl"
    """``kl``: forward Kullback-Leibler divergence from the group's shares to the probabilities of the option
    letters (SubPOP, arXiv 2502.16761); ``nll``: the usual loss of SFT, on answers drawn from the shares."""
    prediction_orders: int = Field(default=2, ge=1, le=100)
    """Number of cyclic orders of the options over which a prediction is the mean."""


class RewardModelConfig(FinetuneConfig):
    """The configuration of a reward model of a group (Bradley-Terry)."""

    prediction_orders: int = Field(default=1, ge=1, le=100)
    """Number of cyclic orders of the options over which a reward is the mean."""


class InContextConfig(FinetuneConfig):
    """The configuration of fine-tuning on few-shot prompts of many groups."""

    num_train_epochs: int = 1
    max_steps: int = Field(default=32, ge=1)
    per_device_train_batch_size: int = 1
    """Number of prompts' stems of a step, each with ``targets`` questions."""
    early_stopping_patience: int = 3
    targets: int = Field(default=6, ge=1)
    """Number of target questions that follow one stem, the shown answers of a group."""
    shown: tuple[int, int] = (4, 8)
    """Least and most answered questions that a stem shows in training; each stem draws the number anew."""
    validation_stems: int = Field(default=3, ge=1)
    """Number of the validation groups' stems by which training is stopped."""
    eval_steps: int = Field(default=8, ge=1)
    """Number of steps between validations."""
    prediction_orders: int = Field(default=1, ge=1, le=100)
    """Number of cyclic orders of the options over which a prediction is the mean."""


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that train.

    Raises:
        ConfigError: if one of them is not installed.
    """
    try:
        return {name: metadata.version(name) for name in LIBRARIES}
    except metadata.PackageNotFoundError as e:
        raise ConfigError(f"fine-tuning needs {e.name}; install: pip install 'gpo-ray[finetune]'") from e
