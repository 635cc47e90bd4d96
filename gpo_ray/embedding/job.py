"""Run the Ray Data job that embeds a survey's questions on a pool of actors with the language model."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import ray
from pydantic import Field

from gpo_ray.embedding.encoder import Encoder
from gpo_ray.embedding.lengths import refuse_too_long, too_long
from gpo_ray.embedding.store import KIND, EmbeddingStore
from gpo_ray.errors import GPOError, ResourceError
from gpo_ray.lm.find import ModelSource, find_model
from gpo_ray.lm.load import fingerprint
from gpo_ray.preferences.dataset import PreferenceDataset, Question
from gpo_ray.runtime.model_pool import UNITS_PER_ACTOR, ModelActor, ModelPoolConfig, run_units
from gpo_ray.runtime.ray_session import (
    cluster_capacity,
    stalled,
    told_session,
    worker_threads,
)
from gpo_ray.runtime.resources import Capacity, ResourceRequest, device_of, embed_request
from gpo_ray.runtime.terminal import Steps
from gpo_ray.runtime.threads import use_threads

logger = logging.getLogger(__name__)

QUESTIONS_PER_ACTOR = 64
"""Number of questions for which another actor is started; for fewer, loading another copy of the model costs
more time than it saves."""


class EmbedConfig(ModelPoolConfig):
    """The settings of an embedding job."""

    store_dtype: Literal["float32", "float16"] = "float32"
    """Data type in which vectors are stored: float32 or float16."""
    batch_tokens: int = Field(default=4096, ge=64)
    """Maximum number of padded tokens of a forward pass on a GPU, which limits a worker's memory."""
    readings: bool = True
    """Whether to make the second readings for the poolings ``opinion`` and ``person`` (preset ``gpo``)."""
    too_long: Literal["refuse", "drop"] = "refuse"
    """Whether questions that are longer than the model can read are refused, or left out and listed."""

    def resource_request(self, capacity: Capacity) -> ResourceRequest:
        """Return the resources that the job needs at the same time on a cluster of the given capacity."""
        return embed_request(self.actors, self.cpus_per_actor, self.gpus_each(capacity))


class _EmbeddingActor(ModelActor):
    """An actor with one copy of the model, which embeds units of work and writes each as one shard."""

    def __init__(
        self, source: ModelSource, config: EmbedConfig, gpus: float, threads: int, out: str, model_id: str
    ) -> None:
        use_threads(threads)
        device = device_of(gpus)
        try:
            self._encoder = Encoder(source, config.dtype, device, gpus, config.batch_tokens, config.readings)
        except GPOError as e:
            self.problem = e
        self._store = EmbeddingStore(out)
        self._dtype = config.store_dtype
        self._fingerprint = model_id
        self._worker = ray.get_runtime_context().get_actor_id()

    def work(self, unit: str) -> dict[str, Any]:
        """Embed the questions of a unit, and write them as a shard."""
        began = time.time()
        questions = [Question(**q) for q in json.loads(unit)]
        encoded = self._encoder.encode([(q.prompt, q.responses) for q in questions])
        name, entry = self._store.write_shard(questions, encoded, self._fingerprint, self._dtype)
        return {
            "shard": name,
            "entry": json.dumps(entry),
            "worker": self._worker,
            "ids": [q.question_id for q in questions],
            "tokens": sum(e.tokens for e in encoded),
            "began": began,
            "ended": time.time(),
        }


