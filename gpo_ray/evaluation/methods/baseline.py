"""Plain baselines as methods: a baseline is a function of one test group's task.

The functions are in plain.py, regression.py, gaussian.py and individuals.py.

Shapes: C responses of the context questions, M responses of the target questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from gpo_ray.evaluation.methods.meta_train_answers import MetaTrainAnswers
from gpo_ray.evaluation.methods.method import (
    PUBLISHED_POOLING,
    FitProgress,
    FitSettings,
    Fitted,
    Method,
    Needs,
    SplitData,
    TaskPrediction,
)
from gpo_ray.model.episodes import Task
from gpo_ray.preferences.slates import Array, Ints, normalized


@dataclass(frozen=True)
class BaselineTask:
    """One test group's task, as a baseline is given it."""

    train: MetaTrainAnswers
    task: Task

    @cached_property
    def context(self) -> Ints:
        """The context questions that some meta-train group answered."""
        seen = np.asarray(self.train.answered.any(0))
        return self.task.context[seen[self.task.context]]

    @cached_property
    def context_rows(self) -> Ints:
        """(C,) rows of the responses of ``context`` in the data's arrays."""
        return self.train.arrays.rows(self.context)

    @cached_property
    def context_y(self) -> Array:
        """(C,) the group's shares at ``context_rows``."""
        return self.train.arrays.shares_of(self.task.group, self.context)

    @cached_property
    def target_rows(self) -> Ints:
        """(M,) rows of the targets' responses in the data's arrays."""
        return self.train.arrays.rows(self.task.target)

    @cached_property
    def sizes(self) -> Ints:
        """Number of responses of each target question."""
        return self.train.sizes[self.task.target]

    @property
    def uniform(self) -> Array:
        """(M,) uniform shares: the same for every response of a target question."""
        return np.repeat(1 / self.sizes, self.sizes)

    @property
    def context_deviation(self) -> Array:
        """The group's shares on the whole context less uniform shares.

        Unlike ``context``, this includes questions that no meta-train group answered.
        """
        sizes = self.train.sizes[self.task.context]
        y = self.train.arrays.shares_of(self.task.group, self.task.context)
        return y - np.repeat(1 / sizes, sizes)

    def normalized(self, scores: Array) -> Array:
        """Clip scores (M,) from below, and scale them to sum to 1 within each question; NaN stays NaN."""
        return normalized(scores, self.sizes)


BaselineFunction = Callable[[BaselineTask], Array]
"""A function that returns shares (M,) over the targets' responses, NaN where it cannot answer."""


@dataclass(frozen=True)
class Baseline(Method):
    """A plain baseline, which is one short function.

    ``answer`` sees the meta-train groups' answers, the responses' embeddings and one test group's context.
    It learns from the meta-train groups through :meth:`MetaTrainAnswers.fitted`.
    """

    name: str
    answer: BaselineFunction
    plain: ClassVar[bool] = True

    def needs(self, settings: FitSettings) -> Needs:
        """Return that it needs the published embeddings only."""
        del settings
        return Needs(poolings=frozenset({PUBLISHED_POOLING}))

    def fit(self, data: SplitData, tell: FitProgress = lambda _: None) -> FittedBaseline:
        """Return the baseline with its data; it only learns at its first task."""
        del tell
        return FittedBaseline(self.answer, data.meta_train_answers)


@dataclass(frozen=True)
class FittedBaseline(Fitted):
    """A baseline and the data that it learns from."""

    answer: BaselineFunction
    train: MetaTrainAnswers

    def predict(self, tasks: Sequence[Task]) -> list[TaskPrediction] | None:
        """Predict the tasks, with uniform shares where the baseline cannot answer.

        Returns:
            The predictions; None if the baseline cannot answer anything.
        """
        asked = [BaselineTask(self.train, task) for task in tasks]
        shares = [self.answer(q) for q in asked]
        if all(np.isnan(s).all() for s in shares):
            return None
        return [
            TaskPrediction(np.where(np.isnan(s), q.uniform, s)) for s, q in zip(shares, asked, strict=True)
        ]
