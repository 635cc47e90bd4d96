"""Measure the time of a meta-training step, beside the published recipe written plainly.

Run::

    python benchmarks/training_step.py [--widths 576,4096] [--groups 8,17,64] [--steps 5]

Embeddings and shares are random. Each group has 220 context and 220 target options, about the mean of what
the published recipe draws. Both train from the same weights on the same episodes, by turns, and the benchmark
fails unless their losses agree to 1e-5 at every step. A step is everything from the questions drawn to the
weights changed.

Times are CPU seconds of one thread, medians over the steps; ``ratio`` is the median of published / ours of
each step. ``_gflop`` is 10^9 operations of a step's matrix products. ``share_of_peak`` is these operations
per CPU-second, divided by the most that a square float32 product reaches in this process (``peak_gflops``,
10^9 a second). ``ratio_at_peak`` is what ``ratio`` would be if ours ran at that peak and did nothing but its
matrix products: the machine's limit for these operations. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics

import numpy as np
import torch
from machine import cpu_seconds, matmul_flop, matmul_peak
from published import Published, published_step

from gpo_ray.config import TrainConfig, load_train_config
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.meta_training.engine import LocalEngine, new_model
from gpo_ray.model.episodes import Task, build_episode

SLATES = np.tile([2, 3, 4, 5, 6], 11)  # 220 options
QUESTIONS = 10 * len(SLATES)
TOLERANCE = 1e-5
WARM_UP = 1


def main() -> None:
    options = _arguments()
    torch.set_num_threads(1)
    found, peak = [], 0.0
    for width in options.widths:
        for groups in options.groups:
            peak = max(peak, matmul_peak())
            found.append(_compare(width, groups, options.steps))
            print(found[-1], flush=True)
    for cell in found:
        for name in ("ours", "published"):
            flop = cell.pop(f"{name}_flop")
            cell[f"{name}_gflop"] = round(flop / 1e9, 1)
            cell[f"{name}_share_of_peak"] = round(flop / cell[f"{name}_seconds"] / peak, 3)
        cell["ratio_at_peak"] = round(cell["published_seconds"] * peak / 1e9 / cell["ours_gflop"], 2)
    print(json.dumps({"steps": options.steps, "peak_gflops": round(peak / 1e9, 1), "cells": found}))


def _arguments() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(n) for n in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--widths", type=numbers, default=[576, 4096])
    parser.add_argument("--groups", type=numbers, default=[8, 17, 64])
    parser.add_argument("--steps", type=int, default=5)
    return parser.parse_args()


def random_arrays(width: int, groups: int) -> PreferenceArrays:
    """Make random data; questions have as many options as ``SLATES`` says in turn, and all are answered."""
    rng = np.random.default_rng(0)
    sizes = np.resize(SLATES, QUESTIONS)
    rows = int(sizes.sum())
    return PreferenceArrays(
        x=torch.from_numpy(rng.normal(size=(rows, width)).astype(np.float32)),
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        ordinal=np.full(rows, np.nan),
        letter_logprob=np.zeros(rows, np.float32),
        group_ids=tuple(f"g{i}" for i in range(groups)),
        question_ids=tuple(f"q{i}" for i in range(QUESTIONS)),
        answered=tuple(np.arange(QUESTIONS) for _ in range(groups)),
        shares=tuple(
            np.concatenate([rng.dirichlet(np.ones(n)) for n in sizes.tolist()]) for _ in range(groups)
        ),
    )


def tasks_of_step(groups: int, step: int) -> list[Task]:
    """Draw the tasks of a step, the same questions for all groups, with 220 options on either side."""
    rng = np.random.default_rng([1, step])
    by_size = rng.permuted(np.arange(QUESTIONS).reshape(-1, 5).T, axis=1)  # (5 sizes, questions)
    context, target = rng.permutation(by_size[:, :11].ravel()), rng.permutation(by_size[:, 11:22].ravel())
    return [Task(g, context, target) for g in range(groups)]


def _compare(width: int, groups: int, steps: int) -> dict[str, float]:
    config: TrainConfig = load_train_config("paper")
    arrays = random_arrays(width, groups)
    model, published = new_model(width, config), Published(width)
    published.load_state_dict(model.state_dict())
    engine = LocalEngine(model, config)
    adam = torch.optim.Adam(published.parameters(), lr=config.learning_rate)
    seconds: dict[str, list[float]] = {"ours": [], "published": []}
    losses: dict[str, list[float]] = {"ours": [], "published": []}

    for step in range(WARM_UP + steps):
        tasks = tasks_of_step(groups, step)

        def ours(tasks: list[Task] = tasks) -> None:
            losses["ours"].append(engine.step(build_episode(arrays, tasks), config.learning_rate)[0])

        def theirs(tasks: list[Task] = tasks) -> None:
            losses["published"].append(published_step(published, adam, arrays, tasks))

        for name, work in (("ours", ours), ("published", theirs)):
            seconds[name].append(cpu_seconds(work))
    np.testing.assert_allclose(losses["ours"], losses["published"], rtol=TOLERANCE, atol=TOLERANCE)
    taken = {k: v[WARM_UP:] for k, v in seconds.items()}
    tasks = tasks_of_step(groups, 0)
    return {
        "width": width,
        "groups": groups,
        "ours_seconds": round(statistics.median(taken["ours"]), 4),
        "published_seconds": round(statistics.median(taken["published"]), 4),
        "ratio": round(
            statistics.median(p / o for o, p in zip(taken["ours"], taken["published"], strict=True)), 2
        ),
        "largest_difference_of_losses": float(np.abs(np.subtract(losses["ours"], losses["published"])).max()),
        "ours_flop": matmul_flop(lambda: engine.step(build_episode(arrays, tasks), 0.0)),
        "published_flop": matmul_flop(lambda: published_step(published, adam, arrays, tasks)),
    }


if __name__ == "__main__":
    main()
