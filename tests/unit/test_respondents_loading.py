"""Codebooks that people have edited: what is taken as it is meant, and words for what is wrong."""

import numpy as np
import pandas as pd
import pytest

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.readers import ReadOptions
from gpo_ray.preferences.readers.respondents.document import codebook_text
from gpo_ray.preferences.readers.respondents.loading import CODEBOOK_BYTES, load_codebook, require_readable
from gpo_ray.preferences.readers.respondents.proposal import propose
from gpo_ray.preferences.readers.respondents.reader import read_table_of
from gpo_ray.preferences.readers.respondents.table import Column, RespondentTable


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Texts, numbers, true and false, texts that begin with a zero, and a header that is a number."""
    path = tmp_path_factory.mktemp("people") / "p.parquet"
    rng = np.random.default_rng(0)
    data = pd.DataFrame(
        {
            "agree": rng.choice([1.0, 2.0, 9.0], 100),
            "often": rng.choice(["Yes", "No", "On"], 100),
            "truth": rng.random(100) < 0.5,
            "zip": rng.choice(["01", "1", "x"], 100),
            "2024": rng.choice(["a", "b"], 100),
            "sex": rng.choice(["m", "w"], 100),
            "age": rng.integers(18, 90, 100),
        }
    )
    data.to_parquet(path)
    return read_table_of(path, ReadOptions())


def load(tmp_path, table, questions, head=""):
    book = tmp_path / "b.yaml"
    book.write_text(f"{head}\nquestions:\n{questions}\n", encoding="utf-8")
    return load_codebook(book, table)


def question(tmp_path, table, name, text):
    return load(tmp_path, table, f"  {name}:\n    prompt: Is it?\n    {text}").questions[name]


@pytest.mark.parametrize(
    ("name", "text", "responses"),
    [
        ("agree", "responses: {1: Yes, 2: No}", {1.0: "Yes", 2.0: "No"}),
        ("agree", "responses: {1: On, 2: Off}", {1.0: "On", 2.0: "Off"}),
        ("agree", "responses: {1: true, 2: false}", {1.0: "true", 2.0: "false"}),
        ("agree", "responses: {'1': Agree, \"2\": 'No'}", {1.0: "Agree", 2.0: "No"}),
        ("agree", "responses: {1.0: A, 02: B}", {1.0: "A", 2.0: "B"}),
        ("agree", "responses: {1: 2020-01-01, 2: 12:30}", {1.0: "2020-01-01", 2.0: "12:30"}),
        ("agree", "responses: {1: 007, 2: 1.50}", {1.0: "007", 2.0: "1.50"}),
        ("agree", "responses: {1: 1_000, 2: 0x1F}", {1.0: "1_000", 2.0: "0x1F"}),
        ("often", "responses: {Yes: Ja, No: Nein}", {"Yes": "Ja", "No": "Nein"}),
        ("often", "responses: [Yes, No, On]", {"Yes": "Yes", "No": "No", "On": "On"}),
        ("truth", "responses: {true: Yes, false: No}", {"True": "Yes", "False": "No"}),
        ("zip", "responses: {01: A, 1: B, x: C}", {"01": "A", "1": "B", "x": "C"}),
        ("'2024'", "responses: [a, b]", {"a": "a", "b": "b"}),
        ("2024", "responses: [a, b]", {"a": "a", "b": "b"}),
    ],
)
def test_what_is_meant_is_taken(tmp_path, table, name, text, responses):
    book = load(tmp_path, table, f"  {name}:\n    prompt: Is it?\n    {text}")
    assert next(iter(book.questions.values())).responses == responses


@pytest.mark.parametrize("word", ["true", "Yes", "on", "TRUE", "'true'"])
def test_words_for_true(tmp_path, table, word):
    assert question(tmp_path, table, "agree", f"responses: {{1: A, 2: B}}\n    ordered: {word}").ordered
    no = {"true": "false", "Yes": "No", "on": "off"}.get(word, "False")
    assert not question(tmp_path, table, "agree", f"responses: {{1: A, 2: B}}\n    ordered: {no}").ordered


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "responses: {1: A, 2: B}\n    ordered: perhaps",
            "questions.agree.ordered: 'perhaps' is neither true",
        ),
        ("responses: {1: A, 2: B}\n    ordered: [true]", "is neither true nor false"),
        ("responses: {1: A, 2: }", "agree.responses: code 2 has no label; write one, in quotes if it is the"),
        ("responses: {1: null, 2: B}", "agree.responses: code 1 has no label"),
        (
            "responses: {1: Yes, sure, 2: No}",
            "'sure' has no label; if it belongs to the label before it, put",
        ),
        ("responses: {1:Yes, 2:No}", "'1:Yes' has no label; write a blank after the colon"),
        ("responses: {1: [A], 2: B}", "agree.responses: code 1: expected a text, found a list"),
        ("responses: {1: {a: b}, 2: B}", "agree.responses: code 1: expected a text, found keys and values"),
        ("responses: {1: A, 1.0: B}", "agree.responses: code 1 is there twice"),
        ("responses: {1: A, '1': B}", "line 5: key 1 is there twice"),
        ("responses: Yes", "agree.responses: expected codes and their labels; found 'Yes'"),
        ("responses: [A, A]", "agree.responses: a response is listed twice, 'A'"),
        ("responses: {}", "0 different responses"),
        ("responses: {1: A, 2: B}\n    missing: [9, [8]]", "agree.missing: expected a text, found a list"),
        ("responses: {1: A, 2: B}\n    scale: 1", "agree.scale: expected a list such as [a, b], found '1'"),
        ("responses: {1: A, 2: B}\n    scale: [1, b]", "agree.scale: 'b' is no number"),
        ("responses: {1: A, 2: B}\n    scale: [1, .inf]", "agree.scale: '.inf' is no number"),
        ("reponses: {1: A, 2: B}", "questions.agree.reponses: there is no such key; did you mean responses?"),
        ("labels: {1: A, 2: B}", "questions.agree.labels: there is no such key; did you mean responses?"),
        (
            "Responses: {1: A, 2: B}",
            "questions.agree.Responses: there is no such key; did you mean responses?",
        ),
        ("refused: {9: R}", "questions.agree.refused: there is no such key; did you mean missing?"),
        (
            "colour: red",
            "colour: there is no such key; the keys are prompt, responses, missing, blank, ordered,",
        ),
        ("topic: x", "questions.agree.responses is missing; give codes and labels"),
        ("responses: {1: A, 2: B: C}", "line 5: not valid YAML: "),
        ("responses: {1: A, 2: 'B}", "not valid YAML"),
        ("responses: {1: A, ? [x] : B}", "a key is empty or no text"),
        ("responses: {1: !!python/object:os.system A}", "could not determine a constructor"),
    ],
)
def test_what_is_wrong_is_said_by_key(tmp_path, table, text, message):
    with pytest.raises(ConfigError) as e:
        question(tmp_path, table, "agree", text)
    assert message in str(e.value)
    assert str(e.value).startswith(str(tmp_path / "b.yaml"))
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 500


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("wieght: agree", "b.yaml: wieght: there is no such key; did you mean weight?"),
        ("demographic: {}", "b.yaml: demographic: there is no such key; did you mean demographics?"),
        (
            "demographics: [sex]",
            "demographics: expected names of variables, each with its entry; found a list",
        ),
        (
            "demographics: {sex: Sex}",
            "demographics.sex: expected such keys: label, levels, bins; found 'Sex'",
        ),
        ("demographics: {sex: {levels: [m, w]}}", "demographics.sex.label is missing; give what it is"),
        (
            "demographics: {sex: {label: Sex, level: [m, w]}}",
            "sex.level: there is no such key; did you mean levels?",
        ),
        ("demographics: {age: {label: Age, bins: [18, x]}}", "demographics.age.bins: 'x' is no number"),
        ("demographics: {sex: {label: Sex, values: [m]}}", "there is no such key; did you mean levels?"),
        ("weight: [agree]", "b.yaml: weight: expected a text, found a list"),
        ("sets: {a: agree}", "sets.a: expected a list such as [a, b], found 'agree'"),
        ("sets: [agree]", "sets: expected a name, and the list of its questions; found a list"),
    ],
)
def test_what_is_wrong_elsewhere(tmp_path, table, head, message):
    with pytest.raises(ConfigError) as e:
        load(tmp_path, table, "  agree: {prompt: Q, responses: {1: A, 2: B}}", head)
    assert message in str(e.value)
    assert "\n" not in str(e.value)


def test_questions_that_are_none(tmp_path, table):
    for questions in ("", "  {}", "  []"):
        with pytest.raises(ConfigError, match="questions: "):
            load(tmp_path, table, questions)


def wide(variables, label="Is statement {i} right, as far as you can say?"):
    code = np.array([0, 1, 2, 3, -1], np.int32)
    labels = {1.0: "Strongly agree", 2.0: "Agree", 3.0: "Disagree", 4.0: "Strongly disagree", 9.0: "Refused"}
    columns = {
        f"Q{i}": Column(f"Q{i}", (1.0, 2.0, 3.0, 9.0), code, label.format(i=i), labels, frozenset({9.0}))
        for i in range(variables)
    }
    from pathlib import Path

    return RespondentTable(Path("wide.sav"), len(code), columns)


@pytest.mark.parametrize(
    ("variables", "label"),
    [
        pytest.param(6000, "Is statement {i} right, as far as you can say?", marks=pytest.mark.minutes),
        (3, "Is statement {i} right? " + "word " * 500_000),
    ],
)
def test_what_is_written_is_read_though_it_is_long(tmp_path, variables, label):
    people = wide(variables, label)
    proposal = propose(people)
    text = codebook_text(proposal, people).encode()
    assert len(text) > 2**20
    require_readable(text, "wide.sav")
    (tmp_path / "b.yaml").write_bytes(text)
    assert load_codebook(tmp_path / "b.yaml", people) == proposal.codebook


def test_bounds_hold(tmp_path, table):
    with pytest.raises(DataError, match="keep fewer variables in the file, or shorten their labels"):
        require_readable(b"x" * (CODEBOOK_BYTES + 1), "wide.sav")
    bombs = "a: &a [x]\nb: &b [*a, *a]\nquestions: *b\n", "a: " + "[" * 5000, "x" * (CODEBOOK_BYTES + 1)
    for bomb in bombs:
        (tmp_path / "b.yaml").write_text(bomb)
        with pytest.raises(ConfigError, match=r"b\.yaml: ") as e:
            load_codebook(tmp_path / "b.yaml", table)
        assert "\n" not in str(e.value)
