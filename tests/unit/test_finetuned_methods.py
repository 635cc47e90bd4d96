"""The fine-tuned methods of an evaluation, and the adapters that they keep."""

import dataclasses
from importlib import metadata

import numpy as np
import pytest
from finetuned_groups import SHARES, answers, base_model, divergence, save_learner, swapped
from synthetic import arrays, survey

from gpo_ray.errors import BundleError, ConfigError, QuestionTooLongError
from gpo_ray.evaluation.methods import METHODS, FitSettings, LanguageModelSettings, Needs, SurveyTexts
from gpo_ray.evaluation.plan import EvaluationPlan
from gpo_ray.evaluation.scoring import evaluate_split
from gpo_ray.finetuning import adapters, in_context, reward_model, sft
from gpo_ray.finetuning.adapters import Adapter, AdapterRecord, adapter_key, adapters_folder, kept_or_made
from gpo_ray.finetuning.base import adapted
from gpo_ray.finetuning.config import InContextConfig
from gpo_ray.finetuning.examples import rotation
from gpo_ray.finetuning.in_context import asked_after, draw_stems, fit_in_context, predict_in_context
from gpo_ray.preferences.dataset import Question
from gpo_ray.preferences.splits import draw_split

FINETUNED = ("sft", "reward-model", "in-context-finetune")
SHORT = {"max_steps": 6, "eval_steps": 3, "validation_stems": 1, "targets": 2, "shown": (1, 2)}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of its own."""
    monkeypatch.setenv("GPO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "adapters"


@pytest.fixture
def evaluated(cache, monkeypatch, tiny_language_model):
    """Score methods on one split of a small survey, with few steps."""
    short = dataclasses.replace(METHODS["in-context-finetune"], config=InContextConfig(**SHORT))
    monkeypatch.setitem(METHODS, "in-context-finetune", short)
    dataset = survey(8, 20)
    told = []

    def score(*methods):
        settings = LanguageModelSettings(str(tiny_language_model))
        plan = EvaluationPlan(methods, 6, 2, (), language_model=settings)
        texts = SurveyTexts.of(dataset)
        split = draw_split(dataset, 0.5, 0)
        return evaluate_split(plan, {"mean": arrays(dataset)}, split, lambda *t: told.append(t), texts)

    score.told = told
    return score


@pytest.mark.minutes
def test_they_are_scored_as_others_are_and_trained_once(evaluated, cache, monkeypatch):
    rows = evaluated("uniform", *FINETUNED)
    by_method = {m: [r for r in rows if r["method"] == m] for m in ("uniform", *FINETUNED)}
    assert {len(found) for found in by_method.values()} == {4}
    assert len({tuple(r["questions"] for r in found) for found in by_method.values()}) == 1
    assert all(np.isfinite(r["alignment"]) for r in rows)
    assert evaluated.told[-1] == ("in-context-finetune", 1.0)
    assert len(list(cache.iterdir())) == 4 + 4 + 1  # one for each test group, and one for the split

    def never(*_):
        raise AssertionError("an adapter was trained again")

    for module, name in (
        (sft, "fit_sft"),
        (reward_model, "fit_reward_model"),
        (in_context, "fit_in_context"),
    ):
        monkeypatch.setattr(module, name, never)
    assert evaluated("uniform", *FINETUNED) == rows


@pytest.mark.parametrize("name", FINETUNED)
def test_what_they_need_and_what_decides_their_scores(name):
    method = METHODS[name]
    assert method.needs(FitSettings()) == Needs(texts=True, language_model=True)
    found = method.configuration(FitSettings())
    assert found["libraries"].keys() == {"trl", "peft"}
    assert found["lora"]["r"] == 8
    meta_trained = name == "in-context-finetune"  # as many steps as the evaluation says
    short = method.configuration(FitSettings(steps=3))
    assert (short == found) is not meta_trained
    assert not meta_trained or (short["max_steps"], short["eval_steps"]) == (3, 3)


def test_a_library_that_is_missing_is_one_error(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(
        ConfigError, match=r"method sft: .*needs trl; install: pip install 'gpo-ray\[finetune\]'"
    ):
        METHODS["sft"].configuration(FitSettings())


@pytest.mark.minutes
def test_few_shot_training_beats_the_base_model_and_with_swapped_labels_it_does_not(tmp_path):
    base = base_model(save_learner(tmp_path / "learner"))
    mine = answers(10)
    config = InContextConfig(
        learning_rate=1e-2,
        max_steps=80,
        eval_steps=20,
        early_stopping_patience=9,
        targets=4,
        shown=(1, 2),
        validation_stems=4,
        lora={"r": 16, "lora_alpha": 32, "upper_layers": 1},
    )
    questions = [q for q, _ in mine]

    def error(trained_on=None):
        if trained_on is None:
            return divergence(mine, predict_in_context(base.model, questions, mine[:2], 3)[0])
        adapter = fit_in_context(base, {"a": trained_on, "b": trained_on}, {"c": trained_on}, config)
        assert adapter.record.best_step > 0
        with adapted(base, adapter, config.lora):
            return divergence(mine, predict_in_context(base.model, questions, mine[:2], 3)[0])

    before = error()
    assert error(mine) < 0.5 * before
    assert error(swapped(mine)) > 0.95 * before


def test_stems_take_groups_in_turn_and_never_show_a_target():
    groups = {name: answers(9) for name in "abc"} | {"alone": answers(1)}
    config = InContextConfig(targets=4, shown=(2, 6))
    stems = draw_stems(groups, 12, config, [0])
    assert stems == draw_stems(groups, 12, config, [0])
    assert len(stems) == 12
    for stem in stems:
        shown, targets = ({q.question_id for q, _ in part} for part in (stem.shown, stem.targets))
        assert not shown & targets
        assert 2 <= len(shown) <= 6
        assert 1 <= len(targets) <= 4
    assert draw_stems({"alone": answers(1)}, 4, config, [0]) == []


def test_what_has_no_room_is_an_answer_and_never_the_question(tiny_language_model):
    model = base_model(tiny_language_model).model
    mine = answers(12)
    question = Question("q", "made", "Is this cut?", ("Yes", "No", "Maybe"))
    asked, dropped = asked_after(model, question, mine, rotation(3, 1))
    assert 0 < dropped < 12
    assert asked.text.endswith("Is this cut?\n\nOptions:\nA. No\nB. Maybe\nC. Yes")
    assert len(model.chat_tokens([asked.text])[0]) < 512
    shares, mean = predict_in_context(model, [question], mine, 1)
    assert (len(shares), mean) == (1, dropped)
    long = Question("long", "made", "a" * 600, ("Yes", "No"))
    with pytest.raises(QuestionTooLongError):
        predict_in_context(model, [long], mine, 1)


def test_no_group_to_train_on_is_one_error(tiny_language_model):
    with pytest.raises(ConfigError, match="two answers at least"):
        fit_in_context(base_model(tiny_language_model), {}, {"a": answers(3)}, InContextConfig())


def an_adapter():
    return Adapter(AdapterRecord(seconds=1, steps=2, best_step=0, parameters=3))


def test_kept_adapters_are_found_by_what_they_are_made_of(cache):
    made = []

    def make():
        made.append(1)
        return an_adapter()

    key = adapter_key(config={"seed": 0}, shares=list(SHARES))
    assert key == adapter_key(shares=list(SHARES), config={"seed": 0})
    assert key != adapter_key(shares=list(SHARES), config={"seed": 1})
    assert kept_or_made(key, make) == kept_or_made(key, make) == an_adapter()
    assert len(made) == 1
    (cache / key / "record.json").write_text("{}")
    assert kept_or_made(key, make) == an_adapter()
    assert len(made) == 2
    (cache / key / "manifest.json").unlink()  # as a killed process leaves it
    assert kept_or_made(key, make) == an_adapter()
    assert len(made) == 3
    assert kept_or_made(key, make) == an_adapter()
    assert len(made) == 3


def test_without_a_cache_nothing_is_kept(cache, monkeypatch):
    monkeypatch.setenv("GPO_CACHE_GIB", "0")
    assert kept_or_made("0" * 32, an_adapter) == an_adapter()
    assert not cache.exists()


def test_records_that_cannot_be_understood_are_one_error(cache):
    folder = adapters_folder().child("made-up")
    folder.publish(adapters.KIND, {adapters.RECORD: b'{"seconds": -1}'})
    with pytest.raises(BundleError, match="cannot be understood"):
        adapters.read_adapter(folder)
