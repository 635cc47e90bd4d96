"""Baselines without a model: uniform shares, means, neighbours, the language model's own probabilities."""

from __future__ import annotations

import itertools

import numpy as np

from gpo_ray.evaluation.methods.baseline import BaselineTask
from gpo_ray.evaluation.methods.meta_train_answers import MetaTrainAnswers
from gpo_ray.preferences.slates import Array


def uniform(q: BaselineTask) -> Array:
    """Predict the same share for every response."""
    return q.uniform


def lm_base(q: BaselineTask) -> Array:
    """Predict the language model's own probabilities of the option letters."""
    return q.normalized(np.exp(q.train.arrays.letter_logprob[q.target_rows].astype(np.float64)))


def train_mean(q: BaselineTask) -> Array:
    """Predict the mean of the meta-train groups."""
    return q.train.mean[q.target_rows]


def majority(q: BaselineTask) -> Array:
    """Predict the shares of the meta-train people, the largest of which is their most common answer.

    The numbers are those of ``train-mean``. This is their usual name where people are predicted, since the
    accuracy of the most probable response is what counts then.
    """
    return train_mean(q)


def context_mean(q: BaselineTask) -> Array:
    """Predict the mean of the meta-train groups, weighted by how closely they agree with the context."""
    weight = 1 / np.maximum(_distance(q), 1e-9) ** 2
    return q.train.mean[q.target_rows] + (weight / weight.sum()) @ q.train.residuals[:, q.target_rows]


def nearest_group(q: BaselineTask) -> Array:
    """Predict the answers of the meta-train group that agrees best with the context."""
    return q.train.mean[q.target_rows] + q.train.residuals[int(_distance(q).argmin()), q.target_rows]


def _distance(q: BaselineTask) -> Array:
    """Return (G,) the squared distance of each meta-train group from the context's answers.

    A missing answer of a meta-train group counts as the mean.
    """
    deviation = q.context_y - q.train.mean[q.context_rows]
    return np.asarray(((q.train.residuals[:, q.context_rows] - deviation) ** 2).sum(1))


def nearest_question(q: BaselineTask) -> Array:
    """Predict the group's answer to the context question whose embedding is nearest.

    A question's embedding is the mean of its responses' embeddings. Only context questions with the same
    number of responses count; their shares are taken over by position, on ordinal questions by position on
    the scale. If the context has no such question, the shares are uniform.
    """
    arrays, context = q.train.arrays, q.task.context
    points = q.train.fitted(_question_embeddings)
    order = q.train.fitted(_scale_order)
    y = arrays.shares_of(q.task.group, context)
    ends = np.cumsum(q.train.sizes[context])
    result = q.uniform
    for target, (a, b) in zip(q.task.target, itertools.pairwise([0, *np.cumsum(q.sizes)]), strict=True):
        same_size = np.flatnonzero(q.train.sizes[context] == b - a)
        if len(same_size) == 0:
            continue
        distance = ((points[context[same_size]] - points[target]) ** 2).sum(1)
        nearest = same_size[int(distance.argmin())]
        theirs = y[ends[nearest] - (b - a) : ends[nearest]]
        result[a + order[target]] = theirs[order[context[nearest]]]
    return result


def _question_embeddings(train: MetaTrainAnswers) -> Array:
    """Return (Q, E) the mean standardised embedding of each question's responses."""
    return np.asarray(
        np.add.reduceat(train.embeddings, train.arrays.offsets[:-1]) / train.sizes[:, None], np.float64
    )


def _scale_order(train: MetaTrainAnswers) -> list[np.ndarray]:
    """Return each question's responses ordered from the low to the high end of its scale.

    The responses of a nominal question keep their order.
    """
    scales = np.split(np.nan_to_num(train.arrays.ordinal), train.arrays.offsets[1:-1])
    return [np.argsort(s, kind="stable") for s in scales]
