"""Measure what a language model's guesses are worth to GPO, on the leaderboard of distributional alignment.

Run::

    python benchmarks/guesses.py --data FOLDER --work FOLDER [--models gpt-4] [--folds 10] [--seeds 2]

``--data`` holds ``counts.csv.gz`` (respondents by attribute, group, question and response) and
``guesses.csv.gz`` (what large models were asked and said), reduced from Meister, Guestrin and Hashimoto
(arXiv 2411.05403). Their metric is the total variation, with "Refused" among the responses, over six groups.

The questions that have guesses are divided into folds. For each group and fold, the prior learns from the
other groups' answers to all other questions and from the guesses, is given 20 answers of the group to these
other questions (drawn ``--seeds`` times), and predicts the fold's questions. Nobody's answers to these are
used. The fit is the one of ``gpo train``, without the transformer, which cannot learn from nine groups.

``--work`` keeps the survey's embeddings (SmolLM2; about ten minutes once). For each model it prints the total
variation of GPO with its guesses, that of its best way of asking on the same questions, and the interval of
the difference by a bootstrap over questions. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpo_ray.config import load_train_config
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.job import EmbedConfig, embed
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import EmbeddingError
from gpo_ray.guesses.features import guess_features, way_name
from gpo_ray.guesses.reading import read_guesses
from gpo_ray.guesses.table import GuessTable
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.prior.calibration import fit_prior
from gpo_ray.runtime.threads import physical_cores

SIX = ("POLPARTY=Democrat", "POLPARTY=Republican", "RACE=Black", "RACE=White", "SEX=Female", "SEX=Male")
NOT_GROUPS = ("Refused", "Other", "nan")
CONTEXT = 20
RESAMPLES = 10_000
Scores = dict[tuple[str, str], float]
"""Total variation by group and question."""


@dataclass(frozen=True)
class Fold:
    """One fit: a group that is left out, and the questions to predict."""

    work: str
    data: str
    model: str
    group: str
    questions: tuple[str, ...]
    seeds: int


def main() -> None:
    options = _arguments()
    dataset = survey(options.data)
    dataset.save(Path(options.work, "survey"))
    embed_once(dataset, str(Path(options.work, "embeddings")))
    every = guesses_of(options.data, dataset)
    models = options.models.split(",") if options.models else sorted(every.models)
    result = {}
    with ProcessPoolExecutor(physical_cores()) as pool:
        for model in models:
            table = of_model(every, model)
            known = {w: way_scores(dataset, table, w) for w in table.ways}
            asked = sorted({question for scores in known.values() for _, question in scores})
            parts = np.array_split(np.random.default_rng(0).permutation(asked), options.folds)
            folds = [
                Fold(options.work, options.data, model, g, tuple(map(str, p)), options.seeds)
                for g in SIX
                for p in parts
            ]
            found: Scores = {}
            for scores in pool.map(score_fold, folds):
                found |= scores
            result[model] = compared(found, known)
            print(f"{model}: {json.dumps(result[model])}", flush=True)
    print(json.dumps(result))


def embed_once(dataset: PreferenceDataset, store: str) -> None:
    """Embed the questions, unless that was done before."""
    try:
        EmbeddingStore(store).load(dataset)
    except EmbeddingError:
        embed(dataset, store, EmbedConfig(), progress_bar=True)


def survey(data: str) -> PreferenceDataset:
    """Return the survey of the leaderboard, with respondents as ``n``."""
    counts: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    prompts, position = {}, defaultdict(dict)
    with gzip.open(Path(data, "counts.csv.gz"), "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["group"] not in NOT_GROUPS:
                group = f"{row['attribute']}={row['group']}"
                counts[group, row["question"]][row["response"]] = float(row["count"])
            prompts[row["question"]] = row["prompt"]
            position[row["question"]][row["response"]] = float(row["position"])
    responses = {q: tuple(sorted(by, key=by.__getitem__)) for q, by in position.items()}
    questions = [Question(q, "leaderboard", prompts[q], responses[q]) for q in sorted(prompts)]
    rows: dict[str, list[Any]] = {name: [] for name in ("group_id", "question_id", "share", "n")}
    for (group, question), by in sorted(counts.items()):
        given = [by.get(r, 0.0) for r in responses[question]]
        if sum(given) > 0:
            rows["group_id"].append(group)
            rows["question_id"].append(question)
            rows["share"].append([c / sum(given) for c in given])
            rows["n"].append(sum(given))
    groups = [Group(g, "attribute") for g in sorted({g for g, _ in counts})]
    return PreferenceDataset.build(questions, groups, rows)


def guesses_of(data: str, dataset: PreferenceDataset) -> GuessTable:
    """Return all guesses of the leaderboard."""
    defaults = {name: f.default for name, f in ReadOptions.model_fields.items()}
    return read_guesses(Path(data, "guesses.csv.gz"), dataset, None, ReadOptions(**defaults))


def of_model(table: GuessTable, model: str) -> GuessTable:
    """Return the guesses of one model."""
    import pyarrow.compute as pc

    return GuessTable(table.guesses.filter(pc.equal(table.guesses["model"], model)), models={model: None})


@cache
def loaded(work: str, data: str, model: str) -> PreferenceArrays:
    """Return the survey's arrays with a model's guesses, once in each process."""
    torch.set_num_threads(1)
    dataset = PreferenceDataset.load(Path(work, "survey"))
    pooling = load_train_config("gpo").model.pooling
    arrays, _ = PreferenceArrays.load(dataset, EmbeddingStore(Path(work, "embeddings")), [pooling])
    table = of_model(guesses_of(data, dataset), model)
    found = guess_features(table, [*dataset.iter_questions()])
    return replace(arrays[pooling], guesses=found)


def score_fold(fold: Fold) -> Scores:
    """Return the total variation of a fold's questions, the mean over the draws of the context."""
    arrays = loaded(fold.work, fold.data, fold.model)
    (out,) = arrays.group_numbers([fold.group])
    hidden = arrays.question_numbers(fold.questions)
    known = np.setdiff1d(np.arange(len(arrays.question_ids)), hidden)
    others = [g for g in range(len(arrays.group_ids)) if g != out]
    prior = fit_prior(arrays, others, known, CONTEXT)
    target = np.intersect1d(hidden, arrays.answered[out])
    truth, ends = arrays.shares_of(out, target), np.cumsum(np.diff(arrays.offsets)[target])[:-1]
    total = np.zeros(len(target))
    for seed in range(fold.seeds):
        rng = np.random.default_rng([seed, SIX.index(fold.group)])
        context = np.sort(rng.permutation(np.intersect1d(known, arrays.answered[out]))[:CONTEXT])
        y, sampling = arrays.shares_of(out, context), arrays.sampling_of(out, context)
        found = prior.posterior(context, y, target, out, None, sampling).shares
        total += [variation(p, t) for p, t in zip(np.split(found, ends), np.split(truth, ends), strict=True)]
    names = [arrays.question_ids[q] for q in target]
    return {(fold.group, q): t / fold.seeds for q, t in zip(names, total, strict=True)}


