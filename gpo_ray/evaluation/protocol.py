"""Scoring methods on one split: meta-train where the method learns, adapt to each test group, score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpo_ray.config import TrainConfig, load_train_config
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.methods import BASELINES, BaselineTask, MetaTrain, answer, uniform
from gpo_ray.meta_training.data import MetaTrainingData
from gpo_ray.meta_training.engine import LocalEngine, new_model
from gpo_ray.meta_training.loop import meta_train
from gpo_ray.model.episodes import Task, task_prior
from gpo_ray.model.predict import fixed_context_tasks, predict_tasks, score
from gpo_ray.preferences.metrics import accuracy
from gpo_ray.preferences.slates import Ints
from gpo_ray.preferences.splits import Split
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.calibration import fit_prior

MODELS = ("gpo", "gpo-robust", "paper")
"""Methods that are meta-trained; each is the preset of its name, with the objective after the dash."""
METHODS = (*MODELS, *BASELINES)
CURVE = (1, 2, 5, 10, 20, 50, 100, 200)
"""Context sizes of the context-size curve, as far as half of the test groups' answers allow."""

Memories = tuple[PriorAtQuestions | None, PriorAtQuestions | None]
"""Answers to a split's training questions as a prior, of the training groups and of all meta-train groups:
for meta-training and for test groups. None is fitted where it is needed."""

Tell = Callable[[str, float], object]
"""Told a method and the share of its work on a split that is done, from 0 to 1."""

Predictor = Callable[[Sequence[Task]], list[NDArray[np.float64]] | None]


@dataclass(frozen=True)
class EvaluationPlan:
    """What is the same for all splits."""

    methods: tuple[str, ...]
    context: int
    """Context questions of each test group."""
    steps: int | None = None
    """Meta-training steps, if not the preset's."""
    context_sizes: tuple[int, ...] | None = None
    """Context sizes of the curve in place of :data:`CURVE`, as far as they leave a typical test group
    an answer to predict; empty for no curve."""
    objective: str | None = None
    """``average`` or ``robust`` for the methods whose name does not say, if not the preset's."""

    def __post_init__(self) -> None:
        unknown = [m for m in self.methods if m not in METHODS]
        if unknown or not self.methods:
            raise ConfigError(f"unknown method {unknown[:1]}; methods: {', '.join(METHODS)}")
        if self.context < 1:
            raise ConfigError(f"context must be at least 1, not {self.context}")
        if self.context_sizes and min(self.context_sizes) < 1:
            raise ConfigError(f"context sizes must be at least 1, not {min(self.context_sizes)}")

    def train_config(self, method: str, seed: int) -> TrainConfig:
        """The configuration with which a method is meta-trained on a split."""
        preset, _, objective = method.partition("-")
        return load_train_config(preset, seed=seed, steps=self.steps, objective=objective or self.objective)

    def poolings(self) -> set[str]:
        """Poolings that some method reads."""
        return {"mean"} | {self.train_config(m, 0).model.pooling for m in self.methods if m in MODELS}


def evaluate_split(
    plan: EvaluationPlan,
    arrays: Mapping[str, PreferenceArrays],
    split: Split,
    tell: Tell = lambda *_: None,
) -> list[dict[str, Any]]:
    """Score every method on one split.

    Args:
        plan: methods and context size.
        arrays: the data by pooling.
        split: the division shared by all methods.
        tell: called as the work goes on.

    Returns:
        A row for each method, test group and context size: ``method, protocol, fraction, seed,
        group_id, topic, context, curve, coverage, alignment, accuracy, questions``. Rows with
        ``curve`` false are the evaluation proper; in the others every context size is scored on the same
        questions. ``topic`` is None where the split names none, ``coverage`` (share of responses within
        their 90 % intervals) where the method has no intervals.

    Raises:
        ConfigError: if no test group answered what is to be predicted, or training diverges.
    """
    main, curve = _tasks(arrays["mean"], split, plan)
    train = MetaTrain(
        arrays["mean"],
        arrays["mean"].group_numbers(split.meta_train_groups),
        arrays["mean"].question_numbers(split.question_order),
    )
    rows: list[dict[str, Any]] = []
    for name in plan.methods:
        tell(name, 0.0)
        method = _method(name, plan, arrays, split, train, tell)
        for size, tasks, is_curve in [(plan.context, main, False), *((n, t, True) for n, t in curve)]:
            rows += _rows(name, method, split, size, tasks, is_curve)
        tell(name, 1.0)
    return rows


