"""The codebook: written and read again, refused by key, and the command that proposes it."""

import json

import numpy as np
import pytest
from survey_files import V, demographic, ids, numbers, scale, weights, write
from typer.testing import CliRunner

from gpo_ray.cli import app
from gpo_ray.errors import ConfigError
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.readers import ReadOptions, read_survey
from gpo_ray.preferences.readers.respondents.codebook import QuestionEntry
from gpo_ray.preferences.readers.respondents.document import codebook_text
from gpo_ray.preferences.readers.respondents.levels import labelled
from gpo_ray.preferences.readers.respondents.loading import load_codebook
from gpo_ray.preferences.readers.respondents.proposal import propose
from gpo_ray.preferences.readers.respondents.reader import read_table_of
from gpo_ray.preferences.readers.respondents.scales import is_ordered
from gpo_ray.preferences.readers.respondents.table import Column
from gpo_ray.preferences.readers.respondents.words import plain, silence, without_code

pytest.importorskip("pyreadstat", reason="the surveys extra is not installed")

VARIABLES = {
    "id": ids("Respondent number"),
    "q1": scale('Should it be "yes": or #no?', "Yes", "No", missing={98: "Don't know", 99: "Refused"}),
    "q2": scale("Trust: the press", "A great deal", "Some", "None at all", missing={9: "DK"}),
    "q3": scale("Which colour – \u2028 \x85 do you prefer?", "Red, or: pink", "Blue", "null", "2"),
    "q4": V("Scale", {0: "Low", 10: "High", 88: "Don't know"}, [], lambda r, n: r.integers(0, 11, n) * 1.0),
    **{
        f"m_{i}": V(f"Media used: {t}", {1: "Selected"}, [], None)
        for i, t in enumerate(("TV", "Radio", "Web"))
    },
    "sex": demographic("Sex", "Male", "Female"),
    "age": numbers("Age", 16, 90),
    "wt": weights(),
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "s.sav"
    write(path, VARIABLES, n=300)
    return path


def test_a_proposal_is_read_again_as_it_was_written(file, tmp_path):
    table = read_table_of(file, ReadOptions())
    proposal = propose(table)
    book = tmp_path / "b.yaml"
    book.write_text(codebook_text(proposal, table), encoding="utf-8")
    assert load_codebook(book, table) == proposal.codebook
    assert proposal.codebook.sets == {"m_0": ("m_0", "m_1", "m_2")}
    assert len(book.read_text().splitlines()) < 80
    first = read_survey("respondents", file)
    again = read_survey("respondents", file, ReadOptions(codebook=str(book)))
    assert first.fingerprint() == again.fingerprint()


BOOK = """weight: wt
id: id
demographics:
  sex: {label: Sex, levels: {1: Male, 2: Female}}
  age: {label: Age, bins: [18, 30]}
questions:
  q1:
    prompt: Is it?
    responses: {1: Yes, 2: No}
    missing: {98: DK}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight: wt", "weight: WGT", "weight: s.sav has no variable 'WGT'; did you mean wt?"),
        ("id: id", "id: nobody_knows", "id: s.sav has no variable 'nobody_knows'"),
        ("  q1:", "  q9:", "questions.q9: s.sav has no variable 'q9'"),
        ("2: No", "3: No", "questions.q1.responses: 3 is not a value of q1; its values: 1, 2, 98, 99"),
        ("98: DK", "97: DK", "questions.q1.missing: 97 is not a value of q1"),
        ("98: DK", "2: DK", "questions.q1: code 2 is in responses and in missing"),
        ("2: No}", "1: No}", "key 1 is there twice"),
        ("  sex:", "  age:", "key age is there twice"),
        ("2: No", "2: Yes", "1 different responses; a question needs at least 2"),
        ("1: Male", "7: Male", "demographics.sex.levels: 7 is not a value of sex"),
        ("bins: [18, 30]", "bins: [30, 18]", "demographics.age: bins: the numbers must ascend"),
        (", bins: [18, 30]", "", "demographics.age: give levels, or bins for a number"),
        ("prompt: Is it?", "promt: Is it?", "questions.q1.promt: there is no such key; did you mean prompt?"),
        (
            "    missing",
            "    ordred: true\n    missing",
            "questions.q1.ordred: there is no such key; did you mean ordered?",
        ),
        ("    missing", "    scale: [1, 2]\n    missing", "scale is given and ordered is false"),
        ("    missing", "    ordered: true\n    scale: [1]\n    missing", "scale: 1 values for 2 responses"),
        (
            "  sex:",
            "  q1: {label: Q, levels: {1: a, 2: b}}\n  sex:",
            "q1 is in questions and in demographics",
        ),
        (
            "    missing",
            "    blank: No\n    missing",
            "questions.q1.blank is given and the question is in no set",
        ),
        ("questions:", "sets: {a: [q2]}\nquestions:", "sets: q2 is not among the questions"),
        ("weight: wt", "weights: wt", "b.yaml: weights: there is no such key; did you mean weight?"),
        (BOOK, "- a\n", "expected one document of keys and values"),
        (BOOK, "a: &x 1\nb: *x\n", "alias"),
        (BOOK, "a: [", "not valid YAML"),
    ],
)
def test_a_codebook_that_does_not_fit_is_refused_by_key(file, tmp_path, old, new, message):
    assert old in BOOK
    (tmp_path / "b.yaml").write_text(BOOK.replace(old, new, 1))
    with pytest.raises(ConfigError) as e:
        load_codebook(tmp_path / "b.yaml", read_table_of(file, ReadOptions()))
    assert message in str(e.value)
    assert str(tmp_path / "b.yaml") in str(e.value)
    assert "\n" not in str(e.value)


def test_a_missing_code_can_be_made_a_response(file, tmp_path):
    book = tmp_path / "b.yaml"
    book.write_text(
        BOOK.replace("2: No}", "2: No, 99: No answer, 98: No answer}").replace("    missing: {98: DK}\n", "")
    )
    dataset = read_survey("respondents", file, ReadOptions(codebook=str(book)))
    assert next(dataset.iter_questions()).responses == ("Yes", "No", "No answer")


def test_scale_values():
    def entry(codes, **more):
        return QuestionEntry(prompt="p", responses=dict(zip(codes, "abcdef", strict=False)), **more)

    assert entry([1, 2, 3]).ordinal() is None
    assert entry([1, 2, 3], ordered=True).ordinal() == (1, 2, 3)
    assert entry([5, 3, 1], ordered=True).ordinal() == (5, 3, 1)
    assert entry([1, 2, 5], ordered=True).ordinal() == (1, 2, 3)
    assert entry(["x", "y"], ordered=True).ordinal() == (1, 2)
    assert entry([1, 2], ordered=True, scale=(0.0, 9.0)).ordinal() == (0, 9)


@pytest.mark.parametrize(
    ("label", "why"),
    [
        *(
            (t, "refused")
            for t in ("Refused", "DK/NA", "No sabe / No contesta", "-9. Refused", "Weiß nicht", "k.A.")
        ),
        *(
            (t, "refused")
            for t in ("(DO NOT READ) Don't know", "Don’t know", "Ne sait pas", "Vet ej", "无回答")
        ),
        *(
            (t, "refused")
            for t in ("لا أعرف", "Не знаю", "Nie wiem", "Bilmiyorum", "わからない", "No opinion")
        ),
        *(
            (t, "not asked")
            for t in ("Inap. (not 1 in q4)", "Not asked in survey", "Nie dotyczy", "TNZ: FILTER")
        ),
        *(
            (t, None)
            for t in ("No", "None", "Neither", "Other", "Not mentioned", "Agree", "Not sure", "Depends")
        ),
    ],
)
def test_words_of_refusals(label, why):
    assert silence(label) == why


def test_does_not_apply_is_an_answer_on_its_scale():
    german = ("Trifft voll zu", "Trifft eher zu", "Trifft eher nicht zu", "Trifft nicht zu")
    assert silence("Trifft nicht zu", german) is None
    assert silence("Trifft nicht zu", ("Ja", "Nein", "Trifft nicht zu")) == "not asked"
    assert is_ordered(german)


def test_codes_before_labels():
    assert without_code("-9. Refused", -9.0) == "Refused"
    assert without_code("(2) Somewhat", 2.0) == "Somewhat"
    assert without_code("2 children", 2.0) == "2 children"
    assert without_code("18-29", 18.0) == "18-29"
    assert plain("N’est PAS d'accord !") == "nest pas daccord"


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [
        ("Very satisfied|Fairly satisfied|Not very satisfied|Not at all satisfied", True),
        ("Disagree strongly|Disagree|Neither agree nor disagree|Agree|Agree strongly", True),
        ("Tout à fait d'accord|Plutôt d'accord|Plutôt pas d'accord|Pas du tout d'accord", True),
        ("Molto d'accordo|Abbastanza d'accordo|Poco d'accordo|Per niente d'accordo", True),
        ("Helemaal mee eens|Mee eens|Niet mee eens, niet mee oneens|Mee oneens|Helemaal mee oneens", True),
        ("Zdecydowanie się zgadzam|Raczej się zgadzam|Raczej się nie zgadzam", True),
        ("Mycket nöjd|Ganska nöjd|Inte särskilt nöjd|Inte alls nöjd", True),
        ("Mucha|Algo|Poca|Ninguna", True),
        ("Too little|About right|Too much", True),
        ("Yes|No", False),
        ("Agree|Disagree|Neither", False),
        ("The Republican Party|The Democratic Party|Both|Neither", False),
        ("Red|Green|Blue", False),
    ],
)
def test_ordered_scales(labels, ordered):
    assert is_ordered(labels.split("|")) == ordered


def test_points_without_labels():
    def column(values, labels):
        code = np.arange(len(values), dtype=np.int32)
        return Column("x", tuple(map(float, values)), code, "X", {float(k): v for k, v in labels.items()})

    ends = labelled(column(range(1, 6), {1: "Low", 5: "High"}))
    assert list(ends.answers.values()) == ["1: Low", "2", "3", "4", "5: High"]
    stray = labelled(column([1, 2, 7], {1: "Yes", 2: "No"}))
    assert stray.answers == {1: "Yes", 2: "No"}
    assert stray.unlabelled == [7]
    open_number = labelled(column(range(80), {0: "None", 99: "Refused"}))
    assert len(open_number.unlabelled) > 12


def run(*arguments):
    return CliRunner().invoke(app, ["survey", *map(str, arguments)], catch_exceptions=False)


def test_command_line(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    shown = run("codebook", file, "--out", "book.yaml")
    assert shown.exit_code == 0, shown.output
    assert all(len(line) <= 80 for line in shown.output.splitlines() if "│" in line)
    assert "\x85" not in shown.output
    assert "3 responses, ordered" in shown.output
    text = (tmp_path / "book.yaml").read_text()
    with pytest.raises(ConfigError, match="there is a file already"):
        run("codebook", file, "--out", "book.yaml")
    assert (tmp_path / "book.yaml").read_text() == text
    again = run("codebook", file, "--out", "book.yaml", "--overwrite", "--json")
    found = json.loads(again.output.splitlines()[-1])
    assert found == {"questions": 7, "demographics": 2, "weight": "wt", "id": "id", "out": "book.yaml"}
    done = run("import", "respondents", "--from", file, "--codebook", "book.yaml", "--out", "a", "--json")
    assert done.exit_code == 0, done.output
    plainly = run("import", "respondents", "--from", file, "--out", "b", "--groups", "sex,AGE*sex")
    assert "proposed codebook" in plainly.output
    assert PreferenceDataset.load("a").questions.num_rows == 7
    assert "age=18-29 & sex=Male" not in PreferenceDataset.load("a").groups["group_id"].to_pylist()
    assert any("cut into levels" in n["note"] for n in PreferenceDataset.load("b").notes.to_pylist())
