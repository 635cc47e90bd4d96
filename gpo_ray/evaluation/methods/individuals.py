"""Baselines made for people rather than groups: collaborative filtering and item response theory.

Both read shares as soft counts, so that a group counts as one person whose answers are divided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gpo_ray.evaluation.methods.baseline import BaselineTask
from gpo_ray.evaluation.methods.meta_train import MetaTrain
from gpo_ray.evaluation.methods.regression import Components
from gpo_ray.preferences.slates import Array

STANDARD_ERRORS = 2.0
"""By which a correlation is drawn towards 0: much where few people answered both questions."""
MIN_EVIDENCE = 0.5
"""Added to the sum of correlations, so that a context unlike the target moves it little."""
GRID = np.linspace(-4, 4, 21)
"""Values of a person's trait over which item-response integrates."""
SMOOTHING = 0.5
ITERATIONS = 150


@dataclass(frozen=True)
class Items:
    """Responses as items: who gave both of two."""

    both: Array
    """(Q, Q) meta-train people who answered both questions."""
    deviation: Array
    """(N,) standard deviation of each response's residuals, at least a small number."""

    @classmethod
    def fit(cls, train: MetaTrain) -> Items:
        """Counts and deviations."""
        answered = train.answered.astype(np.float64)
        count = np.repeat(np.maximum(answered.sum(0), 1), train.sizes)
        deviation = np.sqrt((train.residuals**2).sum(0) / count)
        return cls(answered.T @ answered, np.maximum(deviation, 1e-3))


def item_item(q: BaselineTask) -> Array:
    """Meta-train shares moved by each context response, in the measure of its correlation with the target's.

    Every context response predicts a target response by simple regression; the predictions are averaged
    with the size of the correlation as weight. Correlations are over the people who answered both
    questions, less two standard errors (1 over the root of how many these are), so that the many that
    are chance alone do not add up.
    """
    train, items = q.train, q.train.fitted(Items.fit)
    sizes = train.sizes[q.context]
    both = np.maximum(items.both[np.ix_(q.context, q.task.target)], 1)
    both = np.repeat(np.repeat(both, sizes, axis=0), q.sizes, axis=1)
    products = train.residuals[:, q.context_rows].T @ train.residuals[:, q.target_rows]
    spread = np.outer(items.deviation[q.context_rows], items.deviation[q.target_rows])
    correlation = np.clip(products / (both * spread), -1, 1)
    sure = np.maximum(np.abs(correlation) - STANDARD_ERRORS / np.sqrt(both), 0)
    standing = (q.context_y - train.mean[q.context_rows]) / items.deviation[q.context_rows]
    moved = (np.sign(correlation) * sure).T @ standing / (sure.sum(0) + MIN_EVIDENCE)
    return q.normalized(train.mean[q.target_rows] + items.deviation[q.target_rows] * moved)


@dataclass(frozen=True)
class NominalResponse:
    """Bock's nominal response model (Psychometrika 37, 1972) with one trait."""

    log_share: Array
    """(N, K) log probability of each response to its question, by the person's trait."""
    log_weight: Array
    """(K,) of the standard normal at ``GRID``."""

    @classmethod
    def fit(cls, train: MetaTrain) -> NominalResponse:
        """Maximise the marginal likelihood of the meta-train people, by L-BFGS.

        The logit of a response is b + a theta, with theta ~ N(0, 1). Standard normal priors hold a
        near 0 and b near the logarithm of the response's smoothed share.
        """
        question = torch.from_numpy(np.repeat(np.arange(len(train.sizes)), train.sizes))
        y = torch.from_numpy(np.nan_to_num(train.shares))
        theta = torch.from_numpy(GRID)
        log_weight = torch.log_softmax(-0.5 * theta**2, 0)
        share = y.sum(0) + SMOOTHING
        total = torch.zeros(len(train.sizes), dtype=y.dtype).index_add(0, question, share)
        base = (share / total[question]).log()
        # at slope 0 the likelihood is flat along every direction: start on the first component
        slope = torch.from_numpy(train.fitted(Components.fit).loadings[0].copy()) / base.exp().clamp(min=0.05)
        a, b = slope.requires_grad_(), base.clone().requires_grad_()

        def log_share() -> Tensor:
            logits = b[:, None] + a[:, None] * theta
            slates = torch.zeros(len(train.sizes), len(theta), dtype=y.dtype)
            return logits - slates.index_add(0, question, logits.exp()).log()[question]

        optimizer = torch.optim.LBFGS([a, b], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            likelihood = torch.logsumexp(log_weight + y @ log_share(), 1).sum()
            value = (0.5 * (a**2).sum() + 0.5 * ((b - base) ** 2).sum() - likelihood) / len(y)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            return cls(log_share().numpy(), log_weight.numpy())


def item_response(q: BaselineTask) -> Array:
    """Bock's nominal response model: shares over the trait's distribution given the context's answers."""
    model = q.train.fitted(NominalResponse.fit)
    log_posterior = model.log_weight + q.context_y @ model.log_share[q.context_rows]
    posterior = np.exp(log_posterior - log_posterior.max())
    shares = np.exp(model.log_share[q.target_rows]) @ (posterior / posterior.sum())
    return np.where(np.isnan(q.train.mean[q.target_rows]), np.nan, shares)
