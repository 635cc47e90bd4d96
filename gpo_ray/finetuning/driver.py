"""Fine-tune on few-shot prompts on Ray Train: TRL's trainer on several workers, with DeepSpeed if asked for.

In one process :func:`gpo_ray.finetuning.in_context.fit_in_context` does the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray.train
import ray.train.torch
from ray.train.huggingface.transformers import prepare_trainer

from gpo_ray.errors import BundleError, ConfigError, ResourceError
from gpo_ray.finetuning.adapters import Adapter, read_adapter, write_adapter
from gpo_ray.finetuning.base import adapter_of
from gpo_ray.finetuning.config import InContextConfig
from gpo_ray.finetuning.in_context import in_context_examples
from gpo_ray.finetuning.tuned import tuned
from gpo_ray.guesses.few_shot import Shown
from gpo_ray.lm.find import ModelSource
from gpo_ray.lm.model import LanguageModel
from gpo_ray.meta_training.deepspeed_engine import load_deepspeed
from gpo_ray.meta_training.driver import TorchOnRay
from gpo_ray.runtime.ray_session import interruptibly, require, user_error, worker_threads
from gpo_ray.runtime.resources import device_of, train_request
from gpo_ray.runtime.storage import Folder
from gpo_ray.runtime.threads import use_threads

MAX_FAILURES = 1
"""Number of times that a run is begun anew after a lost worker."""


@dataclass(frozen=True)
class InContextJob:
    """What is trained on what; every worker is given it."""

    source: ModelSource
    """The place of the language model's files, which every node has."""
    groups: Mapping[str, Sequence[Shown]]
    """The training groups' answered questions with their shares (R,)."""
    validation: Mapping[str, Sequence[Shown]]
    """Those of the validation groups, by which the best step is chosen."""
    config: InContextConfig
    dtype: str = "float32"
    """Data type in which the language model computes."""
    zero_stage: int = 0
    """Stage of DeepSpeed's ZeRO, 1 or 2; 0 trains without DeepSpeed (torch's DDP)."""

    def __post_init__(self) -> None:
        if self.zero_stage not in (0, 1, 2):
            raise ConfigError(
                f"zero stage {self.zero_stage} is not one of 0, 1, 2: each worker holds the model"
            )


def fit_in_context_on_ray(
    job: InContextJob, workers: int, storage: str, name: str, gpus_per_worker: float = 0
) -> Adapter:
    """Train an adapter on few-shot prompts of many groups, on several workers of the running Ray cluster.

    Each worker reads ``per_device_train_batch_size`` prompts' stems in a step; two workers with one take the
    steps of one worker with two. A run that loses a worker is begun anew, once.

    Args:
        job: what is trained on what.
        workers: number of workers.
        storage: folder or URI for Ray Train's files, which every node can write.
        name: name of the run there.
        gpus_per_worker: number of GPUs of each worker.

    Raises:
        GPOError: if data or settings are wrong, or the cluster is too small.
    """
    require(train_request(workers, gpus_per_worker))
    try:
        result = interruptibly(_trainer(job, workers, Folder(storage), name, gpus_per_worker).fit)
    except ray.train.TrainingFailedError as e:
        raise user_error(e) or ResourceError(
            f"fine-tuning stopped: {' '.join(str(e).split())[:200]}; run it again"
        ) from e
    if result.checkpoint is None:
        raise ResourceError("fine-tuning ended without an adapter; run it again")
    with result.checkpoint.as_directory() as folder:
        return read_adapter(Folder(folder, BundleError))


def _trainer(
    job: InContextJob, workers: int, storage: Folder, name: str, gpus: float
) -> ray.train.torch.TorchTrainer:
    filesystem, path = storage.location
    settings = {"job": job, "workers": workers, "gpus": gpus, "threads": worker_threads(workers)}
    return ray.train.torch.TorchTrainer(
        _worker,
        train_loop_config=settings,
        torch_config=TorchOnRay(),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": 1} | ({"GPU": gpus} if gpus else {}),
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
        ),
    )


def deepspeed_settings(zero_stage: int) -> dict[str, Any]:
    """Return DeepSpeed's settings for TRL's arguments; ``auto`` is what these say."""
    return {
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_optimization": {"stage": zero_stage},
        "zero_allow_untested_optimizer": True,  # torch's AdamW, as without DeepSpeed; it needs no compiler
        "steps_per_print": 2**31,
    }


def _worker(settings: dict[str, Any]) -> None:
    """Train on one worker; the first one hands in the adapter, which is the same on all."""
    use_threads(settings["threads"])
    job: InContextJob = settings["job"]
    if job.zero_stage:
        load_deepspeed(on_cpu=not settings["gpus"])
    model = LanguageModel(job.source, job.dtype, device_of(settings["gpus"]), settings["gpus"])
    data = in_context_examples(model, job.groups, job.validation, job.config, settings["workers"])
    more = {"deepspeed": deepspeed_settings(job.zero_stage)} if job.zero_stage else {}
    with (
        tuned(model, job.source, job.config.lora, job.config.seed) as learner,
        tempfile.TemporaryDirectory() as folder,
    ):
        trained = learner.train(job.config, data, more, prepare_trainer)
        checkpoint = None
        if ray.train.get_context().get_world_rank() == 0:
            write_adapter(Folder(folder), adapter_of(learner, trained))
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"steps": trained.steps, "best_loss": min(trained.losses)}, checkpoint)
