"""Alignment against scipy, and its ends."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from gpo_ray.preferences.metrics import accuracy, alignment

SCALE = st.sampled_from([-1.0, 0.0, 1.0, 1.5, 2.0, 3.0, 10.0])


@st.composite
def slates(draw):
    """Some questions: scale (None if nominal), predicted and human shares, zeros among them."""
    made = []
    for _ in range(draw(st.integers(1, 5))):
        size = draw(st.integers(2, 6))
        weights = st.lists(st.integers(0, 9), min_size=size, max_size=size).filter(any)
        p, h = (np.asarray(draw(weights), float) for _ in range(2))
        scale = draw(st.none() | st.lists(SCALE, min_size=size, max_size=size))
        made.append((scale, p / p.sum(), h / h.sum()))
    return made


def ours(made, measure=alignment):
    sizes = [len(p) for _, p, _ in made]
    scale = [np.full(len(p), np.nan) if s is None else np.asarray(s, float) for s, p, _ in made]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    arrays = (np.concatenate(a) for a in ([p for _, p, _ in made], [h for _, _, h in made]))
    if measure is accuracy:
        return accuracy(*arrays, offsets)
    return alignment(*arrays, offsets, np.concatenate(scale))


def scipys(scale, p, h):
    if scale is None:
        return 1 - jensenshannon(p, h)
    extent = max(scale) - min(scale)
    return 1 - wasserstein_distance(scale, scale, p, h) / extent if extent else math.nan


@given(made=slates())
def test_equals_scipy_on_mixed_slates(made):
    np.testing.assert_allclose(ours(made), [scipys(*m) for m in made], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("scale", [[1, 2, 1.5], [3, 1, 2], [1, 1, 2], [2, 1, 2], [5, 5, 1]])
def test_unsorted_and_tied_scales_equal_scipy(scale):
    rng = np.random.default_rng(0)
    for _ in range(20):
        made = [(scale, rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(3)))]
        np.testing.assert_allclose(ours(made), [scipys(*made[0])], rtol=1e-10)


@given(made=slates())
def test_perfect_prediction_scores_one(made):
    values = ours([(scale, h, h) for scale, _, h in made])
    constant = [scale is not None and max(scale) == min(scale) for scale, _, _ in made]
    np.testing.assert_allclose(values, np.where(constant, np.nan, 1.0))


def test_opposite_ends_of_a_scale_score_zero():
    assert ours([([2.0, 5.0, 3.0], np.array([1.0, 0, 0]), np.array([0, 1.0, 0]))]) == pytest.approx(0)


def test_constant_scale_has_no_alignment():
    assert np.isnan(ours([([1.0, 1.0], np.array([1.0, 0]), np.array([0, 1.0]))])).all()


def test_nominal_floor():
    made = [(None, np.array([1.0, 0, 0]), np.array([0, 0.25, 0.75]))]
    np.testing.assert_allclose(ours(made), 1 - math.sqrt(math.log(2)), rtol=1e-12)


def test_accuracy_compares_the_most_probable_responses():
    hit = (None, np.array([0.2, 0.5, 0.3]), np.array([0, 1.0, 0]))
    miss = (None, np.array([0.6, 0.4]), np.array([0.0, 1.0]))
    assert ours([hit, miss, hit], accuracy).tolist() == [1, 0, 1]
