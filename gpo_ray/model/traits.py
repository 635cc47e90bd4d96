"""What single people's answers have in common: a nominal response model with several traits.

Bock's model (Psychometrika 37, 1972) with K traits: the logit of a response is b + a'theta, where theta
is the person's. It sees what covariances of shares cannot, that an answer tells less the surer it was.

Shapes: G people, M responses of the questions in memory, C context rows, T target rows, K traits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from gpo_ray.model.episodes import Ints, spans
from gpo_ray.model.kernel import Array, softmax

COUNT = 5
PRECISION = 10.0
"""Of the normal prior of a loading; that of a trait is 1."""
SMOOTHING = 0.5
MOST_PEOPLE = 5000
"""More make the loadings no better, and the fit holds a number for each of their responses."""
EPOCHS, RATE = 60, 0.1
"""Stopped before it has converged, as further ones fit the people seen rather than others."""
CLIMBS = 40


@dataclass(frozen=True)
class Traits:
    """Loadings (M, K) and base logits (M,) of the responses in memory, and the questions' ``sizes``."""

    loading: Array
    base: Array
    sizes: Ints

    @classmethod
    def fit(cls, shares: Array, sizes: Ints, seed: int = 0) -> Traits:
        """Loadings and everybody's traits at once, at the mode of their posterior.

        Args:
            shares: (G, M), NaN where a question was not answered.
            sizes: number of responses of each question, summing to M.
            seed: of the first loadings, and of who is looked at where there are many.
        """
        rng = np.random.default_rng(seed)
        answers = shares[rng.permutation(len(shares))[:MOST_PEOPLE]]
        starts = np.cumsum(sizes) - sizes
        given = torch.from_numpy(~np.isnan(answers[:, starts])).float()
        y = np.nan_to_num(answers)
        smoothed = y.sum(0) + SMOOTHING
        prior_base = np.log(smoothed / np.repeat(np.add.reduceat(smoothed, starts), sizes))

        # responses side by side question by question, so that one softmax serves all
        column = np.minimum(starts[:, None] + np.arange(sizes.max()), len(prior_base) - 1)
        real = torch.from_numpy(np.arange(sizes.max()) < sizes[:, None])
        slate = torch.from_numpy(column)
        answer = torch.from_numpy(y).float()[:, slate] * real
        centre = torch.from_numpy(prior_base).float()
        base = centre.clone().requires_grad_()
        loading = torch.from_numpy(rng.normal(0, PRECISION**-0.5, (len(centre), COUNT))).float()
        loading.requires_grad_()
        trait = torch.from_numpy(rng.normal(0, 1, (len(y), COUNT))).float().requires_grad_()
        optimizer = torch.optim.Adam([base, loading, trait], RATE)
        for _ in range(EPOCHS):
            optimizer.zero_grad()
            logits = (trait @ loading.T + base)[:, slate].masked_fill(~real, -torch.inf)
            log_share = torch.log_softmax(logits, -1).masked_fill(~real, 0)
            likelihood = ((answer * log_share).sum(-1) * given).sum()
            prior = (trait**2).sum() + PRECISION * (loading**2).sum() + ((base - centre) ** 2).sum()
            loss = (prior / 2 - likelihood) / len(y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return cls(loading.detach().double().numpy(), base.detach().double().numpy(), sizes)

    @cached_property
    def offsets(self) -> Ints:
        """(Q + 1,) where each question's rows start."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def mode(self, context: Ints, y: Array) -> Array:
        """Most probable traits (K,) of a person whose answers to some questions are known.

        Args:
            context: numbers in memory of the questions answered; may be none.
            y: (C,) shares there.
        """
        rows, sizes = spans(self.offsets, context), self.sizes[context]
        loading, base, trait = self.loading[rows], self.base[rows], np.zeros(self.loading.shape[1])
        if len(context):
            starts = np.cumsum(sizes) - sizes
            mean = np.repeat(np.add.reduceat(loading, starts) / sizes[:, None], sizes, axis=0)
            # Boehning's bound of the curvature (1992): every step climbs, whatever the answers are
            inverse = np.linalg.inv(np.eye(len(trait)) + 0.5 * (loading - mean).T @ (loading - mean))
            for _ in range(CLIMBS):
                expected = softmax(base + loading @ trait, sizes)
                trait = trait + inverse @ (loading.T @ (y - expected) - trait)
        return trait

    def only(self, questions: Ints) -> Traits:
        """Those of some of the questions."""
        rows = spans(self.offsets, questions)
        return Traits(self.loading[rows], self.base[rows], self.sizes[questions])

    def shares(self, trait: Array, target: Ints) -> Array:
        """Shares (T,) of a person of given traits (K,).

        Args:
            trait: as :meth:`mode` gives it.
            target: numbers in memory of the questions to predict.
        """
        asked = spans(self.offsets, target)
        return softmax(self.base[asked] + self.loading[asked] @ trait, self.sizes[target])
