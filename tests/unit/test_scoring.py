"""Scoring one split, without a cluster."""

import dataclasses

import numpy as np
import pytest
from synthetic import arrays, one_topic_each, survey

from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.methods import METHODS, SplitData
from gpo_ray.evaluation.plan import EvaluationPlan
from gpo_ray.evaluation.protocols import PROTOCOLS, protocol_of
from gpo_ray.evaluation.scoring import evaluate_split
from gpo_ray.evaluation.summary import cells, topic_accuracy
from gpo_ray.evaluation.tasks import CURVE, split_tasks
from gpo_ray.preferences.dataset import Group, PreferenceDataset
from gpo_ray.preferences.join import join_surveys, merge_surveys
from gpo_ray.preferences.splits import draw_split

PLAN = EvaluationPlan(("uniform", "ridge"), context=4)


def sized(*sizes, context=4):
    return EvaluationPlan(("uniform",), context, context_sizes=sizes)


def tasks_of(data, split, plan):
    return split_tasks(data, split, plan.context, plan.context_sizes)


def fitted(name, plan, data, split):
    """A method, fitted to one split with the same embeddings for every pooling."""
    by_pooling = dict.fromkeys(plan.needs().poolings, data)
    return METHODS[name].fit(SplitData(by_pooling, split, protocol_of(split).another_survey, plan.settings))


def shares(predictions):
    return [p.shares for p in predictions]


def new_survey(**changes):
    joined, other = join_surveys(survey(5, 12), survey(4, 20, seed=1))
    return joined, other, draw_split(joined, 1.0, 0, PROTOCOLS["new-survey"], other=other, **changes)


def test_context_and_targets_are_the_other_surveys_alone():
    joined, other, split = new_survey()
    data = arrays(joined)
    main, curve = tasks_of(data, split, PLAN)
    theirs = set(data.question_numbers(other.new_questions).tolist())
    assert [data.group_ids[t.group] for t in main] == list(split.test_groups)
    assert [n for n, _ in curve] == [1, 2, 5]
    for task in main + [t for _, tasks in curve for t in tasks]:
        assert {*task.context.tolist(), *task.target.tolist()} <= theirs
        assert not set(task.context.tolist()) & set(task.target.tolist())
    assert 10 < len(theirs) < 20  # some of the 20 are asked by both
    assert all(len(t.context) == 4 and len(t.target) == len(theirs) - 4 for t in main)


def test_new_survey_is_scored_by_who_can_answer_without_it():
    joined, _, split = new_survey(max_test_groups=2)
    answer = ("gpo", "paper", "uniform", "lm-base", "ridge")
    plan = EvaluationPlan((*answer, "train-mean", "context-mean", "ridge-mix"), 4, 2, ())
    data = arrays(joined)
    rows = evaluate_split(plan, dict.fromkeys(plan.needs().poolings, data), split)
    assert {r["method"] for r in rows} == set(answer)
    assert {r["group_id"] for r in rows} == set(split.test_groups)
    assert {r["protocol"] for r in rows} == {"new-survey"}
    assert not any(r["curve"] or r["topic"] for r in rows)


def test_no_answer_outside_the_context_reaches_a_prediction():
    joined, _, split = new_survey()
    data = arrays(joined)
    main = tasks_of(data, split, PLAN)[0]
    masked = list(data.shares)
    for task in main:
        sizes = np.diff(data.offsets)[data.answered[task.group]]
        kept = np.repeat(np.isin(data.answered[task.group], task.context), sizes)
        masked[task.group] = np.where(kept, masked[task.group], np.repeat(1 / sizes, sizes))
    plan = EvaluationPlan(("gpo",), 4, 2, ())
    seen, unseen = (
        shares(fitted("gpo", plan, source, split).predict(main))
        for source in (data, dataclasses.replace(data, shares=tuple(masked)))
    )
    for a, b in zip(seen, unseen, strict=True):
        np.testing.assert_array_equal(a, b)


