"""Twins: groups of nearly the same answers are found, noted, and on one side of every split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from survey_sources import DATA

from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.protocols import PROTOCOLS
from gpo_ray.preferences.attributes import attributes_of, overlap
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.join import join_surveys, merge_surveys
from gpo_ray.preferences.readers import read_survey
from gpo_ray.preferences.splits import draw_split
from gpo_ray.preferences.twins import find_twins, group_answers, note_twins

RESPONSES = ("Yes", "No", "Maybe")


def asked(count, first=0):
    return [Question(f"q{i}", "test", f"Question {i}?", RESPONSES) for i in range(first, first + count)]


def dataset(shares, kind="attribute", answered=None, questions=None):
    """Groups by id, each with shares (Q, 3); ``answered`` are the numbers of a group's questions."""
    rows = {"group_id": [], "question_id": [], "share": []}
    count = len(next(iter(shares.values())))
    questions = asked(count) if questions is None else questions
    for g, values in shares.items():
        for i in (answered or {}).get(g, range(count)):
            rows["group_id"].append(g)
            rows["question_id"].append(questions[i].question_id)
            rows["share"].append((np.asarray(values[i]) / np.sum(values[i])).tolist())
    return PreferenceDataset.build(questions, [Group(g, kind) for g in shares], rows)


def random(rng, count=8):
    return rng.dirichlet(np.ones(3), count)


def several(count=6, questions=8, seed=0):
    rng = np.random.default_rng(seed)
    return {f"g{i}": random(rng, questions) for i in range(count)}


def moved(values, distance):
    """Shares at a total variation distance from ``values``, in every question."""
    found = np.array(values)
    for row in found:
        big, small = row.argmax(), row.argmin()
        row[big] -= distance
        row[small] += distance
    return found


