"""The finals: the best trials are meta-trained anew several times, and scored on groups the search never saw.

Every final has the search's test groups, so that test groups influence no choice. For each seed, validation
groups, the order of the questions (and with it the contexts), initial weights and episodes are drawn anew. In
protocol ``paper`` all questions are training questions. In protocol ``new-questions`` the target questions
are those that the search held out, so that groups and questions are new to the search; if it held out none,
each seed holds out other questions, which the search has seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import ray
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from gpo_ray.config import TrainConfig
from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.protocols import protocol_named
from gpo_ray.evaluation.scoring import evaluate_config
from gpo_ray.evaluation.statistics import compare
from gpo_ray.preferences.splits import Split
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.fitted import FittedPriors, PriorKey
from gpo_ray.runtime.documents import parse_json
from gpo_ray.runtime.ray_session import worker_threads
from gpo_ray.runtime.resources import device_of
from gpo_ray.runtime.storage import Folder
from gpo_ray.runtime.terminal import Steps
from gpo_ray.runtime.threads import use_threads
from gpo_ray.tuning.failures import reason
from gpo_ray.tuning.shared import SharedArrays, SharedPriors, shared_arrays
from gpo_ray.tuning.space import SearchConfig

AGAINST = "against"
"""Name, among the candidates, of the configuration that the winner is compared with."""

Final = dict[str, Any]
"""The result of a final: ``name, protocol, rows, validation_alignment``, and ``reason`` if it failed."""

AGAIN = "delete it, and that final is made again"
"""Advice in the error message about a damaged file of a final."""


class _StoredFinal(TypedDict):
    """The part of a final that is read from its file."""

    name: str
    protocol: str
    rows: list[dict[str, Any]]
    validation_alignment: float | None


_STORED_FINAL = TypeAdapter(_StoredFinal)


def run_finals(
    candidates: Mapping[str, TrainConfig],
    search: SearchConfig,
    shared: SharedArrays,
    split: Split,
    folder: Folder,
    steps: Steps | None = None,
) -> dict[str, Any]:
    """Meta-train every candidate in every protocol with every seed, unless that was done before.

    Args:
        candidates: configurations by name, :data:`AGAINST` among them.
        search: the search, which has protocols, seeds, context questions of each test group, and resources.
        shared: the data.
        split: the split of the search.
        folder: folder to which each final writes its scores.
        steps: progress display, in which the finals are one step; None shows nothing.

    Returns:
        ``winner``: the candidate, other than :data:`AGAINST`, with the best mean validation alignment among
        those that failed least often; ``candidates``: ``name, validation_alignment, test_alignment`` (by
        protocol) and ``failed`` of each; ``gains``: by protocol, the winner's paired gain over
        :data:`AGAINST` on test groups, from :func:`gpo_ray.evaluation.statistics.compare`;
        ``questions_seen``: whether the search has seen the questions of ``new-questions``.

    Raises:
        ConfigError: if training diverges with every seed of all candidates.
    """
    results, left = _ended(candidates, search, folder)
    start = _starter(candidates, search, shared, split)
    before = f"; {len(results)} fits were there already" if results else ""
    what = f"finals: {len(candidates)} configurations anew{before}"
    with (steps or Steps("tune", 1, shown=False)).step(what, len(left), "fits") as step:
        for final in _made(start, left, search.concurrent, folder):
            results.append(final)
            step.advance()
    return _judge(results, list(candidates), search.finals_protocols) | {
        "questions_seen": not split.new_questions
    }


def _made(
    start: Callable[[str, str, int], ray.ObjectRef],
    left: Sequence[tuple[str, str, int]],
    concurrent: int,
    folder: Folder,
) -> Iterator[Final]:
    """Run finals, some at a time, and yield each when it has ended and its scores are written.

    Args:
        start: function that starts a final, given candidate, protocol and seed.
        left: candidate, protocol and seed of each final to run.
        concurrent: the most finals at the same time.
        folder: folder to which the scores are written.
    """
    waiting = list(left)
    pending: dict[ray.ObjectRef, tuple[str, str, int]] = {}
    while waiting or pending:
        while waiting and len(pending) < concurrent:
            following = waiting.pop(0)
            pending[start(*following)] = following
        (done,), _ = ray.wait(list(pending), num_returns=1)
        name, protocol, seed = pending.pop(done)
        found: Final = {"name": name, "protocol": protocol}
        try:
            found |= ray.get(done)
        except ray.exceptions.RayError as e:
            found |= {"rows": [], "validation_alignment": None, "reason": reason(e)}
        folder.write(_file(name, protocol, seed), json.dumps(found).encode())
        yield found


def _ended(
    candidates: Mapping[str, TrainConfig], search: SearchConfig, folder: Folder
) -> tuple[list[Final], list[tuple[str, str, int]]]:
    """Return the results of earlier calls, and (name, protocol, seed) of each final that is left.

    The candidates of one protocol and seed are next to each other, so that a prior which they share is needed
    only for a short time. :data:`AGAINST` comes first, since it may take longest and the others can use the
    CPUs that are free meanwhile.
    """
    results: list[Final] = []
    left: list[tuple[str, str, int]] = []
    for protocol in search.finals_protocols:
        for seed in range(search.seeds):
            for name in sorted(candidates, key=lambda n: n != AGAINST):
                file = _file(name, protocol, seed)
                if folder.exists(file):
                    results.append(_read(folder, file))
                else:
                    left.append((name, protocol, seed))
    return results, left


def _read(folder: Folder, file: str) -> Final:
    """Read a final from its file; raise ConfigError if it is damaged."""
    where = folder.where(file)
    found = parse_json(folder.read(file), where, ConfigError, f"; {AGAIN}")
    try:
        _STORED_FINAL.validate_python(found, strict=True)
    except ValidationError as e:
        raise ConfigError(f"{where}: damaged; {AGAIN}") from e
    return dict(found)


def _file(name: str, protocol: str, seed: int) -> str:
    return f"{name}-{protocol}-{seed}.json"


def _starter(
    candidates: Mapping[str, TrainConfig], search: SearchConfig, shared: SharedArrays, split: Split
) -> Callable[[str, str, int], ray.ObjectRef]:
    """Return a function that starts a final, given candidate, protocol and seed."""
    task = ray.remote(num_cpus=search.cpus, num_gpus=search.gpus)(_final_task)
    threads = worker_threads(search.concurrent, search.cpus)
    priors = SharedPriors(shared, search.cpus, search.concurrent)

    def start(name: str, protocol: str, seed: int) -> ray.ObjectRef:
        config = candidates[name].model_copy(update={"seed": seed})
        drawn = final_split(split, protocol, seed)
        keys: list[PriorKey] = []
        if config.model.prior != "none":
            keys = [PriorKey.of(config, drawn, g) for g in (drawn.train_groups, drawn.meta_train_groups)]
        data = [shared[config.model.pooling]]
        # The priors are separate arguments, so that Ray fetches them before it starts the task.
        return task.remote(name, config, data, drawn, search, threads, keys, *(priors.get(k) for k in keys))

    return start


def final_split(split: Split, protocol: str, seed: int) -> Split:
    """Draw a split for the finals with the search's test groups; the module says what is drawn anew."""
    rng = np.random.default_rng([split.seed, seed])
    groups = rng.permutation(split.meta_train_groups).tolist()
    questions = rng.permutation(sorted(split.question_order + split.new_questions)).tolist()
    held_out = protocol_named(protocol).new_questions(len(questions))
    new = set(split.new_questions or questions[:held_out]) if held_out else set()
    kept = len(split.validation_groups)
    return split.model_copy(
        update={
            "protocol": protocol,
            "seed": seed,
            "validation_groups": tuple(groups[:kept]),
            "train_groups": tuple(groups[kept:]),
            "question_order": tuple(q for q in questions if q not in new),
            "new_questions": tuple(q for q in questions if q in new),
        }
    )


