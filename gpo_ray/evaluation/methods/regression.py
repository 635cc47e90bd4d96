"""Baselines that are ridge regressions fitted to the context: on groups, principal components or embeddings.

All are written in their dual form: with a covariance K between responses, the prediction at the targets
is K_tc (K_cc + penalty I)^-1 y_c (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2.25).

Shapes: C responses of the context, N responses of all questions, K features or components, R eigenvalues.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpo_ray.evaluation.methods.baseline import BaselineTask
from gpo_ray.evaluation.methods.kernels import CentredKernel
from gpo_ray.evaluation.methods.meta_train_answers import MetaTrainAnswers
from gpo_ray.preferences.slates import Array, Ints

RIDGE_MIX_PENALTY = 0.05
PENALTIES = np.logspace(0, 5, 11)
KERNEL_PENALTIES = np.logspace(-3, 2, 11)
MAX_COMPONENTS = 12
MIN_NOISE = 1e-6


@dataclass(frozen=True)
class Gram:
    """The eigendecomposition of the context responses' covariance, K_cc = vectors diag(values) vectors'."""

    values: Array
    """(R,) eigenvalues; those that are 0 may be left out."""
    vectors: Array
    """(C, R) eigenvectors."""

    @classmethod
    def of(cls, covariance: Array) -> Gram:
        """Decompose a covariance (C, C)."""
        values, vectors = np.linalg.eigh(covariance)
        return cls(np.maximum(values, 0), vectors)

    @classmethod
    def of_features(cls, features: Array) -> Gram:
        """Decompose the covariance F'F, given a small number of features F (K, C)."""
        _, singular, right = np.linalg.svd(features, full_matrices=False)
        return cls(singular**2, right.T)

    def solve(self, y: Array, penalty: float) -> Array:
        """Return (C,) the weights of the context's responses, (K_cc + penalty I)^-1 y."""
        return y / penalty + self.vectors @ (self._change(penalty) * (self.vectors.T @ y))

    def left_out_error(self, y: Array, sizes: Ints, penalty: float) -> float:
        """Return the sum of squared errors when each context question is predicted from the others.

        It is computed in closed form from blocks of the inverse (Rasmussen and Williams, 5.12, with a
        question's block in place of a single case).

        Args:
            y: (C,) deviations of the context's responses.
            sizes: number of responses of each context question, summing to C.
            penalty: ridge penalty, above 0.
        """
        weights, change = self.solve(y, penalty), self._change(penalty)
        starts = np.cumsum(sizes) - sizes
        error = 0.0
        for size in np.unique(sizes):
            rows = starts[sizes == size, None] + np.arange(size)
            mine = self.vectors[rows]
            inverse = (mine * change) @ mine.transpose(0, 2, 1) + np.eye(size) / penalty
            error += float((np.linalg.solve(inverse, weights[rows][..., None]) ** 2).sum())
        return error

    def _change(self, penalty: float) -> Array:
        """Return the eigenvalues of (K_cc + penalty I)^-1 - I / penalty."""
        return 1 / (self.values + penalty) - 1 / penalty


def ridge_mix(q: BaselineTask) -> Array:
    """Predict the meta-train mean plus a mix of the groups' residuals, fitted to the context by ridge."""
    near, far = q.train.residuals[:, q.context_rows], q.train.residuals[:, q.target_rows]
    covariance = near.T @ near + RIDGE_MIX_PENALTY * np.eye(near.shape[1])
    dual = np.linalg.solve(covariance, q.context_y - q.train.mean[q.context_rows])
    return q.normalized(q.train.mean[q.target_rows] + (near @ dual) @ far)


@dataclass(frozen=True)
class Components:
    """The principal components of the meta-train groups' residuals."""

    loadings: Array
    """(K, N) components, each scaled so that the groups' scores on it have variance 1."""
    noise: Array
    """(K + 1,) variance of a response that the first k components leave unexplained, for k = 0 to K."""

    @classmethod
    def fit(cls, train: MetaTrainAnswers) -> Components:
        """Compute the components of the residuals; a missing answer counts as the mean."""
        groups, rows = train.residuals.shape
        _, singular, directions = np.linalg.svd(train.residuals, full_matrices=False)
        variance = singular**2 / max(groups - 1, 1)
        left = np.maximum(variance.sum() - np.cumsum([0.0, *variance]), 0) / rows
        return cls((np.sqrt(variance)[:, None] * directions)[:MAX_COMPONENTS], left[: MAX_COMPONENTS + 1])


def low_rank(q: BaselineTask) -> Array:
    """Predict the meta-train mean plus leading principal components, with scores fitted to the context.

    Scores have the variance that they have in the meta-train groups, and the variance of the components left
    out is noise (probabilistic PCA, Tipping and Bishop 1999). The number of components is the one that
    predicts each context question best from the others.
    """
    fit = q.train.fitted(Components.fit)
    deviation = q.context_y - q.train.mean[q.context_rows]
    sizes = q.train.sizes[q.context]
    best, scores = np.inf, np.zeros(len(q.target_rows))
    for k in range(1, len(fit.loadings) + 1):
        near, noise = fit.loadings[:k, q.context_rows], max(float(fit.noise[k]), MIN_NOISE)
        gram = Gram.of_features(near)
        error = gram.left_out_error(deviation, sizes, noise)
        if error < best:
            best, scores = error, (near @ gram.solve(deviation, noise)) @ fit.loadings[:k, q.target_rows]
    return q.normalized(q.train.mean[q.target_rows] + scores)


def ridge(q: BaselineTask) -> Array:
    """Predict by ridge regression from embeddings to shares, fitted only to the context.

    Embeddings are standardised and centred within each question, since shares only compare the responses of
    one question. The penalty is the one that predicts each context question best from the others.
    """
    x = q.train.centred_embeddings
    near, y = x[q.train.arrays.rows(q.task.context)], q.context_deviation
    gram, sizes = Gram.of(near @ near.T), q.train.sizes[q.task.context]
    penalty = min(PENALTIES, key=lambda p: gram.left_out_error(y, sizes, p))
    return q.normalized(q.uniform + x[q.target_rows] @ (near.T @ gram.solve(y, penalty)))


def kernel(q: BaselineTask) -> Array:
    """Predict like :func:`ridge`, with an RBF kernel whose length scale is chosen with the penalty."""
    kernels = q.train.fitted(CentredKernel.fit)
    context, target = q.task.context, q.task.target
    y, sizes = q.context_deviation, q.train.sizes[context]
    grams = [(rbf, Gram.of(rbf(context, context))) for rbf in kernels]
    tried = [(rbf, gram, p) for rbf, gram in grams for p in KERNEL_PENALTIES]
    rbf, gram, penalty = min(tried, key=lambda t: t[1].left_out_error(y, sizes, t[2]))
    return q.normalized(q.uniform + rbf(target, context) @ gram.solve(y, penalty))
