"""Baselines by ridge regression on the context: on groups, on principal components, on embeddings.

All are written in their dual form: with a covariance K between responses, the prediction at the targets
is K_tc (K_cc + penalty I)^-1 y_c (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2.25).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpo_ray.evaluation.methods.baseline import BaselineTask
from gpo_ray.evaluation.methods.kernels import CentredKernel
from gpo_ray.evaluation.methods.meta_train import MetaTrain
from gpo_ray.preferences.slates import Array, Ints

RIDGE_MIX_PENALTY = 0.05
PENALTIES = np.logspace(0, 5, 11)
KERNEL_PENALTIES = np.logspace(-3, 2, 11)
MAX_COMPONENTS = 12
MIN_NOISE = 1e-6


@dataclass(frozen=True)
class Gram:
    """The context responses' covariance K_cc = vectors diag(values) vectors'."""

    values: Array
    """(R,) eigenvalues, those that are 0 or not."""
    vectors: Array
    """(C, R)."""

    @classmethod
    def of(cls, covariance: Array) -> Gram:
        """By its entries (C, C)."""
        values, vectors = np.linalg.eigh(covariance)
        return cls(np.maximum(values, 0), vectors)

    @classmethod
    def of_features(cls, features: Array) -> Gram:
        """By features (K, C), few of them, of which it is the product."""
        _, singular, right = np.linalg.svd(features, full_matrices=False)
        return cls(singular**2, right.T)

    def solve(self, y: Array, penalty: float) -> Array:
        """(C,) weights of the context's responses: (K_cc + penalty I)^-1 y."""
        return y / penalty + self.vectors @ (self._change(penalty) * (self.vectors.T @ y))

    def left_out_error(self, y: Array, sizes: Ints, penalty: float) -> float:
        """Squared error on each context question when it is predicted from the others.

        In closed form, from blocks of the inverse (Rasmussen and Williams, 5.12, with a block for a case).

        Args:
            y: (C,) deviations of the context's responses.
            sizes: number of responses of each context question, summing to C.
            penalty: of the ridge, above 0.
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
        """What (K_cc + penalty I)^-1 has beside I / penalty, along the eigenvectors."""
        return 1 / (self.values + penalty) - 1 / penalty


def ridge_mix(q: BaselineTask) -> Array:
    """Meta-train mean plus a ridge-weighted mix of the groups' residuals, fitted to the context."""
    near, far = q.train.residuals[:, q.context_rows], q.train.residuals[:, q.target_rows]
    covariance = near.T @ near + RIDGE_MIX_PENALTY * np.eye(near.shape[1])
    dual = np.linalg.solve(covariance, q.context_y - q.train.mean[q.context_rows])
    return q.normalized(q.train.mean[q.target_rows] + (near @ dual) @ far)


@dataclass(frozen=True)
class Components:
    """Principal components of the meta-train groups' residuals."""

    loadings: Array
    """(K, N), each scaled so that the groups' scores on it have variance 1."""
    noise: Array
    """(K + 1,) variance of a response that the first k components leave, for k = 0 to K."""

    @classmethod
    def fit(cls, train: MetaTrain) -> Components:
        """Components of the residuals; an answer that is missing counts as the mean."""
        groups, rows = train.residuals.shape
        _, singular, directions = np.linalg.svd(train.residuals, full_matrices=False)
        variance = singular**2 / max(groups - 1, 1)
        left = np.maximum(variance.sum() - np.cumsum([0.0, *variance]), 0) / rows
        return cls((np.sqrt(variance)[:, None] * directions)[:MAX_COMPONENTS], left[: MAX_COMPONENTS + 1])


def low_rank(q: BaselineTask) -> Array:
    """Meta-train mean plus leading principal components, the group's scores fitted to the context.

    Scores have the variance that meta-train groups show, and what further components leave is noise
    (probabilistic PCA, Tipping and Bishop 1999). As many components as predict each context question
    best from the others.
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
    """Ridge regression from embeddings to shares, fitted to the context alone.

    Embeddings are standardised and centred within each question, since shares only compare a
    question's own responses. The penalty is the one that predicts each context question best from the
    others.
    """
    x = q.train.centred_embeddings
    near, y = x[q.train.arrays.rows(q.task.context)], q.context_deviation
    gram, sizes = Gram.of(near @ near.T), q.train.sizes[q.task.context]
    penalty = min(PENALTIES, key=lambda p: gram.left_out_error(y, sizes, p))
    return q.normalized(q.uniform + x[q.target_rows] @ (near.T @ gram.solve(y, penalty)))


def kernel(q: BaselineTask) -> Array:
    """The same with an RBF kernel instead of a linear one; its length is chosen with the penalty."""
    kernels = q.train.fitted(CentredKernel.fit)
    context, target = q.task.context, q.task.target
    y, sizes = q.context_deviation, q.train.sizes[context]
    grams = [(rbf, Gram.of(rbf(context, context))) for rbf in kernels]
    tried = [(rbf, gram, p) for rbf, gram in grams for p in KERNEL_PENALTIES]
    rbf, gram, penalty = min(tried, key=lambda t: t[1].left_out_error(y, sizes, t[2]))
    return q.normalized(q.uniform + rbf(target, context) @ gram.solve(y, penalty))
