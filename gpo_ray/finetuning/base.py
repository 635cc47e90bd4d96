"""The frozen language model that adapters are trained on, and what the methods of fine-tuning share."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gpo_ray.finetuning.adapters import Adapter, AdapterRecord
from gpo_ray.finetuning.config import FinetuneConfig, LoraSettings, RewardModelConfig, SftConfig
from gpo_ray.finetuning.examples import passes, question_examples
from gpo_ray.finetuning.tuned import Training, TrainingSet, Tuned, tuned
from gpo_ray.guesses.few_shot import Shown
from gpo_ray.lm.find import ModelSource
from gpo_ray.lm.load import fingerprint
from gpo_ray.lm.model import LanguageModel

MIN_ANSWERS = 4
"""Fewest answers to train on; with fewer, no gain on held-back ones could be told from chance."""


@dataclass(frozen=True)
class BaseModel:
    """A language model that adapters are trained on."""

    model: LanguageModel
    source: ModelSource
    """The place of its files."""
    dtype: str = "float32"
    """Data type in which it computes."""

    @property
    def fingerprint(self) -> str:
        """A text that identifies its weights."""
        return _fingerprint(self.source, self.dtype)


_fingerprint = functools.cache(fingerprint)


def divide(count: int, config: FinetuneConfig) -> tuple[list[int], list[int]]:
    """Divide the numbers of a group's answers into those to train on and those that are held back.

    Returns:
        Both in ascending order. None is held back of fewer than :data:`MIN_ANSWERS` answers.
    """
    if count < MIN_ANSWERS:
        return list(range(count)), []
    order = np.random.default_rng([config.seed, count]).permutation(count)
    cut = min(count - 1, max(1, round(config.validation_fraction * count)))
    return sorted(int(i) for i in order[cut:]), sorted(int(i) for i in order[:cut])


def untrained(sharpness: float = 1.0) -> Adapter:
    """Return what is kept where there are too few answers to train on: nothing."""
    return Adapter(AdapterRecord(seconds=0, steps=0, best_step=0, parameters=0, sharpness=sharpness))


def training_set(
    base: BaseModel,
    training: Sequence[Shown],
    held_back: Sequence[Shown],
    config: SftConfig | RewardModelConfig,
    letters: bool,
) -> TrainingSet:
    """Return a group's answers as examples of all passes, validated once in a pass.

    The answers that are held back are asked in one order each, another one from question to question, so that
    no letter is favoured. ``letters`` is as for :func:`gpo_ray.finetuning.examples.texts_of`.
    """
    return TrainingSet(
        passes(base.model, training, config.num_train_epochs, letters),
        question_examples(base.model, held_back, range(len(held_back)), letters),
        eval_steps=-(-len(training) // config.per_device_train_batch_size),
    )


def adapter_of(model: Tuned, trained: Training, sharpness: float = 1.0) -> Adapter:
    """Return what a training made, with its record."""
    record = AdapterRecord(
        seconds=trained.seconds,
        steps=trained.steps,
        best_step=trained.best_step,
        parameters=trained.parameters,
        base_loss=trained.losses[0],
        best_loss=min(trained.losses),
        sharpness=sharpness,
    )
    return Adapter(record, trained.weights, model.peft_config() if trained.weights else {})


def adapted(
    base: BaseModel, adapter: Adapter, lora: LoraSettings
) -> contextlib.AbstractContextManager[Tuned | None]:
    """Return a context in which the base model reads with a trained adapter, or alone if it was kept.

    Args:
        base: the language model.
        adapter: the adapter.
        lora: the adapter's shape.
    """
    return contextlib.nullcontext() if adapter.record.kept_base else with_weights(base, adapter, lora)


@contextlib.contextmanager
def with_weights(
    base: BaseModel, adapter: Adapter, lora: LoraSettings, head: bool = False
) -> Iterator[Tuned]:
    """Let the base model read with an adapter's weights for the time of the block.

    Args:
        base: the language model.
        adapter: the adapter, which has weights.
        lora: its shape.
        head: whether it is a reward model.

    Raises:
        ConfigError: if the weights are of another shape.
    """
    with tuned(base.model, base.source, lora, seed=0, head=head) as model:
        model.load(dict(adapter.weights))
        yield model
