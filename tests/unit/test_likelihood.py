"""The likelihood against loops over plain numbers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpo_ray.likelihoods import LIKELIHOODS
from gpo_ray.likelihoods.categorical import cross_entropy
from gpo_ray.likelihoods.gaussian import gaussian_nll
from gpo_ray.likelihoods.shares import divergence, slate_log_softmax

SLATES = st.lists(st.integers(1, 5), min_size=1, max_size=6)
SEEDS = st.integers(0, 2**31)


def points(sizes, seed, scale=3.0):
    """Means, slate numbers (interleaved) and shares of slates of the given sizes."""
    rng = np.random.default_rng(seed)
    slate = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return scale * rng.normal(size=len(slate)), slate, rng.random(len(slate))


def loop_log_softmax(mean, slate):
    result = []
    for m, s in zip(mean, slate, strict=True):
        total = sum(math.exp(other) for other, k in zip(mean, slate, strict=True) if k == s)
        result.append(m - math.log(total))
    return np.asarray(result)


@given(sizes=SLATES, seed=SEEDS)
def test_log_softmax_is_taken_within_each_slate(sizes, seed):
    mean, slate, _ = points(sizes, seed)
    ours = slate_log_softmax(torch.from_numpy(mean), torch.from_numpy(slate), len(sizes))
    np.testing.assert_allclose(ours, loop_log_softmax(mean, slate), rtol=1e-10, atol=1e-12)


@given(sizes=SLATES, seed=SEEDS)
def test_shares_sum_to_one(sizes, seed):
    mean, slate, _ = points(sizes, seed, scale=50)
    share = slate_log_softmax(torch.from_numpy(mean).float(), torch.from_numpy(slate), len(sizes)).exp()
    total = torch.zeros(len(sizes)).index_add(0, torch.from_numpy(slate), share)
    torch.testing.assert_close(total, torch.ones(len(sizes)), rtol=0, atol=1e-5)


def test_extreme_logits_stay_finite_with_their_gradients():
    mean = torch.tensor([1e4, -1e4, 0.0, -3e30, 3e30, -1e4, -1e4], requires_grad=True)
    slate = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    log_share = slate_log_softmax(mean, slate, 3)
    losses = gaussian_nll(log_share, torch.full((7,), -5.0), torch.full((7,), 0.3))
    loss = losses.sum() + cross_entropy(log_share, torch.full((7,), 1e-3)).sum()
    loss.backward()
    for values in (log_share, losses, loss, mean.grad):
        assert torch.isfinite(values).all()
    torch.testing.assert_close(log_share[5:].exp(), torch.tensor([0.5, 0.5]))


def test_gradient_of_log_softmax_is_exact():
    mean, slate, _ = points([1, 3, 4], 0)
    mean = torch.from_numpy(mean).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: slate_log_softmax(m, torch.from_numpy(slate), 3), (mean,))


@given(sizes=SLATES, seed=SEEDS)
def test_gaussian_nll_is_the_negative_log_density(sizes, seed):
    mean, slate, y = points(sizes, seed)
    log_std = np.random.default_rng([seed, 1]).normal(size=len(y))
    log_share = loop_log_softmax(mean, slate)
    want = [
        (v - math.exp(m)) ** 2 / (2 * math.exp(s) ** 2) + math.log(math.exp(s) * math.sqrt(2 * math.pi))
        for m, s, v in zip(log_share, log_std, y, strict=True)
    ]
    ours = gaussian_nll(*(torch.from_numpy(a) for a in (log_share, log_std, y)))
    np.testing.assert_allclose(ours, want, rtol=1e-9, atol=1e-9)


@given(sizes=SLATES, seed=SEEDS)
def test_cross_entropy_sums_to_that_of_each_slate(sizes, seed):
    mean, slate, y = points(sizes, seed)
    log_share = loop_log_softmax(mean, slate)
    ours = cross_entropy(torch.from_numpy(log_share), torch.from_numpy(y)).numpy()
    for s in range(len(sizes)):
        want = -sum(v * m for v, m, k in zip(y, log_share, slate, strict=True) if k == s)
        np.testing.assert_allclose(ours[slate == s].sum(), want, rtol=1e-10)


def test_divergence_is_zero_at_the_truth_and_counts_no_empty_shares():
    y = torch.tensor([0.0, 0.25, 0.75, 1.0, 0.0], dtype=torch.float64)
    predicted = torch.tensor([0.5, 0.25, 0.25, 0.5, 0.5], dtype=torch.float64)
    assert divergence(y.clamp_min(1e-300).log(), y).sum().item() == 0
    got = divergence(predicted.log(), y)
    want = [0, 0, 0.75 * math.log(3), math.log(2), 0]
    np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_is_least_at_the_true_shares(name):
    """Whatever the standard deviation: the gradient there is zero, and other shares cost more."""
    y = torch.tensor([0.2, 0.3, 0.5, 0.6, 0.4], dtype=torch.float64)
    slate, log_std = torch.tensor([0, 0, 0, 1, 1]), torch.full((5,), -1.0, dtype=torch.float64)

    def total(mean):
        return LIKELIHOODS[name].loss(slate_log_softmax(mean, slate, 2), log_std, y).sum()

    truth = y.log().requires_grad_()
    least = total(truth)
    (slope,) = torch.autograd.grad(least, truth)
    torch.testing.assert_close(slope, torch.zeros_like(slope))
    for seed in range(5):
        off = torch.randn(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert total(truth + off) > least
