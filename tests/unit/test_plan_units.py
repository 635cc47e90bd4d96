"""Cutting the questions of a survey into units of work."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import questions

from gpo_ray.embedding.job import plan_units
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
