"""The methods that ask a language model: what they predict, what they read, and what is asked only once."""

import dataclasses

import numpy as np
import pytest
from synthetic import arrays, one_topic_each, survey

from gpo_ray.evaluation.methods import METHODS, LanguageModelSettings, SplitData, SurveyTexts
from gpo_ray.evaluation.plan import EvaluationPlan
from gpo_ray.evaluation.protocols import PROTOCOLS
from gpo_ray.evaluation.report import render_report
from gpo_ray.evaluation.scoring import evaluate_split
from gpo_ray.evaluation.statistics import statistics
from gpo_ray.evaluation.summary import cells, prompt_notes
from gpo_ray.evaluation.tasks import split_tasks
from gpo_ray.guesses.asking import AskSettings, asked
from gpo_ray.guesses.asking import plan as asking_plan
from gpo_ray.guesses.kept import clear_kept, kept_bytes
from gpo_ray.guesses.letters import letter_guesses
from gpo_ray.guesses.local import LocalBackend
from gpo_ray.guesses.roles import describe
from gpo_ray.guesses.table import Guess, GuessTable, Way
from gpo_ray.lm.find import find_model
from gpo_ray.lm.load import fingerprint
from gpo_ray.lm.model import LanguageModel
from gpo_ray.preferences.join import join_surveys
from gpo_ray.preferences.splits import draw_split

DATASET = survey(6, 16)
STEERED = [f"lm-steered-{style}" for style in ("qa", "bio", "portray")]


@pytest.fixture
def plan(tiny_language_model):
    model = LanguageModelSettings(str(tiny_language_model))
    return EvaluationPlan(("uniform",), 4, language_model=model, max_questions=3)


@pytest.fixture
def identity(tiny_language_model):
    return fingerprint(find_model(str(tiny_language_model)), "float32")


@pytest.fixture
def prompts(monkeypatch):
    """The users' turns that the language model is asked; it has forgotten those of other tests."""
    clear_kept()
    found, answer = [], LocalBackend.answer

    def counted(backend, some, settings):
        found.extend(text for a in some for text in a.texts)
        return answer(backend, some, settings)

    monkeypatch.setattr(LocalBackend, "answer", counted)
    return found


def data_of(plan, dataset=DATASET, seed=0, guesses=None):
    split, made = draw_split(dataset, 0.5, seed), arrays(dataset)
    data = SplitData({"mean": made}, split, False, plan.settings, SurveyTexts.of(dataset), guesses)
    return data, split_tasks(made, split, plan.context, (), plan.max_questions)[0]


def predicted(name, plan, *arguments, **more):
    data, tasks = data_of(plan, *arguments, **more)
    return data, tasks, METHODS[name].fit(data).predict(tasks)


def by_question(data, task, prediction):
    sizes = np.diff(data.arrays["mean"].offsets)[task.target]
    return dict(zip(task.target.tolist(), np.split(prediction.shares, np.cumsum(sizes)[:-1]), strict=True))


def expected(data, task, style, orders, plan, identity):
    """The letters' probabilities, asked of the model itself."""
    model = LanguageModel(find_model(plan.language_model.model), device="cpu")
    settings = AskSettings(orders=orders)
    group = data.texts.groups[data.arrays["mean"].group_ids[task.group]]
    role = None if style == "none" else describe(group)
    way = Way("tiny-chat", "logprobs", style)
    wanted = [
        asked(data.texts.questions[q], way, group.group_id, role, identity, settings) for q in task.target
    ]
    return {q: np.array(g.share) for q, g in zip(task.target, letter_guesses(model, wanted), strict=True)}


@pytest.mark.parametrize(("name", "style", "orders"), [
    ("lm-debiased", "none", 100), ("lm-steered-bio", "bio", 1), ("lm-steered-portray", "portray", 2),
])  # fmt: skip
def test_the_letters_probabilities_are_predicted(name, style, orders, plan, prompts, identity):
    if style == "portray":
        plan = dataclasses.replace(plan, language_model=dataclasses.replace(plan.language_model, orders=2))
    data, tasks, found = predicted(name, plan)
    for task, prediction in zip(tasks, found, strict=True):
        wanted = expected(data, task, style, orders, plan, identity)
        for q, share in by_question(data, task, prediction).items():
            np.testing.assert_allclose(share, wanted[q], atol=1e-3)
        assert (prediction.without_distribution, prediction.context_dropped) == (0, 0)


