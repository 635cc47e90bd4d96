"""What is told of a survey: every number beside one that is computed in plain Python."""

import itertools
import math
from statistics import median

import numpy as np
import pytest
from synthetic import one_topic_each, survey

from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.summary import summarise


def dataset(rows, asked, groups, **logs):
    """A survey of rows (group, question, share or choice, n)."""
    return PreferenceDataset.build(
        asked,
        groups,
        {
            "group_id": [r[0] for r in rows],
            "question_id": [r[1] for r in rows],
            "share": [r[2] if isinstance(r[2], list) else None for r in rows],
            "choice": [None if isinstance(r[2], list) else r[2] for r in rows],
            "n": [r[3] for r in rows],
        },
        **logs,
    )


SCALE = Question("s", "test", "How warm?", ("hot", "cold", "mild"), "weather", (3.0, 1.0, 2.0))
NOMINAL = Question("c", "test", "Which colour?", ("red", "blue"), "taste")
ALONE = Question("one", "test", "Asked of one?", ("yes", "no"), "taste")
FLAT = Question("flat", "test", "No extent?", ("yes", "no"), "", (1.0, 1.0))
ROWS = [
    ("a", "s", [1.0, 0.0, 0.0], 10.0),
    ("b", "s", [0.0, 1.0, 0.0], 30.0),
    ("c", "s", [0.5, 0.5, 0.0], None),
    ("a", "c", [0.5, 0.5], 21.0),
    ("b", "c", [0.5, 0.5], None),
    ("a", "one", [1.0, 0.0], 12.0),
    ("a", "flat", [1.0, 0.0], 14.0),
    ("b", "flat", [0.0, 1.0], 15.0),
]
GROUPS = [Group("a", "attribute"), Group("b", "country"), Group("c", "community"), Group("d", "attribute")]


def small(**logs):
    return summarise(dataset(ROWS, [SCALE, NOMINAL, ALONE, FLAT], GROUPS, **logs))


def test_counts_groups_and_topics():
    told = small()
    assert (told.questions, told.groups, told.answers, told.scale) == (4, 4, 8, 2)
    assert [(g.group_id, g.kind, g.answered, g.coverage) for g in told.by_group] == [
        ("a", "attribute", 4, 1.0),
        ("b", "country", 3, 0.75),
        ("c", "community", 1, 0.25),
        ("d", "attribute", 0, 0.0),
    ]
    assert [g.median_n for g in told.by_group] == [median([10, 12, 14, 21]), median([30, 15]), None, None]
    # of topics with as many questions, the first one stays first; an empty topic is none
    assert [(t.topic, t.questions, t.answers) for t in told.by_topic] == [
        ("taste", 2, 3),
        ("weather", 1, 3),
        (None, 1, 2),
    ]


def test_divisive_questions_by_the_definition():
    """On a scale from 1 to 3 the mean of the groups is half hot, half cold: W1 is 1 to either end, of 2."""
    told = small()
    assert told.compared == "groups"
    assert [(q.question_id, q.scale, q.groups) for q in told.divisive] == [("s", True, 3), ("c", False, 2)]
    assert told.divisive[0].distance == pytest.approx((0.5 + 0.5 + 0.0) / 3, abs=1e-12)
    assert told.divisive[1].distance == 0.0


def jensen_shannon(p, q):
    total = 0.0
    for a, b in zip(p, q, strict=True):
        m = (a + b) / 2
        total += sum(x * math.log(x / m) / 2 for x in (a, b) if x > 0)
    return math.sqrt(max(total, 0.0))


def wasserstein(p, q, scale):
    order = sorted(range(len(scale)), key=lambda i: scale[i])
    total, below = 0.0, 0.0
    for i, j in itertools.pairwise(order):
        below += p[i] - q[i]
        total += abs(below) * (scale[j] - scale[i])
    return total / (max(scale) - min(scale))


