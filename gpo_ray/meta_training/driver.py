"""Run meta-training on Ray Train with DeepSpeed (``--workers N``).

``local.py`` runs it in one process; the loop itself is in ``loop.py``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil
import ray.train
import ray.train.torch
import ray.util
import torch.distributed

from gpo_ray.errors import ConfigError, ResourceError
from gpo_ray.meta_training.checkpoints import RESTART, resume
from gpo_ray.meta_training.deepspeed_engine import DeepSpeedEngine
from gpo_ray.meta_training.engine import new_model
from gpo_ray.meta_training.loop import Save, meta_train
from gpo_ray.meta_training.progress import Progress
from gpo_ray.meta_training.run import METRICS, RunLog, TrainJob, finish, outcome, prepare, sort_first
from gpo_ray.runtime.documents import parse_json
from gpo_ray.runtime.manifests import require_file_name
from gpo_ray.runtime.ray_session import (
    cluster_capacity,
    interruptibly,
    require,
    told_session,
    user_error,
    worker_threads,
)
from gpo_ray.runtime.resources import train_request
from gpo_ray.runtime.storage import Folder
from gpo_ray.runtime.terminal import Step, Steps
from gpo_ray.runtime.threads import environment, use_threads

SNAPSHOT = "checkpoint_manager_snapshot.json"
"""File with Ray Train's record of a run's checkpoints."""
MAX_FAILURES = 3
"""Number of times that a run recovers from lost workers before it fails; the same command then continues from
its last checkpoint."""
TRAIN_SETTINGS = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
"""Environment variables of Ray Train. They switch off its preemption watcher, a further process that informs
workers of hosts that are about to be taken away."""
ON_ONE_NODE = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}
"""Further variables where all workers are on one host. Ray Train polls the workers to learn that they have
finished, by default every two seconds."""
MAX_STARTS = 30
"""Number of attempts, of a minute each, to find room for all workers while a lost host is missing."""


def train_distributed(
    job: TrainJob,
    workers: int,
    zero_stage: int = 1,
    gpus_per_worker: float = 0,
    address: str | None = None,
    progress_bar: bool = False,
    restart: bool = False,
) -> dict[str, Any]:
    """Meta-train on several workers, or continue the run of the same storage and name.

    A run continues from its last checkpoint.

    Survey, embeddings and storage must be readable from every node (shared folders or URIs).

    Returns:
        A dictionary with ``steps``, ``best_step``, ``validation_alignment``, ``prior_alignment``, ``kept``,
        ``resumed``, ``seconds``, ``out`` and ``run``.

    Raises:
        GPOError: if data or settings are wrong, or the cluster is too small.
    """
    if zero_stage not in (0, 1, 2, 3):
        raise ConfigError(f"zero stage {zero_stage} is not one of 0, 1, 2, 3")
    job = dataclasses.replace(job, engine=f"deepspeed, {workers} workers, ZeRO {zero_stage}")
    with job.writing():
        return _train(job, workers, zero_stage, gpus_per_worker, address, progress_bar, restart)


def _train(
    job: TrainJob,
    workers: int,
    zero_stage: int,
    gpus_per_worker: float,
    address: str | None,
    progress_bar: bool,
    restart: bool,
) -> dict[str, Any]:
    sort_first(job, address)
    steps = Steps("train", 4, progress_bar)
    with steps.step("read the survey and its embeddings"):
        prepared = prepare(job)
    groups = min(len(prepared.data.train_groups), job.config.episodes.groups)
    if workers > groups:
        raise ConfigError(
            f"{workers} workers for {groups} groups a step: use at most as many workers as groups"
        )
    job.claim(prepared, restart)
    check_snapshot(job.run_folder)
    with told_session(steps, address):
        require(train_request(workers, gpus_per_worker))
        trainer = ray.train.torch.TorchTrainer(
            _worker,
            train_loop_config={"job": job, "zero_stage": zero_stage, "threads": worker_threads(workers)},
            torch_config=TorchOnRay(),
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers,
                use_gpu=gpus_per_worker > 0,
                resources_per_worker={"CPU": 1} | ({"GPU": gpus_per_worker} if gpus_per_worker else {}),
            ),
            run_config=_run_config(job),
        )
        with steps.step(f"meta-train with {workers} workers", job.config.steps, "steps") as step:
            try:
                with _Follower(job, step), environment(_train_settings()):
                    result = interruptibly(trainer.fit)
            except ray.train.TrainingFailedError as e:
                raise user_error(e) or ResourceError(
                    f"training stopped: {_why(e)}; the same command goes on from the last checkpoint"
                ) from e
            if result.checkpoint is None:
                raise ResourceError("training ended without a checkpoint; run the same command again")
            with result.checkpoint.as_directory() as folder:
                progress = Progress.load(Path(folder))
            step.outcome = outcome(progress, job.config.steps)
    with steps.step("write the bundle"):
        prepared = prepared.trained()
        return finish(job, prepared, progress)


def check_snapshot(run: Folder) -> None:
    """Check Ray's record of a run's checkpoints.

    Ray loads and removes checkpoints at any place that this record names, so that a changed record would be
    harmful.

    Raises:
        ConfigError: if the record names anything but a folder in the run's folder.
    """
    if not run.exists(SNAPSHOT):
        return
    where = run.where(SNAPSHOT)
    pending = [parse_json(run.read(SNAPSHOT), where, ConfigError, f"; {RESTART}")]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            for name in (v for k, v in value.items() if "checkpoint_dir_name" in k):
                for one in name if isinstance(name, list) else [name]:
                    require_file_name(one, where, ConfigError, f"; {RESTART}")
        if isinstance(value, dict | list):
            pending += value.values() if isinstance(value, dict) else value


def _run_config(job: TrainJob) -> ray.train.RunConfig:
    """Return Ray Train's settings for the run's storage, failures, checkpoints and logging."""
    filesystem, path = Folder(job.storage).location
    return ray.train.RunConfig(
        name=job.name,
        storage_path=path,
        storage_filesystem=filesystem,
        failure_config=ray.train.FailureConfig(
            max_failures=MAX_FAILURES, controller_failure_limit=MAX_STARTS
        ),
        checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        logging_config=ray.train.LoggingConfig(log_level="ERROR"),
    )


def _train_settings() -> dict[str, str]:
    """Return the environment variables of Ray Train that are not set already."""
    settings = TRAIN_SETTINGS | (ON_ONE_NODE if len(cluster_capacity().alive) == 1 else {})
    return {name: value for name, value in settings.items() if name not in os.environ}


def _why(error: ray.train.TrainingFailedError) -> str:
    """Return, in one line, why a run ended that did not end with an error of the user."""
    if isinstance(error, ray.train.ControllerError):
        cause = str(error.controller_failure).strip().rsplit("\n", 1)[-1]
        return f"its workers could not be started ({cause[:300]})"
    return f"it lost workers {MAX_FAILURES + 1} times ({' '.join(str(error).split())[:200]})"


class _TorchOnRay(ray.train.torch.TorchConfig().backend_cls):  # type: ignore[misc]
    """A backend that sets up process groups on the network that Ray itself uses."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Choose the network interface on all workers, before the training function is called."""
        worker_group.execute(use_node_interface)
        super().on_start(worker_group, backend_config)