def evaluate_config(
    name: str,
    config: TrainConfig,
    arrays: PreferenceArrays,
    split: Split,
    context: int,
    memories: Memories = (None, None),
    device: str = "cpu",
) -> tuple[list[dict[str, Any]], float]:
    """Meta-train with a configuration and score it on a split's test groups.

    Args:
        name: stands in the rows as the method.
        config: how to meta-train.
        arrays: the data, with the pooling that ``config`` asks for.
        split: the division.
        context: context questions of each test group.
        memories: see :data:`Memories`.
        device: where the model is meta-trained and asked.

    Returns:
        Rows like those of :func:`evaluate_split`, without a curve; the validation groups' alignment.

    Raises:
        ConfigError: if no test group answered what is to be predicted, or training diverges.
    """
    main, _ = _tasks(arrays, split, EvaluationPlan(("gpo",), context, context_sizes=()))
    method = _meta_trained(arrays, split, config, memories, device)
    return _rows(name, method, split, context, main), method.validation_alignment


def _rows(
    name: str, method: _Method, split: Split, context: int, tasks: Sequence[Task], is_curve: bool = False
) -> list[dict[str, Any]]:
    """A row for each task; none for a method that cannot answer."""
    predictions = method.predict(tasks)
    if predictions is None:
        return []
    topics = dict(zip(split.test_groups, split.test_topics, strict=False))
    rows: list[dict[str, Any]] = []
    for task, predicted in zip(tasks, predictions, strict=True):
        row = {"method": name, "protocol": split.protocol, "fraction": split.fraction}
        row |= {"seed": split.seed, "context": context, "curve": is_curve}
        group = method.arrays.group_ids[task.group]
        row |= {"group_id": group, "topic": topics.get(group)}
        row["coverage"] = _coverage(method, task, predicted)
        rows.append(row | _scores(method.arrays, task, predicted))
    return rows


def _tasks(
    arrays: PreferenceArrays, split: Split, plan: EvaluationPlan
) -> tuple[list[Task], list[tuple[int, list[Task]]]]:
    """The test groups' tasks at the given context size, and those of the context-size curve."""
    groups = arrays.group_numbers(split.test_groups)
    order = arrays.question_numbers(split.context_order)
    new = arrays.question_numbers(split.new_questions) if split.new_questions else None
    main = fixed_context_tasks(arrays, groups, order, plan.context, new)
    if not main:
        raise ConfigError(f"split {split.fraction:g}/{split.seed}: no test group has answers to predict")
    return main, _curve(arrays, groups, order, new, plan.context_sizes)


def _curve(
    arrays: PreferenceArrays,
    groups: Sequence[int],
    order: Ints,
    new: Ints | None,
    sizes: Sequence[int] | None,
) -> list[tuple[int, list[Task]]]:
    """Tasks at each context size that the answers of a typical (median) group allow.

    A group's contexts are the first answers it gave along ``order``; its targets are ``new``, or what
    it answered after the largest context. Groups with too few answers for that are left out at every
    size, so that a step of the curve is more context and never other groups.
    """
    answers = [order[np.isin(order, arrays.answered[g])] for g in groups]
    typical = float(np.median([len(a) for a in answers]))
    most = typical / 2 if sizes is None else typical - (new is None)
    kept = sorted({n for n in (CURVE if sizes is None else sizes) if n <= most})
    if not kept:
        return []
    full: list[tuple[int, Ints, Ints]] = []
    for g, mine in zip(groups, answers, strict=True):
        target = mine[kept[-1] :] if new is None else new[np.isin(new, arrays.answered[g])]
        if len(mine) >= kept[-1] and len(target):
            full.append((g, mine, target))
    return [(n, [Task(g, mine[:n], target) for g, mine, target in full]) for n in kept]


