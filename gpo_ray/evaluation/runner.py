"""Evaluating methods over many splits, as parallel Ray tasks.

What is evaluated is in plan.py, the tasks that score splits are in execution.py, statistics over splits in
statistics.py, and the report in report.py.
"""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import numpy as np
import pyarrow as pa

from gpo_ray import __version__
from gpo_ray.config import present_keys
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.execution import EvaluationData, score_splits
from gpo_ray.evaluation.methods import METHODS, SurveyTexts
from gpo_ray.evaluation.plan import EvaluationPlan, SplitPlan
from gpo_ray.evaluation.protocols import PROTOCOLS, Protocol, protocol_named
from gpo_ray.evaluation.statistics import statistics
from gpo_ray.evaluation.summary import cells
from gpo_ray.guesses.one_model import guesses_fingerprint, load_one_model
from gpo_ray.guesses.table import GuessTable
from gpo_ray.lm.find import find_model
from gpo_ray.lm.load import fingerprint as model_fingerprint
from gpo_ray.preferences.attributes import OVERLAP, overlap
from gpo_ray.preferences.checks import require_test, require_two_answers
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.join import OtherSurvey, join_surveys
from gpo_ray.preferences.splits import Split, draw_split
from gpo_ray.preferences.twins import find_twins
from gpo_ray.runtime.ray_session import cluster_capacity, told_session
from gpo_ray.runtime.storage import MANIFEST, Folder, parquet_bytes
from gpo_ray.runtime.terminal import Steps

IDENTITY = "evaluation.json"


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
        ``cannot_answer``: methods that cannot predict under this protocol; ``context_sizes``: the curve's
        sizes that the test groups' answers allowed; ``max_questions``; ``language_models``: whom methods ask;
        ``note`` and ``overlap``: advice, or None; ``out``; ``report``; ``seconds``.

    Raises:
        GPOError: if data or settings are wrong, or the cluster is too small.
    """
    started = time.monotonic()
    data = _load(survey, embeddings, test_survey, plan, split_plan)
    folder, steps = Folder(out, ConfigError), Steps("evaluate", 2, progress_bar)
    with folder.writing():
        scored = _begin(folder, plan, data)
        with told_session(steps, address):
            rows = score_splits(plan.on_cluster(cluster_capacity().gpus), data, scored, steps)
        result = _results(plan, data, rows) | {"out": out, "report": folder.where("report.html")}
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
) -> EvaluationData:
    """Read the data that the methods need, and draw the splits."""
    protocol, needs = protocol_named(split_plan.protocol), plan.needs()
    dataset, other = _surveys(survey, test_survey, protocol)
    dataset = EmbeddingStore(embeddings).without_dropped(dataset)
    splits = _draw(dataset, protocol, split_plan, other and other.within(dataset))
    arrays, fingerprint = PreferenceArrays.load(dataset, EmbeddingStore(embeddings), needs.poolings)
    texts = SurveyTexts.of(dataset) if needs.texts else SurveyTexts()
    fingerprints = {"survey": dataset.fingerprint(), "embeddings": fingerprint}
    if needs.language_model:
        asked = plan.language_model
        fingerprints["language_model"] = model_fingerprint(find_model(asked.model), asked.dtype)
    guesses = _guesses(plan, texts)
    if guesses is not None:
        fingerprints["guesses"] = guesses_fingerprint(guesses)
    return EvaluationData(arrays, texts, splits, fingerprints, guesses)


def _guesses(plan: EvaluationPlan, texts: SurveyTexts) -> GuessTable | None:
    """Read the guesses that the plan names, None if it names none."""
    if not plan.guesses:
        return None
    found = load_one_model(plan.guesses, plan.guesses_model)
    if not {q.key for q in texts.questions} & set(found.guesses["question_key"].to_pylist()):
        raise ConfigError(
            f"--guesses {', '.join(plan.guesses)}: no guess is for a question of the survey; give guesses "
            "that were made for this survey"
        )
    return found


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
    require_two_answers(survey, dataset)
    if test_survey is None:
        return dataset, None
    tested = PreferenceDataset.load(test_survey)
    require_two_answers(test_survey, tested)
    return join_surveys(dataset, tested)


def _draw(
    dataset: PreferenceDataset, protocol: Protocol, plan: SplitPlan, other: OtherSurvey | None
) -> list[Split]:
    """Draw the splits of all distinct fractions and seeds, and check that each has test groups."""
    twins = find_twins(dataset)  # once, and not for each split
    most = plan.max_test_groups
    drawn = [
        draw_split(dataset, fraction, seed, protocol, other=other, max_test_groups=most, twins=twins)
        for fraction in dict.fromkeys(plan.fractions)
        for seed in range(plan.seeds)
    ]
    if not drawn:
        raise ConfigError("at least one seed and one fraction are needed")
    for split in drawn:
        require_test(dataset, split)
    return drawn


def _begin(folder: Folder, plan: EvaluationPlan, data: EvaluationData) -> Folder:
    """Prepare the folder of scored splits, which stays empty unless this same evaluation was interrupted."""
    if folder.exists(MANIFEST):
        raise ConfigError(f"{folder}: holds another stage's result; give another folder")
    drawn = [s.model_dump(mode="json") for s in data.splits]
    folder.write("splits.json", json.dumps(drawn, indent=1).encode())
    configured = {m: METHODS[m].configuration(plan.settings) for m in plan.methods}
    methods = {m: values for m, values in configured.items() if values}
    planned = dataclasses.asdict(
        dataclasses.replace(plan, guesses=())
    )  # their fingerprint counts, not places
    parts = {"version": __version__, "plan": planned, "methods": methods, "splits": drawn}
    identity = json.loads(json.dumps(parts | data.fingerprints))
    scored = folder.child("scored")
    if scored.identify(IDENTITY, identity, f"delete {scored}", present_keys):
        scored.remove_all()
        scored.identify(IDENTITY, identity, "")
    return scored


def _results(plan: EvaluationPlan, data: EvaluationData, rows: list[dict[str, Any]]) -> dict[str, Any]:
    scored = cells(rows)
    return {
        "cells": scored,
        **statistics(rows),
        "cannot_answer": [m for m in plan.methods if m not in {c["method"] for c in scored}],
        "context_sizes": sorted({r["context"] for r in rows if r["curve"]}),
        "max_questions": plan.max_questions,
        "language_models": _language_models(plan, data),
        "note": _note(plan.context, rows) if (plan.max_questions or plan.context) >= plan.context else None,
        "overlap": _overlap(rows),
    }


def _language_models(plan: EvaluationPlan, data: EvaluationData) -> dict[str, str]:
    """Return which language model each method asks, or whose guesses it reads."""
    asking = [m for m in plan.methods if METHODS[m].needs(plan.settings).language_model]
    found = dict.fromkeys(asking, data.fingerprints.get("language_model", ""))
    if data.guesses is not None:
        ((name, known),) = data.guesses.models.items()
        found |= {m: known or name for m in asking if METHODS[m].reads_guesses}
    return found


def _overlap(rows: list[dict[str, Any]]) -> str | None:
    """Return advice if test groups are of the same people as training groups, else None."""
    alone = {r["group_id"] for r in rows if r["protocol"] in ("paper", "new-questions")}
    return OVERLAP if overlap(alone) else None


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
