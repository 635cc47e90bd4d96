"""The operations and memory of meta-training, a part of the cost model (:mod:`gpo_ray.planning.stages`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gpo_ray.config import TrainConfig
from gpo_ray.embedding.encoder import needs_prompt_eol
from gpo_ray.planning.hardware import GIB
from gpo_ray.planning.workload import Workload
from gpo_ray.preferences.large import LARGE
from gpo_ray.prior.calibration import (
    MAX_PRIOR_GROUPS,
    MORE_TRIALS,
    MORE_TRIALS_GROUPS,
    RESPONSE_MODEL_GROUPS,
    TARGETS,
    TRIALS,
)
from gpo_ray.prior.extrapolation import SOLVED_BY_GROUP_BELOW
from gpo_ray.prior.group_prior import MAX_KERNEL_RESPONSES, precision
from gpo_ray.prior.response_model import MAX_PEOPLE

PRIOR_SECONDS = 4e-9
"""Seconds for each meta-train group and response when the prior of a task is made."""
TRAIT_SECONDS = 5e-6
"""Seconds for each response of a person's answer while traits are fitted, for both of the two fits."""
TASK_SECONDS = 0.0025
"""Seconds of the prior of a task that do not depend on sizes."""
PRIOR_TABLES = 5.0
"""Number of tables of groups by responses in memory while a prior is fitted at the end of training."""
GROUP_ON_DISK = 200.0
"""Bytes of memory of a group whose answers stay on disk (`benchmarks/out_of_core.py`)."""