@pytest.mark.parametrize("kind", ["shares", "choices", "both"])
def test_divisive_questions_of_random_surveys(kind):
    """Shares and single choices are computed apart; any mixture is the plain mean over groups."""
    base = survey(groups=9, count=12, seed=3, answered=0.6)
    rng = np.random.default_rng(4)
    rows = base.preferences.to_pylist()
    asked = {q.question_id: q for q in base.iter_questions()}
    for i, row in enumerate(rows):
        if kind == "choices" or (kind == "both" and i % 2):
            row["share"], row["choice"] = None, int(rng.integers(len(asked[row["question_id"]].responses)))
    made = PreferenceDataset.build(
        asked.values(),
        [Group(f"g{i}", "attribute") for i in range(9)],
        {k: [r[k] for r in rows] for k in ("group_id", "question_id", "share", "choice")},
    )
    expected = {}
    for q in asked.values():
        shares = [
            r["share"] or [float(i == r["choice"]) for i in range(len(q.responses))]
            for r in rows
            if r["question_id"] == q.question_id
        ]
        if len(shares) < 2:
            continue
        mean = [sum(s[i] for s in shares) / len(shares) for i in range(len(q.responses))]
        each = [
            jensen_shannon(s, mean) if q.ordinal is None else wasserstein(s, mean, q.ordinal) for s in shares
        ]
        expected[q.question_id] = sum(each) / len(each)
    found = summarise(made).divisive
    assert {q.question_id: q.distance for q in found} == pytest.approx(expected, abs=1e-9)
    assert [q.distance for q in found] == sorted((q.distance for q in found), reverse=True)


def test_people_are_compared_only_where_there_are_no_other_groups():
    people = [Group(f"p{i}", "individual") for i in range(4)]
    rows = [(f"p{i}", "c", i % 2, None) for i in range(4)]
    alone = summarise(dataset(rows, [NOMINAL], people))
    apart = jensen_shannon([1, 0], [0.5, 0.5])
    assert (alone.compared, alone.divisive[0].groups) == ("people", 4)
    assert alone.divisive[0].distance == pytest.approx(apart)
    both = summarise(
        dataset([*ROWS, *rows], [SCALE, NOMINAL, ALONE, FLAT], [*GROUPS, *people]),
    )
    assert (both.compared, both.divisive) == ("groups", small().divisive)


def test_people_without_a_common_question_divide_nothing():
    told = summarise(one_topic_each(groups=2, count=4))
    assert told.divisive == ()
    assert [(t.topic, t.questions, t.answers) for t in told.by_topic] == [("first", 2, 2), ("second", 2, 2)]


def test_missing_answers():
    told = small()
    assert told.missing_pairs == 4 * 4 - 8
    assert [(m.question_id, m.groups) for m in told.missing] == [("one", 3), ("c", 2), ("flat", 2), ("s", 1)]
    assert [told.groups_without(m.row) for m in told.missing] == [
        ["b", "c", "d"],
        ["c", "d"],
        ["c", "d"],
        ["d"],
    ]
    whole = summarise(survey())
    assert (whole.missing, whole.missing_pairs) == ((), 0)


def test_shares_of_a_questions_groups():
    told = small()
    groups, answers = told.answers_to(0)
    assert groups.tolist() == [0, 1, 2]
    shares, n = told.shares_at(answers)
    assert [s.tolist() for s in shares] == [[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0]]
    assert n == [10, 30, None]
    assert told.shares_at(answers[:0]) == ([], [])


def test_logs_are_counted_with_their_first_place():
    told = small(
        dropped=[("t.csv: row 2", "empty"), ("t.csv: row 3", "refused"), ("t.csv: row 4", "refused")],
        notes=[("t.csv", "separated by ;")],
    )
    assert [(e.text, e.rows, e.example) for e in told.dropped] == [
        ("refused", 2, "t.csv: row 3"),
        ("empty", 1, "t.csv: row 2"),
    ]
    assert [(e.text, e.rows, e.example) for e in told.notes] == [("separated by ;", 1, "t.csv")]