def test_a_method_asks_only_what_the_tasks_need_and_tells_the_tested_group(plan, prompts):
    data, tasks, _ = predicted("lm-debiased", plan)
    needed = {q for t in tasks for q in t.target.tolist()}
    assert len(prompts) == sum(len(data.texts.questions[q].responses) for q in needed)
    prompts.clear()
    _, tasks, found = predicted("lm-steered-portray", plan)
    assert len(prompts) == sum(len(t.target) for t in tasks)
    named = {line for text in prompts for line in text.splitlines() if line.startswith("Answer as if")}
    groups = [data.arrays["mean"].group_ids[t.group] for t in tasks]
    assert named == {f"Answer as if you were one of these people: people, group: {g}" for g in groups}
    assert len({tuple(p.shares) for p in found}) == len(tasks)


def test_a_reply_that_is_no_distribution_is_uniform_and_counted(plan, prompts):
    _, tasks, found = predicted("lm-verbalized", plan)
    assert len(prompts) == len({q for t in tasks for q in t.target.tolist()})
    assert [p.without_distribution for p in found] == [len(t.target) for t in tasks]
    plan = dataclasses.replace(plan, methods=("uniform", "lm-verbalized"), context_sizes=())
    data, _ = data_of(plan)
    rows = evaluate_split(plan, data.arrays, data.split, texts=data.texts)
    means = {c["method"]: c for c in cells(rows)}
    assert means["lm-verbalized"]["alignment"] == pytest.approx(means["uniform"]["alignment"])
    assert means["lm-verbalized"]["without_distribution"] == 9
    (note,) = prompt_notes(means.values())
    assert note == "lm-verbalized: 9 of 9 questions brought no distribution and count as uniform"
    told = {"note": None, "max_questions": 3, "language_models": {"lm-verbalized": "tiny@1"}}
    page = render_report(
        {"protocol": "paper", "context": 4, "survey": "s", "embeddings": "e"}, rows, statistics(rows) | told
    )
    assert note in page
    assert "At most 3 questions of each test group are scored" in page
    assert "lm-verbalized asks <code>tiny@1</code>" in page


@pytest.mark.parametrize("name", STEERED)
def test_no_single_person_is_told_to_a_model(name, plan, prompts):
    assert predicted(name, plan, one_topic_each())[2] is None
    assert prompts == []


def test_nothing_is_asked_twice_by_splits_or_after_an_interruption(plan, prompts, monkeypatch):
    monkeypatch.setattr("gpo_ray.guesses.kept.UNIT", 1)
    answer = LocalBackend.answer

    def interrupted(backend, some, settings):
        if len(prompts) == 2:
            raise KeyboardInterrupt
        return answer(backend, some, settings)

    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, "answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predicted("lm-steered-qa", plan)
    assert len(prompts) == 2
    first = predicted("lm-steered-qa", plan)[2]
    assert len(prompts) == len(set(prompts)) == 9
    again = predicted("lm-steered-qa", plan)[2]
    assert [p.shares.tolist() for p in again] == [p.shares.tolist() for p in first]
    predicted("lm-steered-qa", plan, seed=1)
    assert len(prompts) == len(set(prompts)) > 9
    assert kept_bytes() > 0
    clear_kept()
    assert kept_bytes() == 0


def test_a_damaged_kept_guess_is_asked_again(plan, prompts):
    from gpo_ray.guesses.kept import GUESSES

    first = predicted("lm-steered-bio", plan)[2]
    files = sorted(GUESSES.folder.glob("*/*.json"))
    files[0].write_text("{")
    files[1].write_text('{"share": [0.5, 0.6], "reason": null, "reply": null}')
    files[2].write_text('{"share": null, "reason": null, "reply": null}')
    prompts.clear()
    again = predicted("lm-steered-bio", plan)[2]
    assert len(prompts) == 3
    np.testing.assert_allclose(
        np.concatenate([p.shares for p in again]), np.concatenate([p.shares for p in first]), atol=1e-5
    )


