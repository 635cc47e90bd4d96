"""The nominal response model of people, against numpy by hand and people of known traits."""

import numpy as np
import pytest
import torch

from gpo_ray.prior.response_model import (
    MAX_PEOPLE,
    PEOPLE_PER_BATCH,
    PRECISION,
    SMOOTHING,
    TRAIT_COUNT,
    NominalResponseModel,
    _SparseAnswers,
)

SIZES = np.array([2, 3, 4, 2, 5, 3, 2, 4] * 3)
OFFSETS = np.concatenate([[0], np.cumsum(SIZES)])
ROWS = int(SIZES.sum())


def rows(questions):
    return np.concatenate([np.arange(OFFSETS[q], OFFSETS[q + 1]) for q in questions])


def random_traits(seed=0, strength=1.0):
    rng = np.random.default_rng(seed)
    return NominalResponseModel(rng.normal(0, strength, (ROWS, TRAIT_COUNT)), rng.normal(0, 1, ROWS), SIZES)


def people(count, traits, seed=1, answered=1.0):
    """Single answers (count, ROWS) of people drawn from the model, NaN where there is none."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(count, TRAIT_COUNT))
    shares = np.full((count, ROWS), np.nan)
    for g in range(count):
        for q in range(len(SIZES)):
            if rng.random() < answered:
                mine = rows([q])
                logit = traits.base[mine] + traits.loading[mine] @ theta[g]
                p = np.exp(logit - logit.max())
                shares[g, mine] = np.eye(len(mine))[rng.choice(len(mine), p=p / p.sum())]
    return shares


def shares_of(traits, context, y, target):
    """Shares of a person whose answers to some questions are known."""
    return traits.shares(traits.mode(context, y), target)


def by_hand(traits, context, y, target):
    """The mode of a person's traits by plain gradient ascent, and the shares there."""
    theta = np.zeros(TRAIT_COUNT)

    def shares(questions):
        parts = []
        for q in questions:
            logit = traits.base[rows([q])] + traits.loading[rows([q])] @ theta
            parts.append(np.exp(logit) / np.exp(logit).sum())
        return np.concatenate(parts)

    for _ in range(5000):
        theta = theta + 0.02 * (traits.loading[rows(context)].T @ (y - shares(context)) - theta)
    return shares(target)


@pytest.mark.parametrize("strength", [0.3, 2.0])
def test_shares_are_those_at_the_mode_of_the_traits(strength):
    traits = random_traits(strength=strength)
    y = people(1, traits)[0]
    context, target = np.array([3, 0, 9, 14]), np.array([5, 1, 20])
    want = by_hand(traits, context, y[rows(context)], target)
    np.testing.assert_allclose(shares_of(traits, context, y[rows(context)], target), want, atol=2e-3)


def test_context_order_does_not_matter_and_targets_do_not_see_each_other():
    traits = random_traits()
    y = people(1, traits)[0]
    context, target = np.array([3, 0, 9]), np.array([5, 1, 20])
    found = shares_of(traits, context, y[rows(context)], target)
    other = context[::-1]
    np.testing.assert_allclose(shares_of(traits, other, y[rows(other)], target), found, atol=1e-12)
    alone = shares_of(traits, context, y[rows(context)], target[1:2])
    np.testing.assert_allclose(alone, found[SIZES[5] : SIZES[5] + SIZES[1]], atol=1e-12)


def test_without_a_context_shares_are_those_of_the_base():
    traits = random_traits()
    none = np.zeros(0, np.int64)
    base = np.exp(traits.base[rows([4])])
    np.testing.assert_allclose(shares_of(traits, none, np.zeros(0), np.array([4])), base / base.sum())


def test_fitted_traits_predict_new_people_far_better_than_shares_alone():
    truth = random_traits(seed=4, strength=1.5)
    everyone = people(700, truth, answered=0.7)
    fitted = NominalResponseModel.fit(everyone[:600], SIZES)
    mean = np.nanmean(everyone[:600], 0)
    model, plain, best = [], [], []
    for y in everyone[600:]:
        known = np.flatnonzero(~np.isnan(y[OFFSETS[:-1]]))
        context, target = known[:8], known[8:]
        right = y[rows(target)]
        model.append(
            -(right * np.log(shares_of(fitted, context, y[rows(context)], target))).sum() / len(target)
        )
        best.append(
            -(right * np.log(shares_of(truth, context, y[rows(context)], target))).sum() / len(target)
        )
        plain.append(-(right * np.log(mean[rows(target)].clip(1e-3))).sum() / len(target))
    assert np.mean(model) - np.mean(best) < 0.5 * (np.mean(plain) - np.mean(best))


