"""Evaluation as parallel Ray tasks, on a small random survey."""

import json
import shutil
import signal
import threading
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from synthetic import one_topic_each, survey, write_store, write_survey_and_store

from gpo_ray.errors import ConfigError, DataError, EmbeddingError
from gpo_ray.evaluation.methods import METHODS, LanguageModelSettings
from gpo_ray.evaluation.plan import EvaluationPlan, SplitPlan
from gpo_ray.evaluation.runner import evaluate
from gpo_ray.guesses.table import Guess, GuessTable, Way
from gpo_ray.lm.find import find_model
from gpo_ray.lm.load import fingerprint

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]
SMALL = {"methods": ("gpo", "uniform"), "seeds": 4}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_language_model):
    root = tmp_path_factory.mktemp("evaluate")
    write_survey_and_store(root, survey(groups=8, count=24))
    (root / "model").symlink_to(tiny_language_model)
    return root


def run(folders, out, protocol="paper", methods=METHODS, **changes):
    model = LanguageModelSettings(str(folders / "model"))
    told = {k: changes.pop(k) for k in ("guesses", "max_questions") if k in changes}
    plan = EvaluationPlan(tuple(methods), context=4, steps=3, language_model=model, **told)
    values = {"fractions": [0.5, 0.75], "seeds": 2} | changes
    places = (str(folders / "survey"), str(folders / "store"), str(folders / out))
    test_survey = values.pop("test_survey", None)
    return evaluate(*places, plan, SplitPlan(protocol, **values), test_survey=test_survey)


def store(folders, name, place, model="big", known=None):
    """A folder of guesses of nobody, sure of the response at one place."""
    way = Way(model, "distribution", "none")
    guesses = [
        Guess(way, None, q, np.eye(len(q.responses))[place].tolist())
        for q in survey(groups=8, count=24).iter_questions()
    ]
    GuessTable.build(guesses, models={model: known}).save(folders / name)
    return (str(folders / name),)


@pytest.fixture(scope="module")
def guesses(folders):
    """Guesses of the language model that is asked for all others."""
    identity = fingerprint(find_model(str(folders / "model")), "float32")
    return store(folders, "own", 0, "model", identity)


def test_every_method_is_scored_on_every_split(folders, guesses):
    result = run(folders, "all", max_questions=6, guesses=guesses)
    seen = {(c["method"], c["fraction"], c["seed"]) for c in result["cells"]}
    assert seen == {(m, f, s) for m in METHODS for f in (0.5, 0.75) for s in (0, 1)}
    for cell in result["cells"]:
        assert 0 < cell["worst_group"] <= cell["alignment"] <= 1
        assert cell["protocol"] == "paper"
        assert cell["groups"] == (4 if cell["fraction"] == 0.5 else 2)


def test_files_agree_with_the_result(folders):
    result = run(folders, "files", methods=("uniform", "train-mean"))
    out = folders / "files"
    saved = json.loads((out / "results.json").read_text())
    for key in ("cells", "best_baseline", "skills", "comparisons"):
        assert saved[key] == result[key]
    splits = json.loads((out / "splits.json").read_text())
    assert [(s["fraction"], s["seed"]) for s in splits] == [(0.5, 0), (0.5, 1), (0.75, 0), (0.75, 1)]
    rows = pq.read_table(out / "results.parquet").to_pylist()
    held_out = {(s["fraction"], s["seed"]): set(s["test_groups"]) for s in splits}
    assert all(r["group_id"] in held_out[r["fraction"], r["seed"]] for r in rows)
    main = [r for r in rows if not r["curve"] and r["method"] == "uniform" and r["fraction"] == 0.5]
    cell = next(c for c in result["cells"] if c["method"] == "uniform" and c["seed"] == 0)
    assert cell["alignment"] == pytest.approx(
        sum(r["alignment"] for r in main if r["seed"] == 0) / cell["groups"]
    )
    page = (out / "report.html").read_text()
    assert "train-mean" in page
    assert page.count("<svg") == 2


