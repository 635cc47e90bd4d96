"""The OpinionQA readers: counts, a row per respondent, individuals."""

import csv
import json
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers import ReadOptions, read_survey
from gpo_ray.preferences.readers.opinionqa_items import PAPER_GROUPS

SHARED = Path(__file__).resolve().parents[3] / "shared"
DATA = Path(os.environ.get("GPO_RAY_DATA", SHARED / "data"))
REFERENCE = SHARED / "reference" / "oqa_questions.jsonl"
real = pytest.mark.skipif(not (DATA / "opinionqa").is_dir(), reason="OpinionQA is not on this machine")
real_people = pytest.mark.skipif(
    not (DATA / "opinionqa_individuals").is_dir(), reason="OpinionQA individuals are not on this machine"
)

WAVE = "American_Trends_Panel_W26"
METADATA = [
    {"key": "SEX", "options": "['Male', 'Female']"},
    {"key": "RELIG", "options": "['Atheist', 'Other']"},
]
SCALE = {
    "key": "SAFE_W26",
    "question": "How safe?",
    "references": "['Very', 'Somewhat', \"Isn't\", 'Not sure', 'Refused']",
    "option_ordinal": "[1.0, 2.0, 3.0]",
    "option_mapping": "{}",
}
YESNO = SCALE | {
    "key": "GUN_W26",
    "question": "A gun?",
    "references": "['Yes, I do', 'No', 'Refused']",
    "option_ordinal": "[1.0, 2.0]",
}


def write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def wave(tmp_path):
    folder = tmp_path / "human_resp" / WAVE
    write_csv(folder / "info.csv", [SCALE, YESNO])
    write_csv(folder / "metadata.csv", METADATA)
    return folder


def write_counts(wave, content, attribute="SEX"):
    (wave / f"{attribute}_data.json").write_text(json.dumps(content), encoding="utf-8")


def write_responses(wave, *rows, columns="SAFE_W26,GUN_W26,SEX,RELIG,WEIGHT_W26"):
    names = columns.split(",")
    write_csv(wave / "responses.csv", [dict(zip(names, r, strict=True)) for r in rows])


def prefs(dataset):
    return {(p["group_id"], p["question_id"]): p for p in dataset.preferences.to_pylist()}


def drops(dataset, reason):
    return [d["where"] for d in dataset.dropped.to_pylist() if d["reason"] == reason]


def read(wave, **options):
    return read_survey("opinionqa", wave.parents[1], ReadOptions(**options))


def test_counts(wave):
    write_counts(
        wave,
        {
            "SAFE_W26": {
                "MC_options": ["ignored"],
                "question_text": "ignored",
                "Female": {"Very": 6, "isn’t": 2.0, "Not sure": 5, "Refused": 1, "Maybe": 3},
                "Male": {"Refused": 2},
                "Refused": {"Very": 2},
            },
            "LOST_W26": {"Female": {"Yes": 1}},
        },
    )
    data = read(wave)
    assert data.questions.to_pylist() == [
        {
            "question_id": "SAFE_W26",
            "source": "opinionqa",
            "topic": WAVE,
            "prompt": "How safe?",
            "responses": ["Very", "Somewhat", "Isn't"],
            "ordinal": [1.0, 2.0, 3.0],
        }
    ]
    assert data.groups.to_pylist() == [
        {"group_id": "SEX=Female", "kind": "attribute", "description": "US adults whose sex is Female"}
    ]
    assert prefs(data)["SEX=Female", "SAFE_W26"] == {
        "group_id": "SEX=Female",
        "question_id": "SAFE_W26",
        "share": [0.75, 0, 0.25],
        "choice": None,
        "n": 8.0,
    }
    assert data.dropped_by_reason() == {
        "answer has no scale value": 1,
        "answer is none of the question's options": 1,
        "answers to a question that is not listed": 1,
        "level is not a group (refusal, unknown or other)": 1,
        "no answer counts for this question": 1,
        "no answers of this group to this question": 1,
        "refusal": 1,
    }
    assert drops(data, "refusal") == [f"{WAVE}/SEX_data.json: SAFE_W26, 'Refused' (3 answers)"]
    assert drops(data, "no answer counts for this question") == [f"{WAVE}/info.csv: GUN_W26"]


