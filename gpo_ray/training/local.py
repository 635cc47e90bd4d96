"""Meta-training in this process (``--workers 0``): no cluster, same loop, same result folder."""

from __future__ import annotations

from typing import Any

import torch
from tqdm.auto import tqdm

from gpo_ray.errors import ResourceError
from gpo_ray.training.checkpoints import Checkpoints, resume
from gpo_ray.training.engine import LocalEngine, new_model
from gpo_ray.training.loop import Save, meta_train
from gpo_ray.training.progress import Progress
from gpo_ray.training.run import RunLog, TrainJob, finish, prepare, sort_first


def train_local(
    job: TrainJob,
    progress_bar: bool = False,
    device: str = "cpu",
    restart: bool = False,
    address: str | None = None,
) -> dict[str, Any]:
    """Meta-train in this process; the same ``(storage, name)`` goes on from its last checkpoint.

    Ray is needed only where answers stay on disk, to sort them: on the cluster at ``address`` or a local one.

    Returns:
        ``steps, best_step, validation_alignment, prior_alignment, kept, resumed, seconds, out, run``.

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

    def report(metrics: dict[str, Any], save: Save) -> None:
        checkpoints.write(metrics["step"], save)
        log.write(progress.history)
        bar.set_postfix_str(f"validation alignment {metrics['validation_alignment']:.4f}")

    bar = tqdm(
        total=job.config.steps, initial=progress.step, desc="train", unit="step", disable=not progress_bar
    )
    with bar:
        progress = meta_train(engine, prepared.data, job.config, report, progress, lambda _: bar.update(1))
    log.close()
    prepared = prepared.trained()
    return finish(job, prepared, progress)
