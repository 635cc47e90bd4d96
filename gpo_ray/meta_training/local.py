"""Run meta-training in this process (``--workers 0``), without a cluster.

The loop and the result folder are the same as for several workers (``driver.py``).
"""

from __future__ import annotations

from typing import Any

import torch

from gpo_ray.errors import ResourceError
from gpo_ray.meta_training.checkpoints import Checkpoints, resume
from gpo_ray.meta_training.engine import LocalEngine, new_model
from gpo_ray.meta_training.loop import Save, meta_train
from gpo_ray.meta_training.progress import Progress
from gpo_ray.meta_training.run import RunLog, TrainJob, finish, outcome, prepare, resumed, sort_first
from gpo_ray.runtime.terminal import Steps


def train_local(
    job: TrainJob,
    progress_bar: bool = False,
    device: str = "cpu",
    restart: bool = False,
    address: str | None = None,
) -> dict[str, Any]:
    """Meta-train in this process, or continue the run of the same storage and name.

    A run continues from its last checkpoint.

    Ray is needed only to sort answers that stay on disk, on the cluster at ``address`` or on a local one.

    Returns:
        A dictionary with ``steps``, ``best_step``, ``validation_alignment``, ``prior_alignment``, ``kept``,
        ``resumed``, ``seconds``, ``out`` and ``run``.

    Raises:
        GPOError: if data or settings are wrong.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise ResourceError("--gpus-per-worker: this machine has no GPU; leave it out to train on the CPU")
    with job.writing():
        return _train(job, progress_bar, device, restart, address)


def _train(
    job: TrainJob, progress_bar: bool, device: str, restart: bool, address: str | None
) -> dict[str, Any]:
    sort_first(job, address)
    steps = Steps("train", 3, progress_bar)
    with steps.step("read the survey and its embeddings"):
        prepared = prepare(job)
    job.claim(prepared, restart)
    engine = LocalEngine(new_model(prepared.bundle_config.embedding_width, job.config), job.config, device)
    progress = Progress()
    checkpoints = Checkpoints(job.run_folder)
    with checkpoints.newest() as last:
        if last is not None:
            progress = resume(engine, last, str(job.run_folder))
            progress.note_resumption(job.config.steps)
    log = RunLog(job.run_folder, progress.history)

    with steps.step(f"meta-train{resumed(progress)}", job.config.steps, "steps", progress.step) as step:

        def report(metrics: dict[str, Any], save: Save) -> None:
            checkpoints.write(metrics["step"], save)
            log.write(progress.history)
            step.note = f"alignment {metrics['validation_alignment']:.4f}"

        progress = meta_train(engine, prepared.data, job.config, report, progress, step.reach)
        step.outcome = outcome(progress, job.config.steps)
    log.close()
    with steps.step("write the bundle"):
        prepared = prepared.trained()
        return finish(job, prepared, progress)