def everything(split: Split) -> Split:
    """Return the split with all questions as training questions; the groups stay the same."""
    questions = split.question_order + split.new_questions
    return split.model_copy(update={"protocol": "paper", "question_order": questions, "new_questions": ()})


def _final_task(
    name: str,
    config: TrainConfig,
    data: Sequence[ray.ObjectRef],
    split: Split,
    search: SearchConfig,
    threads: int,
    keys: Sequence[PriorKey],
    *priors: PriorAtQuestions,
) -> dict[str, Any]:
    """Meta-train and evaluate one candidate, given its priors with their keys, as a Ray task."""
    use_threads(threads)
    fitted = FittedPriors(dict(zip(keys, priors, strict=True)))
    arrays = shared_arrays(data[0])
    device = device_of(search.gpus)
    rows, validation = evaluate_config(name, config, arrays, split, search.context, fitted, device)
    return {"rows": rows, "validation_alignment": validation}


def _judge(results: Sequence[Final], names: Sequence[str], protocols: Sequence[str]) -> dict[str, Any]:
    """Choose the winner and compare it.

    Returns:
        The result of :func:`run_finals`, without ``questions_seen``.
    """
    table: list[dict[str, Any]] = []
    for name in names:
        runs = [r for r in results if r["name"] == name]
        ended = [r for r in runs if r["validation_alignment"] is not None]
        table.append(
            {
                "name": name,
                "validation_alignment": _mean([r["validation_alignment"] for r in ended]),
                "test_alignment": {p: _mean(_scores(ended, p)) for p in protocols},
                "failed": len(runs) - len(ended),
            }
        )
    # A candidate that failed more often is never chosen over one that failed less often.
    able = [t for t in table if t["name"] != AGAINST and t["validation_alignment"] is not None]
    if not able:
        why = next(r["reason"] for r in results if "reason" in r)
        raise ConfigError(f"no finalist could be meta-trained again: {why}")
    winner = min(able, key=lambda t: (t["failed"], -t["validation_alignment"]))["name"]
    rows = {p: [row for r in results if r["protocol"] == p for row in r["rows"]] for p in protocols}
    return {
        "winner": winner,
        "candidates": table,
        "gains": {p: compare(rows[p], winner, AGAINST, "alignment") for p in protocols},
    }


def _scores(results: Sequence[Final], protocol: str) -> list[float]:
    rows = [row for r in results if r["protocol"] == protocol for row in r["rows"]]
    return [row["alignment"] for row in rows if row["alignment"] is not None]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
