"""Evaluating methods over many splits, as parallel Ray tasks.

What is evaluated is in plan.py, one split's scores are computed in scoring.py, statistics over splits in
statistics.py, and the report in report.py.
"""

from __future__ import annotations

import dataclasses
import json
import queue
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from gpo_ray import __version__
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.methods import METHODS
from gpo_ray.evaluation.plan import EvaluationPlan, SplitPlan
from gpo_ray.evaluation.protocols import PROTOCOLS, Protocol, protocol_named
from gpo_ray.evaluation.scoring import evaluate_split
from gpo_ray.evaluation.statistics import statistics
from gpo_ray.evaluation.summary import cells
from gpo_ray.preferences.dataset import PreferenceDataset, Question
from gpo_ray.preferences.join import OtherSurvey, join_surveys
from gpo_ray.preferences.splits import Split, draw_split
from gpo_ray.runtime.documents import parse_json
from gpo_ray.runtime.ray_session import require, told_session, user_error, worker_threads
from gpo_ray.runtime.resources import evaluate_need
from gpo_ray.runtime.storage import MANIFEST, Folder, parquet_bytes
from gpo_ray.runtime.terminal import Steps
from gpo_ray.runtime.threads import physical_cores, use_threads

IDENTITY = "evaluation.json"
TELL_EVERY = 1.0
"""Seconds between two progress reports of a split's task."""


class _Row(TypedDict):
    """The values that every row of a scored split has, among others."""

    method: str
    protocol: str
    group_id: str
    fraction: float
    seed: int
    context: int
    curve: bool
    alignment: float | None


_ROWS = TypeAdapter(list[_Row])


@dataclass(frozen=True)
class _Data:
    """The splits, and the data that the tasks of all splits share."""

    arrays: dict[str, PreferenceArrays]
    """The survey's answers with embeddings, by pooling."""
    texts: tuple[Question, ...]
    """All questions if a method needs their texts, else empty."""
    splits: list[Split]
    fingerprints: dict[str, str]
    """Hashes of the survey and of the embeddings."""


def evaluate(
    survey: str,
    embeddings: str,
    out: str,
    plan: EvaluationPlan,
    split_plan: SplitPlan,
    address: str | None = None,
    progress_bar: bool = False,
    test_survey: str | None = None,
) -> dict[str, Any]:
    """Meta-train and score every method on every split.

    It writes ``splits.json`` (before anything is scored), ``results.parquet`` (a row for each group),
    ``results.json`` (the cells and statistics) and ``report.html``. Until the end the folder ``scored`` holds
    the splits that are done; if the evaluation is interrupted, the same call goes on from them.

    Args:
        survey: folder of the survey to meta-train on, and to test on if ``test_survey`` is None.
        embeddings: folder of an embedding store with the questions of both surveys.
        out: folder to write.
        plan: methods and context sizes.
        split_plan: which splits to draw.
        address: address of the Ray cluster.
        progress_bar: whether to show a progress bar.
        test_survey: folder of the survey to test on, only for protocols that test on another survey.

    Returns:
        ``cells``: a list of ``{method, protocol, fraction, seed, alignment, worst_group, ...}``;
        ``best_baseline``, ``skills``, ``comparisons``: see :mod:`gpo_ray.evaluation.statistics`;
        ``cannot_answer``: methods that cannot predict under this protocol; ``context_sizes``: the sizes of
        the curve that the test groups' answers allowed; ``note``: advice if too little was scored, else
        None; ``out``; ``report``; ``seconds``.

    Raises:
        GPOError: if data or settings are wrong, or the cluster is too small.
    """
    started = time.monotonic()
    data = _load(survey, embeddings, test_survey, plan, split_plan)
    folder, steps = Folder(out, ConfigError), Steps("evaluate", 2, progress_bar)
    with folder.writing():
        scored = _begin(folder, plan, data)
        with told_session(steps, address):
            rows = _run(plan, data, scored, steps)
        result = _results(plan, rows) | {"out": out, "report": folder.where("report.html")}
        result["seconds"] = round(time.monotonic() - started, 3)
        surveys = " tested on ".join(filter(None, (survey, test_survey)))
        title = {"survey": surveys, "embeddings": embeddings, "protocol": split_plan.protocol}
        _write(folder, title | {"context": plan.context}, rows, result)
        scored.remove_all()
    return result


