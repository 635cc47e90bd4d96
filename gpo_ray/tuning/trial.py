"""One trial: meta-training in one process, on data that all trials share."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping
from typing import Any

import ray
import torch
from ray import tune

from gpo_ray.errors import ConfigError
from gpo_ray.model.episodes import PreferenceArrays
from gpo_ray.preferences.splits import Split
from gpo_ray.training.engine import LocalEngine, new_model
from gpo_ray.training.loop import MetaTrainingData, Save, meta_train
from gpo_ray.training.progress import Progress
from gpo_ray.tuning.space import Sample, Space

METRIC = "best_alignment"
"""What a search raises: the validation groups' alignment with the weights a bundle would get."""


def share(arrays: Mapping[str, PreferenceArrays]) -> dict[str, ray.ObjectRef]:
    """Put the data of each pooling into the object store, from where processes map it."""
    # numpy arrays are mapped into every process that reads them, tensors are copied
    return {
        pooling: ray.put(dataclasses.replace(a, x=a.x.numpy()))  # type: ignore[arg-type]
        for pooling, a in arrays.items()
    }


def shared_arrays(reference: ray.ObjectRef) -> PreferenceArrays:
    """The data behind one reference, without a copy."""
    stored = ray.get(reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is read-only: nobody writes to it
        return dataclasses.replace(stored, x=torch.from_numpy(stored.x))


def run_trial(
    sample: Sample, space: Space, shared: Mapping[str, ray.ObjectRef], split: Split, device: str
) -> None:
    """Meta-train with what a sample stands for and report every validation to Tune.

    Raises:
        ConfigError: if the sample is not a valid configuration, or training diverges.
    """
    torch.set_num_threads(1)
    config = space.train_config(sample)
    arrays = shared_arrays(shared[config.model.pooling])
    if config.standardize:
        arrays = arrays.standardized(arrays.question_numbers(split.question_order))[0]
    engine = LocalEngine(new_model(arrays.x.shape[1], config), config, device)
    progress = Progress()

    def report(metrics: dict[str, Any], _: Save) -> None:
        kept = {k: metrics[k] for k in ("step", "loss", "validation_alignment", METRIC, "seconds")}
        wrong = [k for k, v in kept.items() if not math.isfinite(v)]
        if wrong:
            raise ConfigError(f"training diverged: {wrong[0]} is {kept[wrong[0]]} at step {kept['step']}")
        ended = progress.step == config.steps or progress.stale >= config.validation.patience
        tune.report(kept | {"ended": ended})

    meta_train(engine, MetaTrainingData.build(arrays, split, config), config, report, progress)