def test_the_human_resp_folder_itself_is_a_source(wave):
    write_counts(wave, {"GUN_W26": {"Male": {"No": 1}}})
    assert read_survey("opinionqa", wave.parent).fingerprint() == read(wave).fingerprint()


def test_repeated_key_keeps_its_first_wording(wave):
    write_csv(wave / "info.csv", [YESNO, YESNO | {"question": "Another?"}])
    write_counts(wave, {"GUN_W26": {"Male": {"No": 1}}})
    data = read(wave)
    assert data.questions["prompt"].to_pylist() == ["A gun?"]
    assert drops(data, "question listed before; its first row is used") == [
        f"{WAVE}/info.csv: row 3, GUN_W26"
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"references": "['Yes', 'Refused']", "option_ordinal": "[1.0]"},
        {"references": "['Yes', 'No']", "option_ordinal": "[1.0, 2.0, 3.0]"},
        {"references": "['Yes', 'yes ']"},
    ],
)
def test_question_without_a_slate_is_logged(change, wave):
    write_csv(wave / "info.csv", [SCALE, YESNO | change])
    write_counts(wave, {"SAFE_W26": {"Male": {"Very": 1}}, "GUN_W26": {"Male": {"Yes": 1}}})
    data = read(wave)
    assert data.questions["question_id"].to_pylist() == ["SAFE_W26"]
    assert list(data.dropped_by_reason().values()) == [1]


def test_contentious(wave):
    write_counts(wave, {"GUN_W26": {"Male": {"No": 1}}, "SAFE_W26": {"Male": {"Very": 1}}})
    with pytest.raises(DataError, match="disagreement_500"):
        read(wave, contentious=True)
    write_csv(wave.parent / "Pew_American_Trends_Panel_disagreement_500" / "info.csv", [YESNO])
    data = read(wave, contentious=True)
    assert data.questions["question_id"].to_pylist() == ["GUN_W26"]
    assert data.dropped_by_reason() == {"not one of the contentious questions": 1}


def test_responses_are_weighted(wave):
    write_responses(
        wave,
        ("Very", "Yes, I do", "Female", "Atheist", 3.0),
        ("Somewhat", "No", "Female", "Other", 1.0),
        (" VERY", "", "Female", "Atheist", 0.5),
        ("Refused", "No", "Female", "", 9.0),
        ("Not sure", "No", "Male", "Atheist", 9.0),
        ("Perhaps", "no", "Male", "Atheist", 1.0),
        ("Isn't", "No", "Refused", "Atheist", 2.0),
        ("Isn't", "No", "Male", "Atheist", ""),
    )
    write_counts(wave, {"GUN_W26": {"Male": {"No": 100}}})  # the respondents' rows go first
    data = read(wave)
    found = prefs(data)
    female = found["SEX=Female", "SAFE_W26"]
    np.testing.assert_allclose(female["share"], [3.5 / 4.5, 1 / 4.5, 0])
    assert female["n"] == 3
    np.testing.assert_allclose(found["SEX=Female", "GUN_W26"]["share"], [3 / 13, 10 / 13])
    atheist = found["RELIG=Atheist", "SAFE_W26"]
    np.testing.assert_allclose(atheist["share"], [3.5 / 5.5, 0, 2 / 5.5])
    assert atheist["n"] == 3
    assert found["SEX=Male", "GUN_W26"]["share"] == [0, 1]
    assert ("SEX=Male", "SAFE_W26") not in found
    assert set(data.groups["group_id"].to_pylist()) == {"SEX=Female", "SEX=Male", "RELIG=Atheist"}
    assert data.dropped_by_reason() == {
        "answer has no scale value": 1,
        "answer is none of the question's options": 1,
        "answers carry no survey weight": 1,
        "level is not a group (refusal, unknown or other)": 3,
        "no answers of this group to this question": 1,
        "refusal": 1,
    }
    assert drops(data, "answers carry no survey weight") == [f"{WAVE}/responses.csv: row 9"]


def test_responses_and_counts_of_the_same_people_agree(wave):
    rows = [("Very", "No", "Male", "Atheist", 1)] * 3 + [("Somewhat", "No", "Male", "Atheist", 1)]
    write_counts(wave, {"SAFE_W26": {"Male": {"Very": 3, "Somewhat": 1}}, "GUN_W26": {"Male": {"No": 4}}})
    counted = read(wave)
    write_responses(wave, *rows)
    by_row = prefs(read(wave))
    assert all(by_row[key] == row for key, row in prefs(counted).items())


