"""Extrapolate the prior from seen to unseen questions, by kernel ridge regression over embeddings.

``at_questions.py`` uses the results for means and deviations, and ``covariance.py`` the whitened
cross-covariance. The kernel is in ``kernel.py``.

Shapes: G meta-train groups, M responses that are extrapolated from, N responses that are extrapolated to,
L groups that are left out in turn, E embedding width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

from gpo_ray.preferences.slates import Array, Floats, Ints, centred, softmax
from gpo_ray.prior.covariance import NUGGET
from gpo_ray.prior.guessed import MeanGuess, nugget
from gpo_ray.prior.kernel import RBFKernel, filled

TRANSFER = 0.9
"""Assumed correlation between the answers to seen and to unseen questions."""
DEVIATION_NUGGET = 0.2
"""Variance of a group's deviation from the mean that is specific to its question, relative to the variance
that the embeddings explain."""
BLOCK = 4096
"""Approximate number of responses that are extrapolated to at once."""
SOLVED_BY_GROUP_BELOW = 100
"""With fewer groups than this, the linear system is solved for the groups' deviations, once, and the solution
is kept. With more groups this is done only if there are more responses to extrapolate to than groups;
otherwise the system is solved for the responses."""


@dataclass(frozen=True)
class Extrapolation:
    """The predictions of kernel ridge regression for N responses.

    ``mean`` (N,) is the mean share, and ``leave_one_out_mean`` (L, N) is the mean estimated without each of L
    groups. ``deviation`` (G, N), in Fortran order, are the groups' deviations from the mean.
    ``conditional_variance`` (N,) is the variance of a log-share that the embeddings leave unexplained
    (Rasmussen and Williams 2006, equation 2.26), relative to that of questions without a guess. ``whitened``
    (M, N) is the whitened cross-covariance; its shape is (0, 0) if it is not kept.
    """

    mean: Array
    leave_one_out_mean: Array
    deviation: Floats
    conditional_variance: Array
    whitened: NDArray[np.float32]

    def copied(self) -> Extrapolation:
        """Return the same in arrays of its own, each in its memory order."""
        return Extrapolation(**{f.name: getattr(self, f.name).copy("K") for f in fields(self)})

    def put(self, rows: Ints, found: Extrapolation) -> None:
        """Put predictions in the place of some of these, except for the whitened cross-covariance."""
        self.mean[rows], self.conditional_variance[rows] = found.mean, found.conditional_variance
        self.deviation.T[rows] = found.deviation.T
        if len(self.leave_one_out_mean):
            self.leave_one_out_mean[:, rows] = found.leave_one_out_mean

    @classmethod
    def joined(cls, parts: Iterable[Extrapolation], n: int) -> Extrapolation:
        """Join the predictions for adjacent responses, at least one part with N = ``n`` responses in all.

        Parts are taken one at a time, so that no two of them need to be in memory.
        """
        each = iter(parts)
        part = next(each)
        mean, conditional_variance = np.empty(n), np.empty(n)
        leave_one_out_mean = np.empty((len(part.leave_one_out_mean), n))
        deviation = np.empty((len(part.deviation), n), part.deviation.dtype, order="F")
        whitened = np.empty((len(part.whitened), n if part.whitened.size else 0), np.float32)
        end = 0
        while True:
            rows = slice(end, end := end + len(part.mean))
            mean[rows], conditional_variance[rows] = part.mean, part.conditional_variance
            leave_one_out_mean[:, rows] = part.leave_one_out_mean
            deviation.T[rows] = part.deviation.T
            if part.whitened.size:
                whitened[:, rows] = part.whitened
            if end == n:
                break
            part = next(each)
        return cls(mean, leave_one_out_mean, deviation, conditional_variance, whitened)


def scale_covariance(covariance: Array, one: MeanGuess, other: MeanGuess) -> None:
    """Scale a covariance (A, B) of log-shares, in place, by how much of them guesses leave unknown."""
    if (one.scale != 1).any() or (other.scale != 1).any():
        covariance *= one.scale[:, None]
        covariance *= other.scale


def unguessed_logs(means: Array, sizes: Ints, guess: MeanGuess) -> Array:
    """Return what guesses leave of the centred logarithms of mean shares (M, L), which is extrapolated."""
    return centred(np.log(means + 0.01), sizes) - guess.log_share[:, None]


def extrapolated_mean(cross: Array, dual: Array, sizes: Ints, guess: MeanGuess) -> Array:
    """Return mean shares (N,), given covariances (M, N), dual coefficients (M,) and N responses' guesses."""
    return softmax(TRANSFER * (cross.T @ dual) + guess.log_share, sizes)


