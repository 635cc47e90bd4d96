"""What cannot work is said before a model is loaded or Ray is started."""

import json

import pytest
from synthetic import questions, survey, tiny_config, tiny_search, write_survey_and_store

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.evaluation.protocols import PROTOCOLS
from gpo_ray.preferences.checks import require_test, require_two_answers, require_validation
from gpo_ray.preferences.dataset import Group, PreferenceDataset
from gpo_ray.preferences.splits import Split, draw_split
from gpo_ray.runtime import ray_session


def one_answer_each(groups=6, asked=3):
    rows = {
        "group_id": [f"g{i}" for i in range(groups)],
        "question_id": [f"q{i % asked}" for i in range(groups)],
        "choice": [0] * groups,
    }
    return PreferenceDataset.build(
        questions(asked), [Group(f"g{i}", "attribute") for i in range(groups)], rows
    )


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    """Fail if Ray would be started."""

    def start(*_):
        raise AssertionError("Ray is started")

    monkeypatch.setattr(ray_session, "ray_session", start)


NEEDED = "groups answered 1 question, 2 are needed"


@pytest.mark.parametrize("asked", [1, 3])
@pytest.mark.parametrize("answers", [True, False])
def test_one_answer_a_group_is_too_few(tmp_path, asked, answers):
    one_answer_each(asked=asked).save(tmp_path / "survey")
    dataset = PreferenceDataset.load(tmp_path / "survey", answers=answers)
    with pytest.raises(DataError, match=NEEDED):
        require_two_answers(str(tmp_path / "survey"), dataset)


@pytest.mark.parametrize("answers", [True, False])
def test_one_group_with_two_answers_is_enough_to_go_on(tmp_path, answers):
    rows = {"group_id": ["a", "a", "b"], "question_id": ["q0", "q1", "q0"], "choice": [0, 0, 1]}
    groups = [Group(g, "attribute") for g in "abcd"]  # fewer answers than groups
    PreferenceDataset.build(questions(2), groups, rows).save(tmp_path / "survey")
    require_two_answers(
        str(tmp_path / "survey"), PreferenceDataset.load(tmp_path / "survey", answers=answers)
    )


def test_every_command_says_so(tmp_path, fails):
    write_survey_and_store(tmp_path, one_answer_each())
    (tmp_path / "base.yaml").write_text(json.dumps(tiny_config().model_dump(mode="json")))
    search = tmp_path / "search.yaml"
    search.write_text(json.dumps(tiny_search(tmp_path / "base.yaml", 1)))
    survey_at, out = ["--survey", tmp_path / "survey"], ["--out", tmp_path / "out"]
    both = [*survey_at, "--embeddings", tmp_path / "store", *out]
    fails("embed", *survey_at, "--out", tmp_path / "new", words=[NEEDED])
    fails("train", *both, "--fraction", 0.6, words=[NEEDED])
    fails("train", *both, "--workers", 2, words=[NEEDED])
    fails("train", *both, "--on-disk", words=[NEEDED])
    fails("evaluate", *both, words=[NEEDED])
    fails("tune", *both, "--config", search, words=[NEEDED])


def test_what_the_options_and_the_survey_tell_is_said_at_once(tmp_path, fails):
    write_survey_and_store(tmp_path, survey(8, 6))
    both = ["--survey", tmp_path / "survey", "--embeddings", tmp_path / "store", "--out", tmp_path / "out"]
    fails("evaluate", *both, "--methods", "gpo,magic", words=["unknown method", "magic"])
    fails("evaluate", *both, "--protocol", "magic", words=["protocol 'magic'"])
    fails("evaluate", *both, "--fractions", 1, words=["leaves no group to test on"])
    fails("evaluate", *both, "--fractions", 0.1, words=["8 groups cannot be divided"])
    fails("evaluate", *both, "--protocol", "individuals", words=["kind 'individual'"])
    fails("evaluate", *both, "--protocol", "new-survey", words=["--test-survey"])
    fails("evaluate", *both, "--test-survey", tmp_path / "survey", words=["--protocol new-survey"])
    fails("evaluate", *both, "--context", 0, words=["--context"])
    fails("train", *both, "--fraction", 0.1, words=["8 groups cannot be divided"])
    fails("train", *both, "--workers", 9, words=["9 workers"], code=3)


SPLIT = {
    "protocol": "paper", "fraction": 0.5, "seed": 0, "train_groups": ("a",), "validation_groups": ("b",),
    "test_groups": ("c",), "question_order": ("q0", "q1"),
}  # fmt: skip


def answers(**of):
    pairs = [(g, q) for g, some in of.items() for q in some]
    rows = {
        "group_id": [g for g, _ in pairs],
        "question_id": [q for _, q in pairs],
        "choice": [0] * len(pairs),
    }
    return PreferenceDataset.build(questions(4), [Group(g, "attribute") for g in "abc"], rows)


ENOUGH = ["q0", "q1"]


def test_parts_of_a_split_need_answers():
    split = Split(**SPLIT)
    full = answers(a=ENOUGH, b=ENOUGH, c=ENOUGH)
    require_validation(full, split)
    require_test(full, split)
    with pytest.raises(ConfigError, match="no validation group answered two of the training questions"):
        require_validation(answers(a=ENOUGH, b=["q0", "q2"], c=ENOUGH), split)
    with pytest.raises(ConfigError, match=r"split 0\.5/0: no test group has answers to predict"):
        require_test(answers(a=ENOUGH, b=ENOUGH, c=["q1", "q3"]), split)
    new = Split(**SPLIT | {"new_questions": ("q2",)})
    require_test(answers(a=ENOUGH, b=ENOUGH, c=["q1", "q2"]), new)
    with pytest.raises(ConfigError, match="no test group"):
        require_test(answers(a=ENOUGH, b=ENOUGH, c=ENOUGH), new)
    with pytest.raises(ConfigError, match="leaves no group"):
        require_test(full, Split(**SPLIT | {"test_groups": ()}))


@pytest.mark.parametrize("protocol", ["paper", "new-questions"])
def test_usual_splits_pass(protocol):
    dataset = survey(8, 8)
    split = draw_split(dataset, 0.5, 0, PROTOCOLS[protocol])
    require_validation(dataset, split)
    require_test(dataset, split)
