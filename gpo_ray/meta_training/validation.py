"""Score a model on groups that it did not learn from, and decide whether it is better than the prior.

With few validation groups or questions, a good score may be chance: with one group, any step whose errors
happen to suit that group would replace the prior. So the prior stays unless the gain over it is large
compared with the gain's own error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from gpo_ray.errors import ConfigError
from gpo_ray.meta_training.data import MetaTrainingData
from gpo_ray.meta_training.objective import validation_scores
from gpo_ray.model.episodes import Task
from gpo_ray.model.predict import Forward, fixed_context_tasks, predict_tasks, score
from gpo_ray.preferences.slates import Array, Ints

if TYPE_CHECKING:
    import torch

    from gpo_ray.config import TrainConfig


@dataclass(frozen=True)
class Gain:
    """A model's mean alignment less the prior's on the same answers.

    ``error`` is the standard error of this gain, and ``freedom`` is its degrees of freedom. If they are below
    1, the error cannot be estimated, and ``error`` is infinite.
    """

    mean: float
    error: float
    freedom: float

    @classmethod
    def of(cls, differences: Array, weights: Array, groups: Ints, questions: Ints) -> Gain:
        """Estimate the gain and its error from K answers of groups to questions.

        Both groups and questions are samples of future ones, so that the variance is that of means clustered
        by both (Cameron, Gelbach and Miller 2011, equation 2.8), and at least that of means clustered by one
        of them. The number of clusters is the number of equally weighted clusters with the same variance
        (Kish 1965), so that a few questions which make up half of the mean count as few questions.

        Args:
            differences: (K,) alignment of each answer less the prior's alignment.
            weights: (K,) weight of each answer in the mean; they sum to 1.
            groups: (K,) number of each answer's group.
            questions: (K,) number of each answer's question.
        """
        mean = float(weights @ differences)
        freedom = min(_clusters(weights, c) for c in (groups, questions)) - 1
        if freedom < 1:
            return cls(mean, np.inf, freedom)
        residual = weights * (differences - mean)
        by_group, by_question = (_variance(residual, c) for c in (groups, questions))
        variance = max(by_group, by_question, by_group + by_question - float(residual @ residual))
        return cls(mean, float(np.sqrt(variance)), freedom)

    def is_certain(self, confidence: float) -> bool:
        """Return whether the gain is significant at the level ``1 - confidence``.

        This is a one-sided test by Student's t against a model that is no better than the prior. With a
        confidence of 0 every gain is certain.
        """
        if not confidence or self.freedom < 1:
            return not confidence
        return self.mean > float(stdtrit(self.freedom, confidence)) * self.error


def _clusters(weights: Array, cluster: Ints) -> float:
    sums = _sums(weights, cluster)
    return float(sums.sum() ** 2 / (sums**2).sum())


def _variance(residual: Array, cluster: Ints) -> float:
    sums = _sums(residual, cluster)
    return float((sums**2).sum() * len(sums) / (len(sums) - 1))


def _sums(values: Array, cluster: Ints) -> Array:
    return np.asarray(np.bincount(np.unique(cluster, return_inverse=True)[1], values), np.float64)


class Validation:
    """A validation that scores models on the validation groups.

    Args:
        data: the data of meta-training; the prior should be one that keeps its results
            (:meth:`MetaTrainingData.with_cached_prior`), because every score needs the prior of all tasks.
        config: configuration of meta-training.

    Raises:
        ConfigError: if there is nothing to validate on.
    """

    def __init__(self, data: MetaTrainingData, config: TrainConfig) -> None:
        self._arrays, self._task_prior = data.arrays, data.task_prior
        self._config = config
        self.tasks = validation_tasks(data, config)
        self._asked = np.concatenate([t.target for t in self.tasks])
        self._groups = np.concatenate([np.full(len(t.target), t.group) for t in self.tasks])
        self._task = np.repeat(np.arange(len(self.tasks)), [len(t.target) for t in self.tasks])
        self._before: Array | None = None
        if data.task_prior is not None:
            self._before = self._aligned([np.exp(data.task_prior(t)[0]) for t in self.tasks])
            self.prior_scores, _ = self._scores(self._before)

    def score(self, forward: Forward, device: torch.device | str) -> tuple[dict[str, float], Gain | None]:
        """Validate a model.

        Returns:
            The scores of :func:`~gpo_ray.meta_training.objective.validation_scores`, and the gain over the
            prior, None for a model without one.
        """
        return self._scores(
            self._aligned(predict_tasks(forward, self._arrays, self.tasks, device, self._task_prior))
        )

    def _aligned(self, predictions: Sequence[Array]) -> Array:
        """Return the alignments (K,) of all target answers, NaN where they are not defined."""
        pairs = zip(self.tasks, predictions, strict=True)
        return np.concatenate([score(self._arrays, t, p) for t, p in pairs])

    def _scores(self, aligned: Array) -> tuple[dict[str, float], Gain | None]:
        defined = np.isfinite(aligned)
        if not defined.any():
            raise ConfigError(
                "no validation group answered a question whose alignment is defined; use another seed"
            )
        count = np.bincount(self._task[defined], minlength=len(self.tasks))
        total = np.bincount(self._task[defined], aligned[defined], len(self.tasks))
        scored = np.flatnonzero(count)
        groups = [self.tasks[i].group for i in scored]
        scores = validation_scores(groups, (total[scored] / count[scored]).tolist(), self._config.objective)
        if self._before is None:
            return scores, None
        difference = aligned[defined] - self._before[defined]
        weights = 1 / count[self._task[defined]] / len(scored)
        return scores, Gain.of(difference, weights, self._groups[defined], self._asked[defined])


def validation_tasks(data: MetaTrainingData, config: TrainConfig) -> list[Task]:
    """Make the tasks that a validation predicts.

    Raises:
        ConfigError: if there are none.
    """
    groups, context = data.validation_groups, config.validation.context_questions
    if len(groups) > config.validation.max_groups:
        rng = np.random.default_rng([config.seed, 2])
        groups = sorted(rng.choice(groups, config.validation.max_groups, replace=False).tolist())
    tasks = fixed_context_tasks(data.arrays, groups, data.questions, context)
    if len(data.held_out):
        new = fixed_context_tasks(data.arrays, groups, data.questions, context, data.held_out)
        tasks += [Task(t.group, t.context, t.target, t.target) for t in new]
    if not tasks:
        raise ConfigError("no validation group answered two of the training questions; use another --seed")
    return tasks
