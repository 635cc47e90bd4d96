"""The Ray Data job that embeds a survey's questions on a pool of language-model actors."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import pyarrow as pa
import ray
import ray.data
from pydantic import BaseModel, ConfigDict, Field

from gpo_ray.embedding.encoder import Encoder
from gpo_ray.embedding.store import KIND, EmbeddingStore
from gpo_ray.errors import EmbeddingError, GPOError, ResourceError
from gpo_ray.lm.find import ModelSource, find_model
from gpo_ray.lm.load import fingerprint
from gpo_ray.preferences.dataset import PreferenceDataset, Question
from gpo_ray.runtime.ray_session import (
    cluster_capacity,
    quiet_ray_data,
    stalled,
    told_session,
    worker_threads,
)
from gpo_ray.runtime.resources import Capacity, PlacementBundle, ResourceRequest, embed_need
from gpo_ray.runtime.terminal import Steps
from gpo_ray.runtime.threads import physical_cores, use_threads

logger = logging.getLogger(__name__)

UNITS_PER_ACTOR = 8
"""Work is cut finer than the actors are many, so that the last ones finish together."""
QUESTIONS_PER_ACTOR = 64
"""Below this, loading one more copy of the model costs more than it saves."""


class EmbedConfig(BaseModel):
    """How to embed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "smollm2"
    """``smollm2``, a Hub id, a local folder or a ``.gguf`` file."""
    actors: int | None = Field(default=None, ge=1)
    """Copies of the model; by default one for each GPU, else one for each CPU core."""
    gpus_per_actor: float | None = Field(default=None, ge=0)
    """GPUs of each copy; with more than one its layers are spread over them. By default 1 if any."""
    cpus_per_actor: float = Field(default=1, gt=0)
    """Logical CPUs of each copy."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the model computes in: float32, bfloat16 or float16."""
    store_dtype: Literal["float32", "float16"] = "float32"
    """What vectors are stored in: float32 or float16."""
    batch_tokens: int = Field(default=4096, ge=64)
    """Padded tokens of one forward pass on a GPU; bounds a worker's memory."""
    readings: bool = True
    """Whether to read everything again for the poolings ``opinion`` and ``person`` (preset ``gpo``)."""

    def gpus_each(self, capacity: Capacity) -> float:
        """GPUs of each copy where it is to run."""
        return self.gpus_per_actor if self.gpus_per_actor is not None else float(capacity.gpus >= 1)

    def need(self, capacity: Capacity) -> ResourceRequest:
        """What has to run at the same time there."""
        return embed_need(self.actors, self.cpus_per_actor, self.gpus_each(capacity))


class _EmbeddingActor:
    """Holds one copy of the model; embeds units of work and writes each as one shard."""

    def __init__(
        self, source: ModelSource, config: EmbedConfig, gpus: float, threads: int, out: str, model_id: str
    ) -> None:
        use_threads(threads)
        device = "cuda" if gpus else "cpu"
        self._problem: GPOError | None = None
        try:
            self._encoder = Encoder(source, config.dtype, device, gpus, config.batch_tokens, config.readings)
        except GPOError as e:
            self._problem = e
        self._store = EmbeddingStore(out)
        self._dtype = config.store_dtype
        self._fingerprint = model_id
        self._worker = ray.get_runtime_context().get_actor_id()

    def __call__(self, batch: pa.Table) -> pa.Table:
        # What the user has to know comes back as a row: Ray would keep only the text of an exception.
        try:
            if self._problem is not None:
                raise self._problem
            return self._embed(batch)
        except GPOError as e:
            return pa.Table.from_pylist([{"error": str(e)}])

    def _embed(self, batch: pa.Table) -> pa.Table:
        rows = []
        for unit in batch["unit"].to_pylist():
            began = time.time()
            questions = [Question(**q) for q in json.loads(unit)]
            encoded = self._encoder.encode([(q.prompt, q.responses) for q in questions])
            name, entry = self._store.write_shard(questions, encoded, self._fingerprint, self._dtype)
            rows.append(
                {
                    "shard": name,
                    "entry": json.dumps(entry),
                    "worker": self._worker,
                    "ids": [q.question_id for q in questions],
                    "tokens": sum(e.tokens for e in encoded),
                    "began": began,
                    "ended": time.time(),
                }
            )
        return pa.Table.from_pylist(rows)


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
        ``questions, responses, embedded, reused`` (questions), ``tokens, seconds, out``, ``workers``
        (tokens by worker), ``tokens_per_second`` (:func:`steady_rate`) and ``damaged`` (shards that had to
        be made again).

    Raises:
        EmbeddingError: if the model cannot be loaded, or the store is of another model.
        ConfigError: if another process embeds into a local store.
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
    for name, problem in contents.damaged.items():
        logger.warning(
            "%s; its questions are embedded again", problem if name in problem else f"{name} {problem}"
        )
        store.folder.remove(name)
    store.folder.claim(KIND)
    questions = list(dataset.iter_questions())
    missing = [q for q in questions if (q.question_id, q.key) not in contents.keys]
    shards = dict(contents.shards)
    workers: dict[str, int] = {}
    units: list[dict[str, Any]] = []
    steps, there = Steps("embed", 2, progress), _there(len(questions) - len(missing))
    if missing:
        with told_session(steps, address):
            capacity = cluster_capacity()
            capacity.check(config.need(capacity))
            run = partial(_run, source, model_id, str(store.folder))
            with steps.step(f"embed with {source.name}{there}", len(missing), "questions") as step:
                for row in _run_to_the_end(missing, config, run):
                    shards[row["shard"]] = json.loads(row["entry"])
                    workers[row["worker"]] = workers.get(row["worker"], 0) + row["tokens"]
                    units.append(row)
                    step.advance(len(row["ids"]))
                    step.note = f"{rate(units):.0f} tokens/s"
                step.outcome = f"{len(missing)} questions{there}, {rate(units):.0f} tokens/s"
    store.commit(model_id, shards, model=source.reference, dtype=config.dtype)
    return {
        "questions": len(questions),
        "responses": int(dataset.slate_sizes().sum()),
        "embedded": len(missing),
        "reused": len(questions) - len(missing),
        "tokens": sum(workers.values()),
        "seconds": round(time.monotonic() - started, 3),
        "out": str(store.folder),
        "workers": workers,
        "tokens_per_second": steady_rate(units),
        "damaged": contents.damaged,
    }