class KernelRidgeExtrapolator:
    """A kernel ridge regression from embeddings to the mean's log-shares and to the groups' deviations.

    Args:
        kernel: kernel that measures the similarity of responses.
        x: (M, E) embeddings of the responses to learn from.
        shares: (G, M) the groups' shares, NaN where a group did not answer.
        sizes: number of responses of each question, summing to M.
        leave_one_out: whether the mean is also estimated without each of the groups; L is then G, else 0.
        guess: what is known of the mean's log-shares without the answers; only the rest is extrapolated.
    """

    def __init__(
        self,
        kernel: RBFKernel,
        x: NDArray[np.float32],
        shares: Floats,
        sizes: Ints,
        leave_one_out: bool,
        guess: MeanGuess | None = None,
    ) -> None:
        self._sizes = sizes
        self._kernel, self._x = kernel, kernel.standardized(x)
        self._guess = MeanGuess.none(len(x)) if guess is None else guess
        found = filled(shares)
        covariance = kernel.between(self._x, self._x)
        same = centred(centred(covariance, sizes).T, sizes)
        scale_covariance(covariance, self._guess, self._guess)
        covariance[np.diag_indices(len(x))] += nugget(self._guess.scale, NUGGET)
        means = [found.mean]
        if leave_one_out:
            count = (~np.isnan(shares)).sum(0)
            total = np.where(np.isnan(shares), 0.0, shares).sum(0)
            means += list((total - np.nan_to_num(shares)) / np.maximum(count - ~np.isnan(shares), 1))
        del shares
        factor = cholesky(covariance.T, lower=True, overwrite_a=True, check_finite=False)
        self._means = cho_solve((factor, True), unguessed_logs(np.stack(means, 1), sizes, self._guess))
        self._factor = factor.astype(np.float32)
        same[np.diag_indices(len(x))] += DEVIATION_NUGGET
        self._same = cho_factor(same.T, lower=True, overwrite_a=True)
        self._residual = found.residual

    @property
    def rows(self) -> int:
        """Number M of responses that are extrapolated from."""
        return len(self._factor)

    def at(
        self,
        x: NDArray[np.float32],
        sizes: Ints,
        whitened: bool = False,
        leave_one_out: bool = False,
        guess: MeanGuess | None = None,
    ) -> Extrapolation:
        """Extrapolate to some questions.

        Args:
            x: (N, E) embeddings of their responses.
            sizes: number of responses of each question, summing to N.
            whitened: whether the whitened cross-covariance is kept.
            leave_one_out: whether the means without each of the L groups are computed; otherwise L is 0 in
                the result.
            guess: what is known of these responses, if it is known of those that are extrapolated from.
        """
        known = MeanGuess.none(len(x)) if guess is None else guess
        ends, groups, n = np.cumsum(sizes), len(self._residual), int(sizes.sum())
        by_group = groups < SOLVED_BY_GROUP_BELOW or groups < n

        def blocks() -> Iterator[Extrapolation]:
            # the intermediate arrays have M rows, so only a block of their columns is computed at a time
            for i in np.unique(ends // BLOCK):
                some = np.flatnonzero(ends // BLOCK == i)
                rows = slice(int(ends[some[0]] - sizes[some[0]]), int(ends[some[-1]]))
                block = self._block(x[rows], sizes[some], by_group, leave_one_out, known.at(rows))
                yield block if whitened else replace(block, whitened=np.empty((0, 0), np.float32))

        return Extrapolation.joined(blocks(), n)

    def _block(
        self, x: NDArray[np.float32], sizes: Ints, by_group: bool, leave_one_out: bool, guess: MeanGuess
    ) -> Extrapolation:
        cross = self._kernel.between(self._x, self._kernel.standardized(x))
        near = centred(centred(cross, self._sizes).T, sizes)
        scale_covariance(cross, self._guess, guess)
        asked = self._means.T if leave_one_out else self._means.T[:1]
        means = [extrapolated_mean(cross, each, sizes, guess) for each in asked]
        # this step takes the longest, so it is done in single precision
        whitened = solve_triangular(self._factor, cross.astype(np.float32), lower=True, check_finite=False)
        whitened *= TRANSFER
        return Extrapolation(
            mean=means[0],
            leave_one_out_mean=np.reshape(means[1:], (len(means) - 1, len(x))),
            deviation=self._deviations(near, by_group).T,
            conditional_variance=guess.scale**2 - (whitened**2).sum(0, dtype=np.float64),
            whitened=whitened,
        )

    def _deviations(self, near: Array, by_group: bool) -> Floats:
        """Return the groups' deviations (N, G), given similarities ``near`` (N, M) to the M responses."""
        if by_group:
            return np.asarray(near.astype(self._residual.dtype) @ self._dual)
        weights = cho_solve(self._same, near.T).T
        return np.asarray(weights.astype(self._residual.dtype) @ self._residual.T)

    @cached_property
    def _dual(self) -> Floats:
        """Dual coefficients (M, G) of the groups' deviations."""
        return np.asarray(cho_solve(self._same, self._residual.T), self._residual.dtype)