class TorchOnRay(ray.train.torch.TorchConfig):  # type: ignore[misc]
    """A configuration of torch's process groups for workers on several hosts."""

    @property
    def backend_cls(self) -> type:
        """Class that sets up the process groups."""
        return _TorchOnRay


def use_node_interface() -> None:
    """Make gloo use the interface with this node's address, unless GLOO_SOCKET_IFNAME names another one.

    By default gloo uses the address that the host's own name resolves to, which is often a loopback address.
    """
    address = ray.util.get_node_ip_address()
    found = [n for n, all_of in psutil.net_if_addrs().items() if address in {a.address for a in all_of}]
    if found:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", found[0])


def _worker(settings: dict[str, Any]) -> None:
    """Run the meta-training loop on one worker."""
    use_threads(settings["threads"])
    job: TrainJob = settings["job"]
    prepared = prepare(job)
    model = new_model(prepared.bundle_config.embedding_width, job.config)
    engine = DeepSpeedEngine(model, job.config, settings["zero_stage"])
    progress = Progress()
    last = ray.train.get_checkpoint()
    if last is not None:
        with last.as_directory() as folder:
            progress = resume(engine, Path(folder), str(job.run_folder))
            progress.note_resumption(job.config.steps)
            torch.distributed.barrier()  # no worker may release the folder before all have loaded it
    log = RunLog(job.run_folder, progress.history) if engine.rank == 0 else None

    def report(metrics: dict[str, Any], save: Save) -> None:
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder))
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report({k: metrics[k] for k in ("step", "loss", "validation_alignment")}, checkpoint)
        if log is not None:
            log.write(progress.history)

    meta_train(engine, prepared.data, job.config, report, progress)
    if log is not None:
        log.close()


class _Follower:
    """A thread that shows progress from a run's metrics file, as the steps are taken in other processes."""

    def __init__(self, job: TrainJob, step: Step) -> None:
        self._folder, self._step = job.run_folder, step
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(1.0):
            if self._folder.exists(METRICS):
                self._step.reach(_last_step(self._folder.read(METRICS)))


def _last_step(lines: bytes) -> int:
    last = lines.strip().rsplit(b"\n", 1)[-1]
    return int(json.loads(last)["step"]) if last else 0
