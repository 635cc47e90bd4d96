"""Scoring methods on one split: each method is fitted to it, and predicts the test groups' tasks.

The tasks are drawn in tasks.py; runner.py scores many splits in parallel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from gpo_ray.config import TrainConfig
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.evaluation.methods import METHODS, SplitData, SurveyTexts, TaskPrediction
from gpo_ray.evaluation.methods.meta_trained_transformer import fit_transformer
from gpo_ray.evaluation.methods.method import PUBLISHED_POOLING
from gpo_ray.evaluation.plan import EvaluationPlan
from gpo_ray.evaluation.protocols import protocol_of
from gpo_ray.evaluation.summary import TableRow
from gpo_ray.evaluation.tasks import split_tasks
from gpo_ray.guesses.table import GuessTable
from gpo_ray.model.episodes import Task
from gpo_ray.model.predict import score
from gpo_ray.preferences.metrics import accuracy
from gpo_ray.preferences.splits import Split
from gpo_ray.prior.fitted import FittedPriors

SplitProgress = Callable[[str, float], object]
"""A function called with a method's name and the share of its work on a split that is done, from 0 to 1."""


def evaluate_split(
    plan: EvaluationPlan,
    arrays: Mapping[str, PreferenceArrays],
    split: Split,
    tell: SplitProgress = lambda *_: None,
    texts: SurveyTexts = SurveyTexts(),  # noqa: B008 -- it is frozen
    guesses: GuessTable | None = None,
) -> list[TableRow]:
    """Score every method on one split.

    Args:
        plan: methods and context size.
        arrays: the data by pooling.
        split: the division shared by all methods.
        tell: called with the progress.
        texts: the survey's texts, if a method needs them.
        guesses: the guesses of a language model, if there are any.

    Returns:
        A row for each method, test group and context size: ``method, protocol, fraction, seed,
        group_id, topic, context, curve, coverage, alignment, accuracy, questions, without_distribution,
        context_dropped, cost`` (see :class:`~gpo_ray.evaluation.methods.method.TaskPrediction`). Rows with
        ``curve`` false are the evaluation proper; in the others every context size is scored on the same
        questions. ``topic`` is None if the split names no topics. ``coverage``, the share of responses whose
        true share is within the 90 % interval, is None if the method has no intervals.

    Raises:
        ConfigError: if no test group answered any target question, or training diverges.
    """
    another_survey = protocol_of(split).another_survey
    data = SplitData(arrays, split, another_survey, plan.settings, texts, guesses)
    main, curve = split_tasks(
        arrays[PUBLISHED_POOLING], split, plan.context, plan.context_sizes, plan.max_questions
    )
    rows: list[TableRow] = []
    for name in plan.methods:
        tell(name, 0.0)
        fitted = METHODS[name].fit(data, partial(tell, name))
        sized = curve if plan.has_curve(name) else []
        for size, tasks, is_curve in [(plan.context, main, False), *((n, t, True) for n, t in sized)]:
            told = {"method": name, "context": size, "curve": is_curve}
            rows += _rows(told, arrays[PUBLISHED_POOLING], split, tasks, fitted.predict(tasks))
        tell(name, 1.0)
    return rows


def evaluate_config(
    name: str,
    config: TrainConfig,
    arrays: PreferenceArrays,
    split: Split,
    context: int,
    priors: FittedPriors | None = None,
    device: str = "cpu",
) -> tuple[list[TableRow], float]:
    """Meta-train with a configuration and score it on a split's test groups.

    Args:
        name: name of the method in the rows.
        config: how to meta-train.
        arrays: the data, with the pooling that ``config`` names.
        split: the division.
        context: number of context questions of each test group.
        priors: the priors of these data that were fitted before.
        device: PyTorch device on which the model is trained and predicts.

    Returns:
        Rows as :func:`evaluate_split` returns them, without a curve; and the validation groups' alignment.

    Raises:
        ConfigError: if no test group answered any target question, or training diverges.
    """
    tasks, _ = split_tasks(arrays, split, context, sizes=())
    another_survey = protocol_of(split).another_survey
    fitted = fit_transformer(arrays, split, config, priors, another_survey, device)
    told = {"method": name, "context": context, "curve": False}
    return _rows(told, arrays, split, tasks, fitted.predict(tasks)), fitted.validation_alignment


def _rows(
    told: TableRow,
    arrays: PreferenceArrays,
    split: Split,
    tasks: Sequence[Task],
    predictions: Sequence[TaskPrediction] | None,
) -> list[TableRow]:
    """Make a row for each task, with the values ``told``, which all rows share.

    There are no rows if ``predictions`` is None, that is if the method cannot predict these tasks.
    """
    if predictions is None:
        return []
    topics = dict(zip(split.test_groups, split.test_topics, strict=False))
    told = told | {"protocol": split.protocol, "fraction": split.fraction, "seed": split.seed}
    rows: list[TableRow] = []
    for task, predicted in zip(tasks, predictions, strict=True):
        group = arrays.group_ids[task.group]
        row = told | {"group_id": group, "topic": topics.get(group)}
        rows.append(row | _scores(arrays, task, predicted))
    return rows


def _scores(arrays: PreferenceArrays, task: Task, predicted: TaskPrediction) -> TableRow:
    true = arrays.shares_of(task.group, task.target)
    aligned = score(arrays, task, predicted.shares)
    ends = np.concatenate([[0], np.cumsum(np.diff(arrays.offsets)[task.target])])
    scored = np.isfinite(aligned)
    covered = None
    if predicted.half_width is not None:
        covered = float((np.abs(true - predicted.shares) <= predicted.half_width).mean())
    return {
        "coverage": covered,
        "alignment": float(aligned[scored].mean()) if scored.any() else None,
        "accuracy": float(accuracy(predicted.shares, true, ends).mean()),
        "questions": int(scored.sum()),
        "without_distribution": predicted.without_distribution,
        "context_dropped": predicted.context_dropped,
        "cost": None if predicted.cost is None else dataclasses.asdict(predicted.cost),
    }
