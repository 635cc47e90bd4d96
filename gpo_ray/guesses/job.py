"""Run the Ray Data job that asks a language model on a pool of actors."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from gpo_ray.errors import GPOError, ResourceError
from gpo_ray.guesses.asking import Asked, AskSettings
from gpo_ray.guesses.local import LocalBackend
from gpo_ray.guesses.store import GuessStore
from gpo_ray.guesses.table import Way
from gpo_ray.lm.find import ModelSource, find_model
from gpo_ray.lm.load import fingerprint
from gpo_ray.lm.model import LanguageModel
from gpo_ray.preferences.dataset import Question
from gpo_ray.runtime.model_pool import UNITS_PER_ACTOR, ModelActor, ModelPoolConfig, run_units
from gpo_ray.runtime.ray_session import (
    cluster_capacity,
    stalled,
    told_session,
    worker_threads,
)
from gpo_ray.runtime.resources import Capacity, PlacementBundle, ResourceRequest, device_of
from gpo_ray.runtime.terminal import Steps
from gpo_ray.runtime.threads import use_threads

MOST_PROMPTS = 256
"""Most prompts of a unit of work: what a killed process loses."""
PROMPTS_PER_ACTOR = 128
"""Number of prompts for which another copy of the model is loaded."""


class GuessConfig(ModelPoolConfig):
    """The settings of a job that asks a language model on this cluster."""

    def resource_request(self, capacity: Capacity) -> ResourceRequest:
        """Return the resources that the job needs at the same time on a cluster of the given capacity."""
        bundle = PlacementBundle("actor", self.actors or 1, self.cpus_per_actor, self.gpus_each(capacity))
        return ResourceRequest("guess", (bundle,), "--actors, --cpus-per-actor or --gpus-per-actor")


def model_identity(name: str, dtype: str) -> tuple[str, str]:
    """Return the name under which a local model's guesses are stored, and its fingerprint.

    Raises:
        EmbeddingError: if the model cannot be found.
    """
    found = fingerprint(find_model(name), dtype)
    return found.partition("@")[0], found


class _AskingActor(ModelActor):
    """An actor with one copy of the model, which answers units of work and writes each as one shard."""

    def __init__(
        self,
        source: ModelSource,
        config: GuessConfig,
        settings: AskSettings,
        gpus: float,
        threads: int,
        out: str,
    ) -> None:
        use_threads(threads)
        self._settings, self._store = settings, GuessStore(out)
        try:
            self._backend = LocalBackend(LanguageModel(source, config.dtype, device_of(gpus), gpus))
        except GPOError as e:
            self.problem = e

    def work(self, unit: str) -> dict[str, Any]:
        """Ask what a unit holds, and write the answers as a shard."""
        guesses = self._backend.answer(unpacked(unit), self._settings)
        name, entry = self._store.write(guesses)
        return {"shard": name, "entry": json.dumps(entry), "count": len(guesses)}


def ask_model(
    asked: Sequence[Asked],
    out: str,
    settings: AskSettings,
    config: GuessConfig,
    address: str | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Ask a language model on the cluster all that the folder at ``out`` does not hold yet.

    Safe to interrupt at any moment and to run again: shards are written atomically, and a rerun asks only
    what is missing.

    Args:
        asked: everything to ask, from :func:`gpo_ray.guesses.asking.plan`.
        out: the folder.
        settings: what is asked for.
        config: the model, and on what it runs.
        address: the Ray cluster.
        progress: whether to show progress.

    Returns:
        A dictionary with ``asked`` and ``reused`` (numbers of questions, once for each way and role),
        ``guesses`` and ``without`` (counts by reason, of the whole folder), ``seconds`` and ``out``.

    Raises:
        EmbeddingError: if the model cannot be loaded.
        DataError: if the folder holds something else, or guesses that depend on something else.
        ConfigError: if another process writes in it.
        ResourceError: if the cluster is too small, or nothing moves.
    """
    started = time.monotonic()
    name, model_id = model_identity(config.model, config.dtype)
    store = GuessStore(out)
    with store.folder.writing():
        missing = store.missing(asked)
        steps = Steps("guess", 2, progress)
        if missing:
            with told_session(steps, address):
                _ask_missing(missing, store, settings, config, steps)
        table = store.finish(name, model_id)
    counts = table.counts()
    return {
        "asked": len(missing),
        "reused": len(asked) - len(missing),
        "guesses": counts["guesses"],
        "without": counts["without"],
        "seconds": round(time.monotonic() - started, 3),
        "out": out,
    }


def _ask_missing(
    missing: Sequence[Asked], store: GuessStore, settings: AskSettings, config: GuessConfig, steps: Steps
) -> None:
    """Ask on the cluster of this session what the store does not hold."""
    source, capacity = find_model(config.model), cluster_capacity()
    capacity.check(config.resource_request(capacity))
    with steps.step(f"ask {source.name}", len(missing), "questions") as step:
        for row in _run(missing, source, store, settings, config):
            store.add(row["shard"], json.loads(row["entry"]))
            step.advance(row["count"])
        step.outcome = f"{len(missing)} questions asked"


def _run(
    asked: Sequence[Asked], source: ModelSource, store: GuessStore, settings: AskSettings, config: GuessConfig
) -> Iterable[dict[str, Any]]:
    """Yield one row for each unit of work as it is finished."""
    capacity = cluster_capacity()
    gpus = config.gpus_each(capacity)
    actors = config.copies(sum(len(a.texts) for a in asked) // PROMPTS_PER_ACTOR, capacity)
    units = plan_units(asked, actors)
    actors = min(actors, len(units))
    threads = worker_threads(actors, config.cpus_per_actor)
    arguments = (source, config, settings, gpus, threads, store.folder.absolute)
    try:
        yield from run_units(_AskingActor, arguments, [packed(unit) for unit in units], config, actors, gpus)
    except stalled() as e:
        raise ResourceError("guess: nothing moved for long; the same command goes on from here") from e


def plan_units(asked: Sequence[Asked], actors: int) -> list[list[Asked]]:
    """Cut what is asked into units of work of about equal numbers of prompts.

    A unit holds one style and role, whose text is the common beginning of its prompts and is read once.
    """
    roles: dict[tuple[Way, str | None], list[Asked]] = {}
    for a in asked:
        roles.setdefault((a.way, a.group_id), []).append(a)
    target = max(1, sum(len(a.texts) for a in asked) // (actors * UNITS_PER_ACTOR))
    most = min(MOST_PROMPTS, target)
    units: list[list[Asked]] = []
    for mine in roles.values():
        filled = most
        for a in mine:
            if filled >= most:
                units.append([])
                filled = 0
            units[-1].append(a)
            filled += len(a.texts)
    return units


def packed(unit: Sequence[Asked]) -> str:
    """Return a unit of work as a text."""
    return json.dumps([asdict(a) for a in unit])


def unpacked(text: str) -> list[Asked]:
    """Return a unit of work from its text."""
    return [
        Asked(
            Way(*found["way"]),
            found["group_id"],
            _question(found["question"]),
            tuple(map(tuple, found["orders"])),
            tuple(found["texts"]),
            found["content"],
        )
        for found in json.loads(text)
    ]


def _question(found: dict[str, Any]) -> Question:
    ordinal = found["ordinal"]
    lists = {"responses": tuple(found["responses"]), "ordinal": None if ordinal is None else tuple(ordinal)}
    return Question(**(found | lists))