def test_fit_is_the_same_for_the_same_seed_and_looks_at_a_bounded_number_of_people():
    shares = people(40, random_traits())
    again = NominalResponseModel.fit(shares, SIZES), NominalResponseModel.fit(shares, SIZES)
    np.testing.assert_array_equal(again[0].loading, again[1].loading)
    many = np.tile(shares, (MAX_PEOPLE // 40 + 30, 1))
    assert len(many) > MAX_PEOPLE
    drawn = np.random.default_rng(0).permutation(len(many))[:MAX_PEOPLE]
    many[np.setdiff1d(np.arange(len(many)), drawn)] = np.nan
    assert np.isfinite(NominalResponseModel.fit(many, SIZES).loading).all()
    unseen = NominalResponseModel.fit(
        np.where(np.isin(np.arange(len(many)), drawn)[:, None], many, 1.0), SIZES
    )
    np.testing.assert_array_equal(unseen.base, NominalResponseModel.fit(many, SIZES).base)


def test_a_response_that_nobody_gave_keeps_a_share():
    shares = people(60, random_traits())
    first = rows([2])
    shares[:, first] = np.eye(4)[0]
    fitted = NominalResponseModel.fit(shares, SIZES)
    found = shares_of(fitted, np.array([0]), shares[0, rows([0])], np.array([2]))
    assert found[0] > 0.8
    assert found.min() > 1e-6
    assert np.isclose(found.sum(), 1)


def likelihood(shares, trait, loading, base):
    """Negative log-likelihood, person by person and question by question."""
    total = torch.zeros((), dtype=torch.double)
    for y, theta in zip(shares, trait, strict=True):
        for q in np.flatnonzero(~np.isnan(y[OFFSETS[:-1]])):
            mine = rows([q])
            logits = base[mine] + loading[mine] @ theta
            total = total - torch.from_numpy(y[mine]) @ torch.log_softmax(logits, 0)
    return total


def test_gradient_equals_that_of_the_likelihood_written_out():
    truth = random_traits(seed=2)
    shares = people(12, truth, answered=0.4)
    shares[3] = np.nan  # a person who answered nothing
    trait = np.random.default_rng(5).normal(size=(12, TRAIT_COUNT))
    given = [torch.from_numpy(v.copy()).requires_grad_() for v in (trait, truth.loading, truth.base)]
    likelihood(shares, *given).backward()
    found = _SparseAnswers.of(shares, SIZES).gradient(trait, truth.loading, truth.base)
    for got, want in zip(found, given, strict=True):
        np.testing.assert_allclose(got, want.grad.numpy(), atol=1e-6)
    assert (found[0][3] == 0).all()


def test_fit_is_near_the_mode_of_the_posterior_and_does_not_depend_on_portions_of_people(monkeypatch):
    shares = people(PEOPLE_PER_BATCH + 20, random_traits(), answered=0.5)
    whole = NominalResponseModel.fit(shares, SIZES)
    monkeypatch.setattr("gpo_ray.prior.response_model.PEOPLE_PER_BATCH", 64)
    in_portions = NominalResponseModel.fit(shares, SIZES)
    np.testing.assert_allclose(in_portions.loading, whole.loading, atol=1e-4)
    total = np.nansum(shares, 0) + SMOOTHING
    centre = np.log(total / np.repeat(np.add.reduceat(total, OFFSETS[:-1]), SIZES))

    def value(loading, base):
        theta = np.stack([NominalResponseModel(loading, base, SIZES).mode(*context_of(y)) for y in shares])
        parts = (torch.from_numpy(v) for v in (theta, loading, base))
        prior = (theta**2).sum() + PRECISION * (loading**2).sum() + ((base - centre) ** 2).sum()
        return float(likelihood(shares, *parts)) + prior / 2

    assert value(whole.loading, whole.base) < value(0 * whole.loading, centre) - 50


def context_of(y):
    known = np.flatnonzero(~np.isnan(y[OFFSETS[:-1]]))
    return known, y[rows(known)] if len(known) else np.zeros(0)
