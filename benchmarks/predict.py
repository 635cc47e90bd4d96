"""Measure the time to predict one group's questions, and how many predictions a core makes for many groups.

Run::

    python benchmarks/predict.py [--width 4096] [--questions 480] [--sample 24] [--groups 1000] [--rounds 5]

Embeddings and shares are random, slates have 2 to 6 responses, the context has 20 questions, and the
transformer has the published sizes. These ways use the same weights, and the benchmark fails unless they
agree to 1e-5:

- ``published``: one option at a time, with the context read anew for each (measured on ``--sample``
  questions; the time is scaled to all of them)
- ``batched``: the context and all questions in one pass, from embeddings
- ``cached``: a group that was adapted before, from embeddings
- ``prepared``: such a group, with questions that were prepared before, as the service does

Times are CPU seconds of one thread, medians over the rounds, in which the ways take turns.
``published_over_`` is the published way's time divided by another's. ``cached_share_of_peak`` is the
operations of the matrix products per CPU-second, divided by the most that a square float32 product reaches in
this process. ``predictions_per_cpu_second`` counts questions, five of each of ``--groups`` adapted groups.
The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from machine import cpu_seconds, matmul_flop, matmul_peak
from published import Published, published_prediction

from gpo_ray.config import load_train_config
from gpo_ray.meta_training.engine import new_model
from gpo_ray.model.bundle import Bundle, BundleConfig
from gpo_ray.model.estimator import GroupPreferenceModel

CONTEXT = 20
QUESTIONS_EACH = 5
"""Number of questions that are asked of each of the many groups."""
TOLERANCE = 1e-5


def main() -> None:
    options = _arguments()
    torch.set_num_threads(1)
    peak = matmul_peak()
    config = load_train_config("paper")
    transformer, published = new_model(options.width, config), Published(options.width)
    published.load_state_dict(transformer.state_dict())
    model = GroupPreferenceModel(bundle_of(transformer, options.width))
    rng = np.random.default_rng(0)
    context, questions = (
        random_slates(rng, CONTEXT, options.width),
        random_slates(rng, options.questions, options.width),
    )
    answers = [(x, rng.dirichlet(np.ones(len(x)))) for x in context]
    group, prepared = model.adapt(answers), model.prepare(questions)
    plain = [(torch.from_numpy(x), torch.from_numpy(y).float()) for x, y in answers]
    sample = rng.choice(options.questions, options.sample, replace=False)
    options_each = np.array([len(q) for q in questions])
    scale = options_each.sum() / options_each[sample].sum()

    ways: dict[str, Callable[[], Any]] = {
        "published": lambda: [
            published_prediction(published, plain, torch.from_numpy(questions[i])) for i in sample
        ],
        "batched": lambda: model.adapt(answers).predict(questions),
        "cached": lambda: group.predict(questions),
        "prepared": lambda: model.predict_prepared([(group, prepared)])[0].shares,
    }
    want = ways["published"]()
    for name in ("batched", "cached", "prepared"):
        found = ways[name]()
        for i, shares in zip(sample, want, strict=True):
            np.testing.assert_allclose(found[i], shares, atol=TOLERANCE, rtol=0, err_msg=name)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, work in ways.items():
            seconds[name].append(cpu_seconds(work) * (scale if name == "published" else 1))
    figures: dict[str, Any] = {"width": options.width, "questions": options.questions}
    figures |= {"options": int(options_each.sum())}
    figures |= {f"{name}_seconds": round(statistics.median(taken), 5) for name, taken in seconds.items()}
    for name in ("batched", "cached", "prepared"):
        ratios = [p / o for p, o in zip(seconds["published"], seconds[name], strict=True)]
        figures[f"published_over_{name}"] = round(statistics.median(ratios), 1)
    achieved = matmul_flop(ways["cached"]) / figures["cached_seconds"]
    print(json.dumps(figures | {"cached_share_of_peak": round(achieved / peak, 3)} | _many(model, options)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--questions", type=int, default=480)
    parser.add_argument("--sample", type=int, default=24)
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def bundle_of(transformer: Any, width: int) -> Bundle:
    config = BundleConfig(
        embedding_width=width,
        embedding_fingerprint="random",
        embedding_template="none",
        embedding_model="random",
        embedding_dtype="float32",
        model=transformer.config,
    )
    return Bundle(model=transformer.eval(), config=config, provenance={})


def random_slates(rng: np.random.Generator, count: int, width: int) -> list[np.ndarray]:
    return [rng.normal(size=(n, width)).astype(np.float32) for n in rng.integers(2, 7, count)]


def _many(model: GroupPreferenceModel, options: argparse.Namespace) -> dict[str, Any]:
    """Measure predictions of several questions of each of many groups, with 32 groups in a pass."""
    rng = np.random.default_rng(1)
    context = model.prepare(random_slates(rng, 200, options.width))
    asked = model.prepare(random_slates(rng, 50, options.width))
    groups = []
    for _ in range(options.groups):
        mine = [context[i] for i in rng.choice(len(context), CONTEXT, replace=False)]
        groups.append(model.adapt_prepared(mine, [rng.dirichlet(np.ones(q.size)) for q in mine]))
    requests = [(g, [asked[i] for i in rng.choice(len(asked), QUESTIONS_EACH)]) for g in groups]

    def predict() -> None:
        for start in range(0, len(requests), 32):
            model.predict_prepared(requests[start : start + 32])

    taken = statistics.median(cpu_seconds(predict) for _ in range(options.rounds))
    return {
        "groups": options.groups,
        "predictions_per_cpu_second": round(options.groups * QUESTIONS_EACH / taken),
        "bytes_per_group": groups[0].nbytes,
    }


if __name__ == "__main__":
    main()
