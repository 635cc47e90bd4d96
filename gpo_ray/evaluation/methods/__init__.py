"""Plain baselines: each a few lines, on the same splits as the models.

A baseline sees the meta-train groups' answers, the responses' embeddings and one test group's
context, and gives shares over the responses of that group's target questions. It returns NaN for
questions it cannot answer (nobody in meta-training answered them), None if it can answer none.
"""

from __future__ import annotations

import numpy as np

from gpo_ray.evaluation.methods.gaussian import gaussian_process
from gpo_ray.evaluation.methods.individuals import item_item, item_response
from gpo_ray.evaluation.methods.plain import (
    context_mean,
    lm_base,
    majority,
    nearest_group,
    nearest_question,
    train_mean,
    uniform,
)
from gpo_ray.evaluation.methods.regression import kernel, low_rank, ridge, ridge_mix
from gpo_ray.evaluation.methods.situation import Array, Baseline, BaselineTask, MetaTrain
from gpo_ray.model.episodes import Task

BASELINES: dict[str, Baseline] = {
    "uniform": uniform,
    "lm-base": lm_base,
    "train-mean": train_mean,
    "context-mean": context_mean,
    "nearest-group": nearest_group,
    "ridge-mix": ridge_mix,
    "low-rank": low_rank,
    "gaussian-process": gaussian_process,
    "ridge": ridge,
    "kernel": kernel,
    "nearest-question": nearest_question,
    "majority": majority,
    "item-item": item_item,
    "item-response": item_response,
}

__all__ = ["BASELINES", "Baseline", "BaselineTask", "MetaTrain", "answer", "uniform"]


def answer(baseline: Baseline, train: MetaTrain, task: Task) -> Array | None:
    """A baseline's shares over a task's targets; uniform where it cannot answer, None if it can nowhere."""
    question = BaselineTask(train, task)
    shares = baseline(question)
    if shares is None or np.isnan(shares).all():
        return None
    return np.where(np.isnan(shares), question.uniform, shares)
