"""Splits by attribute, on another survey, and of single people."""

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from synthetic import questions
from synthetic import survey as shared_survey

from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.plan import SplitPlan
from gpo_ray.evaluation.protocols import PROTOCOLS, protocol_of
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.join import join_surveys, merge_surveys
from gpo_ray.preferences.splits import Split, draw_split

SPLIT = {
    "protocol": "paper", "fraction": 0.5, "seed": 0, "train_groups": ("a",),
    "validation_groups": ("b",), "test_groups": ("c",), "question_order": ("q",),
}  # fmt: skip
FRACTIONS = st.sampled_from([0.4, 0.5, 0.6, 0.8])


def by_attribute(*sizes, order=1):
    """Attributes A0, A1, ... with as many groups as ``sizes`` say; one answer each."""
    ids = [f"A{a}={i}" for a, size in enumerate(sizes) for i in range(size)][::order]
    rows = {"group_id": ids, "question_id": ["q0"] * len(ids), "choice": [0] * len(ids)}
    return PreferenceDataset.build(questions(4)[::order], [Group(g, "attribute") for g in ids], rows)


def people(*topics, order=1, asked=2, kind="individual"):
    """As many people as ``topics`` say on each topic, who answer its ``asked`` questions."""
    items = [
        Question(f"t{t}-{i}", "test", f"Question {i} on {t}?", ("Yes", "No"), f"topic {t}")
        for t in range(len(topics))
        for i in range(asked)
    ]
    ids = {f"person={t}-{i}": t for t, size in enumerate(topics) for i in range(size)}
    pairs = [(g, f"t{t}-{i}") for g, t in ids.items() for i in range(asked)]
    rows = {
        "group_id": [g for g, _ in pairs],
        "question_id": [q for _, q in pairs],
        "choice": [0] * len(pairs),
    }
    return PreferenceDataset.build(items[::order], [Group(g, kind) for g in list(ids)[::order]], rows)


def attributes(groups):
    return {g.partition("=")[0] for g in groups}


def topic_of(person):
    return "topic " + person.partition("=")[2].partition("-")[0]


@given(sizes=st.lists(st.integers(2, 5), min_size=3, max_size=9), seed=st.integers(0, 9), fraction=FRACTIONS)
def test_attributes_are_never_in_two_parts(sizes, seed, fraction):
    split = draw_split(by_attribute(*sizes), fraction, seed, PROTOCOLS["new-attribute"])
    parts = [split.train_groups, split.validation_groups, split.test_groups]
    assert all(parts)
    assert sum(map(len, parts)) == len(set().union(*parts)) == sum(sizes)
    meta_train, test = attributes(split.meta_train_groups), attributes(split.test_groups)
    assert not meta_train & test
    assert len(meta_train) == max(1, int(fraction * len(sizes) + 1e-9))
    if len(meta_train) > 1:
        assert len(attributes(split.validation_groups)) == 1
        assert not attributes(split.validation_groups) & attributes(split.train_groups)
        assert len(split.train_groups) >= len(split.validation_groups)
    assert split.new_questions == split.test_order == ()


def test_a_single_attribute_gives_single_groups_for_validation():
    split = draw_split(by_attribute(5, 5), 0.5, 0, PROTOCOLS["new-attribute"])
    assert len(split.validation_groups) == 1
    assert len(split.train_groups) == 4
    assert attributes(split.validation_groups) == attributes(split.train_groups)


def test_the_greater_of_two_attributes_is_for_training():
    for seed in range(10):
        split = draw_split(by_attribute(2, 6), 1.0, seed, PROTOCOLS["new-attribute"])
        assert (len(split.train_groups), len(split.validation_groups)) == (6, 2)


def test_every_attribute_is_held_out_by_some_seed():
    tested = [
        attributes(draw_split(by_attribute(2, 2, 2, 2), 0.75, s, PROTOCOLS["new-attribute"]).test_groups)
        for s in range(30)
    ]
    assert set().union(*tested) == {"A0", "A1", "A2", "A3"}


@pytest.mark.parametrize(
    ("dataset", "fraction", "words"),
    [
        (shared_survey(4, 4), 0.5, "group 'g[0-3]' has none"),
        (by_attribute(6), 0.5, "1 attributes cannot be divided"),
        (by_attribute(1, 1, 1), 0.4, "3 attributes cannot be divided"),
        (people(4, 4), 0.5, "1 attributes cannot be divided"),
    ],
)
def test_groups_without_attributes_to_divide(dataset, fraction, words):
    with pytest.raises(ConfigError, match=words):
        draw_split(dataset, fraction, 0, PROTOCOLS["new-attribute"])


