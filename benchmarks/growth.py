"""Measure how time and memory grow with the data, along one axis at a time, and fit exponents.

Run::

    python benchmarks/growth.py [--more]
        [--axes individuals,questions,context,width,prior-questions,prior-groups,prior-people]

All data are random. A cost of c n^a has exponent a; it is fitted by least squares to the logarithms over all
sizes, and again over the upper half of them, since fixed costs hide the growth at small sizes. Times are CPU
seconds of one thread; those of steps, adaptations and single predictions are the least of three. ``--more``
adds the next larger size of each axis. The last line is a JSON object. The axes are:

- ``individuals``: people, each of whom answered 20 of 1,000 questions. ``load`` turns their tables into
  arrays, which take ``bytes`` bytes; ``start`` is what training does before its first step; ``step`` is a
  step of preset ``paper`` on 8 people; ``validation`` predicts the validation groups.
- ``questions``: questions that everybody answered; the cost is a step's.
- ``context``: options of the context; the costs are those of a step, an adaptation and a prediction.
- ``width``: width of the embeddings; the cost is a step's.
- ``prior-questions``, ``prior-groups``: seen questions, and meta-train groups; the costs are those of fitting
  the prior of preset ``gpo`` and of evaluating it for one group's episode.
- ``prior-people``: the same for people, each of whom chose answers to 100 of 1,000 questions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from machine import cpu_seconds

from gpo_ray.config import load_train_config
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.store import Embeddings
from gpo_ray.meta_training.data import MetaTrainingData
from gpo_ray.meta_training.engine import LocalEngine, new_model
from gpo_ray.meta_training.objective import GroupWeights
from gpo_ray.meta_training.validation import validation_tasks
from gpo_ray.model.episodes import Task, build_episode, draw_tasks, make_task_prior
from gpo_ray.model.predict import predict_tasks
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.splits import draw_split
from gpo_ray.preferences.tables import GROUPS, PREFERENCES, QUESTIONS
from gpo_ray.prior.calibration import fit_prior

RESPONSES, WIDTH, ANSWERS = 4, 64, 20
CONFIG = load_train_config(
    "paper", episodes={"groups": 8, "context_questions": [10, 10], "target_questions": [10, 10]}
)
Costs = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--axes", default=",".join(AXES))
    parser.add_argument("--more", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name in options.axes.split(","):
        measure, sizes, larger = AXES[name]
        chosen = [*sizes, larger] if options.more else sizes
        costs = [measure(n) for n in chosen]
        found[name] = {
            what: {
                "sizes": chosen,
                "cost": [float(f"{c[what]:.4g}") for c in costs],
                "exponent": _exponent(chosen, [c[what] for c in costs]),
                "exponent_of_upper_half": _exponent(
                    chosen[len(chosen) // 2 - 1 :], [c[what] for c in costs][len(chosen) // 2 - 1 :]
                ),
            }
            for what in costs[0]
        }
        print(name, json.dumps(found[name]), flush=True)
    print(json.dumps(found))


def _exponent(sizes: list[int], costs: list[float]) -> float:
    return round(float(np.polyfit(np.log(sizes), np.log(np.maximum(costs, 1e-9)), 1)[0]), 2)


def _least(work: Callable[[], Any]) -> float:
    return min(cpu_seconds(work) for _ in range(3))


def _arrays(
    groups: int, questions: int, width: int = WIDTH, answers: int | None = None, people: bool = False
) -> PreferenceArrays:
    rng = np.random.default_rng(0)
    choices = np.eye(RESPONSES)
    rows = questions * RESPONSES
    answered = [
        np.arange(questions) if answers is None else np.sort(rng.choice(questions, answers, replace=False))
        for _ in range(groups)
    ]
    return PreferenceArrays(
        x=torch.from_numpy(rng.normal(size=(rows, width)).astype(np.float32)),
        offsets=np.arange(questions + 1) * RESPONSES,
        ordinal=np.full(rows, np.nan),
        letter_logprob=np.zeros(rows, np.float32),
        group_ids=tuple(f"g{i}" for i in range(groups)),
        question_ids=tuple(f"q{i}" for i in range(questions)),
        answered=tuple(answered),
        shares=tuple(
            choices[rng.integers(0, RESPONSES, len(a))].ravel()
            if people
            else rng.dirichlet(np.ones(RESPONSES), len(a)).ravel()
            for a in answered
        ),
    )


def _people(count: int) -> PreferenceDataset:
    """Make a data set of people's choices, without the checks of data that come from elsewhere."""
    rng = np.random.default_rng(0)
    questions, rows = 1000, count * ANSWERS
    start = rng.integers(0, questions, count)
    asked = (start[:, None] + np.arange(ANSWERS) * 37) % questions
    names = pa.array([f"q{i}" for i in range(questions)])
    people = pa.array(np.char.add("p", np.arange(count).astype(str)))
    options = [["a", "b", "c", "d"]] * questions
    return PreferenceDataset(
        questions=pa.table(
            [names, ["s"] * questions, [None] * questions, names, options, [None] * questions],
            schema=QUESTIONS,
        ),
        groups=pa.table([people, ["individual"] * count, [None] * count], schema=GROUPS),
        preferences=pa.table(
            {
                "group_id": people.take(pa.array(np.repeat(np.arange(count), ANSWERS))),
                "question_id": names.take(pa.array(asked.ravel())),
                "share": pa.nulls(rows, PREFERENCES.field("share").type),
                "choice": pa.array(rng.integers(0, RESPONSES, rows), pa.int32()),
                "n": pa.nulls(rows, pa.float64()),
            },
            schema=PREFERENCES,
        ),
        dropped=pa.table({"where": pa.array([], pa.string()), "reason": pa.array([], pa.string())}),
    )


