"""Model single people's answers by a few traits: the nominal response model of item response theory.

In Bock's model (Psychometrika 37, 1972) with K traits, the logit of a response is b + a'theta, where theta
are the person's traits, with a standard normal prior, a are the response's loadings and b is its base logit.
Unlike covariances of shares, the model takes into account that an answer is less informative the more
probable it was. Loadings are estimated jointly with everybody's traits or, for a single trait, by marginal
maximum likelihood, which integrates over the trait.

Shapes: G people, M responses of the seen questions, C context rows, T target rows, K traits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from gpo_ray.preferences.slates import Array, Floats, Ints, slate_totals, softmax, spans

TRAIT_COUNT = 5
"""Number K of traits, where they are estimated jointly with the loadings."""
PRECISION = 10.0
"""Precision of the normal prior of a loading; the precision of a trait's prior is 1."""
SMOOTHING = 0.5
"""Number of answers that is added to the count of each response, so that no share is 0."""
GRID = np.linspace(-4, 4, 21)
"""Values of a single trait over which the likelihood is integrated."""
MARGINAL_ITERATIONS = 150
"""Maximum number of L-BFGS iterations for the marginal likelihood."""
MAX_PEOPLE = 5000
"""Maximum number of people whose answers are used; more people do not improve the loadings."""
PEOPLE_PER_BATCH = 250
"""Number of people whose answers are processed together."""
EPOCHS, RATE = 60, 0.1
"""Number of epochs and learning rate. Training stops before it has converged, since further epochs improve
the fit to the people in training only."""
MODE_STEPS = 40
"""Number of steps by which the most probable traits of a person are found."""


