"""Exports of survey tools: header rows of Qualtrics and SurveyMonkey, ratings, cells of several answers."""

import json

import numpy as np
import openpyxl
import pytest

from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.respondents.proposal import propose
from gpo_ray.preferences.readers.respondents.reader import read_respondents, read_table_of

LIKERT = ("Strongly agree", "Agree", "Disagree", "Strongly disagree")


def lines(path, rows):
    """Write rows as CSV with every cell in quotes."""
    path.write_text(
        "\n".join(",".join('"' + str(c).replace('"', '""') + '"' for c in row) for row in rows) + "\n"
    )
    return read_table_of(path, ReadOptions())


def qualtrics(texts=True, number=120):
    rng = np.random.default_rng(1)
    heads = [
        ("ResponseId", "Response ID", "_recordId"),
        ("Q1", "What is your gender? - Selected Choice", "QID1"),
        ("Q2_1", "How much do you agree? - Buses should be free", "QID2_1"),
        ("Q2_2", "How much do you agree? - Parking should cost more", "QID2_2"),
        ("Q3", "Which should the city build? Select all that apply.", "QID3"),
        ("cell", "cell", "cell"),
    ]
    names, labels, ids = zip(*heads, strict=True)
    rows = [names, *([labels] if texts else []), [json.dumps({"ImportId": i}) for i in ids]]
    for i in range(number):
        things = [t for t in ("Roads", "Parks", "Schools") if rng.random() < 0.5]
        rows.append(
            (
                f"R_{i}",
                rng.choice(["Male", "Female"]),
                rng.choice(LIKERT),
                rng.choice(LIKERT),
                ",".join(things),
                rng.choice(["a", "b"]),
            )
        )
    return rows


def test_header_rows_of_qualtrics(tmp_path):
    table = lines(tmp_path / "q.csv", qualtrics())
    proposal = propose(table)
    book = proposal.codebook
    assert table.respondents == 120
    assert table.row(0) == 4
    assert any("Qualtrics" in note for _, note in table.notes)
    assert set(book.questions) == {"Q2_1", "Q2_2", "Q3 | Roads", "Q3 | Parks", "Q3 | Schools"}
    assert book.questions["Q2_1"].prompt == "How much do you agree? - Buses should be free"
    assert book.questions["Q2_1"].ordered
    assert book.questions["Q2_1"].slate() in (LIKERT, LIKERT[::-1])
    assert book.questions["Q3 | Roads"].prompt == "Which should the city build? Select all that apply.: Roads"
    assert set(book.demographics) == {"Q1"}
    assert book.demographics["Q1"].label == "What is your gender?"


def test_header_of_ids_without_texts(tmp_path):
    table = lines(tmp_path / "q.csv", qualtrics(texts=False))
    assert table.respondents == 120
    assert table.columns["Q2_1"].values == tuple(dict.fromkeys(table.columns["Q2_1"].values))
    assert not any("ImportId" in str(v) for c in table.columns.values() for v in c.values)


def monkey(number=90):
    rng = np.random.default_rng(2)
    rows = [
        (
            "Respondent ID",
            "How satisfied are you with your job?",
            "Do you agree?",
            "",
            "What would help? (Check all that apply.)",
            "",
            "",
            "Which department do you work in?",
            "",
        ),
        (
            "",
            "Response",
            "Pay is fair",
            "Managers listen",
            "Pay",
            "Training",
            "None of the above",
            "Response",
            "Other (please specify)",
        ),
    ]
    for i in range(number):
        marks = [t if rng.random() < 0.4 else "" for t in ("Pay", "Training", "None of the above")]
        rows.append(
            (
                1000 + i,
                rng.choice(["Very satisfied", "Satisfied", "Dissatisfied"]),
                rng.choice(LIKERT),
                rng.choice(LIKERT),
                *marks,
                rng.choice(["Sales", "Finance"]),
                "Legal" if i == 3 else "",
            )
        )
    return rows


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_two_header_rows_of_surveymonkey(tmp_path, suffix):
    path = tmp_path / f"s.{suffix}"
    if suffix == "csv":
        table = lines(path, monkey())
    else:
        book = openpyxl.Workbook()
        for row in monkey():
            book.active.append([None if c == "" else str(c) for c in row])
        book.save(path)
        table = read_table_of(path, ReadOptions())
    proposal = propose(table)
    assert any("two rows" in note for _, note in table.notes)
    assert set(proposal.codebook.questions) == {
        "How satisfied are you with your job?",
        "Do you agree? | Pay is fair",
        "Do you agree? | Managers listen",
        "What would help? (Check all that apply.) | Pay",
        "What would help? (Check all that apply.) | Training",
        "What would help? (Check all that apply.) | None of the above",
    }
    pay = proposal.codebook.questions["What would help? (Check all that apply.) | Pay"]
    assert pay.slate() == ("Yes", "No")
    assert set(proposal.codebook.demographics) == {"Which department do you work in?"}


