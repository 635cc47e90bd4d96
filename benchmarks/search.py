"""Compare TPE with random search: the best alignment found so far, in the same space with as many trials.

Run::

    python benchmarks/search.py --survey DIR --embeddings DIR [--config tune_configs/default.yaml]
        [--trials 32] [--steps 120] [--repeats 3] [--prior none]

Trials that start from a prior are nearly as good as each other before they have learnt anything, so that no
search could be ahead; ``--prior`` therefore holds for all trials, and is ``none`` by default. Trials take
``--steps`` steps instead of the configuration's, and the scheduler's first rung comes after a sixth of them.
No start points are given, so that the search finds all that is found. Repeat r gives both algorithms the seed
r, so that they draw the same first trials.

``curve`` is the best ``trained_alignment`` (from 0 to 1) of the validation groups after 1, 2, ... trials, the
mean over the repeats. ``mean_regret`` is how far a curve lies below the best that either algorithm found, the
mean over all trials. ``share`` is the part of all steps that ASHA let the trials take. The last line is a
JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.evaluation.protocols import protocol_named
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.splits import Split, draw_split
from gpo_ray.runtime.ray_session import ray_session
from gpo_ray.runtime.storage import Folder
from gpo_ray.tuning.ledger import Ledger
from gpo_ray.tuning.search import run_trials
from gpo_ray.tuning.shared import share
from gpo_ray.tuning.space import SearchConfig, Space, load_search

ALGORITHMS = ("tpe", "random")


def main() -> None:
    options = _arguments()
    priors = {k: p.model_dump(exclude_none=True) for k, p in load_search(options.config)[0].space.items()}
    priors["model.prior"] = {"choice": [options.prior]}
    search, space = load_search(
        options.config, trials=options.trials, steps=options.steps, start=(), space=priors
    )
    validation = space.base.validation.model_copy(update={"every": max(1, options.steps // 12)})
    space = replace(space, base=space.base.model_copy(update={"validation": validation}))
    scheduler = search.scheduler.model_copy(update={"grace": max(1, options.steps // 6)})
    search = search.model_copy(update={"scheduler": scheduler})
    dataset = PreferenceDataset.load(options.survey)
    store = EmbeddingStore(options.embeddings)
    arrays, _ = PreferenceArrays.load(dataset, store, space.possible("model.pooling"))
    protocol = protocol_named(search.protocol)
    split = draw_split(dataset, search.fraction, 0, protocol, space.base.validation.fraction)
    found: dict[str, list[Ledger]] = {a: [] for a in ALGORITHMS}
    with tempfile.TemporaryDirectory() as folder, ray_session():
        shared = share(arrays)
        for repeat in range(options.repeats):
            for algorithm in ALGORITHMS:
                now = search.model_copy(update={"algorithm": algorithm, "seed": repeat})
                place = Path(folder) / f"{algorithm}-{repeat}"
                found[algorithm].append(_run(now, space, shared, split, place))
    print(json.dumps(_figures(found, options)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--survey", required=True)
    parser.add_argument("--embeddings", required=True)
    parser.add_argument("--config", default="tune_configs/default.yaml")
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--steps", type=int, default=120, help="of a trial that is not stopped")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prior", choices=["none", "memory"], default="none")
    return parser.parse_args()


def _run(search: SearchConfig, space: Space, shared: Any, split: Split, place: Path) -> Ledger:
    ledger = Ledger(Folder(place / "trials"))
    started = time.monotonic()
    run_trials(search, space, shared, split, ledger, Folder(place / "tune"))
    best = _curve(ledger)
    print(
        f"{search.algorithm} {search.seed}: {best[-1]:.4f} in {time.monotonic() - started:.0f} s;",
        *(f"{b:.4f}" for b in best),
        flush=True,
    )
    return ledger


def _curve(ledger: Ledger) -> np.ndarray:
    scores = [-np.inf if r.score is None else r.score for r in ledger]
    return np.maximum.accumulate(scores)


def _figures(found: dict[str, list[Ledger]], options: argparse.Namespace) -> dict[str, Any]:
    curves = {a: np.stack([_curve(ledger) for ledger in ledgers]) for a, ledgers in found.items()}
    best = np.maximum(*(c[:, -1:] for c in curves.values()))  # of each repeat
    steps = {a: [r.steps for ledger in ledgers for r in ledger] for a, ledgers in found.items()}
    return {
        "trials": options.trials,
        "steps": options.steps,
        "repeats": options.repeats,
        "prior": options.prior,
        "curve": {a: c.mean(0).round(5).tolist() for a, c in curves.items()},
        "final": {a: c[:, -1].round(5).tolist() for a, c in curves.items()},
        "mean_regret": {a: round(float((best - c).mean()), 5) for a, c in curves.items()},
        "failed": {a: sum(r.score is None for ledger in found[a] for r in ledger) for a in found},
        "share": {a: round(sum(s) / (len(s) * options.steps), 4) for a, s in steps.items()},
    }


if __name__ == "__main__":
    main()