def test_people_are_scored_by_topic():
    dataset = one_topic_each()
    split = draw_split(dataset, 0.5, 0, PROTOCOLS["individuals"])
    rows = evaluate_split(PLAN, {"mean": arrays(dataset)}, split)
    assert {r["topic"] for r in rows} == {"first", "second"}
    assert {(r["group_id"], r["topic"]) for r in rows} == set(
        zip(split.test_groups, split.test_topics, strict=True)
    )
    main = [r for r in rows if not r["curve"]]
    assert all(r["questions"] == 11 for r in main)
    (cell,) = (c for c in cells(rows) if c["method"] == "ridge")
    means = [
        np.mean([r["accuracy"] for r in main if r["method"] == "ridge" and r["topic"] == topic])
        for topic in ("first", "second")
    ]
    assert cell["topic_accuracy"] == pytest.approx(np.mean(means))
    lines = PROTOCOLS["individuals"].table({"cells": cells(rows)}).splitlines()
    assert f"{cell['topic_accuracy']:.4f}" in lines[-1]
    assert f"{cell['alignment']:.4f}" in lines[-1]


def test_groups_beside_people_are_learnt_from_and_not_scored():
    people = one_topic_each()
    asked = people.questions["question_id"].to_pylist()
    rows = {"group_id": ["SEX=Male"] * len(asked), "question_id": asked, "choice": [0] * len(asked)}
    men = PreferenceDataset.build(people.iter_questions(), [Group("SEX=Male", "attribute")], rows)
    alone, beside = (
        evaluate_split(
            EvaluationPlan(("train-mean",), 4),
            {"mean": arrays(d)},
            draw_split(d, 0.5, 0, PROTOCOLS["individuals"]),
        )
        for d in (people, merge_surveys(people, men))
    )
    for a, b in zip(alone, beside, strict=True):
        assert [a[c] for c in ("group_id", "topic", "context", "questions")] == [
            b[c] for c in ("group_id", "topic", "context", "questions")
        ]
        assert a["alignment"] > b["alignment"]  # people of a topic answer alike, men do not


def test_topics_count_alike_however_many_people_they_have():
    rows = [{"topic": t, "accuracy": a} for t, a in (("x", 1.0), ("x", 0.5), ("x", 0.0), ("y", 1.0))]
    assert topic_accuracy(rows) == 0.75
    assert topic_accuracy([r | {"topic": None} for r in rows]) == 0.625


@pytest.mark.parametrize("protocol", ["paper", "new-questions"])
@pytest.mark.parametrize("answered", [1.0, 0.7])
def test_all_context_sizes_are_scored_on_the_same_questions_of_the_same_groups(protocol, answered):
    dataset = survey(8, 40, answered=answered)
    data = arrays(dataset)
    split = draw_split(dataset, 0.5, 0, PROTOCOLS[protocol])
    curve = tasks_of(data, split, sized(2, 5, 8))[1]
    assert [n for n, _ in curve] == [2, 5, 8]
    for n, tasks in curve:
        for task, longest in zip(tasks, curve[-1][1], strict=True):
            assert task.group == longest.group
            assert task.target.tolist() == longest.target.tolist()
            assert task.context.tolist() == longest.context[:n].tolist()
            assert len(task.context) == n
            assert not set(task.context.tolist()) & set(task.target.tolist())


@pytest.mark.parametrize(("count", "want"), [(2, [1]), (24, [1, 2, 5, 10]), (399, CURVE[:-1]), (400, CURVE)])
def test_default_sizes_go_up_to_half_of_the_answers(count, want):
    dataset = survey(4, count)
    assert [n for n, _ in tasks_of(arrays(dataset), draw_split(dataset, 0.5, 0), PLAN)[1]] == list(want)


