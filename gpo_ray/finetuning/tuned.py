"""A language model with an adapter: low-rank updates are put into the frozen model and taken out again."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpo_ray.errors import ConfigError
from gpo_ray.finetuning.config import FinetuneConfig, LoraSettings
from gpo_ray.finetuning.examples import Example, TreeCollator
from gpo_ray.finetuning.quiet import own_random_numbers, quiet, unchanged
from gpo_ray.lm.find import ModelSource
from gpo_ray.lm.load import load_tokenizer
from gpo_ray.lm.model import LanguageModel

if TYPE_CHECKING:
    from torch import Tensor

    from gpo_ray.finetuning.trainers import RewardModel

LINEAR = ("Linear", "Conv1D")
"""Names of the classes of linear modules, of torch and, in older models, of transformers."""
HEAD = "score.weight"
"""Name of the reward head's weights among those of an adapter."""


@dataclass(frozen=True)
class TrainingSet:
    """The examples of a training, and how often it is validated."""

    training: Sequence[Example]
    """The examples to train on, of all passes."""
    held_back: Sequence[Example]
    """Those by which the best step is chosen."""
    eval_steps: int
    """Number of steps between validations."""
    whole_vocabulary: bool = False
    """See :class:`gpo_ray.finetuning.trainers.LetterTrainer`."""


@dataclass(frozen=True)
class Training:
    """What came of a training."""

    weights: dict[str, Tensor]
    """The weights of the best adapter; empty if no step was better than the base model."""
    steps: int
    """Number of optimiser steps."""
    best_step: int
    """Number of steps after which the loss on the held-back examples was lowest; 0 is the base model."""
    losses: tuple[float, ...]
    """The loss on the held-back examples at each validation; the first one is the base model's."""
    parameters: int
    """Number of trained parameters."""
    seconds: float


class Tuned:
    """A language model with an adapter in it, see :func:`tuned`."""

    def __init__(self, model: LanguageModel, source: ModelSource, adapted: Any, head: bool) -> None:
        from gpo_ray.finetuning.trainers import RewardModel

        self.model, self._source, self._adapted = model, source, adapted
        """The language model, which reads texts with the adapter."""
        self._reward: RewardModel | None = RewardModel(model.model) if head else None

    @property
    def reward(self) -> RewardModel:
        """The reward model around the language model; only :func:`tuned` with ``head`` makes one."""
        if self._reward is None:
            raise ValueError("this adapter has no head")
        return self._reward

    def weights(self) -> dict[str, Tensor]:
        """Return the adapter's weights, not as a copy; a reward model's head is among them."""
        from peft import get_peft_model_state_dict

        # the language model's own embeddings are never a part; peft would look for them on the network
        found: dict[str, Tensor] = get_peft_model_state_dict(self._adapted, save_embedding_layers=False)
        return found if self._reward is None else found | {HEAD: self._reward.score.weight}

    def load(self, weights: dict[str, Tensor]) -> None:
        """Put weights into the adapter.

        Raises:
            ConfigError: if they are not those of an adapter of this shape.
        """
        from peft import set_peft_model_state_dict

        mine = {name: tuple(w.shape) for name, w in self.weights().items()}
        if mine != {name: tuple(w.shape) for name, w in weights.items()}:
            raise ConfigError("the adapter's weights are of another model or configuration; train it again")
        set_peft_model_state_dict(self._adapted, {n: w for n, w in weights.items() if n != HEAD})
        if self._reward is not None:
            self._reward.score.weight.data.copy_(weights[HEAD])

    def peft_config(self) -> dict[str, Any]:
        """Return the adapter's configuration as peft writes it to ``adapter_config.json``."""
        values = self._adapted.peft_config["default"].to_dict()
        plain = {k: sorted(v) if isinstance(v, set) else v for k, v in values.items()}
        return plain | {"base_model_name_or_path": self._source.reference, "inference_mode": True}

    def train(
        self,
        config: FinetuneConfig,
        data: TrainingSet,
        more: Mapping[str, Any] | None = None,
        prepare: Callable[[Any], Any] = lambda trainer: trainer,
    ) -> Training:
        """Train the adapter with TRL, and put the best weights into it.

        Args:
            config: how to train.
            data: the examples.
            more: further arguments of TRL's configuration, such as ``deepspeed``.
            prepare: function that is given TRL's trainer, and returns the one to train with.

        Raises:
            ConfigError: if the loss on the held-back examples is no number, that is if training diverged.
        """
        from gpo_ray.finetuning.trainers import BestState

        started = time.monotonic()
        best = BestState(self.weights)
        with quiet(), tempfile.TemporaryDirectory() as folder:
            trainer = prepare(self._trainer(config, data, folder, more or {}))
            trainer.add_callback(best)
            trainer.train()
            steps = int(trainer.state.global_step)
        self.model.model.eval()
        if not all(map(math.isfinite, best.losses)):
            raise ConfigError(f"fine-tuning diverged (loss {best.losses[-1]}); lower learning_rate")
        self.load(best.best)
        return Training(
            weights=best.best if best.step else {},
            steps=steps,
            best_step=best.step,
            losses=tuple(best.losses),
            parameters=sum(w.numel() for w in best.best.values()),
            seconds=time.monotonic() - started,
        )

    def _trainer(
        self, config: FinetuneConfig, data: TrainingSet, folder: str, more: Mapping[str, Any]
    ) -> Any:
        """Return TRL's trainer, which prints nothing and writes nothing that is kept."""
        from datasets import Dataset
        from transformers import EarlyStoppingCallback, PrinterCallback
        from trl import RewardConfig, SFTConfig

        from gpo_ray.finetuning.trainers import LetterTrainer, SlateTrainer

        arguments = trainer_arguments(config, data, folder, self.model.model.device.type == "cpu")
        shared = {
            "data_collator": TreeCollator(self.model.model.dtype, letters=self._reward is None),
            "train_dataset": Dataset.from_list(list(data.training)),
            "eval_dataset": Dataset.from_list(list(data.held_back)),
            "processing_class": load_tokenizer(self._source)[0],
            "callbacks": [EarlyStoppingCallback(config.early_stopping_patience)],
        }
        if self._reward is not None:
            trainer: Any = SlateTrainer(self._reward, RewardConfig(**arguments, **more), **shared)
        else:
            own = SFTConfig(**arguments, **more, dataset_kwargs={"skip_prepare_dataset": True})
            trainer = LetterTrainer(self._adapted, own, whole_vocabulary=data.whole_vocabulary, **shared)
        trainer.remove_callback(PrinterCallback)
        return trainer