def test_paper_groups_in_responses(wave):
    write_responses(wave, ("Very", "No", "Male", "Atheist", 1), ("Very", "No", "Male", "Buddhist", 1))
    data = read(wave, groups="paper")
    assert set(data.groups["group_id"].to_pylist()) == {"SEX=Male", "RELIG=Atheist"}
    assert drops(data, "not a group of the paper") == [f"{WAVE}/responses.csv: RELIG=Buddhist"]


def test_responses_without_some_columns(wave):
    write_responses(wave, ("Very", "Male", 1), columns="SAFE_W26,SEX,WEIGHT_W26")
    data = read(wave)
    assert drops(data, "attribute has no column in responses.csv") == [f"{WAVE}/responses.csv: RELIG"]
    assert drops(data, "no answer counts for this question") == [f"{WAVE}/info.csv: GUN_W26"]


@pytest.mark.parametrize(
    ("weight", "problem"), [("-1", "negative"), ("heavy", "not a number"), ("inf", "not f")]
)
def test_bad_weight(weight, problem, wave):
    write_responses(wave, ("Very", "No", "Male", "Atheist", weight))
    with pytest.raises(DataError, match=rf"responses.csv: row 2: WEIGHT_W26 .*{problem}"):
        read(wave)


def test_missing_weight_column(wave):
    write_responses(wave, ("Very", "Male", 1), columns="SAFE_W26,SEX,WEIGHT")
    with pytest.raises(DataError, match="column 'WEIGHT_W26' is missing; found"):
        read(wave)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("info.csv", "", "the file is empty"),
        ("info.csv", "key,question\na,b\n", "column 'references' is missing"),
        (
            "info.csv",
            "key,question,references,option_ordinal\nA,b,[c,[1]\n",
            "row 2, A: references: cannot read",
        ),
        ("info.csv", "key,question,references,option_ordinal\nA,b,['c'],[x]\n", "row 2, A: option_ordinal"),
        ("SEX_data.json", "", "the file is empty"),
        ("SEX_data.json", "{", "not a readable JSON file"),
        ("SEX_data.json", "[]", "expected an object of question keys"),
        ("SEX_data.json", '{"GUN_W26": 3}', "GUN_W26: expected an object"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": -1}}}', "GUN_W26: Male: expected"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": "1"}}}', "GUN_W26: Male: expected"),
        ("responses.csv", "", "the file is empty"),
        ("responses.csv", "SEX,WEIGHT_W26\n", "(no rows|not a readable CSV)"),
        ("responses.csv", "SEX,WEIGHT_W26\nMale,1,3\n", "not a readable CSV"),
    ],
)
def test_unusable_file_is_named(name, content, message, wave):
    (wave / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as e:
        read(wave)
    assert str(wave / name) in str(e.value)


def test_folder_without_waves(tmp_path):
    with pytest.raises(DataError, match="no folder American_Trends_Panel"):
        read_survey("opinionqa", tmp_path)


@pytest.fixture(scope="module")
def opinionqa():
    start = time.perf_counter()
    data = read_survey("opinionqa", DATA / "opinionqa")
    assert time.perf_counter() - start < 10
    return data


@real
def test_real_sizes(opinionqa):
    assert opinionqa.questions.num_rows == 684
    reasons = opinionqa.dropped_by_reason()
    assert reasons["no answer counts for this question"] == 1494 - 684
    assert opinionqa.preferences.num_rows + reasons["no answers of this group to this question"] == 684 * 34
    assert "answer is none of the question's options" not in reasons
    levels = [g.partition("=") for g in opinionqa.groups["group_id"].to_pylist()]
    sizes = {a: sum(x[0] == a for x in levels) for a in sorted({x[0] for x in levels})}
    assert sizes == {
        "AGE": 4,
        "CREGION": 4,
        "EDUCATION": 6,
        "INCOME": 5,
        "POLIDEOLOGY": 5,
        "POLPARTY": 3,
        "RACE": 5,
        "SEX": 2,
    }


@real
@pytest.mark.skipif(not REFERENCE.is_file(), reason="the reference questions are not on this machine")
def test_real_questions_equal_the_reference(opinionqa):
    lines = REFERENCE.read_text(encoding="utf-8").splitlines()
    reference = {r["id"]: r for r in map(json.loads, lines)}
    for q in opinionqa.iter_questions():
        r = reference[q.question_id]
        assert (q.prompt, list(q.responses), list(q.ordinal), q.topic) == (
            r["question"],
            r["options"],
            r["ordinal"],
            r["wave"],
        )


@real
def test_real_counts_of_one_question(opinionqa):
    """SAFECRIME_W26 of women, from the file: 62, 289, 1243 and 510 answers, 6 refusals."""
    women = prefs(opinionqa)["SEX=Female", "SAFECRIME_W26"]
    assert women["n"] == 2104
    np.testing.assert_allclose(np.array(women["share"]) * 2104, [510, 1243, 289, 62])
    assert ("SEX=Female", "POLICY3_W42") in prefs(opinionqa)


@real
def test_real_paper_groups_and_contentious():
    data = read_survey("opinionqa", DATA / "opinionqa", ReadOptions(groups="paper", contentious=True))
    found = set(data.groups["group_id"].to_pylist())
    assert len(PAPER_GROUPS) == 22
    assert PAPER_GROUPS - found == {
        f"RELIG={r}" for r in ("Atheist", "Hindu", "Jewish", "Muslim", "Protestant")
    }
    assert found <= PAPER_GROUPS
    assert 0 < data.questions.num_rows < 494


def write_people(folder, answers=None, questions=None):
    questions = questions or {
        "question_id": ["q1", "q2"],
        "topic": ["Guns", "Guns"],
        "question": ["A gun?", "Safe?"],
        "options": [["Yes", "No"], ["Very", "Somewhat", "Not"]],
    }
    answers = answers or {
        "user_id": ["7", "7", "9", "9", "9", "9"],
        "topic": ["Guns"] * 6,
        "question_id": ["q1", "q2", "q1", "q1", "q3", "q2"],
        "choice": pa.array([0, 2, 1, 0, 0, 3], pa.int32()),
    }
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(questions), folder / "questions.parquet")
    pq.write_table(pa.table(answers), folder / "answers.parquet")
    return folder


