"""What an evaluation says of itself."""

import pytest

from gpo_ray.evaluation.runner import _note


def rows(questions, protocol="paper"):
    row = {"protocol": protocol, "curve": False}
    return [row | {"questions": n} for n in questions] + [row | {"questions": 1, "curve": True}]


@pytest.mark.parametrize(("context", "questions"), [(20, [480, 475]), (12, [13, 13]), (10, [10, 10])])
def test_nothing_where_enough_is_scored(context, questions):
    assert _note(context, rows(questions)) is None


def test_a_context_that_leaves_little_to_score_is_named_with_another():
    note = _note(20, rows([5, 5, 4]))
    assert note.startswith("20 of a group's answers are context, so that only 5 are scored")
    assert note.endswith("--context 12 would score 13")


@pytest.mark.parametrize("protocol", ["new-questions", "new-survey"])
def test_the_context_takes_nothing_from_other_questions(protocol):
    assert _note(20, rows([5, 5], protocol)) is None