def _there(count: int) -> str:
    return f"; {count} questions were there already" if count else ""


def _run_to_the_end(
    questions: list[Question],
    config: EmbedConfig,
    run: Callable[[list[Question], EmbedConfig], Iterable[dict[str, Any]]],
) -> Iterable[dict[str, Any]]:
    """Yield the rows of ``run``, one for each unit of work, also where a host is lost for good.

    Raises:
        ResourceError: if nothing moves although all hosts are there, or those left have no room.
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
            fit = capacity.room(config.need(capacity).bundles[0], config.actors or 1)
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
    """Yield one row for each unit of work as it is finished."""
    capacity = cluster_capacity()
    gpus = config.gpus_each(capacity)
    actors = config.actors or _most_actors(len(questions), config, capacity)
    threads = worker_threads(actors, config.cpus_per_actor)
    units = plan_units(questions, actors, config.batch_tokens)
    quiet_ray_data()
    items = [{"unit": json.dumps([dataclasses.asdict(q) for q in unit])} for unit in units]
    # A block for each unit: in fewer blocks, some actors would get no work.
    rows = (
        ray.data.from_items(items, override_num_blocks=len(items))
        .map_batches(
            _EmbeddingActor,
            fn_constructor_args=(
                source,
                config,
                gpus,
                threads,
                out,
                model_id,
            ),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=config.cpus_per_actor,
            num_gpus=gpus,
            compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=2),
        )
        .iter_rows()
    )
    for row in rows:
        if row.get("error"):
            raise EmbeddingError(row["error"])
        yield row


def rate(units: Sequence[Mapping[str, Any]]) -> float:
    """Tokens per second so far, by the workers' clocks: loading the model is no part of it.

    Args:
        units: as for :func:`steady_rate`, at least one.
    """
    seconds = max(u["ended"] for u in units) - min(u["began"] for u in units)
    return float(sum(u["tokens"] for u in units) / max(seconds, 1e-3))


def steady_rate(units: Sequence[Mapping[str, Any]]) -> float | None:
    """Tokens per second while all workers were at work: starting, each one's first unit and the end excluded.

    Args:
        units: ``worker, tokens, began, ended`` (seconds on the workers' clocks) of each unit of work.

    Returns:
        The sum of the workers' rates; None if one of them did nothing in that time.
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
        until = mine[last + 1]["began"] if last + 1 < len(mine) else mine[last]["ended"]  # waiting counts
        total += sum(mine[i]["tokens"] for i in steady) / (until - mine[first]["began"])
    return round(total, 1) or None


def _most_actors(questions: int, config: EmbedConfig, capacity: Capacity) -> int:
    """As many actors as the questions are worth and the cluster has room for."""
    worth = max(1, questions // QUESTIONS_PER_ACTOR)
    gpus = config.gpus_each(capacity)
    if not gpus and len(capacity.alive) == 1:  # a local cluster's logical CPUs are not its cores
        worth = min(worth, max(1, int(physical_cores() // config.cpus_per_actor)))
    return capacity.room(PlacementBundle("actor", worth, config.cpus_per_actor, gpus), worth)


def plan_units(questions: list[Question], actors: int, batch_tokens: int) -> list[list[Question]]:
    """Cut the questions into units of work of about equal cost, longest questions first.

    A unit holds questions of similar length (so that batches are padded little), at least one
    forward pass and at most 64.
    """

    def cost(q: Question) -> int:  # about four characters a token, and the chat template around it
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
