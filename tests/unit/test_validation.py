"""Whether a gain over the prior is beyond its own error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from gpo_ray.meta_training.validation import Gain


def cells(groups, questions, values):
    """A gain of equal weights, from a table of groups by questions."""
    values = np.asarray(values, np.float64).reshape(groups, questions)
    group, question = np.indices(values.shape)
    return Gain.of(values.ravel(), np.full(values.size, 1 / values.size), group.ravel(), question.ravel())


def test_groups_that_differ_and_questions_that_do_not_give_the_error_of_a_mean_over_groups():
    by_group = np.asarray([0.01, 0.03, -0.01, 0.02, 0.0])
    gain = cells(5, 7, np.repeat(by_group, 7))
    assert gain.mean == pytest.approx(by_group.mean())
    assert gain.error == pytest.approx(by_group.std(ddof=1) / np.sqrt(5))
    assert gain.freedom == pytest.approx(4)


def test_questions_that_differ_and_groups_that_do_not_give_the_error_of_a_mean_over_questions():
    by_question = np.asarray([0.01, 0.03, -0.01, 0.02])
    gain = cells(6, 4, np.tile(by_question, 6))
    assert gain.error == pytest.approx(by_question.std(ddof=1) / 2)
    assert gain.freedom == pytest.approx(3)


def test_certainty_is_students_t():
    by_group = np.asarray([0.01, 0.03, -0.01, 0.02, 0.0])
    gain = cells(5, 50, np.repeat(by_group, 50))
    p = student.cdf(gain.mean / gain.error, 4)
    assert gain.is_certain(p - 0.01)
    assert not gain.is_certain(p + 0.01)


@pytest.mark.parametrize(("groups", "questions"), [(1, 30), (30, 1), (1, 1)])
def test_one_group_or_one_question_tells_nothing(groups, questions):
    gain = cells(groups, questions, np.full(groups * questions, 0.5))
    assert not gain.is_certain(0.5)
    assert gain.is_certain(0)  # unless nothing is asked
    assert gain.error == np.inf


def test_a_few_questions_that_make_half_of_the_mean_are_few():
    group, question = (i.ravel() for i in np.indices((20, 102)))
    weights = np.where(question < 2, 0.25, 0.5 / 100) / 20
    gain = Gain.of(np.zeros(len(group)), weights, group, question)
    assert gain.freedom == pytest.approx(1 / (2 * 0.25**2 + 100 * (0.5 / 100) ** 2) - 1)


@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 99), st.floats(0.1, 10))
def test_the_error_scales_and_never_falls_below_that_over_groups(groups, questions, seed, scale):
    values = np.random.default_rng(seed).normal(size=(groups, questions))
    gain = cells(groups, questions, values)
    assert gain.error >= values.mean(1).std(ddof=1) / np.sqrt(groups) - 1e-12
    assert gain.error >= values.mean(0).std(ddof=1) / np.sqrt(questions) - 1e-12
    assert cells(groups, questions, scale * values).error == pytest.approx(scale * gain.error)


def test_chance_is_rarely_taken_for_a_gain():
    rng = np.random.default_rng(0)
    taken = 0
    for _ in range(400):
        noise = rng.normal(size=(8, 1)) + rng.normal(size=(1, 12)) + rng.normal(size=(8, 12))
        taken += cells(8, 12, noise).is_certain(0.95)
    assert taken / 400 < 0.08
