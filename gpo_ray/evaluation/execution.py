"""Score the splits of an evaluation, as parallel Ray tasks whose results are kept as they end.

One split's scores are computed in scoring.py.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import ray
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.methods import SurveyTexts
from gpo_ray.evaluation.plan import EvaluationPlan
from gpo_ray.evaluation.scoring import evaluate_split
from gpo_ray.guesses.table import GuessTable
from gpo_ray.preferences.splits import Split
from gpo_ray.runtime.documents import parse_json
from gpo_ray.runtime.ray_session import require, user_error, worker_threads
from gpo_ray.runtime.resources import evaluate_request
from gpo_ray.runtime.storage import Folder
from gpo_ray.runtime.terminal import Step, Steps
from gpo_ray.runtime.threads import physical_cores, use_threads

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
class EvaluationData:
    """The splits, and the data that the tasks of all splits share."""

    arrays: dict[str, PreferenceArrays]
    """The survey's answers with embeddings, by pooling."""
    texts: SurveyTexts
    splits: list[Split]
    fingerprints: dict[str, str]
    """Hashes of the survey, of the embeddings and, where there are such, of the language model that methods
    ask and of the guesses."""
    guesses: GuessTable | None = None


@dataclass(frozen=True)
class _Part:
    """The methods of a split that one task scores."""

    split: int
    """Index of the split."""
    number: int
    """Number of the part among those of its split."""
    gpus: float
    """Number of GPUs of the task."""
    plan: EvaluationPlan
    """The plan with the part's methods only."""

    @property
    def file(self) -> str:
        """Name of the file with the part's rows."""
        return f"{self.split:05}" + (f"-{self.number}" if self.number else "") + ".json"


def score_splits(
    plan: EvaluationPlan, data: EvaluationData, scored: Folder, steps: Steps
) -> list[dict[str, Any]]:
    """Score the splits that are not scored yet, and return the rows of all splits in the splits' order.

    The methods of a split whose needs are alike are scored in one task, see
    :meth:`~gpo_ray.evaluation.plan.EvaluationPlan.parts`.
    """
    cpus, parts = _cpus_per_task(), plan.parts()
    for gpus, _ in parts:
        require(evaluate_request(cpus, gpus))
    every = [_Part(i, k, *part) for i in range(len(data.splits)) for k, part in enumerate(parts)]
    rows = {p: _read(scored, p.file) for p in every if scored.exists(p.file)}
    left = [p for p in every if p not in rows]
    scored_before = len(data.splits) - len({p.split for p in left})
    before = f"; {scored_before} of {len(data.splits)} splits were scored before" if scored_before else ""
    total = sum(len(p.plan.methods) for p in left)
    what = f"score {len(plan.methods)} methods on {len({p.split for p in left})} splits{before}"
    with steps.step(what, total, "fits") as step:
        for part, found in _scored(left, data, cpus, step):
            scored.write(part.file, json.dumps(found).encode())
            rows[part] = found
    order = {method: i for i, method in enumerate(plan.methods)}
    of_splits = ((part.split, row) for part in every for row in rows[part])
    return [row for _, row in sorted(of_splits, key=lambda pair: (pair[0], order[pair[1]["method"]]))]


def _scored(
    parts: list[_Part], data: EvaluationData, cpus: float, step: Step
) -> Iterator[tuple[_Part, list[dict[str, Any]]]]:
    """Yield the rows of each part as soon as its task has ended."""
    shared = ray.put(data.arrays), ray.put(data.texts), ray.put(data.guesses)
    threads = worker_threads(min(len(parts), physical_cores()))

    def start(part: _Part) -> Any:
        task = ray.remote(num_cpus=cpus, num_gpus=part.gpus, num_returns="streaming")(_split_task)
        return task.remote(part.plan, *shared, data.splits[part.split], threads)

    started = {start(part): part for part in parts}
    pending, done = list(started), dict.fromkeys(parts, 0.0)
    found: dict[_Part, list[dict[str, Any]]] = {}
    while pending:
        (ready,), pending = ray.wait(pending, num_returns=1, fetch_local=False)
        part = started[ready]
        try:
            told = ray.get(next(ready))
        except StopIteration:
            yield part, found[part]
            continue
        except ray.exceptions.RayTaskError as e:
            known = user_error(e)
            if known is not None:
                raise known from e
            raise
        pending.append(ready)
        if isinstance(told, list):
            found[part] = told
        else:
            done[part], step.note = told
            step.reach(sum(done.values()))


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
    texts: SurveyTexts,
    guesses: GuessTable | None,
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
        return evaluate_split(plan, arrays, split, lambda *values: told.put(values), texts, guesses)

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


def _cpus_per_task() -> float:
    """Return how many of Ray's CPUs are one core; on a local cluster, Ray may count more CPUs than cores."""
    if len([n for n in ray.nodes() if n["Alive"]]) > 1:
        return 1.0
    return max(1.0, ray.cluster_resources().get("CPU", 1.0) // physical_cores())
