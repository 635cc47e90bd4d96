"""What all methods have in common, and that one of a new kind fits in."""

import numpy as np
import pytest
from synthetic import arrays, survey

from gpo_ray.config import load_train_config
from gpo_ray.embedding.template import instruction, letter
from gpo_ray.evaluation.methods import (
    METHODS,
    FitSettings,
    Fitted,
    LanguageModelSettings,
    Method,
    Needs,
    SurveyTexts,
    TaskPrediction,
)
from gpo_ray.evaluation.methods.meta_trained_transformer import MetaTrainedTransformer
from gpo_ray.evaluation.plan import EvaluationPlan
from gpo_ray.evaluation.protocols import PROTOCOLS
from gpo_ray.evaluation.scoring import evaluate_split
from gpo_ray.evaluation.statistics import PLAIN
from gpo_ray.lm import model
from gpo_ray.lm.model import LanguageModel
from gpo_ray.lm.prefix_tree import Text
from gpo_ray.lm.score import score_responses
from gpo_ray.preferences.dataset import Group, PreferenceDataset
from gpo_ray.preferences.splits import draw_split
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.group_prior import GroupPrior
from gpo_ray.runtime.resources import evaluate_request

SETTINGS = FitSettings(steps=2)


class FromTexts(Method):
    """Sure of the response whose text comes first, and not sure at all of how sure."""

    name = "from-texts"

    def needs(self, settings):
        return Needs(texts=True, gpus=0.5)

    def configuration(self, settings):
        return {"steps": settings.steps}

    def fit(self, data, tell=lambda _: None):
        tell(0.5)
        return FittedFromTexts(data.texts.questions)


class FittedFromTexts(Fitted):
    def __init__(self, texts):
        self.texts = texts

    def predict(self, tasks):
        return [self.prediction(t) for t in tasks] if self.texts[0].responses else None

    def prediction(self, task):
        asked = [self.texts[q].responses for q in task.target]
        shares = np.concatenate([[float(r == min(a)) for r in a] for a in asked])
        return TaskPrediction(shares, np.ones(len(shares)))


def test_a_method_of_a_new_kind_is_one_class_and_one_entry(monkeypatch):
    monkeypatch.setitem(METHODS, FromTexts.name, FromTexts())
    dataset = survey(8, 20)
    split = draw_split(dataset, 0.5, 0)
    plan = EvaluationPlan(("uniform", "from-texts"), 4, 2, ())
    assert plan.needs() == Needs(frozenset({"mean"}), texts=True, gpus=0.5)
    told = []
    texts = SurveyTexts.of(dataset)
    rows = evaluate_split(plan, {"mean": arrays(dataset)}, split, lambda *t: told.append(t), texts)
    mine = [r for r in rows if r["method"] == "from-texts"]
    assert told[-3:] == [("from-texts", 0.0), ("from-texts", 0.5), ("from-texts", 1.0)]
    assert [r["group_id"] for r in mine] == list(split.test_groups)
    assert {r["coverage"] for r in mine} == {1.0}
    data = arrays(dataset)
    for row, g in zip(mine, data.group_numbers(split.test_groups), strict=True):
        target = data.question_numbers(split.question_order)[4:]
        truth = np.split(data.shares_of(g, target), np.cumsum(np.diff(data.offsets)[target])[:-1])
        assert row["accuracy"] == pytest.approx(np.mean([t.argmax() == 0 for t in truth]))


class Told(Method):
    """The language model is told who the group is and picks a letter."""

    name = "told"

    def needs(self, settings):
        return Needs(language_model=True)

    def fit(self, data, tell=lambda _: None):
        return FittedTold(data.texts, data.arrays["mean"].group_ids, data.language_model())


class FittedTold(Fitted):
    def __init__(self, texts, groups, model):
        self.texts, self.groups, self.model = texts, groups, model

    def predict(self, tasks):
        return [
            TaskPrediction(np.concatenate([np.exp(s.first_token) for s in self.scores(t)])) for t in tasks
        ]

    def scores(self, task):
        about = self.texts.descriptions[self.groups[task.group]]
        asked = [self.texts.questions[q] for q in task.target]
        prompts = self.model.chat_tokens([f"{about} {instruction(q.prompt, q.responses)}" for q in asked])
        answers = [self.model.tokens([letter(i) for i in range(len(q.responses))]) for q in asked]
        return score_responses(self.model, [Text(*each) for each in zip(prompts, answers, strict=True)])


