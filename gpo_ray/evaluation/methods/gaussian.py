"""The baseline ``gaussian-process``: a Gaussian process over responses' embeddings and groups.

A group's shares less uniform shares are f(x) + h(x) + noise: f is shared by all groups, and h is the group's
own and independent of other groups'. Both have the centred RBF covariance of the embeddings (kernels.py); f
also has a part peculiar to each response, which all groups share but which embeddings do not determine. Since
all groups have the same distribution a priori, only the mean of the meta-train groups informs about f.

Shapes: N responses of all questions; A, B responses of two lists of questions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gpo_ray.evaluation.methods.baseline import BaselineTask
from gpo_ray.evaluation.methods.kernels import CentredKernel
from gpo_ray.evaluation.methods.meta_train_answers import MetaTrainAnswers
from gpo_ray.preferences.slates import Array, Ints

MAX_ROWS = 2500
"""Most responses that f is conditioned on jointly; others are corrected only by their own answers."""
SAMPLE_ROWS = 500
"""Most responses of the sample by which the hyperparameters are chosen."""
SAMPLE_GROUPS = 30
"""Most groups of that sample."""
NOISE_RATIOS = np.logspace(-2, 3, 11)
"""Candidate variances of the noise, as multiples of the variance of f."""
VARIANCES = np.logspace(-4, 0.5, 10)
"""Candidate variances of f."""
MIN_VARIANCE = 1e-8
"""Smallest variance that is estimated; it is also added to the diagonal of a covariance to factorise."""


@dataclass(frozen=True)
class OwnFunctions:
    """The distribution of the groups' own functions h and of the noise."""

    rbf: CentredKernel
    variance: float
    noise: float

    def __call__(self, train: MetaTrainAnswers, a: Ints, b: Ints) -> Array:
        """Return the covariance (A, B) of one group's deviations at the responses of ``a`` and ``b``."""
        return self.variance * self.rbf(a, b) + self.noise * _same(train, a, b)

    @classmethod
    def fit(cls, train: MetaTrainAnswers) -> OwnFunctions:
        """Fit by the marginal likelihood of some meta-train groups' deviations from the mean.

        Only some questions are used, those of :data:`SAMPLE_ROWS` responses.
        """
        count = train.answered.sum(0)
        sample = _first(train, train.questions[count[train.questions] > 1], SAMPLE_ROWS)
        groups = np.flatnonzero(train.answered[:, sample].any(1))[:SAMPLE_GROUPS]
        if len(groups) == 0:
            return cls(train.fitted(CentredKernel.fit)[0], 0.01, 0.01)  # no question has two groups' answers
        candidates = []
        for rbf in train.fitted(CentredKernel.fit):
            values, projected = _spectrum(train, rbf, sample, groups, count)
            for ratio in NOISE_RATIOS:
                variance = max(float((projected**2 / (values + ratio)).mean()), MIN_VARIANCE)
                likelihood = -len(values) * np.log(variance) - np.log(values + ratio).sum()
                candidates.append((likelihood, rbf, variance, float(variance * ratio)))
        return cls(*max(candidates, key=lambda c: float(c[0]))[1:])


def _spectrum(
    train: MetaTrainAnswers, rbf: CentredKernel, sample: Ints, groups: Ints, count: Ints
) -> tuple[Array, Array]:
    """Return the eigenvalues of each group's covariance, and its deviations along the eigenvectors.

    Both hold the groups end to end.
    """
    values, projected = [], []
    eigenpairs: dict[bytes, tuple[Array, Array]] = {}
    for g in groups:
        mine = sample[train.answered[g, sample]]
        if mine.tobytes() not in eigenpairs:
            eigenpairs[mine.tobytes()] = _eigen(train, rbf, mine)
        value, vectors = eigenpairs[mine.tobytes()]
        # The mean includes the group, so that the group deviates less from it than from the true mean.
        widen = 1 / np.sqrt(1 - 1 / np.repeat(count[mine], train.sizes[mine]))
        values.append(value)
        projected.append(vectors.T @ (widen * train.residuals[g, train.arrays.rows(mine)]))
    return np.concatenate(values), np.concatenate(projected)


def _eigen(train: MetaTrainAnswers, rbf: CentredKernel, questions: Ints) -> tuple[Array, Array]:
    """Return the eigenpairs of the covariance, except those of the questions' means, which cannot vary."""
    sizes = train.sizes[questions]
    question = np.repeat(np.arange(len(sizes)), sizes)
    means = (question[:, None] == question) / sizes[question]
    k = rbf(questions, questions)
    values, vectors = np.linalg.eigh(k + (1 + np.trace(k)) * means)
    keep = len(values) - len(questions)
    return np.maximum(values[:keep], 0), vectors[:, :keep]


