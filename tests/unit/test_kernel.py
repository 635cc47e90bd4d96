"""Kernels between responses and the algebra of shares within questions, against matrices written by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpo_ray.preferences.slates import MIN_SHARE, centred, normalized, softmax
from gpo_ray.prior.kernel import MEDIAN_RATE, RBFKernel, scaled_by_shares

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=6).map(np.asarray)
SEEDS = st.integers(0, 999)


def vectors(n, seed, width=5):
    rng = np.random.default_rng(seed)
    return rng.normal(2.0, np.linspace(0.2, 3.0, width), (n, width)).astype(np.float32)


def blocks(sizes):
    """Which pairs of rows are of the same question."""
    number = np.repeat(np.arange(len(sizes)), sizes)
    return number[:, None] == number


def side(sizes, seed):
    rng = np.random.default_rng([seed, 2])
    return SimpleNamespace(sizes=sizes, mean=np.concatenate([rng.dirichlet(np.ones(n)) for n in sizes]))


def jacobian(s):
    """Of a softmax within each question: diag(p) - p p' in blocks."""
    return np.diag(s.mean) - np.where(blocks(s.sizes), np.outer(s.mean, s.mean), 0)


@given(seed=SEEDS, n=st.integers(2, 40))
def test_kernel_is_symmetric_with_ones_on_the_diagonal_and_positive_semidefinite(seed, n):
    x = vectors(n, seed)
    got = RBFKernel.fit(x)(x, x)
    np.testing.assert_allclose(got, got.T, atol=1e-6)
    np.testing.assert_allclose(np.diag(got), 1, atol=1e-5)
    assert got.min() >= 0
    assert got.max() <= 1
    assert np.linalg.eigvalsh((got + got.T) / 2).min() > -1e-5


def test_kernel_equals_the_formula_by_hand():
    x, other = vectors(30, 0), vectors(7, 1)
    scaled, asked = ((a - x.mean(0)) / x.std(0) for a in (x, other))
    squared = ((scaled[:, None] - scaled) ** 2).sum(2)
    median = np.median(squared[~np.eye(30, dtype=bool)])
    want = np.exp(-MEDIAN_RATE * ((scaled[:, None] - asked) ** 2).sum(2) / median)
    np.testing.assert_allclose(RBFKernel.fit(x)(x, other), want, rtol=1e-4)


@given(seed=SEEDS)
def test_units_and_origin_of_every_dimension_do_not_matter(seed):
    x, other = vectors(20, seed), vectors(6, seed + 1000)
    rng = np.random.default_rng(seed)
    scale, shift = np.exp(rng.normal(size=5)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    want = RBFKernel.fit(x)(x, other)
    got = RBFKernel.fit(x * scale + shift)(x * scale + shift, other * scale + shift)
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_one_dimension_more_counts_and_a_constant_one_does_not():
    x = vectors(20, 0)
    constant = np.column_stack([x, np.full(20, 7, np.float32)])
    want = RBFKernel.fit(x)(x, x)
    np.testing.assert_allclose(RBFKernel.fit(constant)(constant, constant), want, atol=1e-5)
    more = np.column_stack([x, vectors(20, 1, 1)])
    assert abs(RBFKernel.fit(more)(more, more) - want).max() > 0.01


@pytest.mark.parametrize("x", [vectors(1, 0), np.ones((4, 3), np.float32)])
def test_a_single_response_and_equal_ones_are_alike(x):
    np.testing.assert_allclose(RBFKernel.fit(x)(x, x), 1)


@given(a=SIZES, b=SIZES, seed=SEEDS)
def test_scaled_by_shares_is_the_explicit_jacobian_on_both_sides(a, b, seed):
    first, second = side(a, seed), side(b, seed + 1)
    covariance = np.random.default_rng(seed).normal(size=(a.sum(), b.sum()))
    got = scaled_by_shares(covariance, first, second)
    np.testing.assert_allclose(got, jacobian(first) @ covariance @ jacobian(second), atol=1e-12)
    for summed in (np.add.reduceat(got, np.cumsum(a) - a, 0), np.add.reduceat(got, np.cumsum(b) - b, 1)):
        np.testing.assert_allclose(summed, 0, atol=1e-12)


@given(sizes=SIZES, seed=SEEDS)
def test_scaled_by_shares_is_how_shares_move_with_small_log_shares(sizes, seed):
    s = side(sizes, seed)
    step = 1e-5 * np.random.default_rng(seed).normal(size=sizes.sum())
    moved = softmax(np.log(s.mean) + step, sizes) - s.mean
    want = scaled_by_shares(np.outer(step, step), s, s)
    np.testing.assert_allclose(np.outer(moved, moved), want, atol=1e-14)


@given(sizes=SIZES, seed=SEEDS, columns=st.integers(1, 4))
def test_centred_is_the_explicit_projection(sizes, seed, columns):
    values = np.random.default_rng(seed).normal(size=(sizes.sum(), columns))
    same = blocks(sizes)
    projection = np.eye(len(same)) - same / same.sum(1)
    np.testing.assert_allclose(centred(values, sizes), projection @ values, atol=1e-12)
    np.testing.assert_allclose(centred(centred(values, sizes), sizes), projection @ values, atol=1e-12)


@given(sizes=SIZES, seed=SEEDS)
def test_softmax_is_that_of_each_question_alone(sizes, seed):
    scores = np.random.default_rng(seed).normal(scale=5, size=sizes.sum())
    cuts = np.cumsum(sizes)[:-1]
    want = [np.exp(s) / np.exp(s).sum() for s in np.split(scores, cuts)]
    np.testing.assert_allclose(softmax(scores, sizes), np.concatenate(want))


def test_softmax_of_large_scores_is_finite():
    np.testing.assert_allclose(softmax(np.asarray([1e4, 1e4, -1e4, 0]), np.asarray([2, 2])), [0.5, 0.5, 0, 1])


@given(sizes=SIZES, seed=SEEDS)
def test_normalized_sums_to_one_within_each_question(sizes, seed):
    scores = np.random.default_rng(seed).normal(size=sizes.sum())
    got = normalized(scores, sizes)
    np.testing.assert_allclose(np.add.reduceat(got, np.cumsum(sizes) - sizes), 1)
    assert got.min() > 0
    s = side(sizes, seed)
    clear = s.mean > MIN_SHARE
    np.testing.assert_allclose(normalized(s.mean, sizes)[clear], s.mean[clear], rtol=1e-3)


def test_normalized_clips_keeps_proportions_and_nan():
    got = normalized(np.asarray([0.5, -1.0, 1.0, 1.0, 2.0, np.nan, np.nan]), np.asarray([2, 3, 2]))
    np.testing.assert_allclose(got[:2], np.asarray([0.5, MIN_SHARE]) / (0.5 + MIN_SHARE))
    np.testing.assert_allclose(got[2:5], [0.25, 0.25, 0.5])
    assert np.isnan(got[5:]).all()