def _write(folder: Folder, title: dict[str, Any], rows: list[dict[str, Any]], result: dict[str, Any]) -> None:
    """Write the tables and the report, and ``results.json`` last."""
    from gpo_ray.evaluation.report import render_report  # loads Matplotlib, which the workers do not need

    folder.write("results.parquet", parquet_bytes(pa.Table.from_pylist(rows)))
    folder.write("report.html", render_report(title, rows, result).encode())
    folder.write("results.json", json.dumps(result, indent=1, allow_nan=False).encode())


def _load(
    survey: str, embeddings: str, test_survey: str | None, plan: EvaluationPlan, split_plan: SplitPlan
) -> _Data:
    """Read the data that the methods need, and draw the splits."""
    protocol, needs = protocol_named(split_plan.protocol), plan.needs()
    dataset, other = _surveys(survey, test_survey, protocol)
    splits = _draw(dataset, protocol, split_plan, other)
    arrays, fingerprint = PreferenceArrays.load(dataset, EmbeddingStore(embeddings), needs.poolings)
    texts = tuple(dataset.iter_questions()) if needs.texts else ()
    return _Data(arrays, texts, splits, {"survey": dataset.fingerprint(), "embeddings": fingerprint})


def _surveys(
    survey: str, test_survey: str | None, protocol: Protocol
) -> tuple[PreferenceDataset, OtherSurvey | None]:
    """Load the survey, joined with the survey to test on if there is one."""
    if protocol.another_survey and test_survey is None:
        raise ConfigError(f"protocol {protocol.name!r} tests on another survey; name it with --test-survey")
    if not protocol.another_survey and test_survey is not None:
        able = " or ".join(name for name, p in PROTOCOLS.items() if p.another_survey)
        raise ConfigError(f"--test-survey is for --protocol {able}, not {protocol.name!r}")
    dataset = PreferenceDataset.load(survey)
    if test_survey is None:
        return dataset, None
    return join_surveys(dataset, PreferenceDataset.load(test_survey))


def _draw(
    dataset: PreferenceDataset, protocol: Protocol, plan: SplitPlan, other: OtherSurvey | None
) -> list[Split]:
    """Draw the splits of all distinct fractions and seeds, and check that each has test groups."""
    drawn = [
        draw_split(dataset, fraction, seed, protocol, other=other, max_test_groups=plan.max_test_groups)
        for fraction in dict.fromkeys(plan.fractions)
        for seed in range(plan.seeds)
    ]
    if not drawn:
        raise ConfigError("at least one seed and one fraction are needed")
    for split in drawn:
        if not split.test_groups:
            raise ConfigError(f"fraction {split.fraction:g} leaves no group to test on; use less than 1")
    return drawn


def _begin(folder: Folder, plan: EvaluationPlan, data: _Data) -> Folder:
    """Prepare the folder of scored splits, which stays empty unless this same evaluation was interrupted."""
    if folder.exists(MANIFEST):
        raise ConfigError(f"{folder}: holds another stage's result; give another folder")
    drawn = [s.model_dump(mode="json") for s in data.splits]
    folder.write("splits.json", json.dumps(drawn, indent=1).encode())
    configured = {m: METHODS[m].configuration(plan.settings) for m in plan.methods}
    methods = {m: values for m, values in configured.items() if values}
    parts = {"version": __version__, "plan": dataclasses.asdict(plan), "methods": methods, "splits": drawn}
    identity = json.loads(json.dumps(parts | data.fingerprints))
    scored = folder.child("scored")
    if scored.identify(IDENTITY, identity, f"delete {scored}"):
        scored.remove_all()
        scored.identify(IDENTITY, identity, "")
    return scored