@dataclass(frozen=True)
class SharedFunction:
    """The distribution of the function f that all groups share, given the meta-train groups' answers."""

    own: OwnFunctions
    rbf: CentredKernel
    variance: float
    peculiar: float
    mean: Array
    """(N,) posterior mean of f."""
    explained: Array
    """(T, N) factor of the explained covariance: the posterior covariance is the prior one less its product
    explained' explained, damped as below."""
    damped: Array
    """(N,) factors of the posterior covariance of two responses, one for each."""

    def prior_covariance(self, train: MetaTrainAnswers, a: Ints, b: Ints) -> Array:
        """Return the covariance (A, B) of f before any answer."""
        return self.variance * self.rbf(a, b) + self.peculiar * _same(train, a, b)

    def posterior_covariance(self, train: MetaTrainAnswers, a: Ints, b: Ints) -> Array:
        """Return the covariance (A, B) of f given the meta-train groups' answers."""
        near, far = train.arrays.rows(a), train.arrays.rows(b)
        covariance = self.prior_covariance(train, a, b) - self.explained[:, near].T @ self.explained[:, far]
        return self.damped[near, None] * covariance * self.damped[far]

    @classmethod
    def fit(cls, train: MetaTrainAnswers) -> SharedFunction:
        """Fit hyperparameters by marginal likelihood of the groups' mean, and f's posterior everywhere."""
        own = train.fitted(OwnFunctions.fit)
        seen = train.questions[train.answered[:, train.questions].any(0)]
        chosen = _first(train, seen, MAX_ROWS)
        rbf, variance, peculiar = _shared_parameters(train, own, _first(train, seen, SAMPLE_ROWS))
        everything = np.arange(len(train.sizes))
        bare = cls(own, rbf, variance, peculiar, *(np.zeros(0),) * 3)
        noise = _noise_of_mean(train, own, chosen)
        factor = np.linalg.cholesky(bare.prior_covariance(train, chosen, chosen) + noise)
        y = np.stack([_deviation(train, chosen)], 1)
        solved = torch.linalg.solve_triangular(
            torch.from_numpy(factor),
            torch.from_numpy(np.hstack([bare.prior_covariance(train, chosen, everything), y])),
            upper=False,
        ).numpy()
        explained, weights = solved[:, :-1], solved[:, -1]
        mean, damped = explained.T @ weights, np.ones(len(train.mean))
        rest = train.arrays.rows(np.setdiff1d(seen, chosen))
        if len(rest):  # each of these responses is corrected only by its own answers
            left = np.maximum(variance + peculiar - (explained[:, rest] ** 2).sum(0), MIN_VARIANCE)
            answer_variance = (own.variance + own.noise) / np.repeat(train.answered.sum(0), train.sizes)[rest]
            damped[rest] = answer_variance / (left + answer_variance)
            mean[rest] += (1 - damped[rest]) * (_deviation(train, np.setdiff1d(seen, chosen)) - mean[rest])
        return cls(own, rbf, variance, peculiar, mean, explained, damped)


def _shared_parameters(
    train: MetaTrainAnswers, own: OwnFunctions, sample: Ints
) -> tuple[CentredKernel, float, float]:
    y, noise = _deviation(train, sample), _noise_of_mean(train, own, sample)
    best, chosen = -np.inf, (train.fitted(CentredKernel.fit)[0], 1.0, 1.0)
    for rbf in train.fitted(CentredKernel.fit):
        k = rbf(sample, sample)
        for variance in VARIANCES:
            for peculiar in VARIANCES:
                # The means of questions add the same to every candidate, except through ``peculiar``.
                factor = np.linalg.cholesky(variance * k + peculiar * np.eye(len(k)) + noise)
                likelihood = -0.5 * (np.linalg.solve(factor, y) ** 2).sum() - np.log(np.diag(factor)).sum()
                if likelihood > best:
                    best, chosen = likelihood, (rbf, float(variance), float(peculiar))
    return chosen


def _noise_of_mean(train: MetaTrainAnswers, own: OwnFunctions, questions: Ints) -> Array:
    """Return the covariance of the mean of the groups' own deviations.

    It takes into account which groups answered which question.
    """
    answered = train.answered[:, questions].astype(np.float64)
    count = answered.sum(0)
    both = np.repeat(answered.T @ answered / np.outer(count, count), train.sizes[questions], axis=0)
    weight = np.repeat(both, train.sizes[questions], axis=1)
    return weight * own(train, questions, questions) + MIN_VARIANCE * np.eye(len(weight))


def _deviation(train: MetaTrainAnswers, questions: Ints) -> Array:
    """Return the groups' mean less uniform shares at the questions' responses."""
    sizes = train.sizes[questions]
    return train.mean[train.arrays.rows(questions)] - np.repeat(1 / sizes, sizes)


def _same(train: MetaTrainAnswers, a: Ints, b: Ints) -> Array:
    return (train.arrays.rows(a)[:, None] == train.arrays.rows(b)).astype(np.float64)


def _first(train: MetaTrainAnswers, questions: Ints, rows: int) -> Ints:
    """Return the first questions that together have at most ``rows`` responses, but at least one question."""
    return questions[: max(1, int(np.searchsorted(np.cumsum(train.sizes[questions]), rows, side="right")))]


def gaussian_process(q: BaselineTask) -> Array:
    """Predict the posterior mean given the meta-train groups' answers and the context."""
    train, context, target = q.train, q.task.context, q.task.target
    shared = train.fitted(SharedFunction.fit)
    near = shared.posterior_covariance(train, context, context) + shared.own(train, context, context)
    far = shared.posterior_covariance(train, target, context) + shared.own(train, target, context)
    residual = q.context_deviation - shared.mean[train.arrays.rows(context)]
    return q.normalized(q.uniform + shared.mean[q.target_rows] + far @ np.linalg.solve(near, residual))