@dataclass(frozen=True)
class Training:
    """The sizes of a meta-training, which follow from data and configuration."""

    config: TrainConfig
    width: int
    """Width of the embeddings that the transformer reads: E for each pooling."""
    responses: int
    slate: float
    training: float
    """Number of training groups."""
    validating: float
    """Number of groups that a validation scores."""
    prior_groups: float
    """Number of groups in the prior during training."""
    context: float
    """Number of context rows of a task in a step."""
    target: float
    """Number of target rows of a task in a step."""
    shared: bool
    """Whether all groups answered the same questions."""
    checked: float
    """Number of context rows of a validation group."""
    left: float
    """Number of target rows of a validation group."""
    groups: int
    answered: int

    @classmethod
    def of(cls, work: Workload, width: int, config: TrainConfig) -> Training:
        """Compute the sizes from a survey's sizes, a language model's width E and a configuration."""
        low, high = (
            sum(r) / 2 for r in (config.episodes.context_questions, config.episodes.target_questions)
        )
        trained = work.answered * (1 - config.validation.question_fraction)
        scale = min(1.0, trained / (low + high))
        validating = max(1.0, work.groups * config.validation.fraction)
        return cls(
            config=config,
            width=width * len(config.model.pooling.split("+")),
            responses=work.responses,
            slate=work.slate,
            training=work.groups - validating,
            validating=min(validating, config.validation.max_groups),
            prior_groups=min(work.groups - validating, MAX_PRIOR_GROUPS),
            context=low * scale * work.slate,
            target=high * scale * work.slate,
            shared=work.answered == work.questions,
            checked=config.validation.context_questions * work.slate,
            left=max(1.0, work.answered - config.validation.context_questions) * work.slate,
            groups=work.groups,
            answered=work.answered,
        )

    @property
    def step_groups(self) -> float:
        """Number of groups in a step."""
        return min(self.config.episodes.groups, self.training)

    @property
    def step_points(self) -> float:
        """Number of context and target rows of all groups in a step."""
        return self.step_groups * (self.context + self.target)

    @property
    def step_flops(self) -> float:
        """Operations of a step, forward and backward; the embeddings themselves get no gradient."""
        rows = (self.context + self.target) * (1 if self.shared else self.step_groups)
        first = 4.0 * min(rows, self.responses) * self.width * self.config.model.width
        return first + 3 * self._points(self.step_groups, self.context, self.target)

    @property
    def validations(self) -> int:
        """Number of validations until the last step, including the one of the prior alone."""
        return math.ceil(self.config.steps / self.config.validation.every) + 1

    @property
    def validation_points(self) -> float:
        """Number of context and target rows of all groups in a validation."""
        return self.validating * (self.left + self.checked)

    @property
    def validation_flops(self) -> float:
        """Operations of a validation, which runs only forward."""
        rows = min(self.validation_points, float(self.responses) * max(1.0, self.validating / 64))
        first = 2.0 * rows * self.width * self.config.model.width
        return first + self._points(self.validating, self.checked, self.left)

    def _points(self, groups: float, context: float, target: float) -> float:
        """Return the forward operations of groups' rows; target rows need no keys and values."""
        m = self.config.model
        square, attended = m.width**2, 2 * context * m.width
        ends = (m.embedder_depth - 1) * square + m.width * m.feedforward
        shared = m.layers * (2 * square + 2 * m.width * m.feedforward + attended)
        inner = (m.embedder_depth - 1) * square + shared + m.layers * 2 * square
        return 2.0 * groups * (context * inner + target * (ends + shared))

    @property
    def array_bytes(self) -> float:
        """Bytes in every process of embeddings (twice if standardised), and of shares not left on disk."""
        copies = 1 + self.config.standardize + 1  # the last 1 is for what is read from the store
        vectors = 4.0 * self.responses * self.width * copies
        large = self.groups * self.answered >= LARGE
        each = GROUP_ON_DISK if large else self.answered * (8 + 8 * self.slate) + 500
        return vectors + self.groups * each + 0.7 * GIB

    @property
    def everyone(self) -> float:
        """Number of groups in the bundle's prior."""
        return float(min(self.groups, MAX_PRIOR_GROUPS))

    @property
    def fits(self) -> list[tuple[float, float]]:
        """Number of groups and width of the embeddings of each fit of the prior.

        The prior is fitted to the training groups, and at the end to all groups; if the model uses the
        readings, it is then fitted once more without them.
        """
        twice = [(self.prior_groups, float(self.width)), (self.everyone, float(self.width))]
        if needs_prompt_eol(self.config.model.pooling):
            twice.append((self.everyone, self.width / 2))
        return twice

    def prior_flops(self, groups: float, width: float) -> float:
        """Return the operations of a fit of the prior.

        They are two factorisations, kernels, and estimates for each of five folds that leave a fifth out.
        """
        r = float(self.responses)
        m = min(0.8 * r, MAX_KERNEL_RESPONSES)
        solved = groups if groups < SOLVED_BY_GROUP_BELOW else min(groups, r / 5)
        deviations = 20 * m**2 * solved + m * r * groups
        return 3.6 * m**3 + m**2 * r / 2 + 2 * m * (r + 5 * m) * width + deviations

    def prior_seconds(self, rate: float, workers: int) -> dict[str, float]:
        """Return the seconds of fitting the prior and of using it, given a rate of operations a second."""
        fit = 0.0
        for groups, width in self.fits:
            trials = 12 * MORE_TRIALS if groups >= MORE_TRIALS_GROUPS else 8 * TRIALS
            target = min(self.left, TARGETS * self.slate)
            tried = self._task(rate, groups, self.checked, target)
            fit += self.prior_flops(groups, width) / rate + trials * tried
            if groups >= RESPONSE_MODEL_GROUPS:
                fit += min(groups, MAX_PEOPLE) * self.answered * self.slate * TRAIT_SECONDS
        step = self._task(rate, self.prior_groups, self.context, self.target)
        check = self._task(rate, self.prior_groups, self.checked, self.left)
        used = self.config.steps * self.step_groups / workers * step + self.validating * check
        return {"fitting the prior": fit, "the prior of episodes": used}

    def _task(self, rate: float, groups: float, context: float, target: float) -> float:
        operations = 2 * context * (context + target) * (self.width + groups * self.share_bytes / 8)
        return TASK_SECONDS + operations / rate + groups * (context + target) * PRIOR_SECONDS

    @property
    def regressed(self) -> int:
        """Number of responses from which the responses of unseen questions are predicted."""
        return min(self.responses, MAX_KERNEL_RESPONSES)

    @property
    def prior_bytes(self) -> float:
        """Most bytes that fitting the prior takes."""
        return 24.0 * self.regressed**2 + PRIOR_TABLES * self.share_bytes * self.everyone * self.responses

    @property
    def share_bytes(self) -> int:
        """Bytes of a number in the prior's tables."""
        return np.dtype(precision(int(self.everyone))).itemsize

    @property
    def bundle_bytes(self) -> float:
        """Bytes of the prior's shares and embeddings in a bundle and in each predictor."""
        if self.config.model.prior == "none":
            return 0.0
        return self.responses * (self.share_bytes * self.everyone + 4.0 * self.width)

    @property
    def predictor_bytes(self) -> float:
        """Bytes of the prior in a predictor: the bundle's, and those of matrices for unseen questions."""
        if self.config.model.prior == "none":
            return 0.0
        derived = self.regressed * (self.share_bytes * self.everyone + 12.0 * self.regressed)
        return self.bundle_bytes + derived * (2 if needs_prompt_eol(self.config.model.pooling) else 1)
