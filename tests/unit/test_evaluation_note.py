"""What an evaluation says of itself."""

import re

import pytest
from synthetic import arrays, survey

from gpo_ray.evaluation.plan import EvaluationPlan
from gpo_ray.evaluation.protocols import PROTOCOLS
from gpo_ray.evaluation.runner import _note
from gpo_ray.evaluation.scoring import evaluate_split
from gpo_ray.preferences.join import join_surveys
from gpo_ray.preferences.splits import draw_split


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


def test_the_context_takes_nothing_from_the_new_questions():
    assert _note(20, rows([5, 5], "new-questions")) is None


def test_in_another_survey_the_advised_context_scores_as_many_as_told():
    joined, other = join_surveys(survey(5, 12), survey(4, 20, seed=1))
    split = draw_split(joined, 1.0, 0, PROTOCOLS["new-survey"], other=other)
    data, theirs = {"mean": arrays(joined)}, len(other.new_questions)

    def scored(context):
        return evaluate_split(EvaluationPlan(("uniform",), context, None, ()), data, split)

    note = _note(theirs - 3, scored(theirs - 3))
    assert note.startswith(f"{theirs - 3} of a group's answers are context, so that only 3 are scored")
    context, told = map(int, re.search(r"--context (\d+) would score (\d+)$", note).groups())
    assert {r["questions"] for r in scored(context)} == {told}
    assert _note(context, scored(context)) is None