def test_shares_of_marks_in_two_header_rows(tmp_path):
    rows = monkey(200)
    lines(tmp_path / "s.csv", rows)
    survey = read_respondents(tmp_path / "s.csv", ReadOptions())
    marks = [r for r in rows[2:] if any(r[4:7]) and r[7] == "Sales"]
    want = np.mean([r[4] == "Pay" for r in marks])
    question = next(q for q in survey.iter_questions() if q.prompt.endswith(": Pay"))
    sales = next(g for g in survey.groups.to_pylist() if "Sales" in g["description"])
    values, offsets = survey.shares()
    row = next(
        i
        for i, r in enumerate(survey.preferences.to_pylist())
        if r["question_id"] == question.question_id and r["group_id"] == sales["group_id"]
    )
    assert dict(zip(question.responses, values[offsets[row] : offsets[row + 1]], strict=True)) == {
        "Yes": pytest.approx(want),
        "No": pytest.approx(1 - want),
    }


def test_a_single_header_is_left_as_it_is(tmp_path):
    rows = [("Do you agree?", "Is it fair?"), *[("Yes", "No"), ("No", "Yes")] * 30]
    table = lines(tmp_path / "s.csv", rows)
    assert table.respondents == 60
    assert set(table.columns) == {"Do you agree?", "Is it fair?"}


def test_cells_of_several_answers(tmp_path):
    rng = np.random.default_rng(3)
    things = ("Food, drink", "Music", "Sport", "Art")
    rows = [("What do you value most in the city?", "Should it be free?", "Your city")]
    chosen = [[t for t in things if rng.random() < 0.5] for _ in range(200)]
    cities = ("Austin, TX", "Dallas, TX", "Reno, NV")
    rows += [(", ".join(c), rng.choice(["Yes, always", "No, never"]), rng.choice(cities)) for c in chosen]
    table = lines(tmp_path / "f.csv", rows)
    name = rows[0][0]
    assert [n for n in table.columns if " | " in n] != []
    assert {n for n in table.columns if n.startswith(f"{name} | ")} == {f"{name} | {t}" for t in things}
    music = table.columns[f"{name} | Music"]
    assert music.numbers().tolist() == pytest.approx(
        [float("Music" in c) if c else np.nan for c in chosen], nan_ok=True
    )
    assert not any(n.startswith(("Should it be free? |", "Your city |")) for n in table.columns)
    assert any("several answers" in note for _, note in table.notes)


@pytest.mark.parametrize(
    ("header", "low", "high", "is_question"),
    [
        ("How satisfied are you with the service?", 1, 5, True),
        ("Wie zufrieden sind Sie mit der Arbeit der Regierung?", 0, 10, True),
        ("How much do you trust the police?", 0, 100, False),
        ("How many days did you travel?", 1, 7, False),
    ],
)
def test_ratings_without_labels(tmp_path, header, low, high, is_question):
    rng = np.random.default_rng(4)
    rows = [(header, "Should it be free?")]
    rows += [(v, rng.choice(["Yes", "No"])) for v in rng.integers(low, high + 1, 300)]
    book = propose(lines(tmp_path / "f.csv", rows)).codebook
    assert (header in book.questions) == is_question
    if is_question:
        assert book.questions[header].ordered
        assert book.questions[header].slate() == tuple(str(v) for v in range(low, high + 1))