def way_scores(dataset: PreferenceDataset, table: GuessTable, way: Any) -> Scores:
    """Return the total variation of one way of asking, from the answers of the six groups."""
    asked = {q.question_id: q for q in dataset.iter_questions()}
    found: Scores = {}
    for row in dataset.preferences.select(["group_id", "question_id", "share"]).to_pylist():
        if row["group_id"] in SIX:
            group = None if way.style == "none" else row["group_id"]
            share = table.share(way, group, asked[row["question_id"]])
            if share is not None:
                found[row["group_id"], row["question_id"]] = variation(share, row["share"])
    return found


def variation(p: Any, q: Any) -> float:
    """Return the total variation between two distributions."""
    return float(0.5 * np.abs(np.asarray(p) - np.asarray(q)).sum())


def compared(found: Scores, ways: dict[Any, Scores]) -> dict[str, Any]:
    """Compare GPO with the best way of asking, on the groups and questions that both have."""
    means = {w: np.mean([s[k] for k in s.keys() & found.keys()]) for w, s in ways.items() if s.keys() & found}
    best = min(means, key=lambda w: means[w])
    both = sorted(ways[best].keys() & found.keys())
    questions = sorted({q for _, q in both})
    gain = np.array([np.mean([ways[best][k] - found[k] for k in both if k[1] == q]) for q in questions])
    low, high = interval(gain)
    return {
        "gpo": round(float(np.mean([found[k] for k in found])), 4),
        "best_way": way_name(best),
        "best": round(float(means[best]), 4),
        "gain": round(float(gain.mean()), 4),
        "interval": [round(low, 4), round(high, 4)],
        "questions": len(questions),
    }


def interval(gain: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean over questions."""
    rng = np.random.default_rng(0)
    draws = gain[rng.integers(0, len(gain), (RESAMPLES, len(gain)))].mean(1)
    return float(np.quantile(draws, 0.025)), float(np.quantile(draws, 0.975))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder with counts.csv.gz and guesses.csv.gz")
    parser.add_argument("--work", required=True, help="folder that keeps the survey and its embeddings")
    parser.add_argument("--models", help="comma-separated; by default all")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=2, help="draws of the context")
    return parser.parse_args()


if __name__ == "__main__":
    main()
