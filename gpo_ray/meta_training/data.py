"""Define the data of meta-training: a data set's arrays, and the parts of them that training may see."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from gpo_ray.config import TrainConfig
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.model.episodes import TaskPrior, make_task_prior
from gpo_ray.preferences.slates import Ints
from gpo_ray.preferences.splits import Split
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.calibration import fit_prior


@dataclass(frozen=True)
class MetaTrainingData:
    """A data set's arrays, and the groups and questions that training may see according to a split."""

    arrays: PreferenceArrays
    train_groups: list[int]
    validation_groups: list[int]
    questions: Ints
    """Numbers of the questions for training steps, in the split's order."""
    held_out: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Numbers of the training questions that are kept for validation, where they are masked; may be empty."""
    task_prior: TaskPrior | None = None
    """The prior, made from the training groups' answers; None for a model without one."""

    @classmethod
    def build(
        cls,
        arrays: PreferenceArrays,
        split: Split,
        config: TrainConfig,
        fitted: PriorAtQuestions | None = None,
    ) -> MetaTrainingData:
        """Look up a split's groups and questions.

        Args:
            arrays: the data, standardised if ``config`` says so.
            split: the division of groups and questions.
            config: configuration of meta-training.
            fitted: the prior at all questions, if it was fitted before; only a model with a prior needs it.
        """
        questions = arrays.question_numbers(split.question_order)
        groups = arrays.group_numbers(split.train_groups)
        cut = len(questions) - int(config.validation.question_fraction * len(questions))
        task_prior = None
        if config.model.prior != "none":
            context = config.validation.context_questions
            task_prior = make_task_prior(fitted or fit_prior(arrays, groups, questions, context), arrays)
        return cls(
            arrays=arrays,
            train_groups=groups,
            validation_groups=arrays.group_numbers(split.validation_groups),
            questions=questions[:cut],
            held_out=questions[cut:],
            task_prior=task_prior,
        )

    def with_cached_prior(self) -> MetaTrainingData:
        """Return the same data with a prior that is computed only once for each task."""
        return self if self.task_prior is None else replace(self, task_prior=cache(self.task_prior))
