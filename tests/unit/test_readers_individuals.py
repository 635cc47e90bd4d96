"""The reader of single people's OpinionQA answers, and the types of Parquet columns."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from survey_sources import DATA

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers import read_survey

real_people = pytest.mark.skipif(
    not (DATA / "opinionqa_individuals").is_dir(), reason="OpinionQA individuals are not on this machine"
)


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


@pytest.mark.parametrize(
    ("name", "column", "values", "message"),
    [
        ("questions", "options", [1, 2], "of type int64, expected lists of text"),
        ("questions", "options", [[1, 2], [1]], "of type list<.*int64>, expected lists of text"),
        ("questions", "options", ["Yes", "No"], "of type string, expected lists of text"),
        ("questions", "options", [["Yes", None], ["a", "b"]], "row 0, q1: options: one is missing"),
        ("questions", "question_id", [1, 2], "of type int64, expected text"),
        ("questions", "question", [1.5, 2.5], "of type double, expected text"),
        ("questions", "question", [b"a\xff", b"b"], "of type binary, expected text"),
        ("questions", "topic", [1, 2], "of type int64, expected text"),
        ("questions", "wave", [[1], [2]], "expected text or numbers"),
        ("questions", "ordinal", ["1", "2"], "of type string, expected lists of numbers"),
        ("questions", "ordinal", [["1", "2"], None], "expected lists of numbers"),
        ("questions", "ordinal", [[True, False], None], "expected lists of numbers"),
        ("questions", "ordinal", [[1.0, np.nan], None], "row 0, q1: ordinal: value 1 is nan"),
        ("questions", "ordinal", [[1.0, None], None], "row 0, q1: ordinal: value 1 None is not a number"),
        ("questions", "ordinal", [[1.0], None], "row 0, q1: ordinal: 1 values for 2 options"),
        ("answers", "user_id", [["7"]] * 6, "of type list<.*string>, expected text or whole numbers"),
        ("answers", "question_id", [1] * 6, "of type int64, expected text"),
        ("answers", "topic", [1] * 6, "of type int64, expected text"),
        ("answers", "choice", [True] * 6, "of type bool, expected whole numbers"),
        ("answers", "choice", pa.array([2**64 - 1] * 6, pa.uint64()), "cannot read uint64 as whole numbers"),
        ("answers", "choice", [0, None, 0, 0, 0, 0], "row 1: choice is missing"),
    ],
)
def test_wrong_type_of_a_parquet_column(name, column, values, message, tmp_path):
    path = write_people(tmp_path) / f"{name}.parquet"
    table = pq.read_table(path)
    values = values if isinstance(values, pa.Array) else pa.array(values)
    kept = table.drop_columns([column] if column in table.column_names else [])
    pq.write_table(kept.append_column(column, values), path)
    with pytest.raises(DataError, match=message) as e:
        read_survey("opinionqa-individuals", tmp_path)
    assert str(path) in str(e.value)
    assert column in str(e.value)


def test_parquet_types_that_mean_the_same(tmp_path):
    expected = read_survey("opinionqa-individuals", write_people(tmp_path)).fingerprint()
    questions, answers = (pq.read_table(tmp_path / f"{n}.parquet") for n in ("questions", "answers"))
    large = questions.set_column(3, "options", questions["options"].cast(pa.large_list(pa.large_string())))
    pq.write_table(large.append_column("ordinal", pa.nulls(2)), tmp_path / "questions.parquet")
    coded = answers.set_column(2, "question_id", answers["question_id"].dictionary_encode())
    ids = answers["user_id"].cast(pa.int64()).dictionary_encode()
    pq.write_table(coded.set_column(0, "user_id", ids), tmp_path / "answers.parquet")
    assert read_survey("opinionqa-individuals", tmp_path).fingerprint() == expected


def test_parquet_column_there_twice(tmp_path):
    path = write_people(tmp_path) / "answers.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("choice", table["choice"]), path)
    with pytest.raises(DataError, match=r"answers.parquet: column 'choice' is there twice"):
        read_survey("opinionqa-individuals", tmp_path)


def test_parquet_text_that_is_not_utf8(tmp_path):
    path = write_people(tmp_path) / "questions.parquet"
    table = pq.read_table(path)
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"a"]).buffers())
    pq.write_table(table.set_column(2, "question", broken), path)
    with pytest.raises(DataError, match=r"questions.parquet: not a readable Parquet file"):
        read_survey("opinionqa-individuals", tmp_path)


def test_individuals_without_a_usable_answer(tmp_path):
    answers = {"user_id": ["7", "8", "8"], "question_id": ["q3", "q4", "q1"], "choice": [0, 0, 9]}
    with pytest.raises(DataError, match="no questions, groups or preferences are left") as e:
        read_survey("opinionqa-individuals", write_people(tmp_path, answers))
    assert f"{tmp_path}: " in str(e.value)
    assert (
        "left out most often: answers to a question that is not listed (2); "
        "person answered too few questions (2); choice is not the index of an option (1)" in str(e.value)
    )


@real_people
def test_real_individuals():
    data = read_survey("opinionqa-individuals", DATA / "opinionqa_individuals")
    sizes = (data.questions.num_rows, data.groups.num_rows, data.preferences.num_rows)
    assert sizes == (1278, 589, 21139)
    assert data.dropped.num_rows == 0
    assert len(set(data.questions["topic"].to_pylist())) == 15
