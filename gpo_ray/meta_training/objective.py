"""Define the objective of training: the average over groups, or the worst predicted groups (``robust``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gpo_ray.config import ObjectiveConfig
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.model.episodes import Task
from gpo_ray.preferences.slates import Array, Ints


class GroupWeights:
    """The weights alpha of the G training groups in the loss, which are equal under ``average``.

    Under ``robust`` they move towards the worst predicted groups, by exponentiated gradient after each
    step (Ramesh et al., arXiv 2405.20304, algorithm 1; in the paper this precedes the gradient step, while
    here both use the losses of the same forward pass):

        alpha_g <- alpha_g exp(step_size * excess_g * correction_g), divided by the sum over the groups

    where ``correction_g`` is the paper's N / N_g: N_g is the number of the group's training answers, and N is
    such that the mean correction is 1. For groups that a step did not draw, only the division changes the
    weight. In the loss a group counts G alpha_g times, whichever other groups are drawn with it, so that the
    steps follow the weighted objective on average, and equal weights give exactly the ``average`` objective.

    ``excess_g`` is the loss less the entropy of the group's own answers. The raw loss would move all the
    weight to groups of divided opinion, which no model can predict with a low cross-entropy, rather than to
    badly predicted groups (Oren et al., arXiv 1909.02060, subtract a baseline for the same reason). A
    Gaussian density has no such lower bound; for the Gaussian likelihood the same divergence of the predicted
    shares is used.
    """

    def __init__(
        self,
        arrays: PreferenceArrays,
        groups: Sequence[int],
        questions: Ints,
        config: ObjectiveConfig,
        log_weights: Sequence[float] = (),
    ) -> None:
        """Start with equal weights, or with those of an interrupted run.

        Args:
            arrays: the data.
            groups: numbers of the training groups.
            questions: numbers of the training questions.
            config: configuration of the objective.
            log_weights: (G,) the interrupted run's :attr:`log_weights`; empty for equal weights.
        """
        counts = {g: int(np.isin(questions, arrays.answered[g]).sum()) for g in groups}
        counts = {g: n for g, n in counts.items() if n >= 2}  # groups with fewer answers are never drawn
        self._robust = config.kind == "robust"
        self._place = {g: i for i, g in enumerate(counts)}
        self._ids = [arrays.group_ids[g] for g in counts]
        inverse = 1 / np.asarray(list(counts.values()), np.float64)
        self._steps = config.step_size * inverse / inverse.sum() * len(inverse)
        self.log_weights: Array = np.asarray(log_weights or np.zeros(len(counts)), np.float64)
        """Logarithms (G,) of G alpha: equal weights are exact zeros, and no weight underflows."""
        self._total, self._draws = np.zeros(len(counts)), np.zeros(len(counts))

    @property
    def alpha(self) -> Array:
        """Weights (G,) of the groups, which sum to 1."""
        return np.exp(self.log_weights) / len(self.log_weights)

    def weighted(self, tasks: Sequence[Task]) -> list[Task]:
        """Return a step's tasks with their groups' weights set."""
        return [replace(t, weight=float(np.exp(self.log_weights[self._place[t.group]]))) for t in tasks]

    def update(self, tasks: Sequence[Task], excess: Array) -> None:
        """Update the weights by the excess losses of the groups that a step drew.

        Args:
            tasks: the tasks of all workers.
            excess: the excess loss of each task, in nats.
        """
        drawn = np.asarray([self._place[t.group] for t in tasks])
        self._total[drawn] += excess
        self._draws[drawn] += 1
        if self._robust:
            log = self.log_weights.copy()
            log[drawn] += self._steps[drawn] * excess
            log -= log.max()
            self.log_weights = log - np.log(np.exp(log).mean())

    def metrics(self) -> dict[str, Any]:
        """Return metrics of the steps since the last call.

        These are ``worst_group_loss``, the highest mean excess loss of a group, in nats, and under ``robust``
        also ``group_weights``, the present alpha by group id.
        """
        seen = self._draws > 0
        result: dict[str, Any] = {"worst_group_loss": float((self._total[seen] / self._draws[seen]).max())}
        self._total[:], self._draws[:] = 0, 0
        if self._robust:
            result["group_weights"] = dict(zip(self._ids, self.alpha.tolist(), strict=True))
        return result


def validation_scores(
    groups: Sequence[int], alignments: Sequence[float], config: ObjectiveConfig
) -> dict[str, float]:
    """Compute a model's scores from a validation.

    Under ``robust`` the score is halfway between the mean and the mean of the worst third of the groups.
    The worst group alone would follow the chance errors of one group, often one that is hard for any model,
    and the model will be used for other groups; the rest of the third and the mean make the score more
    stable. If there are so few groups that a third is a single group, the mean still counts half; with one
    group, all scores are the same.

    Args:
        groups: number of the group of each scored task; a group may have several tasks.
        alignments: mean alignment of each task.
        config: configuration of the objective.

    Returns:
        ``validation_alignment`` (mean over tasks), ``validation_worst`` (the worst group's mean over its
        tasks) and ``validation_score`` (which the best step maximises; the mean under ``average``).
    """
    number, values = np.asarray(groups), np.asarray(alignments)
    mean = float(values.mean())
    by_group = np.sort([values[number == g].mean() for g in np.unique(number)])
    tail = float(by_group[: -(-len(by_group) // 3)].mean())
    return {
        "validation_alignment": mean,
        "validation_worst": float(by_group[0]),
        "validation_score": (mean + tail) / 2 if config.kind == "robust" else mean,
    }