def embed(
    dataset: PreferenceDataset,
    out: str | os.PathLike[str],
    config: EmbedConfig,
    address: str | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Embed every question of ``dataset`` that the store at ``out`` does not hold yet.

    Safe to interrupt at any moment and to run again: shards are written atomically and a rerun
    embeds only what is missing.

    Returns:
        A dictionary with ``questions``, ``responses``, ``embedded`` and ``reused`` (numbers of questions),
        ``tokens``, ``seconds``, ``out``, ``workers`` (tokens by worker), ``tokens_per_second``
        (:func:`steady_rate`), ``damaged`` (shards that had to be made again) and ``dropped`` (tokens of each
        question that is left out as too long, by question id).

    Raises:
        EmbeddingError: if the model cannot be loaded, the store holds embeddings of another model, or
            questions are too long; the last is found before the model is loaded or Ray is started.
        ConfigError: if another process is writing to the same local store.
        ResourceError: if the cluster is too small.
    """
    started = time.monotonic()
    source = find_model(config.model)
    model_id = fingerprint(source, config.dtype)
    store = EmbeddingStore(out)
    with store.folder.writing():
        return _embed(dataset, store, source, model_id, config, address, progress, started)


def _embed(
    dataset: PreferenceDataset,
    store: EmbeddingStore,
    source: ModelSource,
    model_id: str,
    config: EmbedConfig,
    address: str | None,
    progress: bool,
    started: float,
) -> dict[str, Any]:
    contents = store.contents(model_id, config.readings)
    questions = list(dataset.iter_questions())
    absent = [q for q in questions if (q.question_id, q.slate_key) not in contents.keys]
    long = too_long(source, absent)
    refuse_too_long(source, long, all_of=questions if config.too_long == "drop" else None)
    missing = [q for q in absent if q.question_id not in long]
    dropped = store.dropped() | {q.slate_key: long[q.question_id] for q in absent if q.question_id in long}
    _remove(store, contents.damaged)
    store.folder.claim(KIND)
    shards = dict(contents.shards)
    units: list[dict[str, Any]] = []
    reused = len(questions) - len(absent)
    steps, there = Steps("embed", 2, progress), _there(reused)
    if missing:
        with told_session(steps, address):
            capacity = cluster_capacity()
            capacity.check(config.resource_request(capacity))
            run = partial(_run, source, model_id, str(store.folder))
            with steps.step(f"embed with {source.name}{there}", len(missing), "questions") as step:
                for row in _run_to_the_end(missing, config, run):
                    shards[row["shard"]] = json.loads(row["entry"])
                    units.append(row)
                    step.advance(len(row["ids"]))
                    step.note = f"{rate(units):.0f} tokens/s"
                step.outcome = f"{len(missing)} questions{there}, {rate(units):.0f} tokens/s"
    store.commit(model_id, shards, model=source.reference, dtype=config.dtype, dropped=dropped)
    workers = _tokens_by_worker(units)
    return {
        "questions": len(questions),
        "responses": int(dataset.slate_sizes().sum()),
        "embedded": len(missing),
        "reused": reused,
        "tokens": sum(workers.values()),
        "seconds": round(time.monotonic() - started, 3),
        "out": str(store.folder),
        "workers": workers,
        "tokens_per_second": steady_rate(units),
        "damaged": contents.damaged,
        "dropped": long,
    }


def _tokens_by_worker(units: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    workers: dict[str, int] = {}
    for row in units:
        workers[row["worker"]] = workers.get(row["worker"], 0) + row["tokens"]
    return workers


def _remove(store: EmbeddingStore, damaged: Mapping[str, str]) -> None:
    """Remove damaged shards, and say what is wrong with each."""
    for name, problem in damaged.items():
        logger.warning(
            "%s; its questions are embedded again", problem if name in problem else f"{name} {problem}"
        )
        store.folder.remove(name)


def _there(count: int) -> str:
    return f"; {count} questions were there already" if count else ""


def _run_to_the_end(
    questions: list[Question],
    config: EmbedConfig,
    run: Callable[[list[Question], EmbedConfig], Iterable[dict[str, Any]]],
) -> Iterable[dict[str, Any]]:
    """Yield the rows of ``run``, one for each unit of work, and continue if a host is lost for good.

    Raises:
        ResourceError: if there is no progress although no host was lost, or the remaining hosts have no room.
    """
    left = {q.question_id: q for q in questions}
    before = len(cluster_capacity().alive)
    while left:
        try:
            for row in run(list(left.values()), config):
                for name in row["ids"]:
                    del left[name]
                yield row
        except stalled() as e:
            capacity = cluster_capacity()
            fit = capacity.room(config.resource_request(capacity).bundles[0], config.actors or 1)
            if len(capacity.alive) >= before or not fit:
                raise ResourceError(
                    f"embed: nothing moved for long, {len(left)} questions are left; the same command goes "
                    "on from here (RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S is how many seconds it waits)"
                ) from e
            before = len(capacity.alive)
            logger.warning("%d questions are left, and %d hosts; going on with those", len(left), before)
            if config.actors is not None:
                config = config.model_copy(update={"actors": fit})


def _run(
    source: ModelSource,
    model_id: str,
    out: str,
    questions: list[Question],
    config: EmbedConfig,
) -> Iterable[dict[str, Any]]:
    """Return one row for each unit of work as it is finished."""
    capacity = cluster_capacity()
    gpus = config.gpus_each(capacity)
    actors = config.copies(len(questions) // QUESTIONS_PER_ACTOR, capacity)
    threads = worker_threads(actors, config.cpus_per_actor)
    units = plan_units(questions, actors, config.batch_tokens)
    packed = [json.dumps([dataclasses.asdict(q) for q in unit]) for unit in units]
    arguments = (source, config, gpus, threads, out, model_id)
    return run_units(_EmbeddingActor, arguments, packed, config, actors, gpus)


def rate(units: Sequence[Mapping[str, Any]]) -> float:
    """Return the tokens per second so far, by the workers' clocks, without the time to load the model.

    Args:
        units: finished units of work, at least one, as for :func:`steady_rate`.
    """
    seconds = max(u["ended"] for u in units) - min(u["began"] for u in units)
    return float(sum(u["tokens"] for u in units) / max(seconds, 1e-3))


def steady_rate(units: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the tokens per second while all workers were busy.

    The start, each worker's first unit and the time after the first worker's last unit are excluded.

    Args:
        units: ``worker, tokens, began, ended`` (seconds on the workers' clocks) of each unit of work.

    Returns:
        The sum of the workers' rates; None if a worker finished no unit in that time.
    """
    by_worker: dict[str, list[Mapping[str, Any]]] = {}
    for unit in sorted(units, key=lambda u: u["began"]):
        by_worker.setdefault(unit["worker"], []).append(unit)
    begin = max((mine[0]["ended"] for mine in by_worker.values()), default=0.0)
    end = min((mine[-1]["ended"] for mine in by_worker.values()), default=0.0)
    total = 0.0
    for mine in by_worker.values():
        steady = [i for i, u in enumerate(mine) if u["began"] >= begin and u["ended"] <= end]
        if not steady:
            return None
        first, last = steady[0], steady[-1]
        # the time that a worker waits for its next unit is included
        until = mine[last + 1]["began"] if last + 1 < len(mine) else mine[last]["ended"]
        total += sum(mine[i]["tokens"] for i in steady) / (until - mine[first]["began"])
    return round(total, 1) or None


def plan_units(questions: list[Question], actors: int, batch_tokens: int) -> list[list[Question]]:
    """Cut the questions into units of work of about equal cost, longest questions first.

    A unit holds questions of similar length, so that batches need little padding. Its target cost is between
    a quarter and 64 times ``batch_tokens``. If that gives fewer units than actors, each actor gets one unit.
    """

    def cost(q: Question) -> int:  # estimated tokens: four characters each, and the chat template
        return 40 + (len(q.prompt) + 2 * sum(len(r) + 4 for r in q.responses)) // 4

    ordered = sorted(questions, key=lambda q: (-cost(q), q.question_id))
    total = sum(cost(q) for q in questions)
    target = min(max(total // (actors * UNITS_PER_ACTOR), batch_tokens // 4), 64 * batch_tokens)
    units: list[list[Question]] = [[]]
    filled = 0
    for q in ordered:
        if units[-1] and filled + cost(q) > target:
            units.append([])
            filled = 0
        units[-1].append(q)
        filled += cost(q)
    if len(units) < actors <= len(questions):
        units = [ordered[i::actors] for i in range(actors)]
    return units
