"""Joining two surveys."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import survey

from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.join import PREFIX, join_surveys


def small(questions, groups, dropped=()):
    """Every group gives the first response to every question."""
    rows = [(g, q) for g in groups for q in questions]
    return PreferenceDataset.build(
        [Question(i, "test", prompt, ("Yes", "No")) for i, prompt in questions.items()],
        [Group(g, "attribute") for g in groups],
        {
            "group_id": [g for g, _ in rows],
            "question_id": [q for _, q in rows],
            "choice": [0] * len(rows),
        },
        dropped,
    )


def answers(dataset, groups, names=None):
    """(group, prompt, share, choice) of some groups' preferences, groups named back."""
    prompt = {q.question_id: q.prompt for q in dataset.iter_questions()}
    names = names or {}
    return sorted(
        (names.get(p["group_id"], p["group_id"]), prompt[p["question_id"]], str(p["share"]), p["choice"])
        for p in dataset.preferences.to_pylist()
        if p["group_id"] in groups
    )


SIZES = st.tuples(st.integers(2, 5), st.integers(2, 9))


@given(one=SIZES, two=SIZES)
def test_the_union_is_valid_and_keeps_every_answer(one, two):
    first, second = survey(*one, answered=0.5), survey(*two, seed=1, answered=0.5)
    joined, other = join_surveys(first, second)
    joined.validate()
    for table in ("questions", "groups", "preferences"):
        sizes = [getattr(d, table).num_rows for d in (joined, first, second)]
        assert sizes[0] == sizes[1] + sizes[2]
    mine = first.groups["group_id"].to_pylist()
    theirs = second.groups["group_id"].to_pylist()
    assert set(joined.groups["group_id"].to_pylist()) == {*mine, *other.groups}
    assert not set(mine) & set(other.groups)
    assert not set(first.questions["question_id"].to_pylist()) & set(other.questions)
    assert answers(joined, mine) == answers(first, mine)
    named_back = dict(zip(other.groups, theirs, strict=True))
    assert answers(joined, other.groups, named_back) == answers(second, theirs)


def test_only_ids_that_both_have_are_prefixed():
    first = small({"a": "A?", "b": "B?"}, ["SEX=Female", "SEX=Male"])
    second = small({"b": "Other B?", "c": "C?"}, ["SEX=Female", "AGE=18-29"])
    joined, other = join_surveys(first, second)
    assert other.groups == (f"{PREFIX}SEX=Female", "AGE=18-29")
    assert other.questions == other.new_questions == (f"{PREFIX}b", "c")
    asked = {q.question_id: q.prompt for q in joined.iter_questions()}
    assert asked == {"a": "A?", "b": "B?", f"{PREFIX}b": "Other B?", "c": "C?"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_prefixed_id_collides_with_none(order):
    mine = ["x", f"{PREFIX}x"]
    theirs = ["x", f"{PREFIX}x", f"{PREFIX}{PREFIX}x"][::order]
    joined, other = join_surveys(small({"a": "A?"}, mine), small({"c": "C?"}, theirs))
    assert len({*mine, *other.groups}) == 5
    assert joined.groups.num_rows == 5
    assert f"{PREFIX}{PREFIX}x" in other.groups


def test_a_question_with_the_same_content_is_not_new_whatever_its_id():
    first = small({"a": "A?", "b": "B?"}, ["g"])
    second = small({"b": "A?", "c": "C?", "a": "D?"}, ["h"])
    _, other = join_surveys(first, second)
    assert other.questions == (f"{PREFIX}b", "c", f"{PREFIX}a")
    assert other.new_questions == ("c", f"{PREFIX}a")
    turned = dataclasses.replace(next(iter(first.iter_questions())), responses=("No", "Yes"))
    rows = {"group_id": ["h"], "question_id": ["a"], "choice": [0]}
    _, other = join_surveys(first, PreferenceDataset.build([turned], [Group("h", "attribute")], rows))
    assert other.new_questions == (f"{PREFIX}a",)  # a language model reads another slate


def test_what_was_dropped_from_both_is_kept():
    first, second = (
        small({"a": "A?"}, ["g"], [("row 1", "bad")]),
        small({"b": "B?"}, ["h"], [("row 2", "bad")]),
    )
    assert join_surveys(first, second)[0].dropped_by_reason() == {"bad": 2}
    assert first.dropped_by_reason() == {"bad": 1}
