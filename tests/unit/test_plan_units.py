"""Cutting the questions of a survey into units of work."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import questions

from gpo_ray.embedding.job import plan_units, steady_rate
from gpo_ray.preferences.dataset import Question


def ids(units):
    return [[q.question_id for q in unit] for unit in units]


@given(
    count=st.integers(1, 200),
    actors=st.integers(1, 12),
    batch_tokens=st.sampled_from([64, 1024, 4096, 10**6]),
    seed=st.integers(0, 99),
)
def test_units_hold_every_question_once_whatever_their_order(count, actors, batch_tokens, seed):
    asked = questions(count, seed)
    units = plan_units(asked, actors, batch_tokens)
    assert sorted(i for unit in ids(units) for i in unit) == sorted(q.question_id for q in asked)
    assert all(units)
    assert len(units) >= min(actors, count)
    shuffled = [asked[i] for i in np.random.default_rng(seed).permutation(count)]
    assert ids(plan_units(shuffled, actors, batch_tokens)) == ids(units)


@pytest.mark.parametrize("actors", [1, 2, 8])
def test_units_are_several_times_the_actors_and_of_like_cost(actors):
    asked = [Question(f"q{i}", "test", "x" * (100 + i), ("Yes", "No")) for i in range(2000)]
    units = plan_units(asked, actors, 4096)
    sizes = [sum(40 + len(q.prompt) // 4 for q in unit) for unit in units[:-1]]
    assert len(units) >= 4 * actors
    assert max(sizes) < 1.5 * min(sizes)


def test_questions_of_like_length_are_together():
    asked = [Question(f"q{i}", "test", "x" * (10 * i + 1), ("Yes", "No")) for i in range(300)]
    units = plan_units(asked, 2, 1024)
    lengths = [len(q.prompt) for unit in units for q in unit]
    assert lengths == sorted(lengths, reverse=True)


def work(worker, *units):
    return [dict(zip(("worker", "began", "ended", "tokens"), (worker, *u), strict=True)) for u in units]


def test_steady_rate_leaves_out_the_start_and_the_end():
    slow = work("slow", (0, 50, 10), (50, 60, 100), (60, 70, 100), (75, 80, 100))
    # its first unit, what it did while the other one started, and what was left for it alone
    quick = work("quick", (0, 5, 999), (5, 50, 999), (50, 55, 200), (55, 60, 200), (78, 95, 999))
    assert steady_rate(quick + slow) == pytest.approx(300 / 30 + 400 / (78 - 50), abs=0.1)


def test_steady_rate_of_too_little_work_is_unknown():
    assert steady_rate([]) is None
    assert steady_rate(work("a", (0, 1, 10))) is None
    assert steady_rate(work("a", (0, 1, 10), (1, 2, 10), (2, 3, 10)) + work("b", (0, 2.5, 10))) is None