def test_individuals(tmp_path):
    data = read_survey("opinionqa-individuals", write_people(tmp_path / "people"))
    rows = [(p["group_id"], p["question_id"], p["choice"], p["share"]) for p in data.preferences.to_pylist()]
    assert rows == [("user=7", "q1", 0, None), ("user=7", "q2", 2, None), ("user=9", "q1", 1, None)]
    assert data.groups.to_pylist()[0] == {
        "group_id": "user=7",
        "kind": "individual",
        "description": "A US adult who answered questions on: Guns",
    }
    assert data.questions["topic"].to_pylist() == ["Guns", "Guns"]
    assert {d["reason"]: d["where"] for d in data.dropped.to_pylist()} == {
        "person answered the question before; the first answer is used": "answers.parquet: row 3, 9, q1",
        "answers to a question that is not listed": "answers.parquet: row 4, 9, q3",
        "choice is not the index of an option": "answers.parquet: row 5, 9, q2",
    }


@pytest.mark.parametrize(
    ("answers", "questions", "message"),
    [
        ({"user_id": ["7"], "question_id": ["q1"]}, None, "column 'choice' is missing"),
        ({"user_id": ["7"], "question_id": ["q1"], "choice": [0.5]}, None, "whole number"),
        ({"user_id": ["7"], "question_id": [None], "choice": [0]}, None, "is missing"),
        (None, {"question_id": ["a", "a"], "question": ["x", "y"], "options": [["1", "2"]] * 2}, "two texts"),
        (None, {"question_id": ["a"], "question": [None], "options": [["1", "2"]]}, "row 0: .*is missing"),
    ],
)
def test_malformed_individuals(answers, questions, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_survey("opinionqa-individuals", write_people(tmp_path, answers, questions))


@real_people
def test_real_individuals():
    data = read_survey("opinionqa-individuals", DATA / "opinionqa_individuals")
    sizes = (data.questions.num_rows, data.groups.num_rows, data.preferences.num_rows)
    assert sizes == (1278, 589, 21139)
    assert data.dropped.num_rows == 0
    assert len(set(data.questions["topic"].to_pylist())) == 15
