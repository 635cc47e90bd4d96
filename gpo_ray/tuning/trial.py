"""One trial: meta-training in one process, on data that all trials share.

distributed.py runs a trial on several workers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import ray
from ray import tune

from gpo_ray.config import TrainConfig
from gpo_ray.embedding.arrays import scaled
from gpo_ray.errors import ConfigError
from gpo_ray.meta_training.data import MetaTrainingData
from gpo_ray.meta_training.engine import LocalEngine, new_model
from gpo_ray.meta_training.loop import Save, meta_train
from gpo_ray.meta_training.progress import Progress
from gpo_ray.preferences.splits import Split
from gpo_ray.prior.fitted import PriorKey
from gpo_ray.runtime.threads import use_threads
from gpo_ray.tuning.shared import SharedArrays, shared_arrays
from gpo_ray.tuning.space import Sample, Space

METRIC = "trained_alignment"
"""The value that a search maximises: the validation groups' alignment after the best of the validated steps.
The alignment of the prior alone does not count, since all trials that start from it would be equal."""
REPORTED = ("step", "loss", "validation_alignment", METRIC, "best_alignment", "seconds", "ended")

PLACEMENT_GROUP = "placement_group"
"""Key, in a report of a trial on several workers, of the id of their placement group."""


def run_trial(
    sample: Sample,
    space: Space,
    shared: SharedArrays,
    priors: Mapping[PriorKey, ray.ObjectRef],
    split: Split,
    device: str,
    threads: int,
) -> None:
    """Meta-train with a sample's configuration, and report every validation to Tune.

    Raises:
        ConfigError: if the sample is not a valid configuration, or training diverges.
    """
    use_threads(threads)
    config = trial_config(sample, space)
    data = trial_data(config, shared, priors, split)
    engine = LocalEngine(new_model(data.arrays.x.shape[1], config), config, device)
    progress = Progress()

    def report(metrics: dict[str, Any], _: Save) -> None:
        tune.report(trial_metrics(metrics, progress, config))

    meta_train(engine, data, config, report, progress)


def trial_config(sample: Sample, space: Space) -> TrainConfig:
    """Return the configuration of a sample without patience, so that only the scheduler stops a trial early.

    Patience would end trials that start from a good prior before they could show whether they improve on it.
    The finals and the bundle are trained with patience.
    """
    config = space.train_config(sample)
    validation = config.validation.model_copy(
        update=dict.fromkeys(("patience", "prior_patience"), config.steps + 1)
    )
    return config.model_copy(update={"validation": validation})


def trial_data(
    config: TrainConfig, shared: SharedArrays, priors: Mapping[PriorKey, ray.ObjectRef], split: Split
) -> MetaTrainingData:
    """Build the data that a trial learns from; a prior that is not among ``priors`` is fitted here."""
    arrays = scaled(shared_arrays(shared[config.model.pooling]), config.standardize, split.question_order)
    found = None
    if config.model.prior != "none":
        found = priors.get(PriorKey.of(config, split, split.train_groups))
    return MetaTrainingData.build(arrays, split, config, None if found is None else ray.get(found))


def trial_metrics(metrics: dict[str, Any], progress: Progress, config: TrainConfig) -> dict[str, Any]:
    """Return what a trial reports about a validation.

    Raises:
        ConfigError: if a value is not finite.
    """
    best = max(m["validation_alignment"] for m in progress.history)
    found = metrics | {METRIC: best, "ended": progress.step == config.steps}
    kept = {k: found[k] for k in REPORTED}
    wrong = [k for k, v in kept.items() if not math.isfinite(v)]
    if wrong:
        raise ConfigError(f"training diverged: {wrong[0]} is {kept[wrong[0]]} at step {kept['step']}")
    return kept