def given(style, ask="logprobs", groups=(None,), model="big", known=None, content=None):
    """Guesses that are sure of the first response, of all questions but q0."""
    way = Way(model, ask, style)
    guesses = [
        Guess(way, g, q, np.eye(len(q.responses))[0].tolist(), content=content)
        for g in groups for q in DATASET.iter_questions() if q.question_id != "q0"
    ]  # fmt: skip
    return GuessTable.build(guesses, models={model: known})


def test_guesses_that_are_given_are_read_and_another_model_is_not_asked_instead(plan, prompts):
    plan = dataclasses.replace(plan, max_questions=None)
    groups = DATASET.groups["group_id"].to_pylist()
    table = given("bio", groups=groups)
    data, tasks, found = predicted("lm-steered-bio", plan, guesses=table)
    assert prompts == []
    number = data.arrays["mean"].question_ids.index("q0")
    for task, prediction in zip(tasks, found, strict=True):
        for q, share in by_question(data, task, prediction).items():
            assert share[0] == pytest.approx(1 / len(share) if q == number else 1, abs=1e-3)
        assert prediction.without_distribution == (number in task.target)
    assert predicted("lm-steered-qa", plan, guesses=table)[2] is None
    # whether imported letters' probabilities are of all orders is not known
    assert predicted("lm-debiased", plan, guesses=given("none"))[2] is None
    assert predicted("lm-verbalized", plan, guesses=given("none", "distribution"))[2] is not None


def test_the_same_model_is_asked_what_is_not_given(plan, prompts, identity):
    plan = dataclasses.replace(plan, max_questions=None)
    table = given("none", model="tiny", known=identity, content="of another number of orders")
    data, tasks, _ = predicted("lm-debiased", plan, guesses=table)
    needed = {q for t in tasks for q in t.target.tolist()}
    assert len(prompts) == sum(len(data.texts.questions[q].responses) for q in needed)
    prompts.clear()
    table = given("bio", groups=DATASET.groups["group_id"].to_pylist(), model="tiny", known=identity)
    data, tasks, _ = predicted("lm-steered-bio", plan, guesses=table)
    number = data.arrays["mean"].question_ids.index("q0")
    assert len(prompts) == sum(number in t.target for t in tasks)


def test_an_answer_of_the_context_changes_what_few_shot_predicts(plan, prompts):
    plan = dataclasses.replace(plan, context=1)
    data, tasks, found = predicted("few-shot", plan)
    assert {p.context_dropped for p in found} == {0}
    for text in prompts:
        shown, _, question = text.partition("Answer the following question by picking ONE")
        assert shown.count("Question: ") == 1
        assert question.count("Question number") == 1
    assert len({tuple(p.shares) for p in found}) == len(tasks)
    group = tasks[0].group
    turned = dataclasses.replace(
        data.arrays["mean"], shares=tuple(s[::-1] for s in data.arrays["mean"].shares)
    )
    other = METHODS["few-shot"].fit(dataclasses.replace(data, arrays={"mean": turned})).predict(tasks)
    assert not np.allclose(other[0].shares, found[0].shares), group


def test_few_shot_with_a_window_drops_answers_and_never_cuts_the_target(plan, prompts):
    model = LanguageModel(find_model(plan.language_model.model), device="cpu")
    settings = dataclasses.replace(plan.language_model, orders=2)
    plan = dataclasses.replace(plan, context=10, language_model=settings)
    data, tasks, found = predicted("few-shot", plan)  # the tiny model reads 512 tokens
    turns = model.chat_tokens(prompts)
    assert max(map(len, turns)) < 512
    assert all(0 < p.context_dropped < 10 for p in found)
    targets = {data.texts.questions[q].prompt for t in tasks for q in t.target}
    for ids in turns:
        question = model.text_of(ids).rpartition("Answer the following question by picking ONE")[2]
        assert any(f"\n\n{prompt}\n\nOptions:\nA. " in question for prompt in targets)
        assert question.endswith("<|assistant|>")
    narrow = dataclasses.replace(plan, language_model=dataclasses.replace(settings, window=20))
    assert [p.without_distribution for p in predicted("few-shot", narrow)[2]] == [3, 3, 3]


