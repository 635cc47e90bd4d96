"""Plain baselines: each a few lines, on the same splits as the models.

A baseline sees the meta-train groups' answers, the responses' embeddings and one test group's
context, and gives shares over the responses of that group's target questions. It returns NaN for
questions it cannot answer (nobody in meta-training answered them), None if it can answer none.

Shapes: G meta-train groups, N responses of all questions, M responses of the targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gpo_ray.model.episodes import Ints, PreferenceArrays, Task
from gpo_ray.model.memory import GroupMemory, filled, normalized

Array = NDArray[np.float64]

RIDGE_MIX_PENALTY = 0.05
RIDGE_PENALTIES = np.logspace(0, 5, 11)


@dataclass(frozen=True)
class MetaTrain:
    """What a baseline may learn from: the answers of the meta-train groups to the training questions."""

    arrays: PreferenceArrays
    groups: list[int]
    questions: Ints

    @cached_property
    def shares(self) -> Array:
        """(G, N) shares, NaN where a group did not answer or the question is not for training."""
        return self.memory.shares

    @cached_property
    def memory(self) -> GroupMemory:
        """The same, as the models' prior reads it."""
        return GroupMemory.build(self.arrays, self.groups, self.questions)

    @cached_property
    def mean(self) -> Array:
        """(N,) mean of the groups that answered, NaN where none did."""
        return filled(self.shares).mean

    @cached_property
    def filled(self) -> Array:
        """(G, N) shares with the groups' mean where a group did not answer."""
        return np.where(np.isnan(self.shares), self.mean, self.shares)

    @cached_property
    def centred_embeddings(self) -> Array:
        """(N, E) standardised embeddings less their question's mean."""
        x = self.arrays.standardized(self.questions)[0].x.double().numpy()
        sizes = np.diff(self.arrays.offsets)
        mean = np.add.reduceat(x, self.arrays.offsets[:-1]) / sizes[:, None]
        return x - np.repeat(mean, sizes, axis=0)


@dataclass(frozen=True)
class Situation:
    """One test group's task."""

    train: MetaTrain
    task: Task

    @cached_property
    def context_rows(self) -> Ints:
        """Rows of the context's responses that some meta-train group answered."""
        rows = self.train.arrays.rows(self.task.context)
        return rows[~np.isnan(self.train.mean[rows])]

    @cached_property
    def context_y(self) -> Array:
        """The group's shares at ``context_rows``."""
        rows = self.train.arrays.rows(self.task.context)
        y = self.train.arrays.shares_of(self.task.group, self.task.context)
        return y[~np.isnan(self.train.mean[rows])]

    @cached_property
    def target_rows(self) -> Ints:
        """(M,) rows of the targets' responses."""
        return self.train.arrays.rows(self.task.target)

    @cached_property
    def sizes(self) -> Ints:
        """Number of responses of each target question."""
        return np.asarray(np.diff(self.train.arrays.offsets)[self.task.target], np.int64)

    def normalized(self, scores: Array) -> Array:
        """Scores clipped from below and scaled to sum to 1 within each question."""
        return normalized(scores, self.sizes)


Baseline = Callable[[Situation], Array | None]


def uniform(q: Situation) -> Array:
    """The same share for every response."""
    return np.repeat(1 / q.sizes, q.sizes)


def lm_base(q: Situation) -> Array:
    """The language model's own probabilities of the option letters."""
    return q.normalized(np.exp(q.train.arrays.letter_logprob[q.target_rows].astype(np.float64)))


def train_mean(q: Situation) -> Array:
    """Mean of the meta-train groups."""
    return q.train.mean[q.target_rows]


def context_mean(q: Situation) -> Array:
    """Mean of the meta-train groups, weighted by how closely they agree with the context."""
    distance = ((q.train.filled[:, q.context_rows] - q.context_y) ** 2).sum(1)
    weight = 1 / np.maximum(distance, 1e-9) ** 2
    return (weight / weight.sum()) @ q.train.filled[:, q.target_rows]


def nearest_group(q: Situation) -> Array:
    """The meta-train group that agrees best with the context."""
    distance = ((q.train.filled[:, q.context_rows] - q.context_y) ** 2).sum(1)
    return q.train.filled[int(distance.argmin()), q.target_rows]


def ridge_mix(q: Situation) -> Array:
    """Meta-train mean plus a ridge-weighted mix of the groups' residuals, fitted to the context."""
    scores = q.train.memory.prior(q.context_rows, q.context_y, q.target_rows, penalty=RIDGE_MIX_PENALTY)
    return q.normalized(scores)


def ridge(q: Situation) -> Array:
    """Ridge regression from embeddings to shares, fitted to the context alone.

    Embeddings are standardised and centred within each question, since shares only compare a
    question's own responses. The penalty is the one with the least leave-one-out error on the context.
    """
    arrays, task = q.train.arrays, q.task
    sizes = np.diff(arrays.offsets)
    x = q.train.centred_embeddings
    xc, xt = x[arrays.rows(task.context)], x[q.target_rows]
    base = np.repeat(1 / sizes[task.context], sizes[task.context])
    residual = arrays.shares_of(task.group, task.context) - base
    values, vectors = np.linalg.eigh(xc @ xc.T)
    projected = vectors.T @ residual
    errors = []
    for penalty in RIDGE_PENALTIES:
        shrink = penalty / (np.maximum(values, 0) + penalty)  # of 1 - hat matrix
        left_out = (vectors @ (shrink * projected)) / np.maximum((vectors**2) @ shrink, 1e-9)
        errors.append((left_out**2).sum())
    penalty = RIDGE_PENALTIES[int(np.argmin(errors))]
    dual = vectors @ (projected / (np.maximum(values, 0) + penalty))
    return q.normalized(np.repeat(1 / q.sizes, q.sizes) + (xt @ xc.T) @ dual)


BASELINES: dict[str, Baseline] = {
    "uniform": uniform,
    "lm-base": lm_base,
    "train-mean": train_mean,
    "context-mean": context_mean,
    "nearest-group": nearest_group,
    "ridge-mix": ridge_mix,
    "ridge": ridge,
}


def answer(baseline: Baseline, train: MetaTrain, task: Task) -> Array | None:
    """A baseline's shares over a task's targets; uniform where it cannot answer, None if it can nowhere."""
    question = Situation(train, task)
    shares = baseline(question)
    if shares is None or np.isnan(shares).all():
        return None
    return np.where(np.isnan(shares), uniform(question), shares)
