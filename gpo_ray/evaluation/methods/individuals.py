"""Baselines made for people rather than groups: collaborative filtering and item response theory.

Both read shares as soft counts, so that a group counts as one person whose answers are divided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpo_ray.evaluation.methods.baseline import BaselineTask
from gpo_ray.evaluation.methods.meta_train_answers import MetaTrainAnswers
from gpo_ray.evaluation.methods.regression import Components
from gpo_ray.preferences.slates import Array, slate_totals
from gpo_ray.prior.response_model import SMOOTHING, NominalResponseModel

STANDARD_ERRORS = 2.0
"""Number of standard errors by which a correlation is shrunk towards 0; these are large where few people
answered both questions."""
SHRINKAGE = 0.5
"""Shrinkage towards the mean: a number added to the sum of correlations, so that a context with small
correlations changes little."""


@dataclass(frozen=True)
class Items:
    """The responses as items of collaborative filtering: counts of people and standard deviations."""

    both: Array
    """(Q, Q) number of meta-train people who answered both of two questions."""
    deviation: Array
    """(N,) standard deviation of each response's residuals, at least 0.001."""

    @classmethod
    def fit(cls, train: MetaTrainAnswers) -> Items:
        """Compute the counts and the deviations from the meta-train people's answers."""
        answered = train.answered.astype(np.float64)
        count = np.repeat(np.maximum(answered.sum(0), 1), train.sizes)
        deviation = np.sqrt((train.residuals**2).sum(0) / count)
        return cls(answered.T @ answered, np.maximum(deviation, 1e-3))


def item_item(q: BaselineTask) -> Array:
    """Predict the meta-train mean, changed by each context response by its correlation with the target.

    Every context response predicts a target response by simple regression; the predictions are averaged with
    the absolute correlation as weight. Correlations are over the people who answered both questions, and are
    shrunk by two standard errors (1 over the root of the number of these people), so that the many
    correlations due to chance do not add up.
    """
    train, items = q.train, q.train.fitted(Items.fit)
    sizes = train.sizes[q.context]
    both = np.maximum(items.both[np.ix_(q.context, q.task.target)], 1)
    both = np.repeat(np.repeat(both, sizes, axis=0), q.sizes, axis=1)
    products = train.residuals[:, q.context_rows].T @ train.residuals[:, q.target_rows]
    deviations = np.outer(items.deviation[q.context_rows], items.deviation[q.target_rows])
    correlation = np.clip(products / (both * deviations), -1, 1)
    sure = np.maximum(np.abs(correlation) - STANDARD_ERRORS / np.sqrt(both), 0)
    standing = (q.context_y - train.mean[q.context_rows]) / items.deviation[q.context_rows]
    moved = (np.sign(correlation) * sure).T @ standing / (sure.sum(0) + SHRINKAGE)
    return q.normalized(train.mean[q.target_rows] + items.deviation[q.target_rows] * moved)


def one_trait(train: MetaTrainAnswers) -> NominalResponseModel:
    """Fit the nominal response model with one trait, starting at the first principal component."""
    share = np.nan_to_num(train.shares).sum(0) + SMOOTHING
    probability = share / slate_totals(share, train.sizes)
    start = train.fitted(Components.fit).loadings[0] / np.maximum(probability, 0.05)
    return NominalResponseModel.fit_marginal(train.shares, train.sizes, start)


def item_response(q: BaselineTask) -> Array:
    """Predict by Bock's nominal response model, averaged over the trait's distribution given the context."""
    shares = q.train.fitted(one_trait).marginal_shares(q.context, q.context_y, q.task.target)
    return np.where(np.isnan(q.train.mean[q.target_rows]), np.nan, shares)
