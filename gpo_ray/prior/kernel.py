"""Kernels between responses and the algebra of shares within questions.

Shapes: N responses of questions of given ``sizes``, end to end; E embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpo_ray.preferences.slates import Array, Floats, slate_totals

MEDIAN_RATE = 1.2
"""By which the kernel's logarithm falls over the median squared distance between responses."""


@dataclass(frozen=True)
class RBFKernel:
    """The radial basis function exp(-rate |a - b|^2), on standardised embeddings.

    ``rate`` is 1 / (2 l^2) for a length scale l (Rasmussen and Williams 2006, equation 4.9).
    """

    mean: NDArray[Any]
    scale: NDArray[Any]
    rate: float

    @classmethod
    def fit(cls, x: NDArray[np.float32]) -> RBFKernel:
        """Standardisation and median squared distance from responses (N, E)."""
        mean, scale = x.mean(0), x.std(0)
        scale = np.where(scale > 1e-6, scale, 1).astype(np.float32)
        some = np.random.default_rng(0).permutation(len(x))[:1000]
        distance = squared_distances(*([(x[some] - mean) / scale] * 2))
        off_diagonal = distance[~np.eye(len(some), dtype=bool)]
        median = float(np.median(off_diagonal)) if len(some) > 1 else 1.0
        return cls(mean, scale, MEDIAN_RATE / max(median, 1e-6))

    @classmethod
    def of_length(cls, length: float) -> RBFKernel:
        """The kernel of a length scale, for embeddings that are standardised already."""
        return cls(np.zeros(1), np.ones(1), 1 / (2 * length**2))

    def __call__(self, a: NDArray[Any], b: NDArray[Any]) -> Array:
        """Similarities (A, B) of responses (A, E) and (B, E)."""
        return self.between(self.standardized(a), self.standardized(b))

    def standardized(self, x: NDArray[Any]) -> Standardized:
        """Responses (N, E) in the form that :meth:`between` takes, to be used again."""
        return Standardized.of((x - self.mean) / self.scale)

    def between(self, a: Standardized, b: Standardized) -> Array:
        """Similarities (A, B)."""
        return np.asarray(np.exp(-self.rate * a.squared_distances(b)), np.float64)


@dataclass(frozen=True)
class Standardized:
    """Standardised embeddings (N, E) and their squared norms (N,)."""

    x: NDArray[Any]
    squared_norm: NDArray[Any]

    @classmethod
    def of(cls, x: NDArray[Any]) -> Standardized:
        """With their norms."""
        return cls(x, (x**2).sum(1))

    @classmethod
    def joined(cls, parts: Sequence[Standardized]) -> Standardized:
        """Several as one."""
        return cls(np.concatenate([p.x for p in parts]), np.concatenate([p.squared_norm for p in parts]))

    def squared_distances(self, other: Standardized) -> NDArray[Any]:
        """(A, B)."""
        products = self.x @ other.x.T
        products *= -2
        products += self.squared_norm[:, None]
        products += other.squared_norm
        return np.maximum(products, 0)


def squared_distances(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Squared distances (A, B) between responses (A, E) and (B, E)."""
    return Standardized.of(a).squared_distances(Standardized.of(b))


class Shares(Protocol):
    """Rows with a mean share each."""

    @property
    def mean(self) -> Array:
        """(N,)."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Of the questions."""


def scaled_by_shares(covariance: Array, a: Shares, b: Shares) -> Array:
    """Covariance of shares whose log-shares have the given covariance (A, B), to first order."""
    return _to_shares(_to_shares(covariance, a).T, b).T


def _to_shares(values: Array, side: Shares) -> Array:
    """(diag(p) - p p') values, question by question along axis 0."""
    weighted = side.mean[:, None] * values
    return weighted - side.mean[:, None] * slate_totals(weighted, side.sizes)


def nearest_covariance(matrix: Array) -> Array:
    """The nearest positive semi-definite matrix (in Frobenius norm) to a symmetric one."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)


def columns(table: Floats, which: NDArray[np.int64]) -> Floats:
    """Some columns of a table in Fortran's order, in that order; of another order, slowly."""
    return table.T[which].T


@dataclass(frozen=True)
class Filled:
    """Mean (N',) of the groups that answered, and residuals (G, N'), 0 where a group did not."""

    mean: Array
    residual: Floats


def filled(shares: Floats) -> Filled:
    """Mean and residuals of shares (G, N'), NaN where a group did not answer; precision and order stay."""
    missing, residual = np.isnan(shares), shares.copy("K")
    np.copyto(residual, 0, where=missing)
    count = len(shares) - np.count_nonzero(missing, axis=0)
    total = residual.sum(0, dtype=np.float64)
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    residual -= np.nan_to_num(mean)
    np.copyto(residual, 0, where=missing)
    return Filled(mean, residual)