@pytest.mark.minutes
def test_same_command_gives_the_same_numbers(folders):
    first, second = (run(folders, name, methods=("gpo", "ridge")) for name in ("once", "twice"))
    assert first["cells"] == second["cells"]


@pytest.fixture
def interrupted(folders):
    """Folder of an evaluation that Ctrl-C ended when some splits were scored."""
    scored = folders / "interrupted" / "scored"

    def interrupt():
        while not list(scored.glob("0*.json")):
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    # where a shell started the tests in the background, it has them ignore Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(folders, "interrupted", **SMALL)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (folders / "interrupted" / "results.json").exists()
    yield scored
    shutil.rmtree(folders / "interrupted")


@pytest.mark.minutes
def test_interrupted_evaluation_goes_on_from_the_splits_that_are_scored(folders, interrupted):
    kept = sorted(interrupted.glob("0*.json"))
    assert 1 <= len(kept) < 8
    rows = json.loads(kept[0].read_text())
    kept[0].write_text(json.dumps([r | {"accuracy": 0.125} for r in rows]))
    found, whole = (run(folders, name, **SMALL)["cells"] for name in ("interrupted", "whole"))
    changed = [a for a, b in zip(found, whole, strict=True) if a != b]
    assert {(c["fraction"], c["seed"]) for c in changed} == {(rows[0]["fraction"], rows[0]["seed"])}
    assert {c["accuracy"] for c in changed} == {0.125}
    assert [c["alignment"] for c in found] == [c["alignment"] for c in whole]
    assert not interrupted.exists()


def test_another_evaluation_does_not_go_on_from_it(folders, interrupted):
    for file in interrupted.glob("0*.json"):
        file.write_text("[]")
    result = run(folders, "interrupted", methods=("uniform",), seeds=4)
    assert len(result["cells"]) == 8


@pytest.mark.minutes
def test_damaged_split_is_named(folders, interrupted):
    file = min(interrupted.glob("0*.json"))
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(ConfigError, match=f"{file.name}: damaged.*; delete it"):
        run(folders, "interrupted", **SMALL)
    file.unlink()
    assert len(run(folders, "interrupted", **SMALL)["cells"]) == 16


def test_fraction_given_twice_is_scored_once(folders):
    result = run(folders, "double", methods=("uniform",), fractions=[0.5, 0.5])
    assert [(c["seed"], c["groups"]) for c in result["cells"]] == [(0, 4), (1, 4)]


@pytest.mark.minutes
def test_prior_does_not_follow_chance_resemblance(folders):
    """In a random survey no group tells about another; the prior's fitted noise says so, the mix cannot."""
    cells = run(folders, "prior", methods=("gpo", "ridge-mix"))["cells"]
    mean = {m: np.mean([c["alignment"] for c in cells if c["method"] == m]) for m in ("gpo", "ridge-mix")}
    assert mean["gpo"] > mean["ridge-mix"] + 0.01
    assert all(0.7 < c["coverage"] <= 1 for c in cells if c["method"] == "gpo")


@pytest.mark.minutes
def test_new_questions_are_scored_alone_and_only_by_who_can_answer(folders, guesses):
    result = run(folders, "new", protocol="new-questions", max_questions=4, guesses=guesses)
    methods = {c["method"] for c in result["cells"]}
    from_embeddings = {"ridge", "kernel", "gaussian-process", "nearest-question"}
    prompted = {"lm-debiased", "lm-verbalized", "few-shot", *(m for m in METHODS if "steered" in m)}
    prior = {"gpo", "gpo-guesses", "gpo-robust", "paper"}
    tuned = {"sft", "reward-model", "in-context-finetune"}
    assert methods == {"uniform", "lm-base"} | prior | from_embeddings | prompted | tuned
    assert set(result["cannot_answer"]) == set(METHODS) - methods
    splits = json.loads((folders / "new" / "splits.json").read_text())
    for split in splits:
        assert len(split["new_questions"]) == 7
        assert not set(split["new_questions"]) & set(split["question_order"])