@given(sizes=st.lists(st.integers(5, 12), min_size=1, max_size=5), seed=st.integers(0, 9), fraction=FRACTIONS)
def test_people_are_divided_within_their_topic(sizes, seed, fraction):
    split = draw_split(people(*sizes), fraction, seed, PROTOCOLS["individuals"])
    parts = [split.train_groups, split.validation_groups, split.test_groups]
    assert sum(map(len, parts)) == len(set().union(*parts)) == sum(sizes)
    trained = Counter(map(topic_of, split.meta_train_groups))
    assert [trained[f"topic {t}"] for t in range(len(sizes))] == [int(fraction * n + 1e-9) for n in sizes]
    assert split.test_topics == tuple(map(topic_of, split.test_groups))


@pytest.mark.parametrize("most", [5, 10, 20])
def test_fewer_test_people_are_spread_over_the_topics(most):
    dataset = people(20, 20, 20, 20, 20)
    split = draw_split(dataset, 0.4, 1, PROTOCOLS["individuals"], max_test_groups=most)
    assert set(Counter(split.test_topics).values()) == {most // 5}
    everyone = draw_split(dataset, 0.4, 1, PROTOCOLS["individuals"])
    assert split.test_groups == everyone.test_groups[:most]
    assert split.meta_train_groups == everyone.meta_train_groups


def test_validation_people_are_spread_over_the_topics():
    split = draw_split(people(20, 20, 20, 20, 20), 0.5, 1, PROTOCOLS["individuals"])
    assert Counter(map(topic_of, split.validation_groups)) == {f"topic {t}": 2 for t in range(5)}


def test_people_who_answer_on_several_topics_are_divided_as_a_whole():
    dataset = people(1, 1)
    both = [("both=" + str(i), f"t{t}-0") for i in range(8) for t in range(2)]
    mixed = PreferenceDataset.build(
        dataset.iter_questions(),
        [Group(g, "individual") for g in dict(both)],
        {"group_id": [g for g, _ in both], "question_id": [q for _, q in both], "choice": [0] * 16},
    )
    split = draw_split(mixed, 0.5, 0, PROTOCOLS["individuals"])
    assert split.test_topics == ()
    assert (len(split.meta_train_groups), len(split.test_groups)) == (4, 4)


def groups_beside(dataset, count):
    """``dataset`` and ``count`` groups of other kinds, who answer its first question."""
    asked = next(iter(dataset.iter_questions()))
    ids = [f"SEX={i}" for i in range(count)]
    kinds = ["attribute", "country", "community"]
    rows = {"group_id": ids, "question_id": [asked.question_id] * count, "choice": [0] * count}
    groups = [Group(g, kinds[i % 3]) for i, g in enumerate(ids)]
    return merge_surveys(dataset, PreferenceDataset.build([asked], groups, rows))


@given(
    sizes=st.lists(st.integers(5, 12), min_size=1, max_size=4),
    beside=st.integers(1, 40),
    seed=st.integers(0, 9),
    fraction=st.sampled_from([0.4, 0.6, 1.0]),
    most=st.sampled_from([None, 3]),
)
def test_groups_beside_people_are_trained_on_and_change_nothing_else(sizes, beside, seed, fraction, most):
    dataset = people(*sizes)
    alone = draw_split(dataset, fraction, seed, PROTOCOLS["individuals"], max_test_groups=most)
    split = draw_split(
        groups_beside(dataset, beside), fraction, seed, PROTOCOLS["individuals"], max_test_groups=most
    ).model_dump()
    trained = split.pop("train_groups")
    count = len(alone.train_groups)
    assert trained[:count] == alone.train_groups
    assert sorted(trained[count:]) == sorted(f"SEX={i}" for i in range(beside))
    assert split == alone.model_dump(exclude={"train_groups"})


def test_the_draw_of_people_stays_what_it_was():
    split = draw_split(people(4, 5), 0.6, 0, PROTOCOLS["individuals"])
    assert split.train_groups == ("person=0-0", "person=1-2", "person=0-1", "person=1-3")
    assert split.validation_groups == ("person=1-0",)
    assert split.test_groups == ("person=0-3", "person=1-1", "person=0-2", "person=1-4")
    assert split.question_order == ("t1-0", "t0-0", "t0-1", "t1-1")


def test_groups_beside_people_are_in_the_order_that_the_seed_gives():
    dataset = groups_beside(people(5, 5), 12)
    turned = dataclasses.replace(dataset, groups=dataset.groups[::-1])
    first = draw_split(dataset, 0.6, 3, PROTOCOLS["individuals"])
    assert draw_split(turned, 0.6, 3, PROTOCOLS["individuals"]) == first
    assert (
        draw_split(dataset, 0.6, 4, PROTOCOLS["individuals"]).train_groups[-12:] != first.train_groups[-12:]
    )


def test_groups_do_not_take_the_place_of_people():
    with pytest.raises(ConfigError, match="needs groups of kind 'individual'"):
        draw_split(people(6, kind="attribute"), 0.5, 0, PROTOCOLS["individuals"])
    with pytest.raises(ConfigError, match="3 people on 1 topics cannot be divided"):
        draw_split(groups_beside(people(3), 9), 0.4, 0, PROTOCOLS["individuals"])


@given(
    groups=st.integers(3, 9), theirs=st.integers(2, 9), count=st.integers(4, 12), seed=st.integers(0, 9),
    fraction=st.sampled_from([0.7, 0.8, 1.0]),
)  # fmt: skip
def test_another_survey_shares_nothing_with_training(groups, theirs, count, seed, fraction):
    first = shared_survey(groups, 5)
    joined, other = join_surveys(first, shared_survey(theirs, count, seed=1))
    split = draw_split(joined, fraction, seed, PROTOCOLS["new-survey"], other=other)
    assert set(split.test_groups) == set(other.groups)
    assert set(split.test_order) == set(other.new_questions)
    assert split.context_order == split.test_order
    alone = draw_split(first, fraction, seed)
    assert split.meta_train_groups == alone.meta_train_groups
    assert split.question_order == alone.question_order == alone.context_order
    asked = {q.question_id: q.slate_key for q in joined.iter_questions()}
    assert not {asked[q] for q in split.test_order} & {asked[q] for q in split.question_order}


def test_protocol_and_other_survey_go_together():
    dataset = shared_survey(4, 4)
    joined, other = join_surveys(dataset, shared_survey(4, 4, seed=1))
    with pytest.raises(ConfigError, match="needs another survey"):
        draw_split(dataset, 0.5, 0, PROTOCOLS["new-survey"])
    with pytest.raises(ConfigError, match="'paper' tests on no other survey"):
        draw_split(joined, 0.5, 0, PROTOCOLS["paper"], other=other)
    same, other = join_surveys(dataset, dataset)
    with pytest.raises(ConfigError, match="asks 0 questions that the other does not"):
        draw_split(same, 1.0, 0, PROTOCOLS["new-survey"], other=other)


def drawn(protocol, order=1, seed=3, **changes):
    if protocol == "individuals":
        return draw_split(people(5, 6, 7, order=order), 0.6, seed, PROTOCOLS[protocol], **changes)
    if protocol == "new-attribute":
        return draw_split(by_attribute(2, 3, 4, 5, order=order), 0.6, seed, PROTOCOLS[protocol], **changes)
    joined, other = join_surveys(by_attribute(3, 3, order=order), people(4, order=order))
    return draw_split(joined, 1.0, seed, PROTOCOLS[protocol], other=other, **changes)


@pytest.mark.parametrize("protocol", ["new-attribute", "new-survey", "individuals"])
def test_same_arguments_give_the_same_split_whatever_the_order_of_rows(protocol):
    first = drawn(protocol)
    assert drawn(protocol, order=-1) == first == drawn(protocol)
    assert drawn(protocol, seed=4) != first
    assert Split.model_validate_json(first.model_dump_json()) == first
    fewer = drawn(protocol, max_test_groups=2)
    assert fewer.test_groups == first.test_groups[:2]
    assert fewer.meta_train_groups == first.meta_train_groups
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        drawn(protocol, max_test_groups=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test_groups": ("a",)}, "group 'a' is in two parts"),
        ({"validation_groups": ("a",)}, "group 'a' is in two parts"),
        ({"protocol": "new-survey", "test_order": ("q",)}, "question 'q' is in two parts"),
        ({"protocol": "new-questions", "new_questions": ("q",)}, "question 'q' is in two parts"),
        ({"test_topics": ("x", "y")}, "2 topics for 1 test groups"),
    ],
)
def test_a_split_that_mixes_training_and_test_is_refused(changes, words):
    Split(**SPLIT)
    with pytest.raises(ValidationError, match=words):
        Split(**SPLIT | changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": "new-survey"}, "'new-survey' needs test_order"),
        ({"test_order": ("r",)}, "'paper' has no test_order"),
        ({"protocol": "none"}, "protocol 'none' is not one of paper, new-questions, "),
    ],
)
def test_a_split_that_is_not_of_its_protocol_is_refused(changes, words):
    assert protocol_of(Split(**SPLIT)) is PROTOCOLS["paper"]
    with pytest.raises(ConfigError, match=words):
        protocol_of(Split(**SPLIT | changes))


def test_the_registry_is_by_name():
    assert [p.name for p in PROTOCOLS.values()] == list(PROTOCOLS)
    with pytest.raises(ConfigError, match="'none' is not one of paper, "):
        SplitPlan("none", [0.5], 1)
