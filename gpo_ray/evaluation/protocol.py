"""Scoring methods on one split: meta-train where the method learns, adapt to each test group, score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpo_ray.config import TrainConfig, load_train_config
from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.baselines import BASELINES, MetaTrain, Situation, answer, uniform
from gpo_ray.model.episodes import Ints, PreferenceArrays, Task
from gpo_ray.model.memory import GroupMemory, task_prior
from gpo_ray.model.predict import fixed_context_tasks, predict_tasks, score
from gpo_ray.preferences.alignment import accuracy
from gpo_ray.preferences.splits import Split
from gpo_ray.training.engine import LocalEngine, new_model
from gpo_ray.training.loop import MetaTrainingData, meta_train

MODELS = ("gpo", "gpo-robust", "paper")
"""Methods that are meta-trained; each is the preset of its name, with the objective after the dash."""
METHODS = (*MODELS, *BASELINES)
CURVE = (1, 2, 5, 10, 20, 50, 100, 200)
"""Context sizes of the context-size curve, as far as half of the questions allow."""

Predictor = Callable[[Sequence[Task]], list[NDArray[np.float64]] | None]


@dataclass(frozen=True)
class EvaluationPlan:
    """What is the same for all splits."""

    methods: tuple[str, ...]
    context: int
    """Context questions of each test group."""
    steps: int | None = None
    """Meta-training steps, if not the preset's."""
    objective: str | None = None
    """``average`` or ``robust`` for the methods whose name does not say, if not the preset's."""

    def __post_init__(self) -> None:
        unknown = [m for m in self.methods if m not in METHODS]
        if unknown or not self.methods:
            raise ConfigError(f"unknown method {unknown[:1]}; methods: {', '.join(METHODS)}")
        if self.context < 1:
            raise ConfigError(f"context must be at least 1, not {self.context}")

    def train_config(self, method: str, seed: int) -> TrainConfig:
        """The configuration with which a method is meta-trained on a split."""
        preset, _, objective = method.partition("-")
        return load_train_config(preset, seed=seed, steps=self.steps, objective=objective or self.objective)

    def poolings(self) -> set[str]:
        """Poolings that some method reads."""
        return {"mean"} | {self.train_config(m, 0).model.pooling for m in self.methods if m in MODELS}


def evaluate_split(
    plan: EvaluationPlan, arrays: Mapping[str, PreferenceArrays], split: Split
) -> list[dict[str, Any]]:
    """Score every method on one split.

    Args:
        plan: methods and context size.
        arrays: the data by pooling.
        split: the division shared by all methods.

    Returns:
        A row for each method, test group and context size: ``method, protocol, fraction, seed,
        group_id, context, curve, alignment, accuracy, questions``. Rows with ``curve`` false are the
        evaluation proper; in the others every context size is scored on the same questions.
    """
    main, curve = _tasks(arrays["mean"], split, plan.context)
    rows: list[dict[str, Any]] = []
    for method in plan.methods:
        source, predict = _predictor(method, plan, arrays, split)
        for size, tasks, is_curve in [(plan.context, main, False), *((n, t, True) for n, t in curve)]:
            predictions = predict(tasks)
            if predictions is None:
                continue
            for task, predicted in zip(tasks, predictions, strict=True):
                row = {"method": method, "protocol": split.protocol, "fraction": split.fraction}
                row |= {"seed": split.seed, "context": size, "curve": is_curve}
                rows.append(row | _scores(source, task, predicted))
    return rows


def _tasks(
    arrays: PreferenceArrays, split: Split, context: int
) -> tuple[list[Task], list[tuple[int, list[Task]]]]:
    """The test groups' tasks at the given context size, and those of the context-size curve."""
    groups = arrays.group_numbers(split.test_groups)
    order = arrays.question_numbers(split.question_order)
    new = arrays.question_numbers(split.new_questions) if split.new_questions else None
    main = fixed_context_tasks(arrays, groups, order, context, new)
    if not main:
        raise ConfigError(f"split {split.fraction:g}/{split.seed}: no test group has answers to predict")
    sizes = [n for n in CURVE if n <= len(order) // 2]
    targets: Ints = order[sizes[-1] :] if new is None and sizes else (new if new is not None else order)
    pool = order[: sizes[-1]] if sizes else order
    return main, [(n, fixed_context_tasks(arrays, groups, pool, n, targets)) for n in sizes]


def _predictor(
    method: str, plan: EvaluationPlan, arrays: Mapping[str, PreferenceArrays], split: Split
) -> tuple[PreferenceArrays, Predictor]:
    """The data a method reads and the function that predicts a list of tasks."""
    if method in MODELS:
        config = plan.train_config(method, split.seed)
        source = arrays[config.model.pooling]
        return source, _meta_trained(source, split, config)
    train = MetaTrain(
        arrays["mean"],
        arrays["mean"].group_numbers(split.meta_train_groups),
        arrays["mean"].question_numbers(split.question_order),
    )

    def predict(tasks: Sequence[Task]) -> list[NDArray[np.float64]] | None:
        answers = [answer(BASELINES[method], train, t) for t in tasks]
        if all(a is None for a in answers):
            return None
        return [uniform(Situation(train, t)) if a is None else a for t, a in zip(tasks, answers, strict=True)]

    return arrays["mean"], predict


def _meta_trained(source: PreferenceArrays, split: Split, config: TrainConfig) -> Predictor:
    arrays = source
    if config.standardize:
        arrays = source.standardized(source.question_numbers(split.question_order))[0]
    engine = LocalEngine(new_model(arrays.x.shape[1], config), config)
    progress = meta_train(engine, MetaTrainingData.build(arrays, split, config), config, lambda *_: None)
    best = new_model(arrays.x.shape[1], config)
    best.load_state_dict(progress.best_weights)
    prior = None
    if config.model.prior != "none":
        groups = arrays.group_numbers(split.meta_train_groups)
        prior = task_prior(
            GroupMemory.build(arrays, groups, arrays.question_numbers(split.question_order)), arrays
        )
    return lambda tasks: predict_tasks(best.eval(), arrays, tasks, prior=prior)


def _scores(arrays: PreferenceArrays, task: Task, predicted: NDArray[np.float64]) -> dict[str, Any]:
    aligned = score(arrays, task, predicted)
    sizes = np.diff(arrays.offsets)[task.target]
    correct = accuracy(
        predicted, arrays.shares_of(task.group, task.target), np.concatenate([[0], np.cumsum(sizes)])
    )
    scored = np.isfinite(aligned)
    return {
        "group_id": arrays.group_ids[task.group],
        "alignment": float(aligned[scored].mean()) if scored.any() else None,
        "accuracy": float(correct.mean()),
        "questions": int(scored.sum()),
    }