def test_chosen_sizes_leave_something_to_predict():
    dataset = survey(4, 24)
    data, split = arrays(dataset), draw_split(dataset, 0.5, 0)
    curve = tasks_of(data, split, sized(30, 24, 23, 20, 3, 3))[1]
    assert [n for n, _ in curve] == [3, 20, 23]
    assert all(len(t.target) == 1 for _, tasks in curve for t in tasks)
    assert tasks_of(data, split, sized())[1] == []
    rows = evaluate_split(sized(), {"mean": data}, split)
    assert rows
    assert not any(r["curve"] for r in rows)
    new = draw_split(dataset, 0.5, 0, PROTOCOLS["new-questions"])  # 17 to train on, 7 to predict
    assert [n for n, _ in tasks_of(data, new, sized(17, 18))[1]] == [17]


def test_people_on_one_topic_give_their_own_answers_as_context():
    """Half of the questions is not theirs, which must not thin out their context."""
    dataset = one_topic_each()
    curve = tasks_of(arrays(dataset), draw_split(dataset, 0.5, 0, PROTOCOLS["individuals"]), PLAN)[1]
    assert [n for n, _ in curve] == [1, 2, 5]
    assert all(len(t.context) == n and len(t.target) == 10 for n, tasks in curve for t in tasks)


def test_groups_with_too_few_answers_leave_the_curve_alone():
    dense, sparse = survey(5, 20), survey(1, 20, answered=0.0)
    columns = {
        c: dense.preferences[c].to_pylist() + sparse.preferences[c].to_pylist()
        for c in ("group_id", "question_id", "share")
    }
    columns["group_id"][-2:] = ["few", "few"]
    groups = [Group(g, "attribute") for g in dict.fromkeys(columns["group_id"])]
    dataset = PreferenceDataset.build(dense.iter_questions(), groups, columns)
    seeds = (draw_split(dataset, 0.5, s) for s in range(20))
    split = next(s for s in seeds if "few" in s.test_groups)
    data = arrays(dataset)
    main, curve = tasks_of(data, split, PLAN)
    few = data.group_numbers(["few"])[0]
    assert [(len(t.context), len(t.target)) for t in main if t.group == few] == [(1, 1)]
    assert not any(t.group == few for _, tasks in curve for t in tasks)


def test_sizes_below_one_are_refused():
    with pytest.raises(ConfigError, match="context sizes must be at least 1, not 0"):
        sized(5, 0)


def test_coverage_is_the_share_of_responses_within_their_intervals():
    dataset = survey(8, 30)
    data, split = arrays(dataset), draw_split(dataset, 0.7, 0, PROTOCOLS["new-questions"])
    plan = EvaluationPlan(("gpo", "paper", "train-mean"), 4, 2, ())
    rows = evaluate_split(plan, dict.fromkeys(plan.needs().poolings, data), split)
    assert {r["coverage"] for r in rows if r["method"] != "gpo"} == {None}
    method = fitted("gpo", plan, data, split)
    want = []
    for task, predicted in zip(tasks := tasks_of(data, split, plan)[0], method.predict(tasks), strict=True):
        truth = data.shares_of(task.group, task.target)
        found = method.at_questions.posterior(
            task.context, data.shares_of(task.group, task.context), task.target
        )
        low, high = predicted.shares - found.half_width, predicted.shares + found.half_width
        want.append(np.mean((low <= truth) & (truth <= high)))
    assert [r["coverage"] for r in rows if r["method"] == "gpo"] == pytest.approx(want)
    cell = {c["method"]: c["coverage"] for c in cells(rows)}
    assert cell["gpo"] == pytest.approx(np.mean(want))
    assert cell["paper"] is None


def test_prior_of_the_evaluation_knows_meta_train_groups_and_training_questions_alone():
    dataset = survey(8, 30)
    data, split = arrays(dataset), draw_split(dataset, 0.7, 0, PROTOCOLS["new-questions"])
    plan = EvaluationPlan(("gpo",), 4, 2, ())
    view = fitted("gpo", plan, data, split).at_questions
    assert [data.group_ids[g] for g in view.prior.groups] == list(split.meta_train_groups)
    inside = {data.question_ids[q] for q in np.flatnonzero(view.question_index >= 0)}
    assert inside == set(split.question_order)
    assert not inside & set(split.new_questions)
