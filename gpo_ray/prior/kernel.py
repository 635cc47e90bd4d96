"""Define the kernel between responses, and linear algebra for shares within questions.

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
"""Amount by which the kernel's logarithm falls over the median squared distance between responses."""


@dataclass(frozen=True)
class RBFKernel:
    """The radial basis function exp(-rate |a - b|^2) of standardised embeddings a and b.

    ``rate`` is 1 / (2 l^2) for a length scale l (Rasmussen and Williams 2006, equation 4.9).
    """

    mean: NDArray[Any]
    scale: NDArray[Any]
    rate: float

    @classmethod
    def fit(cls, x: NDArray[np.float32]) -> RBFKernel:
        """Set the standardisation and the rate from the embeddings of responses (N, E)."""
        mean, scale = x.mean(0), x.std(0)
        scale = np.where(scale > 1e-6, scale, 1).astype(np.float32)
        some = np.random.default_rng(0).permutation(len(x))[:1000]
        distance = squared_distances(*([(x[some] - mean) / scale] * 2))
        off_diagonal = distance[~np.eye(len(some), dtype=bool)]
        median = float(np.median(off_diagonal)) if len(some) > 1 else 1.0
        return cls(mean, scale, MEDIAN_RATE / max(median, 1e-6))

    @classmethod
    def of_length(cls, length: float) -> RBFKernel:
        """Return the kernel with a given length scale, for embeddings that are standardised already."""
        return cls(np.zeros(1), np.ones(1), 1 / (2 * length**2))

    def __call__(self, a: NDArray[Any], b: NDArray[Any]) -> Array:
        """Return the similarities (A, B) of responses (A, E) and (B, E)."""
        return self.between(self.standardized(a), self.standardized(b))

    def standardized(self, x: NDArray[Any]) -> Standardized:
        """Standardise responses (N, E) for :meth:`between`; the result can be used several times."""
        return Standardized.of((x - self.mean) / self.scale)

    def between(self, a: Standardized, b: Standardized) -> Array:
        """Return the similarities (A, B) of two sets of standardised responses."""
        return np.asarray(np.exp(-self.rate * a.squared_distances(b)), np.float64)


@dataclass(frozen=True)
class Standardized:
    """Standardised embeddings (N, E) and their squared norms (N,)."""

    x: NDArray[Any]
    squared_norm: NDArray[Any]

    @classmethod
    def of(cls, x: NDArray[Any]) -> Standardized:
        """Add the squared norms to standardised embeddings (N, E)."""
        return cls(x, (x**2).sum(1))

    @classmethod
    def joined(cls, parts: Sequence[Standardized]) -> Standardized:
        """Join several sets of embeddings, end to end."""
        return cls(np.concatenate([p.x for p in parts]), np.concatenate([p.squared_norm for p in parts]))

    def squared_distances(self, other: Standardized) -> NDArray[Any]:
        """Return the squared distances (A, B) to other embeddings."""
        products = self.x @ other.x.T
        products *= -2
        products += self.squared_norm[:, None]
        products += other.squared_norm
        return np.maximum(products, 0)


def squared_distances(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Return the squared distances (A, B) between responses (A, E) and (B, E)."""
    return Standardized.of(a).squared_distances(Standardized.of(b))


class Shares(Protocol):
    """Responses with a mean share each, question by question."""

    @property
    def mean(self) -> Array:
        """Mean share (N,) of each response."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of responses of each question, summing to N."""


def scaled_by_shares(covariance: Array, a: Shares, b: Shares) -> Array:
    """Return the covariance (A, B) of shares, to first order, from that of their log-shares."""
    return _to_shares(_to_shares(covariance, a).T, b).T


def _to_shares(values: Array, shares: Shares) -> Array:
    """Compute (diag(p) - p p') values along axis 0, question by question, for the mean shares p."""
    weighted = shares.mean[:, None] * values
    return weighted - shares.mean[:, None] * slate_totals(weighted, shares.sizes)


def nearest_covariance(matrix: Array) -> Array:
    """Return the positive semi-definite matrix that is nearest to a symmetric one in the Frobenius norm."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)


def columns(table: Floats, which: NDArray[np.int64]) -> Floats:
    """Return some columns of a table in Fortran order, also in Fortran order; other tables take longer."""
    return table.T[which].T


@dataclass(frozen=True)
class Filled:
    """The mean (N',) over the groups that answered, and residuals (G, N'), 0 where a group did not answer."""

    mean: Array
    residual: Floats


def filled(shares: Floats) -> Filled:
    """Compute the mean and the residuals of shares (G, N'), which are NaN where a group did not answer.

    The residuals keep the precision and the memory order of the shares.
    """
    missing, residual = np.isnan(shares), shares.copy("K")
    np.copyto(residual, 0, where=missing)
    count = len(shares) - np.count_nonzero(missing, axis=0)
    total = residual.sum(0, dtype=np.float64)
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    residual -= np.nan_to_num(mean)
    np.copyto(residual, 0, where=missing)
    return Filled(mean, residual)
