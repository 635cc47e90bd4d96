"""Define the DeepSpeed engine: ZeRO stages 0 to 3, on GPUs or, with gloo, on CPUs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray
from torch import Tensor

from gpo_ray.config import TrainConfig
from gpo_ray.model.episodes import Episode
from gpo_ray.model.predict import Forward, episode_loss
from gpo_ray.model.transformer import GPOTransformer

TAG = "state"
FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""Environment variable by which torch loads weights only, even if a caller passes ``weights_only=False``."""


def deepspeed_config(config: TrainConfig, zero_stage: int) -> dict[str, Any]:
    """Return DeepSpeed's settings; they are made nowhere else.

    The batch size is nominal, since this package makes the batches itself: a step is one episode per worker.
    """
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.clip_norm,
        "zero_optimization": {"stage": zero_stage},
        "optimizer": {
            "type": "AdamW",
            # torch's AdamW needs no compiler, and the single-process engine uses it as well
            "params": {"lr": config.learning_rate, "weight_decay": config.weight_decay, "torch_adam": True},
        },
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }


def load_deepspeed(on_cpu: bool) -> Any:
    """Return DeepSpeed, quiet, and on CPUs without what takes a compiler."""
    if on_cpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed
    from deepspeed.utils import logger

    logger.setLevel("WARNING")
    if on_cpu:
        # this extension is only for inference; compiling it, if necessary, takes a minute and a GiB
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


class DeepSpeedEngine:
    """An :class:`~gpo_ray.meta_training.loop.Engine` that shares the work with other processes.

    The default process group must exist before it is made, and its backend says where the engine computes:
    with gloo on CPUs, even if the host has GPUs, since Ray shows them also to a worker that asked for none;
    with another backend on GPUs.
    """

    def __init__(self, model: GPOTransformer, config: TrainConfig, zero_stage: int) -> None:
        deepspeed = load_deepspeed(on_cpu=torch.distributed.get_backend() == "gloo")
        self.rank = torch.distributed.get_rank()
        self.workers = torch.distributed.get_world_size()
        self._deepspeed = deepspeed
        self._model = model
        self._likelihood = config.model.likelihood
        self._engine, *_ = deepspeed.initialize(
            model=model,
            model_parameters=list(model.parameters()),
            config=deepspeed_config(config, zero_stage),
        )

    @property
    def device(self) -> torch.device:
        """Device on which DeepSpeed placed the model."""
        device: torch.device = self._engine.device
        return device

    @property
    def forward(self) -> Forward:
        """The model, wrapped by DeepSpeed, for prediction."""
        forward: Forward = self._engine
        return forward

    def step(self, episode: Episode, learning_rate: float) -> tuple[float, NDArray[np.float64]]:
        """Take one gradient step; return the loss and the excess losses of all workers' groups."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        loss, excess = episode_loss(self._engine, episode.to(self.device), self._likelihood, self.workers)
        self._engine.backward(loss)
        self._engine.step()
        # each worker fills in the values of its own groups and adds zero to those of the others
        shared = torch.zeros(1 + episode.total_groups, device=self.device)
        shared[0] = loss.detach() / self.workers
        shared[1 + self.rank :: self.workers] = excess
        torch.distributed.all_reduce(shared)
        return float(shared[0]), shared[1:].double().cpu().numpy()

    def agree(self, value: float) -> float:
        """Return the first worker's value."""
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of all weights on the CPU; under ZeRO-3 they are gathered from all workers."""
        with self._deepspeed.zero.GatheredParameters(list(self._model.parameters())):
            return {k: v.detach().float().cpu().clone() for k, v in self._model.state_dict().items()}

    def save(self, folder: Path) -> None:
        """Write this worker's part of a DeepSpeed checkpoint."""
        self._engine.save_checkpoint(str(folder), tag=TAG)

    def load(self, folder: Path) -> None:
        """Load what :meth:`save` wrote, without running any code that a checkpoint may hold.

        Raises:
            pickle.UnpicklingError: if a file holds anything but tensors, plain values and DeepSpeed's
            classes.
        """
        with only_tensors():
            self._engine.load_checkpoint(str(folder), tag=TAG)


@contextlib.contextmanager
def only_tensors() -> Iterator[None]:
    """Make torch load only tensors, plain values and the classes of DeepSpeed's checkpoints.

    DeepSpeed asks torch to load any pickle, which may run any code; torch's environment variable overrides
    this.
    """
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    before = os.environ.get(FORCE)
    os.environ[FORCE] = "1"
    try:
        with torch.serialization.safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
            yield
    finally:
        if before is None:
            del os.environ[FORCE]
        else:
            os.environ[FORCE] = before
