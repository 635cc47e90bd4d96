"""The finals: the best trials meta-trained anew, several times, and scored on groups the search never saw."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray

from gpo_ray.config import TrainConfig
from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.protocol import evaluate_config
from gpo_ray.evaluation.statistics import compare
from gpo_ray.preferences.splits import Split
from gpo_ray.ray_session import user_error
from gpo_ray.storage import Folder
from gpo_ray.tuning.trial import shared_arrays

AGAINST = "against"
"""Name, among the finalists, of what the winner is compared with."""


def run_finals(
    candidates: Mapping[str, TrainConfig],
    shared: Mapping[str, ray.ObjectRef],
    split: Split,
    seeds: int,
    context: int,
    cpus: float,
    folder: Folder,
) -> dict[str, Any]:
    """Meta-train every candidate with every seed; what ended before is not done again.

    Args:
        candidates: configurations by name, :data:`AGAINST` among them.
        shared: the data by pooling, in the object store.
        split: the search's.
        seeds: meta-trainings of each candidate.
        context: context questions of each test group.
        cpus: of each meta-training.
        folder: where each of them leaves its scores.

    Returns:
        ``winner``: the candidate, other than :data:`AGAINST`, with the best mean validation alignment;
        ``candidates``: ``name, validation_alignment, test_alignment`` of each; ``gain``: the winner's
        over :data:`AGAINST` on test groups, as :func:`gpo_ray.evaluation.statistics.compare` gives it.

    Raises:
        ConfigError: if training diverges with every seed of all candidates.
    """
    task = ray.remote(num_cpus=cpus)(_final_task)
    pending: dict[ray.ObjectRef, str] = {}
    results: dict[str, dict[str, Any]] = {}
    for name, config in candidates.items():
        for seed in range(seeds):
            file = f"{name}-{seed}.json"
            if folder.exists(file):
                results[file] = json.loads(folder.read(file))
                continue
            data = [shared[config.model.pooling]]  # in a list, Ray hands over the reference itself
            anew = config.model_copy(update={"seed": seed})
            pending[task.remote(name, anew, data, reshuffled(split, seed), context)] = file
    while pending:
        (done,), _ = ray.wait(list(pending), num_returns=1)
        file = pending.pop(done)
        try:
            results[file] = ray.get(done)
        except ray.exceptions.RayTaskError as e:
            known = user_error(e)
            if known is None:
                raise
            results[file] = {"rows": [], "validation_alignment": None, "reason": str(known)}
        folder.write(file, json.dumps(results[file]).encode())
    return _judge({n: [results[f"{n}-{s}.json"] for s in range(seeds)] for n in candidates})


def reshuffled(split: Split, seed: int) -> Split:
    """The same test groups and new questions; other validation groups and another order of the questions."""
    rng = np.random.default_rng([split.seed, seed])
    groups = rng.permutation(split.meta_train_groups).tolist()
    kept = len(split.validation_groups)
    return split.model_copy(
        update={
            "seed": seed,
            "validation_groups": tuple(groups[:kept]),
            "train_groups": tuple(groups[kept:]),
            "question_order": tuple(rng.permutation(split.question_order).tolist()),
        }
    )


def _final_task(
    name: str, config: TrainConfig, data: Sequence[ray.ObjectRef], split: Split, context: int
) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    rows, validation = evaluate_config(name, config, shared_arrays(data[0]), split, context)
    return {"rows": rows, "validation_alignment": validation}


def _judge(results: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    table: list[dict[str, Any]] = []
    for name, runs in results.items():
        ended = [r for r in runs if r["validation_alignment"] is not None]
        scores = [row["alignment"] for r in ended for row in r["rows"] if row["alignment"] is not None]
        table.append(
            {
                "name": name,
                "validation_alignment": _mean([r["validation_alignment"] for r in ended]),
                "test_alignment": _mean(scores),
                "failed": len(runs) - len(ended),
            }
        )
    # a configuration that diverges with some seed is not one to ship while another does not
    able = [t for t in table if t["name"] != AGAINST and t["validation_alignment"] is not None]
    if not able:
        reason = next(r["reason"] for runs in results.values() for r in runs if "reason" in r)
        raise ConfigError(f"no finalist could be meta-trained again: {reason}")
    winner = min(able, key=lambda t: (t["failed"], -t["validation_alignment"]))["name"]
    rows = [row for runs in results.values() for r in runs for row in r["rows"]]
    return {
        "winner": winner,
        "candidates": table,
        "gain": compare(rows, winner, AGAINST, "alignment"),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
