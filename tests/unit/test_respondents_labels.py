"""Labels of values: codes before them, what is no answer, placeholders, and values between labelled ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.readers import ReadOptions, read_survey
from gpo_ray.preferences.readers.respondents.codebook import (
    Codebook,
    DemographicEntry,
    QuestionEntry,
    check_codebook,
)
from gpo_ray.preferences.readers.respondents.document import codebook_text
from gpo_ray.preferences.readers.respondents.levels import labelled
from gpo_ray.preferences.readers.respondents.proposal import propose
from gpo_ray.preferences.readers.respondents.table import Column, RespondentTable
from gpo_ray.preferences.readers.respondents.words import silence

pyreadstat = pytest.importorskip("pyreadstat", reason="the surveys extra is not installed")


def column(labels, values=None, **more):
    """Return a variable with labelled values, each of which occurs once or as often as listed."""
    labels = {float(v) if isinstance(v, int) else v: t for v, t in labels.items()}
    found = [float(v) for v in values] if values is not None else list(labels)
    distinct = tuple(dict.fromkeys(found))
    code = np.array([distinct.index(v) for v in found], np.int32)
    return Column("q", distinct, code, "What do you think?", labels, **more)


def texts(*values):
    """Return a variable of texts without labels."""
    return Column("q", values, np.arange(len(values), dtype=np.int32), kind="text")


def test_a_beginning_is_a_code_only_if_all_labels_have_theirs():
    for labels in (
        {0: "0 - 1 times", 1: "1 times", 2: "2 - 3 times", 3: "3 times"},
        {0: "0 - 1 times", 1: "1 - 2 times", 2: "2 - 3 times"},
        {1: "1.000 Euro", 2: "2.000 Euro"},
        {1: "1:1 as now", 2: "2.5 times"},
        {1: "1. Agree", 2: "2. Agree"},
        {1: "1 - none", 2: "two", 3: "more"},
    ):
        assert list(labelled(column(labels)).answers.values()) == list(labels.values())
    assert labelled(column({1: "1. Yes", 2: "2. No", 9: "Refused"})).answers == {1: "Yes", 2: "No"}
    assert labelled(column({1: "01. 18-29", 2: "02. 30-49"})).answers == {1: "18-29", 2: "30-49"}
    party = column({0: "00. Left", 1: "01.", 2: "02. Right", 96: "96. Haven't heard of it", 99: "99. NA"})
    assert labelled(party).answers == {0: "0: Left", 1: "1", 2: "2: Right"}
    countries = column({99: "NA", 276: "Germany", 792: "Turkey", 998: "DK"})
    assert labelled(countries).answers == {276: "Germany", 792: "Turkey"}
    ends = column({0: "0 - Not at all", 1: "1", 2: "2 - Fully", 8: "8 - Don't know"})
    assert labelled(ends).answers == {0: "0: Not at all", 1: "1", 2: "2: Fully"}


def test_negative_codes_beside_answers_are_none():
    found = labelled(column({-7: "Deleted, incomplete", -9: "Refused", 1: "Good", 2: "Bad"}))
    assert found.answers == {1: "Good", 2: "Bad"}
    assert found.guessed == [-7]
    assert set(found.missing) == {-9, -7}
    assert labelled(column({-1: "Other wave", 0: "No", 1: "Yes"})).answers == {0: "No", 1: "Yes"}
    for labels in (
        {-2: "Bad", -1: "Rather bad", 0: "Middle", 1: "Rather good", 2: "Good"},
        {-1: "Worse", 0: "The same", 1: "Better"},
        {-2: "A", -1: "B", 9: "Refused"},
    ):
        assert labelled(column(labels)).guessed == []


@pytest.mark.parametrize(
    "label",
    [
        "No post-election data, deleted due to incomplete interview",
        "NAP, other countries",
        "VOLUNTEERED: REFUSED",
        "volunteered: don't know",
        "Not in wave",
        "Vill ej uppge",
        "Vill inte uppge",
        "w. n.",
        "SR",
    ],
)
def test_more_words_of_refusals(label):
    assert silence(label)
    assert labelled(column({1: "Good", 2: "Bad", 9: label})).missing == {9: label}


def test_placeholders_are_no_labels():
    found = labelled(column({1: "No trust", 2: "..", 3: "-", 4: "…", 5: "Full trust"}))
    assert found.numbered
    assert list(found.answers.values()) == ["1: No trust", "2", "3", "4", "5: Full trust"]
    assert labelled(column({1: "+", 2: "-"})).answers == {1: "+", 2: "-"}


@pytest.mark.parametrize(
    "labels",
    [
        {1: "Know many", 2: "Know some", 3: "Don't know anyone"},
        {1: "For", 2: "Against", 3: "Blank"},
        {1: "Party A", 2: "NP", 3: "NV", 4: "SR"},
        {1: "Accept", 2: "Refuse", 3: "Skip"},
        {1: "Agreed", 2: "Refused"},
        {1: "Filter", 2: "Espresso"},
        {1: "Real", 2: "Error", 3: "Invalid"},
    ],
)
def test_answers_that_look_like_refusals(labels):
    found = labelled(column(labels))
    assert found.answers == labels
    assert labelled(column({**labels, 98: "DK", 99: "NA"})).answers == labels


def test_short_forms_after_a_refusal():
    found = labelled(column({1: "Agree", 2: "Disagree", 3: "DK", 4: "NR"}))
    assert found.answers == {1: "Agree", 2: "Disagree"}
    assert list(labelled(texts("Si", "No", "NS")).answers) == ["Si", "No"]


def test_texts_without_codes():
    assert labelled(texts("Agree", "Disagree", "NR", "Don't know enough to say")).answers == {
        "Agree": "Agree",
        "Disagree": "Disagree",
    }
    for values in (("Accept", "Refuse", "Skip"), ("For", "Against", "Blank"), ("PP", "NP", "NV")):
        assert list(labelled(texts(*values)).answers) == list(values)


def table_of(**columns):
    return RespondentTable(Path("f.sav"), max(len(c.code) for c in columns.values()), columns)


def test_negative_codes_are_listed_as_a_guess():
    asked = column({-7: "Deleted", 1: "Strongly agree", 2: "Agree", 3: "Disagree"})
    sex = replace(column({-7: "Deleted", 1: "Male", 2: "Female"}), name="sex", label="Sex")
    table = table_of(q=asked, sex=sex)
    proposal = propose(table)
    assert proposal.codebook.questions["q"].ordered
    assert proposal.codebook.questions["q"].missing == {-7: "Deleted"}
    text = codebook_text(proposal, table)
    assert text.count("guessed to be no answer, as the code is negative: -7") == 2
    assert all("-7" in f.why for f in proposal.findings)


def test_values_between_labelled_ends():
    asked = column({1: "Yes", 2: "No"})
    warm = column({0: "Cold", 100: "Warm"}, [*range(0, 101, 10)])
    proposal = propose(table_of(q=asked, warm=replace(warm, name="warm")))
    assert [*proposal.codebook.questions] == ["q"]
    assert "values between have no labels" in proposal.findings[1].why
    half = replace(column({1: "Low", 2: "High"}, [1, 1.5, 2]), name="half")
    assert [*propose(table_of(q=asked, half=half)).codebook.questions] == ["q"]
    few = column({0: "Cold", 100: "Warm"}, [*[0] * 10, *[100] * 10, 37])
    assert [*propose(table_of(q=few)).codebook.questions] == ["q"]


def test_codes_with_the_same_label():
    one = column({1: "Good", 2: "Good", 3: "Bad"})
    assert propose(table_of(q=one)).guesses["q"].endswith("codes 1, 2 are one")
    none = replace(column({1: "Good", 2: "??", 3: "??", 4: "Bad"}), name="none")
    found = propose(table_of(q=one, none=none)).findings[1]
    assert (found.role, found.why) == ("left out", "several values have the same label, which has no letters")


@pytest.mark.parametrize("kind", ["respondents", "table"])
def test_titles_above_the_header(tmp_path, kind):
    path = tmp_path / "t.csv"
    path.write_text("Poll of May,,,\n,,,\ngroup,prompt,response,count\nA,Q?,Yes,4\nA,Q?,No,6\n")
    with pytest.raises(DataError, match="header seems to be in row 3; remove the rows above"):
        read_survey(kind, path)
    with pytest.raises(DataError, match="header seems to be in row 3; remove the rows above"):
        read_survey("table", path, ReadOptions(units="individuals"))


def test_weights_that_can_be_read_in_two_ways(tmp_path):
    path = tmp_path / "w.csv"
    rows = "".join(f"{i};Should it be?;{'Yes' if i % 2 else 'No'};1,{i}00\n" for i in range(1, 10))
    path.write_text("id;x;Should it be?;weight\n" + rows)
    with pytest.raises(DataError, match=r"column weight: .*--decimal"):
        read_survey("respondents", path)
    options = ReadOptions(decimal=",", groups="x", min_respondents=1)
    assert read_survey("respondents", path, options).preferences.num_rows


@pytest.mark.parametrize("labels", [{}, {"q": {1: "Agree", 2: "agree", 3: "Disagree", 8: "DK", 9: "dk"}}])
def test_answers_that_differ_in_case_alone(tmp_path, labels):
    path = tmp_path / "c.sav"
    rng = np.random.default_rng(0)
    answers = [1.0, 2.0, 3.0] if labels else ["Agree", "agree", "Disagree"]
    data = pd.DataFrame({"q": rng.choice(answers, 90), "sex": rng.choice([1.0, 2.0], 90)})
    pyreadstat.write_sav(
        data,
        str(path),
        column_labels={"q": "Should it be built?", "sex": "Sex"},
        variable_value_labels={"sex": {1: "Male", 2: "Female"}, **labels},
    )
    with pytest.raises(DataError, match=r"'Agree' and 'agree' differ in case alone; .*--merge-case"):
        read_survey("respondents", path)
    dataset = read_survey("respondents", path, ReadOptions(merge_case=True, min_respondents=1))
    assert {*next(dataset.iter_questions()).responses} == {"Agree", "Disagree"}
    assert "'agree' is taken as 'Agree'" in {note["note"] for note in dataset.notes.to_pylist()}
    agreed = (data["q"].isin(answers[:2]) & (data["sex"] == 1)).sum() / (data["sex"] == 1).sum()
    share = {p["group_id"]: p["share"] for p in dataset.preferences.to_pylist()}["sex=Male"]
    assert share[next(dataset.iter_questions()).responses.index("Agree")] == pytest.approx(agreed)


def test_answers_that_differ_in_quotes_and_dashes_alone_are_one(tmp_path):
    path = tmp_path / "c.csv"
    answers = ["Don't build", "Don’t build", "Build 1-2", "Build 1–2"]
    rows = [f"{answers[i % 4]},{('Male', 'Female')[i % 3 == 0]}" for i in range(120)]
    path.write_text("\n".join(["Should it be built?,Sex", *rows]), "utf-8")
    dataset = read_survey("respondents", path, ReadOptions(min_respondents=1))
    assert {*next(dataset.iter_questions()).responses} == {"Don't build", "Build 1-2"}
    assert "'Don’t build' is taken as \"Don't build\"" in {note["note"] for note in dataset.notes.to_pylist()}


def test_a_codebook_with_two_cases_of_a_response():
    responses = {1: "Agree", 2: "agree", 3: "No"}
    asked = column(responses)
    book = Codebook(questions={"q": QuestionEntry(prompt="p", responses=responses)})
    with pytest.raises(ConfigError, match=r"b: questions.q.responses: 'Agree' and 'agree' differ in case"):
        check_codebook(book, table_of(q=asked), "b")
    book = Codebook(
        demographics={"sex": DemographicEntry(label="Sex", levels={1: "Male", 2: "male"})},
        questions={"q": QuestionEntry(prompt="p", responses={1: "Agree", 2: "Agree", 3: "No"})},
    )
    with pytest.raises(ConfigError, match=r"demographics.sex.levels: 'Male' and 'male' differ in case"):
        check_codebook(book, table_of(q=asked, sex=replace(asked, name="sex")), "b")
    problem = replace(asked, problem="'Agree' and 'agree' differ in case alone")
    check_codebook(book.model_copy(update={"demographics": {}}), table_of(q=problem), "b")


def test_a_codebook_that_names_codes_as_the_weight():
    book = Codebook(weight="sex", questions={"q": QuestionEntry(prompt="p", responses={1: "Yes", 2: "No"})})
    asked = column({1: "Yes", 2: "No"})
    for sex in (column({1: "Male", 2: "Female", 3: "Other"}), column({}, [1, 2, 1])):
        with pytest.raises(ConfigError, match=r"b: weight: sex holds codes \(1.*name another variable"):
            check_codebook(book, table_of(q=asked, sex=replace(sex, name="sex")), "b")
    check_codebook(book, table_of(q=asked, sex=column({}, [0.8, 1.2])), "b")
    check_codebook(book, table_of(q=asked, sex=column({9: "None"}, [1, 2, 9, 3])), "b")