def test_a_language_model_that_a_method_asks_is_loaded_once(monkeypatch, tiny_language_model):
    monkeypatch.setitem(METHODS, Told.name, Told())
    made = survey(8, 20)
    asked = [Group(g, "attribute", f"People who like {g}.") for g in made.groups["group_id"].to_pylist()]
    dataset = PreferenceDataset.build(list(made.iter_questions()), asked, made.preferences)
    settings = LanguageModelSettings(str(tiny_language_model))
    plan = EvaluationPlan(("uniform", "told"), 4, 2, (), language_model=settings)
    assert plan.needs() == Needs(frozenset({"mean"}), texts=True, language_model=True)
    loaded = []
    monkeypatch.setattr(
        model, "LanguageModel", lambda *how, **more: loaded.append(how) or LanguageModel(*how, **more)
    )
    monkeypatch.setattr(model, "_shared", {})
    data, texts = {"mean": arrays(dataset)}, SurveyTexts.of(dataset)
    found = [evaluate_split(plan, data, draw_split(dataset, 0.5, seed), texts=texts) for seed in range(2)]
    assert len(loaded) == 1
    assert loaded[0][1:] == ("float32", "cpu", 0)
    for rows in found:
        told = [r["alignment"] for r in rows if r["method"] == "told"]
        assert len(told) == len(set(told)) == 4  # groups are told apart
        assert np.isfinite(told).all()


def test_methods_that_need_gpus_keep_none_from_the_others(monkeypatch):
    monkeypatch.setitem(METHODS, FromTexts.name, FromTexts())
    monkeypatch.setitem(METHODS, Told.name, Told())
    plan = EvaluationPlan(("uniform", "told", "from-texts", "majority"), 4)
    for gpus in (0, 2):  # the parts are the same, so that another cluster can go on with the evaluation
        parts = plan.on_cluster(gpus).parts()
        assert [p.methods for _, p in parts] == [("uniform", "majority"), ("told",), ("from-texts",)]
        assert [needed for needed, _ in parts] == [0, float(gpus > 0), 0.5]
    asked = EvaluationPlan(("told",), 4, language_model=LanguageModelSettings(gpus=0.25))
    assert [needed for needed, _ in asked.on_cluster(gpus=2).parts()] == [0.25]


@pytest.mark.parametrize("name", METHODS)
def test_methods_say_what_they_need_and_what_decides_their_scores(name):
    method = METHODS[name]
    assert method.name == name
    assert method.plain == (name in PLAIN) == (not method.configuration(SETTINGS))
    needs = method.needs(SETTINGS)
    if method.plain:
        assert needs == Needs(poolings=frozenset({"mean"}))
    elif isinstance(method, MetaTrainedTransformer):
        config = load_train_config("paper" if name == "paper" else "gpo", steps=2)
        assert needs.poolings == {config.model.pooling}
        assert method.configuration(SETTINGS)["model"] == config.model.model_dump(mode="json")
        assert method.configuration(SETTINGS) != method.configuration(FitSettings(steps=3))


def test_a_gpu_that_a_method_needs_is_asked_for():
    (task,) = evaluate_request(2, 0.5).bundles
    assert (task.cpus, task.gpus) == (2, 0.5)


def test_the_prior_is_conditioned_once_on_each_context(monkeypatch):
    dataset = survey(8, 20)
    split = draw_split(dataset, 0.5, 0, PROTOCOLS["new-questions"])
    plan = EvaluationPlan(("gpo",), 4, 2, (2, 5))
    asked, posterior = [], PriorAtQuestions.posterior

    def counted(view, context, y, target, leave_out=None, masked=None, sampling=None):
        asked.append((leave_out, len(context), tuple(target)))
        return posterior(view, context, y, target, leave_out, masked, sampling)

    monkeypatch.setattr(PriorAtQuestions, "posterior", counted)
    data = arrays(dataset)
    rows = evaluate_split(plan, dict.fromkeys(plan.needs().poolings, data), split)
    tested = set(data.group_numbers(split.test_groups))
    ours = [a for a in asked if a[0] in tested]
    assert len(ours) == len(set(ours)) == len(rows) == 3 * len(tested)


@pytest.mark.minutes
def test_each_distinct_prior_is_fitted_once_for_a_split(monkeypatch):
    dataset = survey(8, 20)
    split = draw_split(dataset, 0.6, 0, PROTOCOLS["paper"])
    fitted, from_groups = [], GroupPrior.from_groups

    def counted(arrays, groups, questions):
        fitted.append(tuple(arrays.group_ids[g] for g in groups))
        return from_groups(arrays, groups, questions)

    monkeypatch.setattr(GroupPrior, "from_groups", counted)
    rows = {}
    for methods in (("gpo",), ("gpo-robust",), ("gpo", "gpo-robust")):
        plan = EvaluationPlan(methods, 4, 2, ())
        fitted.clear()
        rows[methods] = evaluate_split(plan, dict.fromkeys(plan.needs().poolings, arrays(dataset)), split)
        assert fitted == [split.train_groups, split.meta_train_groups]
    alone, robust, both = rows.values()
    assert both == alone + robust