def planted(rng, names, copies, questions):
    """Random groups, and copies of some under another name: rounded, with a few answers missing."""
    shares = {name: random(rng, questions) for name in names}
    answered, sets = {}, {}
    for i in range(copies):
        of = names[int(rng.integers(len(names)))]
        copy = f"Z{i}=copy" if "=" in of else f"copy{i}"
        values = np.round(shares[of], 2 if questions >= 25 else 3) if i % 2 else shares[of]
        shares[copy] = values / values.sum(1, keepdims=True)
        answered[copy] = range(int(rng.integers(questions // 5 + 1)), questions)
        sets.setdefault(of, {of}).add(copy)
    return shares, answered, sets


def test_a_copy_is_found_and_noted():
    shares = several()
    found = dataset(shares | {"copy": shares["g3"]})
    assert find_twins(found) == (("copy", "g3"),)
    (note,) = note_twins(found).notes.to_pylist()
    assert note["where"] == "groups"
    assert note["note"].startswith("'copy', 'g3' gave nearly the same answers; no split divides them")
    assert "new-attribute" not in note["note"]
    again = note_twins(note_twins(found))
    assert again.notes.num_rows == 1


def test_twins_of_two_attributes_are_advised_to_be_tested_by_attribute():
    rng = np.random.default_rng(1)
    shares = {"SEX=Male": random(rng), "SEX=Female": random(rng)}
    found = note_twins(dataset(shares | {"GENDER=Man": shares["SEX=Male"]}))
    assert "--protocol new-attribute" in found.notes["note"][0].as_py()


def test_without_twins_there_is_no_note():
    found = dataset(several())
    assert find_twins(found) == ()
    assert note_twins(found) is found


@pytest.mark.parametrize(
    ("questions", "distance", "is_twin"),
    [(8, 9e-4, True), (8, 1.2e-3, False), (30, 4.9e-3, True), (30, 5.2e-3, False), (30, 0.05, False)],
)
def test_how_near_answers_must_be(questions, distance, is_twin):
    shares = several(2, questions)
    assert bool(find_twins(dataset(shares | {"near": moved(shares["g0"], distance)}))) == is_twin


@pytest.mark.parametrize(("decimals", "questions"), [(3, 6), (2, 40)])
def test_answers_that_were_rounded_are_still_the_same(decimals, questions):
    shares = several(4, questions)
    assert find_twins(dataset(shares | {"near": np.round(shares["g2"], decimals)})) == (("g2", "near"),)


def test_one_answer_that_was_corrected_does_not_hide_a_copy():
    shares = several(4, 100)
    changed = shares["g0"].copy()
    changed[7] = changed[7][::-1]
    assert find_twins(dataset(shares | {"near": changed})) == (("g0", "near"),)


@pytest.mark.parametrize(
    ("first", "second", "is_twin"),
    [
        (range(10), range(10), True),
        (range(10), range(5), True),  # all of the smaller's
        (range(10), range(4), False),  # too few in common
        (range(8), range(2, 10), False),  # 6 of 8
        (range(9), range(1, 10), True),  # 8 of 9
    ],
)
def test_how_many_questions_must_be_common(first, second, is_twin):
    shares = several(3, 10)
    found = dataset(shares | {"copy": shares["g0"]}, answered={"g0": first, "copy": second})
    assert bool(find_twins(found)) == is_twin


def test_twins_of_twins_are_one_set():
    shares = several(3, 30)
    near = {"a": moved(shares["g0"], 4e-3), "b": moved(shares["g0"], 8e-3)}
    assert find_twins(dataset(shares | near)) == (("a", "b", "g0"),)


def test_people_and_groups_that_answer_like_people_are_never_twins():
    shares = dict.fromkeys(["a", "b", "c"], np.eye(3)[[0, 1, 2, 0, 1, 2, 0]])
    assert find_twins(dataset(shares)) == ()
    shares = dict.fromkeys(["a", "b", "c"], np.full((7, 3), 1 / 3))
    assert find_twins(dataset(shares, kind="individual")) == ()
    assert find_twins(dataset(shares, kind="country")) == (("a", "b", "c"),)


def test_a_survey_that_was_merged_with_itself_has_only_twins():
    first = dataset(several(4))
    merged = merge_surveys(first, first)
    assert find_twins(merged) == tuple((f"g{i}", f"other:g{i}") for i in range(4))
    joined, _ = join_surveys(first, first)  # there the questions have two ids each
    assert find_twins(joined) == find_twins(merged)


def test_twins_over_several_blocks_are_the_same_as_by_every_pair():
    rng = np.random.default_rng(3)
    names = [f"g{i:03}" for i in range(600)]
    shares, answered, _ = planted(rng, names, 40, 25)
    found = dataset(shares, answered=answered)
    want = set()
    ids = list(shares)
    for i, a in enumerate(ids):
        for b in ids[i + 1 :]:
            if abs(shares[a][20, 0] - shares[b][20, 0]) < 0.02:  # all answered question 20
                common = sorted(set(answered.get(a, range(25))) & set(answered.get(b, range(25))))
                distance = np.abs(shares[a][common] - shares[b][common]).sum(1).mean() / 2
                if distance <= (5e-3 if len(common) >= 20 else 1e-3):
                    want.add((a, b))
    got = find_twins(found)
    assert {frozenset(s) for s in got} == {frozenset(s) for s in _closed(want)}
    assert len(got) > 20


def _closed(pairs):
    sets = {g: {g} for pair in pairs for g in pair}
    for a, b in pairs:
        both = sets[a] | sets[b]
        sets |= dict.fromkeys(both, both)
    return sets.values()


@pytest.mark.parametrize("kind", ["gss", "gss-panel", "opinionqa", "globalopinionqa"])
def test_real_groups_are_no_twins(kind):
    if kind == "gss":
        source = None
    else:
        file = {"gss-panel": "gss_panel", "globalopinionqa": "globalopinionqa/global_opinions.csv"}
        source = DATA / file.get(kind, kind)
        if not source.exists():
            pytest.skip(f"{kind} is not on this machine")
    assert find_twins(read_survey(kind, source)) == ()


SPLITS = st.tuples(st.integers(0, 10_000), st.sampled_from([0.3, 0.4, 0.5, 0.6, 0.8]), st.integers(0, 9))


def parts_of(split):
    return [set(split.train_groups), set(split.validation_groups), set(split.test_groups)]


def assert_whole(split, sets):
    parts = parts_of(split)
    for some in sets:
        assert sum(not part.isdisjoint(some) for part in parts) <= 1, some


@given(drawn=SPLITS, protocol=st.sampled_from(["paper", "new-questions"]), copies=st.integers(1, 6))
def test_twins_are_never_divided(drawn, protocol, copies):
    seed, fraction, draw = drawn
    rng = np.random.default_rng(seed)
    shares, answered, sets = planted(rng, [f"g{i}" for i in range(9)], copies, int(rng.integers(6, 40)))
    found = dataset(shares, answered=answered)
    split = draw_split(found, fraction, draw, PROTOCOLS[protocol])
    assert_whole(split, sets.values())
    assert_whole(split, find_twins(found))
    parts = parts_of(split)
    assert all(parts)
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(shares)


@given(drawn=SPLITS, copies=st.integers(1, 4), crossed=st.integers(0, 3))
def test_twins_and_attributes_are_never_divided(drawn, copies, crossed):
    seed, fraction, draw = drawn
    rng = np.random.default_rng(seed)
    names = [f"A{a}={i}" for a in range(12) for i in range(3)]
    names += [f"A{i}=0 & A{i + 4}=1" for i in range(crossed)]
    shares, answered, sets = planted(rng, names, copies, 25)
    split = draw_split(dataset(shares, answered=answered), fraction, draw, PROTOCOLS["new-attribute"])
    assert_whole(split, sets.values())
    train, validation, test = ({a for g in part for a in attributes_of(g)} for part in parts_of(split))
    assert not (train | validation) & test
    assert split.test_groups
    if len({a for g in split.meta_train_groups for a in attributes_of(g)}) > 5:
        assert not train & validation


@given(drawn=SPLITS, copies=st.integers(1, 4))
def test_training_has_no_twin_of_another_surveys_group(drawn, copies):
    seed, fraction, draw = drawn
    rng = np.random.default_rng(seed)
    fraction = max(fraction, 0.5)
    first = several(9, 10, seed)
    second = {f"h{i}": random(rng, 13) for i in range(4)}
    for i in range(copies):
        second[f"h{i}"][:10] = first[f"g{i}"]
    joined, other = join_surveys(dataset(first), dataset(second))
    assert find_twins(joined) == tuple((f"g{i}", f"h{i}") for i in range(copies))
    split = draw_split(joined, fraction, draw, PROTOCOLS["new-survey"], other=other)
    assert_whole(split, [{f"g{i}", f"h{i}"} for i in range(copies)])
    assert set(split.test_groups) == set(second)


@given(drawn=SPLITS, copies=st.integers(1, 5))
def test_people_are_drawn_as_if_there_were_no_groups_with_twins(drawn, copies):
    seed, fraction, draw = drawn
    rng = np.random.default_rng(seed)
    shares, answered, _ = planted(rng, [f"g{i}" for i in range(5)], copies, 8)
    people = {f"p{i}": np.eye(3)[rng.integers(3, size=8)] for i in range(12)}
    alone = draw_split(dataset(people, "individual"), fraction, draw, PROTOCOLS["individuals"])
    beside = merge_surveys(dataset(people, "individual"), dataset(shares, answered=answered))
    split = draw_split(beside, fraction, draw, PROTOCOLS["individuals"])
    assert split.test_groups == alone.test_groups
    assert split.validation_groups == alone.validation_groups
    assert set(split.train_groups) == set(alone.train_groups) | set(shares)


@given(drawn=SPLITS, name=st.sampled_from(["paper", "new-questions", "new-attribute"]))
def test_without_twins_the_split_is_the_rules_own(drawn, name):
    seed, fraction, draw = drawn
    rng = np.random.default_rng(seed)
    shares = {f"A{i % 5}={i}": random(rng) for i in range(15)}
    found = dataset(shares)
    assert find_twins(found) == ()
    split = draw_split(found, fraction, draw, PROTOCOLS[name])
    assert split == draw_split(found, fraction, draw, PROTOCOLS[name], twins=())


def test_a_survey_of_two_groups_under_many_names_cannot_be_divided():
    shares = several(2)
    copies = {f"{g}-{i}": shares[g] for g in shares for i in range(3)}
    with pytest.raises(ConfigError, match=r"2 groups cannot be .*same answers, such as 'g0' and"):
        draw_split(dataset(shares | copies), 0.5, 0)


def test_of_a_survey_that_stays_on_disk_the_groups_answers_are_read(tmp_path):
    shares = several()
    groups = dataset(shares | {"copy": shares["g1"]})
    people = dataset({f"p{i}": np.eye(3)[[0] * 8] for i in range(5)}, "individual")
    merge_surveys(groups, people).save(tmp_path / "survey")
    bare = PreferenceDataset.load(tmp_path / "survey", answers=False)
    assert find_twins(bare) == ()
    found = group_answers(str(tmp_path / "survey"), bare)
    assert find_twins(found) == (("copy", "g1"),)
    assert "p0" not in found.preferences["group_id"].to_pylist()
    people.save(tmp_path / "people")
    bare = PreferenceDataset.load(tmp_path / "people", answers=False)
    assert group_answers(str(tmp_path / "people"), bare) is bare


@pytest.mark.parametrize(
    ("group", "attributes"),
    [
        ("SEX=Female", ("SEX",)),
        ("France", ()),
        ("AGE=18-29 & SEX=Female", ("AGE", "SEX")),
        ("RELIG=Church & State", ("RELIG",)),
        ("Trinidad & Tobago", ()),
    ],
)
def test_the_attributes_of_a_group(group, attributes):
    assert attributes_of(group) == attributes


def test_groups_overlap_if_they_have_several_attributes():
    assert overlap(["SEX=Male", "AGE=18-29"])
    assert not overlap(["SEX=Male", "SEX=Female"])
    assert not overlap(["SEX=Male", "AGE=18-29", "France"])
    assert not overlap([])
