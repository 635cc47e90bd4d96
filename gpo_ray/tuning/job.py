"""A whole tuning job: search, finals and the winner's bundle.

An interrupted job is resumed when it is called again. The search is in search.py, the finals in finals.py.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from gpo_ray.config import TrainConfig, load_train_config, present_keys
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.protocols import protocol_named
from gpo_ray.meta_training.local import train_local
from gpo_ray.meta_training.run import TrainJob
from gpo_ray.preferences.checks import require_test, require_two_answers, require_validation
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.splits import Split, draw_split
from gpo_ray.runtime.documents import parse_json
from gpo_ray.runtime.ray_session import require, told_session
from gpo_ray.runtime.resources import tune_request
from gpo_ray.runtime.storage import MANIFEST, Folder, parquet_bytes
from gpo_ray.runtime.terminal import Steps
from gpo_ray.tuning.finals import AGAINST, everything, run_finals
from gpo_ray.tuning.ledger import FAILED, Ledger
from gpo_ray.tuning.report import render_report
from gpo_ray.tuning.search import run_trials
from gpo_ray.tuning.shared import share
from gpo_ray.tuning.space import SearchConfig, Space
from gpo_ray.tuning.tracking import MlflowLog
from gpo_ray.tuning.trial import METRIC

KIND, SEARCH = "tuning", "search.json"
HOW = {"trials", "concurrent", "workers", "cpus", "gpus", "mlflow"}
"""The settings that a later call may change, for example to add more trials to a search."""


@dataclass(frozen=True)
class Sources:
    """The data that a search learns from, with their folders."""

    survey: str
    embeddings: str
    arrays: dict[str, PreferenceArrays]
    split: Split
    fingerprints: dict[str, str]


def run_search(
    search: SearchConfig,
    space: Space,
    survey: str,
    embeddings: str,
    out: str,
    address: str | None = None,
    progress_bar: bool = False,
    restart: bool = False,
) -> dict[str, Any]:
    """Search better hyperparameters and write a bundle; an interrupted search in ``out`` is resumed.

    It writes ``trials.parquet``, ``best.yaml`` (a configuration for ``gpo train``), ``bundle`` (the
    winner's), ``report.html`` and ``result.json``.

    Args:
        search: how to search.
        space: the space of hyperparameters.
        survey: folder of a PreferenceDataset.
        embeddings: folder of an embedding store.
        out: folder to write.
        address: address of the Ray cluster.
        progress_bar: whether to show progress.
        restart: whether to discard an earlier search in ``out``.

    Returns:
        ``trials``: how many ended; ``failed`` and ``stopped``: how many of these failed or were stopped
        early; ``best``: the winner's ``number, values, validation_alignment``; ``finals``: see
        :func:`~gpo_ray.tuning.finals.run_finals`; ``steps``: steps of all trials; ``share``: the share that
        trials with a score took of their full steps; ``trial_seconds``; ``bundle``; ``out``; ``seconds``.

    Raises:
        GPOError: if data or settings are wrong, the cluster is too small, or no trial succeeded.
    """
    started = time.monotonic()
    folder = Folder(out, ConfigError)
    sources = load_sources(search, space, survey, embeddings)
    with folder.writing():
        _claim(folder, search, space, sources, restart)
        ledger = Ledger(folder.child("trials"), space.values)
        if folder.exists(MANIFEST) and len(ledger.ended()) >= search.trials:
            return _read_result(folder)
        best, result = _search(search, space, sources, ledger, folder, address, progress_bar)
        result |= {"out": out, "seconds": round(time.monotonic() - started, 3)}
        _publish(folder, ledger, space, best, result)
    return result


def load_sources(search: SearchConfig, space: Space, survey: str, embeddings: str) -> Sources:
    """Load the data, with every pooling that a trial may use, and draw the split."""
    dataset = PreferenceDataset.load(survey)
    require_two_answers(survey, dataset)
    dataset = EmbeddingStore(embeddings).without_dropped(dataset)
    protocol = protocol_named(search.protocol)
    split = draw_split(dataset, search.fraction, search.seed, protocol, space.base.validation.fraction)
    require_validation(dataset, split)
    require_test(dataset, split)
    poolings = {*space.possible("model.pooling"), load_train_config(search.against).model.pooling}
    arrays, fingerprint = PreferenceArrays.load(dataset, EmbeddingStore(embeddings), poolings)
    return Sources(
        survey=survey,
        embeddings=embeddings,
        arrays=arrays,
        split=split,
        fingerprints={"survey": dataset.fingerprint(), "embeddings": fingerprint},
    )


def _claim(folder: Folder, search: SearchConfig, space: Space, sources: Sources, restart: bool) -> None:
    """Claim the folder for this search; raise GPOError if it holds another search or another result."""
    identity = {
        "search": search.model_dump(mode="json", exclude=HOW),
        "base": space.base.model_dump(mode="json"),
        "against": load_train_config(search.against).model_dump(mode="json"),
    } | sources.fingerprints
    if restart and folder.exists(SEARCH):
        folder.remove_all()
    folder.claim(KIND)
    different = folder.identify(SEARCH, identity, "--restart forgets that search", present_keys)
    if different:
        raise ConfigError(
            f"{folder}: a search with another {' and '.join(different)} was started here; "
            "give another --out, or --restart to forget it"
        )


def _search(
    search: SearchConfig,
    space: Space,
    sources: Sources,
    ledger: Ledger,
    folder: Folder,
    address: str | None,
    progress_bar: bool,
) -> tuple[TrainConfig, dict[str, Any]]:
    """Run the search and the finals on Ray, and write the winner's bundle.

    Returns:
        The winner's configuration, and the result of :func:`run_search` without ``out`` and ``seconds``.
    """
    name = f"gpo tune {folder.absolute}"
    log = None if search.mlflow is None else MlflowLog(search.mlflow, name, space)
    steps = Steps("tune", 4, progress_bar)
    with told_session(steps, address):
        require(tune_request(search))
        candidates, finals = _run(search, space, sources, ledger, folder, log, steps)
    best = candidates[finals["winner"]]
    with steps.step(f"meta-train {finals['winner']}'s bundle"):
        _write_bundle(folder, sources, best, finals["winner"])
    return best, _result(ledger, space, finals) | {"bundle": folder.where("bundle")}


def _run(
    search: SearchConfig,
    space: Space,
    sources: Sources,
    ledger: Ledger,
    folder: Folder,
    log: MlflowLog | None,
    steps: Steps,
) -> tuple[dict[str, TrainConfig], dict[str, Any]]:
    """Run the remaining trials and the finals; return the finals' candidates and the finals' result."""
    shared = share(sources.arrays)
    run_trials(search, space, shared, sources.split, ledger, folder.child("tune"), log, steps)
    if not ledger.ranked():
        reasons = Counter(r.reason for r in ledger if r.status == FAILED).most_common(1)
        raise ConfigError(f"{folder}: all {len(ledger.ended())} trials failed; most often: {reasons[0][0]}")
    candidates = _candidates(search, space, ledger)
    finals = run_finals(candidates, search, shared, sources.split, folder.child("finals"), steps)
    return candidates, finals


def _read_result(folder: Folder) -> dict[str, Any]:
    """Read the result of a search that was completed earlier."""
    data = folder.read_checked("result.json", folder.read_manifest(KIND))
    return dict(parse_json(data, folder.where("result.json"), ConfigError))


def _candidates(search: SearchConfig, space: Space, ledger: Ledger) -> dict[str, TrainConfig]:
    """Return the configurations of the best trials, without repetitions, and :data:`AGAINST`'s."""
    found: dict[str, TrainConfig] = {}
    for record in ledger.ranked():
        config = space.train_config(record.sample)
        if len(found) < search.finalists and config not in found.values():
            found[f"trial-{record.number}"] = config
    return found | {AGAINST: load_train_config(search.against)}


def _write_bundle(folder: Folder, sources: Sources, best: TrainConfig, name: str) -> None:
    """Meta-train with the winner's configuration on all questions, and write the bundle."""
    train_local(
        TrainJob(
            survey=sources.survey,
            embeddings=sources.embeddings,
            out=folder.child("bundle").absolute,
            storage=folder.child("runs").absolute,
            name=name,
            config=best,
            split=everything(sources.split),
        )
    )


def _result(ledger: Ledger, space: Space, finals: dict[str, Any]) -> dict[str, Any]:
    """Summarise the trials and the finals for the result of :func:`run_search`."""
    ended = ledger.ended()
    number = int(finals["winner"].removeprefix("trial-"))
    winner = ledger.records[number]
    scored = [r for r in ended if r.alignment is not None]
    full = sum(space.train_config(r.sample).steps for r in scored)
    return {
        "trials": len(ended),
        "failed": len(ended) - len(scored),
        "stopped": sum(r.status == "stopped" for r in ended),
        "best": {
            "number": number,
            "values": space.values(winner.sample),
            "validation_alignment": winner.alignment,
        },
        "finals": finals,
        "steps": sum(r.steps for r in ended),
        "share": round(sum(r.steps for r in scored) / full, 4),
        "trial_seconds": round(sum(r.seconds for r in ended), 3),
    }


def _publish(folder: Folder, ledger: Ledger, space: Space, best: TrainConfig, result: dict[str, Any]) -> None:
    """Write the tables, the report and the result, and then the manifest, which marks them as complete."""
    rows = [
        {
            "number": r.number,
            "status": r.status,
            "reason": r.reason or None,
            "steps": r.steps,
            "validation_alignment": r.alignment,
            METRIC: r.score,
            "seconds": r.seconds,
            **space.values(r.sample),
            "history": r.history,
        }
        for r in ledger.ended()
    ]
    contents = {
        "trials.parquet": parquet_bytes(pa.Table.from_pylist(rows)),
        "best.yaml": yaml.safe_dump(best.model_dump(mode="json"), sort_keys=False).encode(),
        "report.html": render_report(ledger, space, result).encode(),
        "result.json": json.dumps(result, indent=1, allow_nan=False).encode(),
    }
    folder.publish(KIND, contents)