@dataclass(frozen=True)
class _Method:
    """A method that has learnt what it may: the data it reads, and how it predicts a list of tasks."""

    arrays: PreferenceArrays
    predict: Predictor
    prior: PriorAtQuestions | None = None
    validation_alignment: float = np.nan
    """Of a method that is meta-trained."""


def _method(
    name: str,
    plan: EvaluationPlan,
    arrays: Mapping[str, PreferenceArrays],
    split: Split,
    train: MetaTrain,
    tell: Tell = lambda *_: None,
) -> _Method:
    if name in MODELS:
        config = plan.train_config(name, split.seed)
        arrays_read = arrays[config.model.pooling]
        return _meta_trained(arrays_read, split, config, tick=lambda n: tell(name, n / (config.steps + 1)))

    def predict(tasks: Sequence[Task]) -> list[NDArray[np.float64]] | None:
        answers = [answer(BASELINES[name], train, t) for t in tasks]
        if all(a is None for a in answers):
            return None
        return [
            uniform(BaselineTask(train, t)) if a is None else a for t, a in zip(tasks, answers, strict=True)
        ]

    return _Method(arrays["mean"], predict)


def _meta_trained(
    source: PreferenceArrays,
    split: Split,
    config: TrainConfig,
    memories: Memories = (None, None),
    device: str = "cpu",
    tick: Callable[[int], object] = lambda _: None,
) -> _Method:
    arrays = source
    questions = source.question_numbers(split.question_order)
    if config.standardize:
        arrays = source.standardized(questions)[0]
    engine = LocalEngine(new_model(arrays.x.shape[1], config), config, device)
    data = MetaTrainingData.build(arrays, split, config, memories[0])
    progress = meta_train(engine, data, config, lambda *_: None, tick=tick)
    best = new_model(arrays.x.shape[1], config).to(device)
    best.load_state_dict(progress.best_weights)
    view = None
    if config.model.prior != "none":
        groups = arrays.group_numbers(split.meta_train_groups)
        context = config.validation.context_questions
        cross_survey = split.protocol == "new-survey"
        view = memories[1] or fit_prior(arrays, groups, questions, context, cross_survey)
    prior = None if view is None else task_prior(view, arrays)
    return _Method(
        arrays,
        lambda tasks: predict_tasks(best.eval(), arrays, tasks, device, prior),
        view,
        progress.best_alignment,
    )


def _coverage(method: _Method, task: Task, predicted: NDArray[np.float64]) -> float | None:
    """Share of a task's target responses within their 90 % intervals, None for a method without them."""
    if method.prior is None:
        return None
    arrays = method.arrays
    found = method.prior.posterior(task.context, arrays.shares_of(task.group, task.context), task.target)
    error = np.abs(arrays.shares_of(task.group, task.target) - predicted)
    return float((error <= found.half_width).mean())


def _scores(arrays: PreferenceArrays, task: Task, predicted: NDArray[np.float64]) -> dict[str, Any]:
    aligned = score(arrays, task, predicted)
    sizes = np.diff(arrays.offsets)[task.target]
    correct = accuracy(
        predicted, arrays.shares_of(task.group, task.target), np.concatenate([[0], np.cumsum(sizes)])
    )
    scored = np.isfinite(aligned)
    return {
        "alignment": float(aligned[scored].mean()) if scored.any() else None,
        "accuracy": float(correct.mean()),
        "questions": int(scored.sum()),
    }
