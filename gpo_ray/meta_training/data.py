"""What meta-training learns from: a data set's arrays, and the parts of it that a split lets training see."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from gpo_ray.config import TrainConfig
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.model.episodes import Prior, task_prior
from gpo_ray.preferences.slates import Ints
from gpo_ray.preferences.splits import Split
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.calibration import fit_prior


@dataclass(frozen=True)
class MetaTrainingData:
    """A data set's arrays and the parts of it that one split lets training see."""

    arrays: PreferenceArrays
    train_groups: list[int]
    validation_groups: list[int]
    questions: Ints
    """Questions of the training steps, in the split's order."""
    held_out: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Training questions kept for validation without a prior; may be none."""
    prior: Prior | None = None
    """From the training groups' answers, if the model takes one."""

    @classmethod
    def build(
        cls,
        arrays: PreferenceArrays,
        split: Split,
        config: TrainConfig,
        memory: PriorAtQuestions | None = None,
    ) -> MetaTrainingData:
        """Look up a split's groups and questions.

        Args:
            arrays: the data, standardised if ``config`` says so.
            split: the division.
            config: how to meta-train.
            memory: the training groups' answers to the training questions, if they were fitted before;
                only the model that takes a prior looks at it.
        """
        questions = arrays.question_numbers(split.question_order)
        groups = arrays.group_numbers(split.train_groups)
        cut = len(questions) - int(config.validation.question_fraction * len(questions))
        prior = None
        if config.model.prior != "none":
            context = config.validation.context_questions
            prior = task_prior(memory or fit_prior(arrays, groups, questions, context), arrays)
        return cls(
            arrays=arrays,
            train_groups=groups,
            validation_groups=arrays.group_numbers(split.validation_groups),
            questions=questions[:cut],
            held_out=questions[cut:],
            prior=prior,
        )

    def remembering(self) -> MetaTrainingData:
        """The same, for asking again and again for the prior of the same tasks: each is computed once."""
        return self if self.prior is None else replace(self, prior=cache(self.prior))
