"""Collaborative filtering and item response theory on simulated people."""

import numpy as np
import pytest
from test_baselines import baseline_task, population

from gpo_ray.evaluation.methods.individuals import (
    SHRINKAGE,
    STANDARD_ERRORS,
    item_item,
    item_response,
    one_trait,
)
from gpo_ray.evaluation.methods.plain import majority
from gpo_ray.prior.response_model import GRID

QUESTIONS = 24


def people(count=300, slope=1.5, answered=1.0, seed=0):
    """One-hot answers of people with one trait, by Bock's model; and the model's slopes (Q, 3)."""
    rng = np.random.default_rng(seed)
    a, b = slope * rng.normal(size=(QUESTIONS, 3)), 0.5 * rng.normal(size=(QUESTIONS, 3))
    logits = b + rng.normal(size=(count, 1, 1)) * a
    choice = (logits + rng.gumbel(size=logits.shape)).argmax(2)
    table = np.eye(3)[choice]
    table[rng.random((count, QUESTIONS)) > answered] = np.nan
    return table.reshape(count, -1), a


def log_loss_and_accuracy(baseline, table, held_out=60, context=8):
    arrays = population(table, [3] * QUESTIONS)
    groups = list(range(len(table) - held_out))
    first = baseline_task(arrays, len(table) - 1, [0], [1], groups)
    loss, right = [], []
    for person in range(len(table) - held_out, len(table)):
        mine = arrays.answered[person]
        q = baseline_task(arrays, person, mine[:context], mine[context:], groups)
        q = type(q)(first.train, q.task)
        shares, true = baseline(q).reshape(-1, 3), table[person, q.target_rows].reshape(-1, 3)
        loss.append(-np.log(np.maximum((shares * true).sum(1), 1e-3)).mean())
        right.append((shares.argmax(1) == true.argmax(1)).mean())
    return np.mean(loss), np.mean(right)


@pytest.mark.parametrize("answered", [1.0, 0.6])
@pytest.mark.parametrize("baseline", [item_item, item_response])
def test_people_are_predicted_better_than_by_the_majority(baseline, answered):
    table, _ = people(answered=answered)
    loss, right = log_loss_and_accuracy(baseline, table)
    most_common_loss, most_common_right = log_loss_and_accuracy(majority, table)
    assert loss < most_common_loss - 0.03
    assert right > most_common_right + 0.04


@pytest.mark.parametrize("baseline", [item_item, item_response])
def test_people_without_anything_in_common_are_not_predicted_much_worse_than_by_the_majority(baseline):
    table, _ = people(slope=0.0)
    assert log_loss_and_accuracy(baseline, table)[0] < log_loss_and_accuracy(majority, table)[0] + 0.05


def test_item_response_recovers_the_slopes():
    table, true = people(count=600)
    q = baseline_task(population(table, [3] * QUESTIONS), 0, [0], [1])
    logits = q.train.fitted(one_trait).log_shares(np.arange(QUESTIONS), GRID).reshape(QUESTIONS, 3, -1)
    middle = len(GRID) // 2
    found = (logits[..., middle + 1] - logits[..., middle - 1]) / (GRID[middle + 1] - GRID[middle - 1])
    centred = found - found.mean(1, keepdims=True), true - true.mean(1, keepdims=True)
    assert abs(np.corrcoef(centred[0].ravel(), centred[1].ravel())[0, 1]) > 0.95


def test_item_response_weighs_the_grid_by_the_contexts_likelihood():
    table, _ = people(count=40)
    q = baseline_task(population(table, [3] * QUESTIONS), 0, [0, 1, 2], [5, 6])
    log_share = q.train.fitted(one_trait).log_shares(np.arange(QUESTIONS), GRID)
    weight = np.exp(-(GRID**2) / 2)
    for row in np.flatnonzero(table[0, :9]):
        weight = weight * np.exp(log_share[row])
    shares = (np.exp(log_share[15:21]) * weight).sum(1) / weight.sum()
    np.testing.assert_allclose(item_response(q), shares, atol=1e-9)


def test_item_item_is_a_weighted_mean_of_simple_regressions():
    table, _ = people(count=50, answered=0.7, seed=1)
    table[0] = people(count=1, seed=1)[0]
    q = baseline_task(population(table, [3] * QUESTIONS), 0, [0, 1], [2])
    rest = table[1:]
    mean = np.nanmean(rest, 0)
    residual, there = rest - mean, ~np.isnan(rest)
    spread = np.sqrt(np.nanmean(residual**2, 0))
    expected = mean[6:9].copy()
    for j in range(6, 9):
        moved = evidence = 0.0
        for i in range(6):
            both = there[:, i] & there[:, j]
            r = (residual[both, i] * residual[both, j]).mean() / (spread[i] * spread[j])
            r = np.sign(r) * max(min(abs(r), 1) - STANDARD_ERRORS / np.sqrt(both.sum()), 0)
            moved += r * (table[0, i] - mean[i]) / spread[i]
            evidence += abs(r)
        expected[j - 6] += spread[j] * moved / (evidence + SHRINKAGE)
    np.testing.assert_allclose(item_item(q), q.normalized(expected), atol=1e-9)