@dataclass(frozen=True)
class NominalResponseModel:
    """A nominal response model with loadings (M, K) and base logits (M,) for questions of given ``sizes``."""

    loading: Array
    base: Array
    sizes: Ints

    @classmethod
    def fit(cls, shares: Floats, sizes: Ints, seed: int = 0) -> NominalResponseModel:
        """Estimate the loadings jointly with everybody's traits, at the mode of their posterior.

        Args:
            shares: (G, M) people's shares, NaN where a question was not answered.
            sizes: number of responses of each question, summing to M.
            seed: seed for the initial loadings and traits, and for the choice of people where there are many.
        """
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(shares))[:MAX_PEOPLE]
        people = [slice(i, i + PEOPLE_PER_BATCH) for i in range(0, len(chosen), PEOPLE_PER_BATCH)]
        answers = [_SparseAnswers.of(shares[chosen[some]], sizes) for some in people]
        starts, total = np.cumsum(sizes) - sizes, np.full(shares.shape[1], SMOOTHING)
        for given in answers:
            total += np.bincount(given.row, given.y, len(total))
        centre = torch.from_numpy(np.log(total / np.repeat(np.add.reduceat(total, starts), sizes))).float()
        loading = torch.from_numpy(rng.normal(0, PRECISION**-0.5, (len(centre), TRAIT_COUNT))).float()
        trait = torch.from_numpy(rng.normal(0, 1, (len(chosen), TRAIT_COUNT))).float()
        base = centre.clone()
        optimizer = torch.optim.Adam([base, loading, trait], RATE)
        for _ in range(EPOCHS):
            gradient = [trait.clone(), PRECISION * loading, base - centre]
            for some, given in zip(people, answers, strict=True):
                found = given.gradient(trait[some].numpy(), loading.numpy(), base.numpy())
                for whole, part in zip((gradient[0][some], *gradient[1:]), found, strict=True):
                    whole += torch.from_numpy(part)
            for parameter, its in zip((trait, loading, base), gradient, strict=True):
                parameter.grad = its / max(1, len(chosen))
            optimizer.step()
        return cls(loading.double().numpy(), base.double().numpy(), sizes)

    @classmethod
    def fit_marginal(cls, shares: Floats, sizes: Ints, start: Array) -> NominalResponseModel:
        """Estimate the loadings of one trait by marginal maximum likelihood (Bock 1972), with L-BFGS.

        Standard normal priors keep the loadings near 0 and the base logits near the logarithms of the
        smoothed shares.

        Args:
            shares: (G, M) shares, NaN where a question was not answered; a group counts as one person whose
                answer is divided among the responses.
            sizes: number of responses of each question, summing to M.
            start: (M,) loadings to start from; at 0 the likelihood is flat in every direction.
        """
        question = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes))
        y, theta = torch.from_numpy(np.nan_to_num(shares)), torch.from_numpy(GRID)
        log_weight = torch.log_softmax(-0.5 * theta**2, 0)
        share = y.sum(0) + SMOOTHING
        total = torch.zeros(len(sizes), dtype=y.dtype).index_add(0, question, share)
        centre = (share / total[question]).log()
        a, b = torch.from_numpy(start.copy()).requires_grad_(), centre.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([a, b], max_iter=MARGINAL_ITERATIONS, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            logits = b[:, None] + a[:, None] * theta
            slates = torch.zeros(len(sizes), len(theta), dtype=y.dtype)
            log_share = logits - slates.index_add(0, question, logits.exp()).log()[question]
            likelihood = torch.logsumexp(log_weight + y @ log_share, 1).sum()
            value = (0.5 * (a**2).sum() + 0.5 * ((b - centre) ** 2).sum() - likelihood) / len(y)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        return cls(a.detach().numpy()[:, None], b.detach().numpy(), sizes)

    def marginal_shares(self, context: Ints, y: Array, target: Ints) -> Array:
        """Predict a person's shares (T,), averaged over the posterior of a single trait given some answers.

        Args:
            context: numbers of the questions answered.
            y: (C,) shares of the responses of these questions.
            target: numbers of the questions to predict.
        """
        log_posterior = -0.5 * GRID**2 + y @ self.log_shares(context, GRID)
        posterior = np.exp(log_posterior - log_posterior.max())
        return np.asarray(np.exp(self.log_shares(target, GRID)) @ (posterior / posterior.sum()))

    def log_shares(self, questions: Ints, traits: Array) -> Array:
        """Return P people's log-shares (n, P) of some questions' n responses, given single traits (P,)."""
        rows, sizes = spans(self.offsets, questions), self.sizes[questions]
        logits = self.base[rows, None] + self.loading[rows] * traits
        return np.asarray(logits - np.log(slate_totals(np.exp(logits), sizes)))

    @staticmethod
    def state_shapes(rows: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the arrays of :meth:`to_state`, by name, for M rows."""
        return {"trait_loading": (rows, TRAIT_COUNT), "trait_base": (rows,)}

    def to_state(self) -> dict[str, Array]:
        """Return the arrays that are stored, by name; ``sizes`` is stored apart from them."""
        return {"trait_loading": self.loading, "trait_base": self.base}

    @classmethod
    def from_state(cls, arrays: Mapping[str, NDArray[Any]], sizes: Ints) -> NominalResponseModel:
        """Make the model from what :meth:`to_state` returned."""
        return cls(arrays["trait_loading"].astype(np.float64), arrays["trait_base"].astype(np.float64), sizes)

    @cached_property
    def offsets(self) -> Ints:
        """First row of each question, followed by the number of rows, (Q + 1,)."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def mode(self, context: Ints, y: Array) -> Array:
        """Find the most probable traits (K,) of a person whose answers to some questions are known.

        Args:
            context: numbers of the questions answered; it may be empty.
            y: (C,) shares of the responses of these questions.
        """
        rows, sizes = spans(self.offsets, context), self.sizes[context]
        loading, base, trait = self.loading[rows], self.base[rows], np.zeros(self.loading.shape[1])
        if len(context):
            starts = np.cumsum(sizes) - sizes
            mean = np.repeat(np.add.reduceat(loading, starts) / sizes[:, None], sizes, axis=0)
            # with Boehning's bound of the curvature (1992), every step increases the posterior density
            inverse = np.linalg.inv(np.eye(len(trait)) + 0.5 * (loading - mean).T @ (loading - mean))
            for _ in range(MODE_STEPS):
                expected = softmax(base + loading @ trait, sizes)
                trait = trait + inverse @ (loading.T @ (y - expected) - trait)
        return trait

    def only(self, questions: Ints) -> NominalResponseModel:
        """Return the model restricted to some of its questions."""
        rows = spans(self.offsets, questions)
        return NominalResponseModel(self.loading[rows], self.base[rows], self.sizes[questions])

    def shares(self, trait: Array, target: Ints) -> Array:
        """Predict the shares (T,) of a person with given traits.

        Args:
            trait: (K,) the person's traits, as returned by :meth:`mode`.
            target: numbers of the questions to predict.
        """
        asked = spans(self.offsets, target)
        return softmax(self.base[asked] + self.loading[asked] @ trait, self.sizes[target])


@dataclass(frozen=True)
class _SparseAnswers:
    """The answers of P people as a sparse table, since most people answer only a few of many questions.

    The n shares are stored person by person: ``ends`` (P + 1,) is the position of each person's first share,
    followed by n; ``row`` (n,) is the number of the response, and ``y`` (n,) is the share. ``sizes`` is the
    number of responses of each question that each person answered.
    """

    ends: Ints
    row: Ints
    y: NDArray[np.float32]
    sizes: Ints

    @classmethod
    def of(cls, shares: Floats, sizes: Ints) -> _SparseAnswers:
        """Make the sparse table from shares (P, M), which are NaN where a question was not answered."""
        answered = ~np.isnan(shares)
        person, row = np.nonzero(answered)
        ends = np.searchsorted(person, np.arange(len(shares) + 1))
        _, question = np.nonzero(answered[:, np.cumsum(sizes) - sizes])
        return cls(ends, row, shares[person, row].astype(np.float32), sizes[question])

    def gradient(self, trait: Floats, loading: Floats, base: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the gradients of the negative log-likelihood by the arguments (P, K), (M, K) and (M,)."""
        own = np.repeat(trait, np.diff(self.ends), axis=0)
        expected = softmax(np.einsum("nk,nk->n", own, loading[self.row]) + base[self.row], self.sizes)
        error = csr_array((expected - self.y, self.row, self.ends), shape=(len(trait), len(base)))
        return error @ loading, error.T @ trait, error.sum(0)
