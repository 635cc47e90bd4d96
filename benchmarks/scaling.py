"""Measure how embedding and training speed up from one worker to two, each on a Ray node of its own.

Run, on a machine with two idle cores::

    python benchmarks/scaling.py [--embed] [--train] [--rounds 3] [--questions 160] [--steps 40]

Three Ray nodes are started on this machine: a head without CPUs, and two with one CPU each, whose workers
have one thread. In each round one worker and two workers do the same work, so that the ratios are of one
machine in one state.

``embed``: tokens per second in the steady state, as ``gpo embed`` reports them: from when every worker has
done its first unit of work until one has done its last; the seconds of the start and of loading the model are
given apart. ``share`` is the smaller of the two workers' shares of all tokens.

``train``: Ray Train with DeepSpeed, ZeRO stage 1, with the same batch for each worker: two workers take twice
the groups in a step (weak scaling). ``rate`` is batches per second of all workers, which is optimiser steps
per second times workers, from the first report to the last; validation and checkpoints are in it, the start
is not. ``strong`` is the ratio of optimiser steps per second where two workers share the batch of one.

Seconds are wall-clock seconds. The last line is a JSON object of medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from synthetic import encoded, survey
from tiny_model import save_tiny_model

from gpo_ray.config import load_train_config
from gpo_ray.embedding.job import EmbedConfig, embed
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.meta_training.driver import train_distributed
from gpo_ray.meta_training.run import TrainJob
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.splits import draw_split

# a model of 30 million weights, so that a unit of work takes seconds and what surrounds it does not show
SIZES = {"hidden_size": 384, "num_hidden_layers": 12, "intermediate_size": 1024}
HEADS = {"num_attention_heads": 6, "num_key_value_heads": 3, "initializer_range": 0.02}
WIDTH, GROUPS, QUESTIONS, BATCH = 576, 40, 200, 8
"""For training: the width of the vectors, the groups and questions of the survey, and the groups of a
worker's step."""
REPORTS = 4


def main() -> None:
    options = _arguments()
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - by default Ray yields to all others
    found: dict[str, list[dict[str, float]]] = {"embed": [], "train": []}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    with tempfile.TemporaryDirectory() as name:
        try:
            for _ in range(2):
                cluster.add_node(num_cpus=1)
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
            for number in range(options.rounds):
                for stage, measure in (("embed", _embed), ("train", _train)):
                    if getattr(options, stage) or not (options.embed or options.train):
                        found[stage].append(measure(options, Path(name) / f"{stage}-{number}"))
                        print(stage, {k: round(v, 3) for k, v in found[stage][-1].items()}, flush=True)
        finally:
            ray.shutdown()
            cluster.shutdown()
    print(json.dumps({"load": os.getloadavg()[0]} | {k: _medians(v) for k, v in found.items() if v}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--embed", action="store_true", help="only embedding")
    parser.add_argument("--train", action="store_true", help="only training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=160, help="to embed")
    parser.add_argument("--steps", type=int, default=40, help="of each training run")
    return parser.parse_args()


def _embed(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    save_tiny_model(folder / "model", **SIZES, **HEADS)
    dataset = survey(groups=2, count=options.questions)
    results = [_embedded(dataset, folder, workers) for workers in (1, 2)]
    one, two = (r["tokens_per_second"] for r in results)
    tokens = results[1]["workers"].values()
    return {
        "rate_1": one,
        "rate_2": two,
        "ratio": two / one,
        "share": min(tokens) / sum(tokens),
        "not_steady_seconds_1": results[0]["seconds"] - results[0]["tokens"] / one,
        "not_steady_seconds_2": results[1]["seconds"] - results[1]["tokens"] / two,
    }


def _embedded(dataset: PreferenceDataset, folder: Path, workers: int) -> dict[str, Any]:
    config = EmbedConfig(model=str(folder / "model"), actors=workers, batch_tokens=1024)
    result = embed(dataset, folder / f"store-{workers}", config)
    if len(result["workers"]) != workers or result["tokens_per_second"] is None:
        raise SystemExit(f"{workers} workers: not all had work; use more --questions")
    return result


def _train(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    dataset = survey(groups=GROUPS, count=QUESTIONS)
    dataset.save(folder / "survey")
    asked = list(dataset.iter_questions())
    store = EmbeddingStore(folder / "embeddings")
    name, entry = store.write_shard(asked, encoded(asked, WIDTH), "random@0/float32", "float32")
    store.commit("random@0/float32", {name: entry}, model="random", dtype="float32")
    one, two, shared = (
        _steps_per_second(options, dataset, folder, workers, groups)
        for workers, groups in ((1, BATCH), (2, 2 * BATCH), (2, BATCH))
    )
    return {"rate_1": one, "rate_2": 2 * two, "ratio": 2 * two / one, "strong": shared / one}


def _steps_per_second(
    options: argparse.Namespace, dataset: PreferenceDataset, folder: Path, workers: int, groups: int
) -> float:
    """Return the optimiser steps per wall-clock second after the first report."""
    config = load_train_config("paper", steps=options.steps)
    name = f"{workers}-{groups}"
    config = config.model_copy(
        update={
            "episodes": config.episodes.model_copy(update={"groups": groups}),
            "validation": config.validation.model_copy(
                update={"every": max(1, options.steps // REPORTS), "patience": options.steps}
            ),
        }
    )
    job = TrainJob(
        survey=str(folder / "survey"),
        embeddings=str(folder / "embeddings"),
        out=str(folder / f"bundle-{name}"),
        storage=str(folder / "runs"),
        name=name,
        config=config,
        split=draw_split(dataset, 0.8, 0, validation_fraction=config.validation.fraction),
    )
    train_distributed(job, workers)
    lines = (folder / "runs" / name / "metrics.jsonl").read_text().splitlines()
    first, *_, last = (json.loads(line) for line in lines)
    return (last["step"] - first["step"]) / (last["seconds"] - first["seconds"])


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {k: round(statistics.median(r[k] for r in rounds), 3) for k in rounds[0]}


if __name__ == "__main__":
    main()
