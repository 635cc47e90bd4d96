"""Joining and merging two surveys."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import survey

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.join import ANSWERED_BEFORE, PREFIX, join_surveys, merge_surveys
from gpo_ray.preferences.tables import SCHEMAS


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
    assert other.new_questions == ()  # in another order, it is the same question


def test_what_was_dropped_from_both_is_kept():
    first, second = (
        small({"a": "A?"}, ["g"], [("row 1", "bad")]),
        small({"b": "B?"}, ["h"], [("row 2", "bad")]),
    )
    assert join_surveys(first, second)[0].dropped_by_reason() == {"bad": 2}
    assert first.dropped_by_reason() == {"bad": 1}


def prompts(dataset):
    return {q.question_id: q.prompt for q in dataset.iter_questions()}


PROMPTS = st.lists(st.sampled_from("ABCDEF"), min_size=1, max_size=6).map(
    lambda drawn: {f"q{i}": f"{prompt}?" for i, prompt in enumerate(drawn)}
)


@given(one=PROMPTS, two=PROMPTS)
def test_a_merge_adds_to_the_first_survey_what_the_second_has_beyond_it(one, two):
    first, second = small(one, ["g", "h"]), small(two, ["g", "k"])
    merged = merge_surveys(first, second)
    merged.validate()
    for table in SCHEMAS:
        mine = getattr(first, table)
        assert getattr(merged, table)[: mine.num_rows].equals(mine)
    added = list(merged.iter_questions())[len(one) :]
    assert [q.prompt for q in added] == [p for p in two.values() if p not in one.values()]
    asked = {g: {(a, p) for a, p, *_ in answers(second, [g])} for g in ("g", "k")}
    assert {p for _, p, *_ in answers(merged, [f"{PREFIX}g"])} == {p for _, p in asked["g"]}
    assert {p for _, p, *_ in answers(merged, ["k"])} == {p for _, p in asked["k"]}
    rows = [d.preferences.num_rows for d in (merged, first, second)]
    assert rows[0] + merged.dropped.num_rows == rows[1] + rows[2]


def test_the_same_question_is_the_first_surveys():
    words = ("test", "Tea?", ("Yes", "No"))
    first = PreferenceDataset.build(
        [Question("tea", *words, "drinks")],
        [Group("ann", "individual")],
        {"group_id": ["ann"], "question_id": ["tea"], "choice": [1]},
    )
    second = PreferenceDataset.build(
        [Question("tea", "other", "Coffee?", ("Yes", "No")), Question("t", *words, "beverages", (0.0, 1.0))],
        [Group("SEX=Male", "attribute", "a man")],
        {
            "group_id": ["SEX=Male"] * 2,
            "question_id": ["t", "tea"],
            "share": [[0.25, 0.75], [1.0, 0.0]],
            "n": [40.0, None],
        },
    )
    merged = merge_surveys(first, second)
    assert list(merged.iter_questions()) == [
        Question("tea", *words, "drinks", (0.0, 1.0)),  # it had no scale
        Question(f"{PREFIX}tea", "other", "Coffee?", ("Yes", "No")),
    ]
    assert merged.groups.to_pylist() == first.groups.to_pylist() + second.groups.to_pylist()
    assert [tuple(p.values()) for p in merged.preferences.to_pylist()] == [
        ("ann", "tea", None, 1, None),
        ("SEX=Male", "tea", [0.25, 0.75], None, 40.0),
        ("SEX=Male", f"{PREFIX}tea", [1.0, 0.0], None, None),
    ]
    assert merged.dropped.num_rows == 0


def test_shares_and_choices_follow_their_labels():
    first = small({"a": "A?"}, ["g"])
    turned = Question("a", "test", " A? ", ("no", "Yes "))
    rows = {
        "group_id": ["h", "i", "j"],
        "question_id": ["a"] * 3,
        "share": [[0.9, 0.1], None, None],
        "choice": [None, 0, 1],
    }
    people = [Group(g, "attribute") for g in "hij"]
    merged = merge_surveys(first, PreferenceDataset.build([turned], people, rows))
    assert [(q.question_id, q.responses) for q in merged.iter_questions()] == [("a", ("Yes", "No"))]
    assert [(p["share"], p["choice"]) for p in merged.preferences.to_pylist()] == [
        (None, 0),
        ([0.1, 0.9], None),
        (None, 1),
        (None, 0),
    ]


@given(st.permutations(range(4)), st.integers(0, 3), st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_a_merge_in_any_order_keeps_what_each_response_got(order, chosen, counts):
    if not sum(counts):
        return
    responses = ("Often", "Rarely", "Never", "Unsure")
    share = [c / sum(counts) for c in counts]
    first = PreferenceDataset.build(
        [Question("a", "test", "A?", responses)],
        [Group("g", "attribute")],
        {"group_id": ["g"], "question_id": ["a"], "share": [share]},
    )
    second = PreferenceDataset.build(
        [Question("b", "test", "A?", tuple(responses[i] for i in order))],
        [Group("h", "attribute"), Group("i", "individual")],
        {
            "group_id": ["h", "i"],
            "question_id": ["b"] * 2,
            "share": [[share[i] for i in order], None],
            "choice": [None, order.index(chosen)],
        },
    )
    rows = merge_surveys(first, second).preferences.to_pylist()
    assert rows[0]["share"] == rows[1]["share"]
    assert rows[2]["choice"] == chosen


def test_of_one_question_asked_twice_the_likest_is_taken():
    turned = dataclasses.replace(Question("b", "test", "A?", ("No", "Yes")))
    twice = PreferenceDataset.build(
        [Question("a", "test", "A?", ("Yes", "No")), turned],
        [Group("g", "attribute")],
        {"group_id": ["g", "g"], "question_id": ["a", "b"], "choice": [0, 1]},
    )
    again = PreferenceDataset.build(
        [turned], [Group("h", "attribute")], {"group_id": ["h"], "question_id": ["b"], "choice": [1]}
    )
    merged = merge_surveys(twice, again)
    assert [(p["question_id"], p["choice"]) for p in merged.preferences.to_pylist()] == [
        ("a", 0),
        ("b", 1),
        ("b", 1),
    ]


def test_of_two_answers_to_what_became_one_question_the_first_is_kept():
    first = small({"a": "A?"}, ["g"], [("row 1", "bad")])
    second = small({"x": "A?", "y": "A?", "z": "Z?"}, ["g", "h"], [("row 2", "bad")])
    choices = pa.array([0, 1, 0, 1, 0, 0], pa.int32())
    rows = second.preferences.set_column(3, SCHEMAS["preferences"].field("choice"), choices)
    order = np.array([4, 3, 5, 0, 1, 2])  # h answers y before x
    merged = merge_surveys(first, dataclasses.replace(second, preferences=rows.take(order)))
    assert prompts(merged) == {"a": "A?", "z": "Z?"}
    assert [(p["group_id"], p["question_id"], p["choice"]) for p in merged.preferences.to_pylist()] == [
        ("g", "a", 0),
        ("h", "a", 0),
        ("h", "z", 0),
        (f"{PREFIX}g", "a", 0),
        (f"{PREFIX}g", "z", 0),
    ]
    assert [(d["where"], d["reason"]) for d in merged.dropped.to_pylist()] == [
        ("row 1", "bad"),
        ("row 2", "bad"),
        ("second survey: h, x", ANSWERED_BEFORE),
        ("second survey: g, y", ANSWERED_BEFORE),
    ]
    assert (first.dropped.num_rows, second.dropped.num_rows) == (1, 1)


def test_what_one_survey_asks_twice_stays_two_questions():
    twice = {"w1": "A?", "w2": "A?"}
    both = merge_surveys(small(twice, ["g"]), small(twice, ["h"]))  # the same two waves
    assert prompts(both) == twice
    assert both.preferences["question_id"].to_pylist() == ["w1", "w2"] * 2
    assert both.dropped.num_rows == 0
    other = merge_surveys(small(twice, ["g"]), small({"x": "A?"}, ["h"]))
    assert other.preferences["question_id"].to_pylist() == ["w1", "w2", "w1"]
    new = merge_surveys(small({"b": "B?"}, ["g"]), small(twice, ["h"]))
    assert prompts(new) == {"b": "B?"} | twice
    assert new.dropped.num_rows == 0


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"question_id": ["a", "a"], "choice": [0, 1]}, "row 1: .* occurs twice"),
        ({"question_id": ["a", "c"], "choice": [0, 0]}, "row 1: question_id 'c' is not known"),
        ({"question_id": ["a", "b"], "choice": [0, 2]}, "row 1: choice is not the index"),
    ],
)
def test_a_survey_that_is_not_valid_is_named(at, rows, problem):
    """The other survey asks 'c', which must not make it known."""
    surveys = [small({"a": "A?", "c": "C?"}, ["g"])]
    good = small({"a": "A?", "b": "B?"}, ["g"])
    rows = {"group_id": ["g", "g"], "share": [None, None], "n": [None, None]} | rows
    bad = dataclasses.replace(good, preferences=pa.table(rows, schema=SCHEMAS["preferences"]))
    surveys.insert(at, bad)
    with pytest.raises(DataError, match=f"^{('first', 'second')[at]} survey: preferences {problem}"):
        merge_surveys(*surveys)


def one(responses, ordinal=None, prompt="A?", group="g"):
    question = Question("q", "test", prompt, tuple(responses), None, ordinal)
    rows = {"group_id": [group], "question_id": ["q"], "choice": [0]}
    return PreferenceDataset.build([question], [Group(group, "attribute")], rows)


def notes(dataset):
    return [n["note"] for n in dataset.notes.to_pylist()]


def test_a_nominal_question_takes_the_others_scale():
    merged = merge_surveys(one(["Yes", "No", "Maybe"]), one(["maybe", "yes", "no"], (2, 1, 3), group="h"))
    assert next(iter(merged.iter_questions())).ordinal == (1, 3, 2)
    assert "the second's is taken" in notes(merged)[0]


def test_of_two_scales_the_first_is_kept():
    scale, other = one(["Yes", "No"], (1, 2)), one(["No", "Yes"], (1, 2), group="h")
    assert next(iter(merge_surveys(scale, other).iter_questions())).ordinal == (1, 2)
    assert "another scale" in notes(merge_surveys(scale, other))[0]
    assert notes(merge_surveys(scale, one(["No", "Yes"], (2, 1), group="h"))) == []


def test_a_known_prompt_and_a_known_group_are_noted():
    merged = merge_surveys(one(["Yes", "No"]), one(["Yes", "No", "Maybe"]))
    assert notes(merged) == [
        "the first survey has a group of this id: they are kept apart",
        "both have the prompt, with other responses: they are two questions",
    ]
