"""What a fit is best at: the training groups on average, or those that are served worst (``robust``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpo_ray.config import ObjectiveConfig
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.model.episodes import Task
from gpo_ray.preferences.slates import Ints

Floats = NDArray[np.float64]


class GroupWeights:
    """Weights alpha of the G training groups in the loss, equal under ``average``.

    ``robust`` moves them towards the groups that are served worst, by exponentiated gradient after each
    step (Ramesh et al., arXiv 2405.20304, algorithm 1; theirs precedes the gradient step, here both take
    their losses from the same forward pass):

        alpha_g <- alpha_g exp(step_size * excess_g * correction_g), divided by the sum over the groups

    where ``correction_g`` is their N / N_g: N_g counts the group's training answers, N makes the mean
    correction 1. Groups that a step did not draw keep their weight but for the division. In the loss a
    group counts G alpha_g times, whichever others are drawn with it, so that the steps follow the weighted
    objective on average, and equal weights are the ``average`` objective to the last bit.

    ``excess_g`` is the loss less the entropy of the group's own answers. The raw loss would send all the
    weight to groups of divided opinion, whom no model can predict with a low cross-entropy, rather than to
    badly predicted ones (Oren et al., arXiv 1909.02060, subtract a baseline for the same reason). A Gaussian
    density has no such floor; there the same divergence of the predicted shares stands in for it.
    """

    def __init__(
        self,
        arrays: PreferenceArrays,
        groups: Sequence[int],
        questions: Ints,
        config: ObjectiveConfig,
        log_weights: Sequence[float] = (),
    ) -> None:
        """Equal weights, or those that a run was left with.

        Args:
            arrays: the data.
            groups: numbers of the training groups.
            questions: numbers of the training questions.
            config: the objective.
            log_weights: (G,) an earlier :attr:`log_weights`.
        """
        counts = {g: int(np.isin(questions, arrays.answered[g]).sum()) for g in groups}
        counts = {g: n for g, n in counts.items() if n >= 2}  # the others are never drawn
        self._robust = config.kind == "robust"
        self._place = {g: i for i, g in enumerate(counts)}
        self._ids = [arrays.group_ids[g] for g in counts]
        inverse = 1 / np.asarray(list(counts.values()), np.float64)
        self._steps = config.step_size * inverse / inverse.sum() * len(inverse)
        self.log_weights: Floats = np.asarray(log_weights or np.zeros(len(counts)), np.float64)
        """(G,) log of G alpha: equal weights are exact zeros, and no weight is lost to underflow."""
        self._total, self._draws = np.zeros(len(counts)), np.zeros(len(counts))

    @property
    def alpha(self) -> Floats:
        """(G,) the weights; they sum to 1."""
        return np.exp(self.log_weights) / len(self.log_weights)

    def weighted(self, tasks: Sequence[Task]) -> list[Task]:
        """A step's tasks with their groups' weights."""
        return [replace(t, weight=float(np.exp(self.log_weights[self._place[t.group]]))) for t in tasks]

    def update(self, tasks: Sequence[Task], excess: Floats) -> None:
        """Take in the excess losses of the groups that a step drew.

        Args:
            tasks: of all workers.
            excess: one for each task, in nats.
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
        """``worst_group_loss``: the highest mean excess loss of a group, in nats, since the last call.

        Under ``robust`` also ``group_weights``: alpha by group id.
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
    """What a validation says about a model.

    Under ``robust`` the score is halfway between the mean and the mean of the worst third of the groups.
    The worst group alone would follow the chance errors of one group, often one that is hard for any model,
    and the groups to be served later are others; its neighbours and the mean steady it. Where there are so
    few groups that a third is a single one, the mean still counts half; with one group all are the same.

    Args:
        groups: the group of each scored task; a group may have several.
        alignments: mean alignment of each task.
        config: the objective.

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
