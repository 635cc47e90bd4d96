"""Guesses of one model from several folders, as an evaluation reads them."""

import numpy as np
import pytest
from guess_files import BUSES, PARKS, TAXES, city
from synthetic import arrays, survey

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.evaluation.methods import METHODS, Fitted, Method, Needs, SurveyTexts, TaskPrediction
from gpo_ray.evaluation.plan import EvaluationPlan
from gpo_ray.evaluation.runner import _guesses
from gpo_ray.evaluation.scoring import evaluate_split
from gpo_ray.guesses.one_model import guesses_fingerprint, load_one_model
from gpo_ray.guesses.table import Guess, GuessTable, Way
from gpo_ray.preferences.splits import draw_split

NONE, BIO = Way("big", "distribution", "none"), Way("big", "logprobs", "bio")


def store(path, *guesses, **models):
    GuessTable.build(guesses, models=models).save(path)
    return str(path)


def test_folders_of_one_model_are_gathered(tmp_path):
    one = store(tmp_path / "one", Guess(NONE, None, BUSES, [0.5, 0.5]), big="big@1")
    other = store(tmp_path / "other", Guess(BIO, "SEX=Male", BUSES, [0.2, 0.8]))
    found = load_one_model([one, other, one])
    assert found.ways == (NONE, BIO)
    assert found.share(BIO, "SEX=Male", BUSES).tolist() == [0.2, 0.8]
    assert dict(found.models) == {"big": "big@1"}
    again = load_one_model([other, one])
    assert guesses_fingerprint(found) == guesses_fingerprint(again)
    assert guesses_fingerprint(found) != guesses_fingerprint(load_one_model([one]))


def test_one_of_several_models_must_be_named(tmp_path):
    small = Guess(Way("small", *NONE[1:]), None, BUSES, [0.9, 0.1])
    both = store(tmp_path / "g", Guess(NONE, None, BUSES, [0.5, 0.5]), small)
    with pytest.raises(ConfigError, match=r"2 models \(big, small\); name one of them"):
        load_one_model([both])
    with pytest.raises(ConfigError, match="no guesses of 'middle'; its models: big, small"):
        load_one_model([both], "middle")
    found = load_one_model([both], "small")
    assert found.guesses.num_rows == 1
    assert dict(found.models) == {"small": None}


def test_the_same_guess_in_two_folders_is_refused(tmp_path):
    folders = [store(tmp_path / name, Guess(NONE, None, BUSES, [0.5, 0.5])) for name in "ab"]
    with pytest.raises(DataError, match=r"a and .*b: both hold a guess for question 'BUSES'.*only one"):
        load_one_model(folders)


def test_two_models_of_one_name_are_refused(tmp_path):
    one = store(tmp_path / "one", Guess(NONE, None, BUSES, [0.5, 0.5]), big="big@1")
    other = store(tmp_path / "other", Guess(NONE, None, PARKS, [0.5, 0.3, 0.2]), big="big@2")
    with pytest.raises(ConfigError, match=r"two models named 'big' \(big@1, big@2\)"):
        load_one_model([one, other])


def test_guesses_of_another_survey_are_refused(tmp_path):
    folder = store(tmp_path / "g", Guess(NONE, None, BUSES, [0.5, 0.5]))
    plan = EvaluationPlan(("uniform",), 4, guesses=(folder,))
    assert plan.needs().texts
    assert _guesses(plan, SurveyTexts.of(city())).guesses.num_rows == 1
    with pytest.raises(ConfigError, match="no guess is for a question of the survey"):
        _guesses(plan, SurveyTexts((PARKS, TAXES)))
    with pytest.raises(DataError, match="gpo guess"):
        _guesses(EvaluationPlan(("uniform",), 4, guesses=(str(tmp_path / "none"),)), SurveyTexts((BUSES,)))


class Reads(Method):
    """What was guessed of nobody."""

    name = "reads"

    def needs(self, settings):
        return Needs(texts=True)

    def fit(self, data, tell=lambda _: None):
        return FittedReads(data)


class FittedReads(Fitted):
    def __init__(self, data):
        self.data = data

    def predict(self, tasks):
        questions = self.data.texts.questions
        shares = [[self.data.guesses.share(NONE, None, questions[q]) for q in t.target] for t in tasks]
        return [TaskPrediction(np.concatenate(each)) for each in shares]


def test_a_method_reads_the_guesses(monkeypatch):
    monkeypatch.setitem(METHODS, "reads", Reads())
    dataset = survey(8, 20)
    guesses = [
        Guess(NONE, None, q, [1 / len(q.responses)] * len(q.responses)) for q in dataset.iter_questions()
    ]
    plan = EvaluationPlan(("uniform", "reads"), 4, 2, ())
    texts = SurveyTexts.of(dataset)
    split = draw_split(dataset, 0.5, 0)
    rows = evaluate_split(
        plan, {"mean": arrays(dataset)}, split, texts=texts, guesses=GuessTable.build(guesses)
    )
    by_method = {m: [r["alignment"] for r in rows if r["method"] == m] for m in plan.methods}
    assert by_method["reads"] == pytest.approx(by_method["uniform"])


def test_the_options_of_the_command(fails):
    fails(
        *("evaluate", "--survey", "s", "--embeddings", "e", "--out", "o", "--guesses-model", "big"),
        words=["--guesses-model picks one of the models of --guesses"],
    )
