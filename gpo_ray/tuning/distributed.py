"""A trial on several workers: Ray Train with DeepSpeed, started by a light driver that Tune runs.

The driver takes no CPU or GPU, so that drivers cannot block each other's workers; the number of trials that
run at a time follows from the resources of their workers. trial.py runs a trial in a single process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
import ray.train
import ray.train.torch
from ray import tune
from ray._raylet import PlacementGroupID
from ray.tune.integration.ray_train import TuneReportCallback
from ray.util import get_current_placement_group, remove_placement_group
from ray.util.placement_group import PlacementGroup

from gpo_ray.meta_training.deepspeed_engine import DeepSpeedEngine
from gpo_ray.meta_training.driver import TorchOnRay
from gpo_ray.meta_training.engine import new_model
from gpo_ray.meta_training.loop import Save, meta_train
from gpo_ray.meta_training.progress import Progress
from gpo_ray.preferences.splits import Split
from gpo_ray.prior.fitted import PriorKey
from gpo_ray.runtime.ray_session import cluster_capacity, user_error
from gpo_ray.runtime.resources import PlacementBundle
from gpo_ray.runtime.storage import Folder
from gpo_ray.runtime.threads import use_threads
from gpo_ray.tuning.shared import SharedArrays
from gpo_ray.tuning.space import Sample, SearchConfig, Space
from gpo_ray.tuning.trial import PLACEMENT_GROUP, trial_config, trial_data, trial_metrics

DRIVER = {"node:__internal_head__": 0.001}
"""The resources of a driver: a place on the head node, and nothing else."""
ZERO_STAGE = 1


def trials_at_a_time(search: SearchConfig) -> int:
    """Return for how many trials at a time the cluster has room, from 1 to the number asked for."""
    most = search.concurrent * search.workers
    worker = PlacementBundle("trial worker", most, search.cpus, search.gpus)
    return max(1, cluster_capacity().room(worker, most) // search.workers)


def run_distributed_trial(
    sample: Sample,
    search: SearchConfig,
    space: Space,
    shared: SharedArrays,
    priors: Mapping[PriorKey, ray.ObjectRef],
    split: Split,
    threads: int,
    storage: str,
) -> None:
    """Meta-train with a sample's configuration on several workers, and report every validation to Tune.

    Args:
        sample: a sample of ``space``.
        search: the search, which says how many workers a trial has and which resources each takes.
        space: the space of hyperparameters.
        shared: the data.
        priors: all priors that samples may need.
        split: the split whose validation groups are scored.
        threads: number of threads of each worker.
        storage: folder for Ray Train's logs.

    Raises:
        ConfigError: if the sample is not a valid configuration, or training diverges.
    """
    settings = {
        "config": trial_config(sample, space),
        "shared": shared,
        "priors": priors,
        "split": split,
        "threads": threads,
    }
    try:
        _trainer(settings, search, storage).fit()
    except ray.train.TrainingFailedError as e:
        raise user_error(e) or e from None


def _trainer(settings: dict[str, Any], search: SearchConfig, storage: str) -> ray.train.torch.TorchTrainer:
    """Set up Ray Train for the workers of one trial, whose reports go to Tune.

    Args:
        settings: the argument of :func:`_worker`.
        search: the search, which says how many workers a trial has and which resources each takes.
        storage: folder for Ray Train's logs.
    """
    filesystem, place = Folder(storage).location
    return ray.train.torch.TorchTrainer(
        _worker,
        train_loop_config=settings,
        torch_config=TorchOnRay(),
        scaling_config=ray.train.ScalingConfig(
            num_workers=search.workers,
            use_gpu=search.gpus > 0,
            resources_per_worker={"CPU": search.cpus} | ({"GPU": search.gpus} if search.gpus else {}),
        ),
        run_config=ray.train.RunConfig(
            name=tune.get_context().get_trial_id(),
            storage_path=place,
            storage_filesystem=filesystem,
            callbacks=[TuneReportCallback()],
            failure_config=ray.train.FailureConfig(max_failures=0),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
        ),
    )


def _worker(settings: dict[str, Any]) -> None:
    """Meta-train in one worker of a trial.

    Args:
        settings: ``config`` of the training, ``shared`` data, fitted ``priors``, ``split``, and the number
            of ``threads`` of this worker.
    """
    use_threads(settings["threads"])
    config = settings["config"]
    data = trial_data(config, settings["shared"], settings["priors"], settings["split"])
    engine = DeepSpeedEngine(new_model(data.arrays.x.shape[1], config), config, ZERO_STAGE)
    progress = Progress()
    held = get_current_placement_group().id.hex()

    def report(metrics: dict[str, Any], _: Save) -> None:
        ray.train.report(trial_metrics(metrics, progress, config) | {PLACEMENT_GROUP: held})

    meta_train(engine, data, config, report, progress)


def release(placement_group: str) -> None:
    """Free the resources of a trial's workers, once the trial ended, was stopped or lost its driver.

    When a driver is stopped, Ray Train's controller ends too, but the placement group would stay.
    """
    remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(placement_group)))