def individuals(count: int) -> Costs:
    dataset = _people(count)
    embeddings = _embeddings(dataset)
    made: list[PreferenceArrays] = []
    load = cpu_seconds(lambda: made.append(PreferenceArrays.build(dataset, embeddings)))
    arrays = made[0]
    split = draw_split(dataset, 0.6, 0)

    def start() -> tuple[MetaTrainingData, list[Task]]:
        data = MetaTrainingData.build(arrays, split, CONFIG)
        GroupWeights(arrays, data.train_groups, data.questions, CONFIG.objective)
        return data, validation_tasks(data, CONFIG)

    begun = cpu_seconds(start)
    data, tasks = start()
    model = new_model(arrays.x.shape[1], CONFIG)
    return {
        "load": load,
        "bytes": sum(sys.getsizeof(a) for a in (*arrays.answered, *arrays.shares)),
        "start": begun,
        "step": _step(arrays, data.train_groups),
        "validation": cpu_seconds(lambda: predict_tasks(model, arrays, tasks)),
    }


def _embeddings(dataset: PreferenceDataset) -> Embeddings:
    rows = dataset.questions.num_rows * RESPONSES
    return Embeddings(
        vectors=np.random.default_rng(1).normal(size=(rows, WIDTH)).astype(np.float32),
        letter_logprob=np.zeros(rows, np.float32),
        offsets=np.arange(0, rows + 1, RESPONSES),
        fingerprint="random",
        template="none",
        pooling="mean",
    )


def _step(arrays: PreferenceArrays, groups: list[int]) -> float:
    engine = LocalEngine(new_model(arrays.x.shape[1], CONFIG), CONFIG)
    questions = np.arange(len(arrays.question_ids))

    def work() -> None:
        tasks = draw_tasks(arrays, groups, questions, CONFIG.episodes, (0, 0))
        engine.step(build_episode(arrays, tasks), CONFIG.learning_rate)

    work()
    return _least(work)


def questions(count: int) -> Costs:
    return {"step": _step(_arrays(16, count), list(range(16)))}


def width(size: int) -> Costs:
    return {"step": _step(_arrays(16, 100, size), list(range(16)))}


def context(points: int) -> Costs:
    """Measure with four groups, so that large contexts fit, and with 40 target options of each."""
    asked = -(-points // RESPONSES)
    arrays = _arrays(4, asked + 10)
    task = [Task(g, np.arange(asked), np.arange(asked, asked + 10)) for g in range(4)]
    model = new_model(WIDTH, CONFIG)
    engine = LocalEngine(model, CONFIG)
    episode = build_episode(arrays, task)
    with torch.inference_mode():
        projected = model.project(episode.x)
        cache = model.encode_context(projected, episode.context)
        return {
            "adapt": _least(lambda: model.encode_context(projected, episode.context)),
            "predict": _least(lambda: model.decode(projected, cache, episode.target)),
            "step": _least(torch.inference_mode(False)(lambda: engine.step(episode, 0.0))),
        }


def _prior(arrays: PreferenceArrays) -> Costs:
    everything, groups = np.arange(len(arrays.question_ids)), range(len(arrays.group_ids))
    made: list[Any] = []
    fit = cpu_seconds(lambda: made.append(fit_prior(arrays, groups, everything, 20)))
    prior = make_task_prior(made[0], arrays)
    mine = arrays.answered[0]
    cut = min(20, len(mine) // 2)
    return {
        "fit": fit,
        "prior of an episode": _least(lambda: prior(Task(0, mine[:cut], mine[cut : cut + 50]))),
    }


def prior_questions(count: int) -> Costs:
    return _prior(_arrays(12, count))


def prior_groups(count: int) -> Costs:
    return _prior(_arrays(count, 200, answers=40))


def prior_people(count: int) -> Costs:
    return _prior(_arrays(count, 1000, answers=100, people=True))


AXES: dict[str, tuple[Callable[[int], Costs], list[int], int]] = {
    "individuals": (individuals, [100, 1000, 10_000, 100_000], 1_000_000),
    "questions": (questions, [100, 1000, 10_000], 100_000),
    "context": (context, [10, 32, 100, 316], 1000),
    "width": (width, [64, 256, 1024], 4096),
    "prior-questions": (prior_questions, [100, 1000, 10_000], 100_000),
    "prior-groups": (prior_groups, [10, 32, 100, 316], 1000),
    "prior-people": (prior_people, [100, 300, 1000, 3000], 10_000),
}

if __name__ == "__main__":
    main()
