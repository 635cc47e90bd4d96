"""Splits of groups and questions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import questions

from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.protocols import PROTOCOLS
from gpo_ray.preferences.dataset import Group, PreferenceDataset
from gpo_ray.preferences.splits import Split, draw_split


def survey(groups, count, order=1):
    """One answer each; ``order`` -1 reverses the rows."""
    asked = questions(count)
    ids = [f"g{i}" for i in range(groups)]
    rows = {"group_id": ids, "question_id": ["q0"] * groups, "choice": [0] * groups}
    return PreferenceDataset.build(asked[::order], [Group(g, "attribute") for g in ids[::order]], rows)


NAMES = ["paper", "new-questions"]


@given(
    groups=st.integers(4, 30),
    count=st.integers(4, 30),
    seed=st.integers(0, 9),
    protocol=st.sampled_from(NAMES),
    fraction=st.sampled_from([0.5, 0.6, 0.8]),
)
def test_parts_are_disjoint_and_complete(groups, count, seed, protocol, fraction):
    split = draw_split(survey(groups, count), fraction, seed, PROTOCOLS[protocol])
    parts = split.train_groups + split.validation_groups + split.test_groups
    assert sorted(parts) == sorted(f"g{i}" for i in range(groups))
    assert split.meta_train_groups == split.train_groups + split.validation_groups
    asked = split.question_order + split.new_questions
    assert sorted(asked) == sorted(f"q{i}" for i in range(count))
    assert all([split.train_groups, split.validation_groups, split.test_groups])


@pytest.mark.parametrize("protocol", NAMES)
def test_same_arguments_give_the_same_split_whatever_the_order_of_rows(protocol):
    first = draw_split(survey(12, 10), 0.6, 3, PROTOCOLS[protocol])
    assert draw_split(survey(12, 10), 0.6, 3, PROTOCOLS[protocol]) == first
    assert draw_split(survey(12, 10, order=-1), 0.6, 3, PROTOCOLS[protocol]) == first
    assert draw_split(survey(12, 10), 0.6, 4, PROTOCOLS[protocol]) != first


def test_the_draw_stays_what_it_was():
    split = draw_split(survey(6, 5), 0.5, 0, PROTOCOLS["new-questions"])
    again = Split.model_validate_json(split.model_dump_json())
    assert again == split
    assert (split.train_groups, split.validation_groups) == (("g3", "g4"), ("g5",))
    assert (split.test_groups, split.new_questions) == (("g1", "g2", "g0"), ("q2",))


@pytest.mark.parametrize(("fraction", "meta_train"), [(0.4, 8), (0.6, 13), (0.8, 17)])
def test_published_sizes_are_rounded_down(fraction, meta_train):
    split = draw_split(survey(22, 4), fraction, 0)
    assert len(split.meta_train_groups) == meta_train
    assert len(split.test_groups) == 22 - meta_train


@pytest.mark.parametrize("groups", [10, 20, 50, 70, 90, 110])
@pytest.mark.parametrize("tenths", [3, 6, 7, 9])
def test_a_whole_number_of_groups_is_not_rounded_down(groups, tenths):
    split = draw_split(survey(groups, 4), tenths / 10, 0)
    assert len(split.meta_train_groups) == groups * tenths // 10


@pytest.mark.parametrize("count", [4, 10, 23, 70, 130])
def test_new_questions_are_three_tenths(count):
    split = draw_split(survey(4, count), 0.5, 0, PROTOCOLS["new-questions"])
    assert len(split.new_questions) == count * 3 // 10


def test_protocol_paper_keeps_all_questions():
    assert draw_split(survey(4, 10), 0.5, 0).new_questions == ()


@pytest.mark.parametrize(("share", "groups"), [(0.2, 2), (0.5, 5), (0.01, 1)])
def test_validation_groups_come_out_of_the_meta_train_groups(share, groups):
    split = draw_split(survey(20, 4), 0.5, 0, validation_fraction=share)
    assert len(split.validation_groups) == groups
    assert len(split.train_groups) == 10 - groups
    assert split.test_groups == draw_split(survey(20, 4), 0.5, 0).test_groups


def test_fraction_one_keeps_all_groups_for_meta_training():
    split = draw_split(survey(5, 4), 1.0, 0)
    assert split.test_groups == ()
    assert len(split.meta_train_groups) == 5


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_fraction_out_of_range(fraction):
    with pytest.raises(ConfigError, match="fraction must be in"):
        draw_split(survey(5, 4), fraction, 0)


@pytest.mark.parametrize(("groups", "fraction"), [(3, 0.4), (1, 1.0), (4, 0.3)])
def test_too_few_groups(groups, fraction):
    with pytest.raises(ConfigError, match=f"{groups} groups cannot be divided"):
        draw_split(survey(groups, 4), fraction, 0)


@pytest.mark.parametrize(("count", "protocol"), [(1, "paper"), (3, "new-questions"), (2, "new-questions")])
def test_too_few_questions(count, protocol):
    with pytest.raises(ConfigError, match=f"{count} questions are too few"):
        draw_split(survey(5, count), 0.6, 0, PROTOCOLS[protocol])


def test_seeds_reach_every_group():
    tested = [set(draw_split(survey(8, 4), 0.75, seed).test_groups) for seed in range(40)]
    assert len(set().union(*tested)) == 8
    assert np.std([sum(f"g{i}" in t for t in tested) for i in range(8)]) < 6