def trainer_arguments(config: FinetuneConfig, data: TrainingSet, folder: str, on_cpu: bool) -> dict[str, Any]:
    """Return the arguments that TRL's configurations have in common.

    Args:
        config: how to train.
        data: the examples.
        folder: folder for TRL's own files, of which there are none.
        on_cpu: whether the model is on the CPU.
    """
    return {
        "output_dir": folder,
        "learning_rate": config.learning_rate,
        "num_train_epochs": 1,  # the examples hold all passes, each with the options in another order
        "max_steps": config.max_steps,
        "per_device_train_batch_size": config.per_device_train_batch_size,
        "per_device_eval_batch_size": config.per_device_train_batch_size,
        "lr_scheduler_type": "linear",
        "seed": config.seed,
        "eval_strategy": "steps",
        "eval_steps": data.eval_steps,
        "eval_on_start": True,  # step 0 is the base model
        "prediction_loss_only": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": on_cpu,
        "max_length": None,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
    }


def lora_arguments(lora: LoraSettings, causal: Any) -> dict[str, Any]:
    """Return the arguments of peft's configuration for a causal language model of transformers."""
    values = lora.model_dump(exclude={"upper_layers"}) | {"task_type": "CAUSAL_LM"}
    values["target_modules"] = list(lora.target_modules)
    if lora.target_modules == "all-linear":  # peft's own name for this allows no choice of layers
        linear = {name: m for name, m in causal.named_modules() if type(m).__name__ in LINEAR}
        head = causal.get_output_embeddings()
        values["target_modules"] = sorted({n.rpartition(".")[2] for n, m in linear.items() if m is not head})
    layers = causal.config.get_text_config().num_hidden_layers
    first = layers - math.ceil(lora.upper_layers * layers)
    return values | ({"layers_to_transform": list(range(first, layers))} if first else {})


@contextlib.contextmanager
def tuned(
    model: LanguageModel, source: ModelSource, lora: LoraSettings, seed: int, head: bool = False
) -> Iterator[Tuned]:
    """Put a new adapter into a language model for the time of the block.

    It changes nothing until it is trained. Afterwards the model is as before; nobody else may use it in the
    meantime.

    Args:
        model: the language model, which reads with the adapter in the block.
        source: the place of its files.
        lora: the adapter's shape.
        seed: seed of the adapter's first weights.
        head: whether it becomes a reward model.

    Raises:
        ConfigError: if the model has no layers of the names in ``lora``.
    """
    from peft import LoraConfig, get_peft_model

    causal = model.model
    shape = LoraConfig(**lora_arguments(lora, causal))
    with unchanged(causal.config), unchanged(causal.generation_config), own_random_numbers(seed):
        try:
            with quiet():
                adapted = get_peft_model(causal, shape)
        except ValueError as e:
            raise ConfigError(f"lora.target_modules: {' '.join(str(e).split())[:200]}") from e
        try:
            yield Tuned(model, source, adapted, head)
        finally:
            adapted.unload()
            vars(causal).pop("forward", None)  # TRL puts one of its own into the model
            causal.eval().requires_grad_(False)
