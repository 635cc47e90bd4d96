"""Evaluating methods over many splits, as parallel Ray tasks."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import ray
from tqdm.auto import tqdm

from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.protocol import EvaluationPlan, evaluate_split
from gpo_ray.evaluation.report import render_report
from gpo_ray.evaluation.statistics import statistics
from gpo_ray.evaluation.summary import cells
from gpo_ray.model.episodes import PreferenceArrays
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.splits import Protocol, draw_split
from gpo_ray.ray_session import ray_session, require, user_error
from gpo_ray.storage import MANIFEST, Folder, parquet_bytes


def evaluate(
    survey: str,
    embeddings: str,
    out: str,
    plan: EvaluationPlan,
    protocol: Protocol,
    fractions: Sequence[float],
    seeds: int,
    address: str | None = None,
    progress_bar: bool = False,
) -> dict[str, Any]:
    """Meta-train and score every method on ``fractions`` x ``seeds`` splits.

    Writes ``splits.json`` (before anything is scored), ``results.parquet`` (a row for each group),
    ``results.json`` (the cells and statistics) and ``report.html``.

    Returns:
        ``cells``: a list of ``{method, protocol, fraction, seed, alignment, worst_group, ...}``;
        ``best_baseline``, ``skills``, ``comparisons``: see :mod:`gpo_ray.evaluation.statistics`;
        ``cannot_answer``: methods that can say nothing under this protocol;
        ``out``; ``report``; ``seconds``.

    Raises:
        GPOError: if data or settings are wrong, or the cluster is too small.
    """
    started = time.monotonic()
    fractions = list(dict.fromkeys(fractions))
    if seeds < 1 or not fractions:
        raise ConfigError("at least one seed and one fraction are needed")
    dataset = PreferenceDataset.load(survey)
    splits = [draw_split(dataset, f, s, protocol) for f in fractions for s in range(seeds)]
    for split in splits:
        if not split.test_groups:
            raise ConfigError(f"fraction {split.fraction:g} leaves no group to test on; use less than 1")
    store = EmbeddingStore(embeddings)
    arrays = {p: PreferenceArrays.build(dataset, store.load(dataset, p)) for p in sorted(plan.poolings())}
    folder = Folder(out, ConfigError)
    if folder.exists(MANIFEST):
        raise ConfigError(f"{out}: holds another stage's result; give another folder")
    saved = [s.model_dump(mode="json") for s in splits]
    folder.write("splits.json", json.dumps(saved, indent=1).encode())
    with ray_session(address):
        rows = _run(plan, arrays, splits, progress_bar)
    results, extra = cells(rows), statistics(rows)
    title = {"survey": survey, "embeddings": embeddings, "protocol": protocol, "context": plan.context}
    folder.write("results.parquet", parquet_bytes(pa.Table.from_pylist(rows)))
    folder.write("report.html", render_report(title, rows, extra).encode())
    result = {
        "cells": results,
        **extra,
        "cannot_answer": [m for m in plan.methods if m not in {c["method"] for c in results}],
        "out": out,
        "report": f"{out.rstrip('/')}/report.html",
        "seconds": round(time.monotonic() - started, 3),
    }
    folder.write("results.json", json.dumps(result, indent=1, allow_nan=False).encode())
    return result


def _run(
    plan: EvaluationPlan, arrays: dict[str, PreferenceArrays], splits: list[Any], progress_bar: bool
) -> list[dict[str, Any]]:
    """Rows of all splits, in the splits' order."""
    cpus = _cpus_per_task()
    require("evaluate", 1, cpus)
    shared = ray.put(arrays)
    task = ray.remote(num_cpus=cpus)(_split_task)
    number = {task.remote(plan, shared, split): i for i, split in enumerate(splits)}
    rows: dict[int, list[dict[str, Any]]] = {}
    pending = list(number)
    with tqdm(total=len(splits), desc="evaluate", unit="split", disable=not progress_bar) as bar:
        while pending:
            (done,), pending = ray.wait(pending, num_returns=1)
            try:
                rows[number[done]] = ray.get(done)
            except ray.exceptions.RayTaskError as e:
                known = user_error(e)
                if known is not None:
                    raise known from e
                raise
            bar.update(1)
    return [row for i in range(len(splits)) for row in rows[i]]


def _split_task(
    plan: EvaluationPlan, arrays: dict[str, PreferenceArrays], split: Any
) -> list[dict[str, Any]]:
    import torch

    torch.set_num_threads(1)
    return evaluate_split(plan, arrays, split)


def _cpus_per_task() -> float:
    """One core: on a local cluster, which claims more CPUs than there are, that is more than one CPU."""
    if len([n for n in ray.nodes() if n["Alive"]]) > 1:
        return 1.0
    return max(1.0, ray.cluster_resources().get("CPU", 1.0) // (os.cpu_count() or 1))