def test_guesses_reach_the_methods_and_are_a_part_of_the_identity(folders):
    methods = ("uniform", "lm-verbalized", "few-shot")
    first, last = (
        run(folders, f"with-{name}", methods=methods, guesses=store(folders, name, place), max_questions=5)
        for name, place in (("first", 0), ("last", -1))
    )
    assert first["language_models"]["lm-verbalized"] == "big"
    assert first["language_models"]["few-shot"].startswith("model@")
    assert first["max_questions"] == 5
    by_method = [{m: [c for c in r["cells"] if c["method"] == m] for m in methods} for r in (first, last)]
    assert by_method[0]["lm-verbalized"] != by_method[1]["lm-verbalized"]
    assert by_method[0]["uniform"] == by_method[1]["uniform"]
    assert {c["questions"] / c["groups"] for c in first["cells"]} == {5}
    assert {c["without_distribution"] for c in by_method[0]["lm-verbalized"]} == {0}
    assert {r["method"] for r in pq.read_table(folders / "with-first" / "results.parquet").to_pylist()} == {
        *methods
    }


def test_another_survey_is_adapted_to_and_scored(folders, tmp_path):
    first, second = survey(groups=8, count=24), survey(groups=3, count=40, seed=1)
    second.save(tmp_path / "second")
    write_store(tmp_path / "store", [*first.iter_questions(), *second.iter_questions()])
    plan = EvaluationPlan(("gpo", "uniform", "train-mean"), 4, 3, (2, 6))
    places = (str(folders / "survey"), str(tmp_path / "store"), str(tmp_path / "out"))
    result = evaluate(*places, plan, SplitPlan("new-survey", [1.0], 1), test_survey=str(tmp_path / "second"))
    assert {c["method"]: c["groups"] for c in result["cells"]} == {"gpo": 3, "uniform": 3}
    assert result["cannot_answer"] == ["train-mean"]
    assert result["context_sizes"] == [2, 6]
    (split,) = json.loads((tmp_path / "out" / "splits.json").read_text())
    assert len(split["train_groups"] + split["validation_groups"]) == 8
    assert split["test_groups"]
    assert not set(split["test_order"]) & set(split["question_order"])


def test_people_are_scored_by_accuracy_within_topics(tmp_path):
    dataset = one_topic_each(groups=20)
    dataset.save(tmp_path / "survey")
    write_store(tmp_path / "store", list(dataset.iter_questions()))
    plan = EvaluationPlan(("gpo", "uniform"), 4, 3)
    places = (str(tmp_path / "survey"), str(tmp_path / "store"), str(tmp_path / "out"))
    result = evaluate(*places, plan, SplitPlan("individuals", [0.4], 2, max_test_groups=6))
    assert len(result["cells"]) == 4
    for cell in result["cells"]:
        assert cell["groups"] == 6
        assert 0 <= cell["topic_accuracy"] <= 1
    rows = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert {r["topic"] for r in rows} == {"first", "second"}
    assert json.loads((tmp_path / "out" / "results.json").read_text())["cells"] == result["cells"]


def test_wrong_requests_are_named(folders, tmp_path):
    with pytest.raises(ConfigError, match="no-such-method"):
        run(folders, "x", methods=("no-such-method",))
    with pytest.raises(ConfigError, match="fraction"):
        run(folders, "x", fractions=[1.0])
    with pytest.raises(DataError, match="no such folder"):
        run(tmp_path, "x")
    survey(groups=8, count=30).save(tmp_path / "survey")
    write_store(tmp_path / "store", list(survey(groups=8, count=24).iter_questions()))
    with pytest.raises(EmbeddingError, match="lacks 6 of 30 questions"):
        run(tmp_path, "x")
    assert not (tmp_path / "x").exists()
