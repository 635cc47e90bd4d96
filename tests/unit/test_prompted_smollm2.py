"""The prompted methods with SmolLM2 on a small survey."""

import dataclasses

import numpy as np
import pytest
from synthetic import arrays, survey

from gpo_ray.embedding.template import instruction
from gpo_ray.evaluation.methods import METHODS, LanguageModelSettings, SplitData, SurveyTexts
from gpo_ray.evaluation.plan import EvaluationPlan
from gpo_ray.evaluation.tasks import split_tasks
from gpo_ray.guesses.kept import clear_kept
from gpo_ray.guesses.local import LocalBackend
from gpo_ray.lm.find import find_model
from gpo_ray.lm.tokenizer import Tokenizer
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.splits import draw_split

pytestmark = pytest.mark.minutes
OPTIONS = ("Strongly agree", "Somewhat agree", "Somewhat disagree", "Strongly disagree")
TOPICS = ["parks", "buses", "taxes", "schools", "rents", "police", "farms", "ports", "trains", "courts"]


def opinions():
    """Questions on topics, each with options in words."""
    made = survey(4, len(TOPICS))
    asked = [
        dataclasses.replace(
            q,
            prompt=f"Do you agree that the government should spend much more money on {topic}?",
            responses=OPTIONS[: len(q.responses)] if len(q.responses) <= 4 else (*OPTIONS, "No opinion"),
        )
        for q, topic in zip(made.iter_questions(), TOPICS, strict=True)
    ]
    groups = list(SurveyTexts.of(made).groups.values())
    return PreferenceDataset.build(asked, groups, made.preferences)


@pytest.fixture(scope="module")
def dataset():
    return opinions()


def predicted(name, dataset, context=6, **settings):
    plan = EvaluationPlan(("uniform",), context, language_model=LanguageModelSettings(**settings))
    split, made = draw_split(dataset, 0.5, 0), arrays(dataset)
    data = SplitData({"mean": made}, split, False, plan.settings, SurveyTexts.of(dataset))
    tasks = split_tasks(made, split, context, ())[0]
    return data, tasks, METHODS[name].fit(data).predict(tasks)


def test_few_shot_with_a_window_of_512_tokens_never_cuts_the_target(dataset, monkeypatch):
    clear_kept()
    asked, answer = [], LocalBackend.answer
    monkeypatch.setattr(
        LocalBackend, "answer", lambda backend, some, how: asked.extend(some) or answer(backend, some, how)
    )
    _, tasks, found = predicted("few-shot", dataset, context=9, window=512, orders=2)
    tokenizer = Tokenizer.of(find_model("smollm2"))
    assert len(asked) == sum(len(t.target) for t in tasks)
    for a in asked:
        for order, text, ids in zip(a.orders, a.texts, tokenizer.chat_tokens(a.texts), strict=True):
            assert len(ids) < 512
            target = instruction(a.question.prompt, [a.question.responses[i] for i in order])
            assert text.endswith(target)
            assert target in tokenizer.text_of(ids)
    assert all(0 < p.context_dropped < 9 for p in found)


def test_all_methods_predict_shares_that_depend_on_what_they_are_told(dataset):
    clear_kept()
    shares = {}
    for name in ("lm-debiased", "lm-steered-bio", "lm-steered-portray", "few-shot"):
        _, tasks, found = predicted(name, dataset)
        assert [p.without_distribution for p in found] == [0] * len(tasks)
        shares[name] = np.concatenate([p.shares for p in found])
    for one, other in zip(list(shares)[:-1], list(shares)[1:], strict=True):
        assert np.abs(shares[one] - shares[other]).max() > 0.005