def _run(plan: EvaluationPlan, data: _Data, scored: Folder, steps: Steps) -> list[dict[str, Any]]:
    """Score the splits that are not scored yet, and return the rows of all splits in the splits' order."""
    cpus, gpus, splits = _cpus_per_task(), plan.needs().gpus, data.splits
    require(evaluate_need(cpus, gpus))
    shared = ray.put(data.arrays), ray.put(data.texts)
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, num_returns="streaming")(_split_task)
    rows = {i: _read(scored, _file(i)) for i in range(len(splits)) if scored.exists(_file(i))}
    left = [i for i in range(len(splits)) if i not in rows]
    threads = worker_threads(min(len(left), physical_cores()))
    number = {task.remote(plan, *shared, splits[i], threads): i for i in left}
    pending = list(number)
    found: dict[int, list[dict[str, Any]]] = {}
    before = f"; {len(rows)} of {len(splits)} splits were scored before" if rows else ""
    total = len(pending) * len(plan.methods)
    what = f"score {len(plan.methods)} methods on {len(pending)} splits{before}"
    with steps.step(what, total, "fits") as step:
        done = dict.fromkeys(number.values(), 0.0)
        while pending:
            (ready,), pending = ray.wait(pending, num_returns=1, fetch_local=False)
            i = number[ready]
            try:
                told = ray.get(next(ready))
            except StopIteration:
                scored.write(_file(i), json.dumps(found[i]).encode())
                rows[i] = found[i]
                continue
            except ray.exceptions.RayTaskError as e:
                known = user_error(e)
                if known is not None:
                    raise known from e
                raise
            pending.append(ready)
            if isinstance(told, list):
                found[i] = told
            else:
                done[i], step.note = told
                step.reach(sum(done.values()))
    return [row for i in range(len(splits)) for row in rows[i]]


def _file(number: int) -> str:
    return f"{number:05}.json"


def _read(scored: Folder, name: str) -> list[dict[str, Any]]:
    where, advice = f"{scored.where(name)}: damaged", "; delete it, and that split is scored again"
    rows = parse_json(scored.read(name), where, ConfigError, advice)
    try:
        _ROWS.validate_python(rows, strict=True)
    except ValidationError as e:
        raise ConfigError(f"{where}{advice}") from e
    return list(rows)


def _split_task(
    plan: EvaluationPlan,
    arrays: dict[str, PreferenceArrays],
    texts: tuple[Question, ...],
    split: Split,
    threads: int,
) -> Iterator[list[dict[str, Any]] | tuple[float, str]]:
    """Score one split, as a Ray task.

    Yields:
        About once a second, how many methods are done and which one is at work; at the end, the rows.
    """
    told: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()

    def score() -> list[dict[str, Any]]:
        use_threads(threads)  # set here as well, since some libraries keep the number for each thread
        return evaluate_split(plan, arrays, split, lambda *values: told.put(values), texts)

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(score)
        while not work.done():
            wait([work], timeout=TELL_EVERY)
            last = None
            while not told.empty():
                last = told.get()
            if last is not None:
                name, share = last
                yield plan.methods.index(name) + share, name
    yield work.result()


def _results(plan: EvaluationPlan, rows: list[dict[str, Any]]) -> dict[str, Any]:
    scored = cells(rows)
    return {
        "cells": scored,
        **statistics(rows),
        "cannot_answer": [m for m in plan.methods if m not in {c["method"] for c in scored}],
        "context_sizes": sorted({r["context"] for r in rows if r["curve"]}),
        "note": _note(plan.context, rows),
    }


def _note(context: int, rows: list[dict[str, Any]]) -> str | None:
    """Return advice on a smaller context if the context leaves few answers to score, else None.

    Only protocols whose ``advises_context`` is true give advice.
    """
    told = [r for r in rows if not r["curve"] and PROTOCOLS[r["protocol"]].advises_context]
    scored = int(np.median([r["questions"] for r in told])) if told else context
    if scored >= context:
        return None
    return (
        f"{context} of a group's answers are context, so that only {scored} are scored and chance counts for "
        f"much; --context {(context + scored) // 2} would score {(context + scored + 1) // 2}"
    )


def _cpus_per_task() -> float:
    """Return how many of Ray's CPUs are one core; on a local cluster, Ray may count more CPUs than cores."""
    if len([n for n in ray.nodes() if n["Alive"]]) > 1:
        return 1.0
    return max(1.0, ray.cluster_resources().get("CPU", 1.0) // physical_cores())