def test_single_persons_answers_are_shown_as_choices(plan, prompts):
    _, _, found = predicted("few-shot", plan, one_topic_each(count=20))
    assert all(text.startswith("Answer as if you were this person") for text in prompts)
    assert np.isfinite(np.concatenate([p.shares for p in found])).all()


def test_the_curve_is_for_named_sizes_only_where_a_language_model_is_asked(plan):
    assert plan.has_curve("uniform")
    assert not plan.has_curve("few-shot")
    assert dataclasses.replace(plan, context_sizes=(1, 2)).has_curve("few-shot")


@pytest.mark.parametrize("protocol", ["paper", "new-questions"])
def test_targets_are_limited_to_the_first_ones_of_the_splits_order(protocol):
    made = arrays(DATASET)
    split = draw_split(DATASET, 0.5, 0, PROTOCOLS[protocol])
    main, curve = split_tasks(made, split, 4, (1, 2))
    few, short = split_tasks(made, split, 4, (1, 2), 2)
    assert [t.target[:2].tolist() for t in main] == [t.target.tolist() for t in few]
    assert [t.context.tolist() for t in main] == [t.context.tolist() for t in few]
    assert [n for n, _ in curve] == [n for n, _ in short] == [1, 2]
    assert {len(t.target) for _, tasks in short for t in tasks} == {2}


@pytest.mark.parametrize(("orders", "read"), [(100, True), (1, False)])
def test_letters_of_all_orders_that_gpo_guess_asked_for_are_debiased(orders, read, plan, prompts):
    """Those of another model, which is not asked here."""
    every = asking_plan(DATASET.iter_questions(), "big", "big@x", ["none"], {}, AskSettings(orders=orders))
    guesses = [a.guess(np.eye(len(a.question.responses))[0].tolist()) for a in every]
    table = GuessTable.build(guesses, models={"big": "big@x"})
    found = predicted("lm-debiased", plan, guesses=table)[2]
    assert prompts == []
    if read:
        assert [p.without_distribution for p in found] == [0, 0, 0]
    else:
        assert found is None


def test_groups_of_another_survey_with_the_same_ids_are_told_by_their_own(plan, prompts):
    joined, other = join_surveys(survey(5, 12), survey(3, 20, seed=1))
    split = draw_split(joined, 1.0, 0, PROTOCOLS["new-survey"], other=other)
    made = arrays(joined)
    data = SplitData({"mean": made}, split, True, plan.settings, SurveyTexts.of(joined))
    tasks = split_tasks(made, split, plan.context, (), 2)[0]
    assert len(METHODS["lm-steered-bio"].fit(data).predict(tasks)) == 3
    assert {text.split("\n")[1] for text in prompts} == {
        f"What is true of me: group: g{i}." for i in range(3)
    }


@pytest.mark.parametrize(("option", "words"), [
    (("--ask", "poem"), ["lm-steered-bio: ask"]), (("--orders", 0), ["lm-steered-bio: orders"]),
    (("--guesses", "nowhere"), ["nowhere"]), (("--max-questions", 0), None),
])  # fmt: skip
def test_options_that_are_wrong_are_named(option, words, gpo, folders):
    places = ("--survey", folders / "survey", "--embeddings", folders / "store", "--out", folders / "out")
    code, _, err = gpo("evaluate", *places, "--methods", "uniform,lm-steered-bio", "--context", 2, *option)
    assert code == 2
    assert words is None or all(word in err.strip().splitlines()[-1] for word in words)
    assert not (folders / "out" / "results.json").exists()
