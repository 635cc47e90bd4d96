"""Measure trials per hour of a search, and what a trial costs beyond its own steps.

Run::

    OMP_NUM_THREADS=1 python benchmarks/tuning.py [--survey DIR --embeddings DIR]
        [--trials 6] [--steps 60] [--rounds 3]

Without ``--survey`` a random survey is made, as large as the published groups and questions of OpinionQA. In
each round the same configurations are meta-trained to the end by a loop in one process, by a search with one
trial at a time, and by a search with two, so that the ratios are of one machine in one state. Ray is started
once, before the rounds; it gives each of its processes one thread, as the variable gives the loop.

All figures are medians over the rounds, and seconds are wall-clock seconds. ``overhead`` is (seconds per
trial of the search, one at a time) / (seconds per trial of the loop) - 1; the search's start, its processes
and imports, its proposals, reports and records are all in it. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpo_ray.config import TrainConfig, load_train_config
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.meta_training.data import MetaTrainingData
from gpo_ray.meta_training.engine import LocalEngine, new_model
from gpo_ray.meta_training.loop import meta_train
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.splits import Split, draw_split
from gpo_ray.prior.calibration import fit_prior
from gpo_ray.runtime.ray_session import ray_session
from gpo_ray.runtime.storage import Folder
from gpo_ray.tuning.ledger import Ledger
from gpo_ray.tuning.search import run_trials
from gpo_ray.tuning.shared import share
from gpo_ray.tuning.space import SearchConfig, Space, compile_search

GROUPS, QUESTIONS, RESPONSES, WIDTH = 17, 684, 3, 576
RATES = (1e-4, 1e-3)


def main() -> None:
    options = _arguments()
    torch.set_num_threads(1)
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - like the loop; by default Ray yields to all others
    arrays, split = _random() if options.survey is None else _given(options)
    rounds: dict[str, list[float]] = {"loop": [], "one": [], "two": []}
    with tempfile.TemporaryDirectory() as folder, ray_session():
        shared = share({"mean": arrays})
        for number in range(options.rounds):
            search, space = _search(options, Path(folder), number)
            samples = [space.values(s) for s in space.starts]
            rounds["loop"].append(_timed(_loop, [space.train_config(s) for s in space.starts], arrays, split))
            for concurrent, name in ((1, "one"), (2, "two")):
                now = search.model_copy(update={"concurrent": concurrent})
                place = Path(folder) / f"{name}-{number}"
                rounds[name].append(_timed(_run, now, space, shared, split, place))
            print({k: round(v[-1], 1) for k, v in rounds.items()}, samples, flush=True)
    print(json.dumps(_figures(rounds, options)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--survey")
    parser.add_argument("--embeddings")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--steps", type=int, default=60, help="of each trial")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if (options.survey is None) != (options.embeddings is None):
        parser.error("--survey and --embeddings go together")
    return options


def _random() -> tuple[PreferenceArrays, Split]:
    """Make random answers to random vectors, from which nothing can be learnt, but as much is computed."""
    rng = np.random.default_rng(0)
    names = tuple(f"g{i}" for i in range(GROUPS)), tuple(f"q{i}" for i in range(QUESTIONS))
    rows = QUESTIONS * RESPONSES
    arrays = PreferenceArrays(
        x=torch.from_numpy(rng.normal(size=(rows, WIDTH)).astype(np.float32)),
        offsets=np.arange(QUESTIONS + 1) * RESPONSES,
        ordinal=np.tile(np.arange(RESPONSES, dtype=np.float64), QUESTIONS),
        letter_logprob=np.zeros(rows, np.float32),
        group_ids=names[0],
        question_ids=names[1],
        answered=tuple(np.arange(QUESTIONS) for _ in names[0]),
        shares=tuple(rng.dirichlet(np.ones(RESPONSES), QUESTIONS).ravel() for _ in names[0]),
    )
    split = Split(
        protocol="paper",
        fraction=0.6,
        seed=0,
        train_groups=names[0][:8],
        validation_groups=names[0][8:10],
        test_groups=names[0][10:],
        question_order=names[1],
    )
    return arrays, split


def _given(options: argparse.Namespace) -> tuple[PreferenceArrays, Split]:
    dataset = PreferenceDataset.load(options.survey)
    embeddings = EmbeddingStore(options.embeddings).load(dataset, "mean")
    return PreferenceArrays.build(dataset, embeddings), draw_split(dataset, 0.6, 0)


def _search(options: argparse.Namespace, folder: Path, seed: int) -> tuple[SearchConfig, Space]:
    """Make a search whose trials all take the same number of steps, whatever they find."""
    base = load_train_config("gpo", steps=options.steps).model_dump(mode="json")
    base["model"]["pooling"] = "mean"
    base["validation"] |= {"patience": options.steps, "every": 20}
    file = folder / "base.json"
    file.write_text(json.dumps(base))  # JSON is YAML
    rates = np.exp(np.random.default_rng(seed).uniform(*np.log(RATES), options.trials))
    values: dict[str, Any] = {
        "base": str(file),
        "space": {"learning_rate": {"loguniform": list(RATES)}},
        "start": [{"learning_rate": float(r)} for r in rates],
        "trials": options.trials,
        "scheduler": {"kind": "none"},
        "protocol": "paper",
    }
    return compile_search(values, "benchmark")


def _loop(configs: list[TrainConfig], arrays: PreferenceArrays, split: Split) -> None:
    """Meta-train one configuration after the other; as in a search, the prior is fitted once."""
    questions = arrays.question_numbers(split.question_order)
    scaled = arrays.standardized(questions)[0]
    groups, context = scaled.group_numbers(split.train_groups), configs[0].validation.context_questions
    fitted = fit_prior(scaled, groups, questions, context)
    for config in configs:
        own = arrays.standardized(questions)[0]
        engine = LocalEngine(new_model(own.x.shape[1], config), config)
        data = MetaTrainingData.build(own, split, config, fitted)
        meta_train(engine, data, config, lambda *_: None)


def _run(search: SearchConfig, space: Space, shared: Any, split: Split, place: Path) -> None:
    ledger = Ledger(Folder(place / "trials"))
    run_trials(search, space, shared, split, ledger, Folder(place / "tune"))
    ended = [(r.status, r.steps) for r in ledger]
    if ended != [("finished", space.base.steps)] * search.trials:
        raise SystemExit(f"not all trials took all steps: {ended}")


def _timed(function: Any, *arguments: Any) -> float:
    started = time.monotonic()
    function(*arguments)
    return time.monotonic() - started


def _figures(rounds: dict[str, list[float]], options: argparse.Namespace) -> dict[str, Any]:
    middle = {k: statistics.median(v) for k, v in rounds.items()}
    ratios = [one / loop for one, loop in zip(rounds["one"], rounds["loop"], strict=True)]
    return {
        "trials": options.trials,
        "steps": options.steps,
        "rounds": options.rounds,
        "loop_seconds_per_trial": round(middle["loop"] / options.trials, 3),
        "search_seconds_per_trial": round(middle["one"] / options.trials, 3),
        "overhead": round(statistics.median(ratios) - 1, 4),
        "trials_per_hour_1": round(3600 * options.trials / middle["one"], 1),
        "trials_per_hour_2": round(3600 * options.trials / middle["two"], 1),
    }


if __name__ == "__main__":
    main()
