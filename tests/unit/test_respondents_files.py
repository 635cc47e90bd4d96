"""Files of respondents: lists of marks, damaged and foreign files, encodings, types of columns."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from survey_people import VARIABLES, draw_people, expected, write_sav

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.readers import ReadOptions, read_survey

pyreadstat = pytest.importorskip("pyreadstat", reason="the surveys extra is not installed")


@pytest.fixture(scope="module")
def people():
    return draw_people()


@pytest.mark.parametrize("blank", [True, False])
def test_mark_all_that_apply(tmp_path, blank):
    rng = np.random.default_rng(0)
    n = 400
    marks = rng.random((n, 4)) < 0.4
    asked = rng.random(n) < 0.7
    columns = {}
    for i in range(4):
        column = np.where(marks[:, i], 1.0, np.nan if blank else 0.0)
        columns[f"Q5_{i + 1}"] = np.where(asked, column, np.nan)
    data = pd.DataFrame({**columns, "sex": rng.choice([1.0, 2], n)})
    labels = {1: "Selected"} if blank else {0: "Not selected", 1: "Selected"}
    pyreadstat.write_sav(
        data,
        str(tmp_path / "m.sav"),
        column_labels={
            **{
                f"Q5_{i + 1}": f"Sources of news: {t}" for i, t in enumerate(("TV", "Radio", "Papers", "Web"))
            },
            "sex": "Sex",
        },
        variable_value_labels={**dict.fromkeys(columns, labels), "sex": {1: "Male", 2: "Female"}},
    )
    dataset = read_survey("respondents", tmp_path / "m.sav", ReadOptions(min_respondents=1))
    questions = {q.question_id: q for q in dataset.iter_questions()}
    assert next(q.prompt for q in questions.values()) == "Sources of news: TV"
    assert set(questions["Q5_1"].responses) == {"Yes", "No"}
    seen = asked & (marks.any(axis=1) if blank else True)
    for p in dataset.preferences.to_pylist():
        member = seen & (data.sex == (1 if p["group_id"] == "sex=Male" else 2)).to_numpy()
        mark = marks[:, int(p["question_id"][-1]) - 1]
        yes = questions[p["question_id"]].responses.index("Yes")
        assert p["n"] == member.sum()
        assert p["share"][yes] == pytest.approx(mark[member].mean())
    assert any("mark all that apply" in note["note"] for note in dataset.notes.to_pylist())


def test_damaged_and_foreign_files(tmp_path, people):
    write_sav(tmp_path / "p.sav", people)
    whole = (tmp_path / "p.sav").read_bytes()
    (tmp_path / "cut.sav").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "foreign.dta").write_text("a,b\n1,2\n")
    (tmp_path / "empty.sav").write_bytes(b"")
    for name, message in (
        ("cut.sav", "not a readable .sav file"),
        ("foreign.dta", "not a readable .dta file"),
        ("empty.sav", "the file is empty"),
        ("none.sav", "no such file"),
    ):
        with pytest.raises(DataError, match=message) as e:
            read_survey("respondents", tmp_path / name)
        assert name in str(e.value)
        assert "\n" not in str(e.value)


def test_without_pyreadstat(tmp_path, monkeypatch, people):
    import sys

    write_sav(tmp_path / "p.sav", people[:10])
    monkeypatch.setitem(sys.modules, "pyreadstat", None)
    with pytest.raises(ConfigError, match=r"pip install 'gpo-ray\[surveys\]'"):
        read_survey("respondents", tmp_path / "p.sav")


def test_portable_and_transport_files_hold_no_labels_and_need_a_codebook(tmp_path, people):
    upper = people.rename(columns=str.upper)
    pyreadstat.write_por(
        upper, str(tmp_path / "p.por"), column_labels={k.upper(): v for k, v in VARIABLES.items()}
    )
    pyreadstat.write_xport(people, str(tmp_path / "p.xpt"), column_labels=VARIABLES)
    book = """
weight: wt
demographics:
  sex: {label: Sex, levels: {1: Male, 2: Female}}
questions:
  econ:
    prompt: How is the economy?
    responses: {1: Excellent, 2: Good, 3: Only fair, 4: Poor}
    missing: {98: DK, 99: Refused}
    ordered: true
"""
    want = expected(people)["sex=Female", "econ"]
    for name, text in (
        ("p.por", book.replace("wt", "WT").replace("sex:", "SEX:").replace("econ:", "ECON:")),
        ("p.xpt", book),
    ):
        (tmp_path / "b.yaml").write_text(text)
        dataset = read_survey("respondents", tmp_path / name, ReadOptions(codebook=str(tmp_path / "b.yaml")))
        found = next(p for p in dataset.preferences.to_pylist() if p["group_id"].endswith("Female"))
        np.testing.assert_allclose(
            found["share"], list(want[0].values()), atol=1e-6 if name == "p.por" else 1e-9
        )
        with pytest.raises(DataError, match="no variable looks like a question"):
            read_survey("respondents", tmp_path / name)


def test_texts_in_another_encoding(tmp_path):
    data = pd.DataFrame({"q": ["Größer", "Kleiner"] * 100, "sex": ["m", "w"] * 100})
    data.to_csv(tmp_path / "p.csv", index=False, encoding="cp1252")
    with pytest.raises(DataError, match="--encoding cp1252"):
        read_survey("respondents", tmp_path / "p.csv")
    dataset = read_survey(
        "respondents", tmp_path / "p.csv", ReadOptions(encoding="cp1252", min_respondents=1)
    )
    assert next(dataset.iter_questions()).responses == ("Größer", "Kleiner")


def test_case_alone(tmp_path):
    data = pd.DataFrame({"Better parks?": ["Yes", "yes", "No", "No"] * 50, "sex": ["Male", "Female"] * 100})
    data.to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(DataError, match="differ in case alone"):
        read_survey("respondents", tmp_path / "p.csv", ReadOptions(min_respondents=1))
    dataset = read_survey("respondents", tmp_path / "p.csv", ReadOptions(min_respondents=1, merge_case=True))
    assert next(dataset.iter_questions()).responses == ("Yes", "No")
    assert any("'yes' is taken as 'Yes'" in n["note"] for n in dataset.notes.to_pylist())


def test_a_file_that_ends_the_process_which_reads_it(tmp_path, people, monkeypatch):
    from gpo_ray.preferences.readers.respondents import trial

    write_sav(tmp_path / "p.sav", people[:10])
    monkeypatch.setattr(trial, "_TRIAL", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(DataError, match=r"p.sav: the file is damaged"):
        read_survey("respondents", tmp_path / "p.sav")


@pytest.mark.parametrize(("name", "advice"), [("a.xls", "save it as .xlsx"), ("a.rds", "haven::write_sav")])
def test_files_of_other_programs(tmp_path, name, advice):
    (tmp_path / name).write_bytes(b"\0\1\2")
    with pytest.raises(DataError, match=advice):
        read_survey("respondents", tmp_path / name)


def test_factors_and_types_of_parquet(tmp_path):
    levels = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 2, None] * 50), ["Low", "Mid", "High"], ordered=True
    )
    table = pa.table(
        {
            "How much?": levels,
            "sex": pa.array(["m", "w"] * 100),
            "flag": pa.array([True, False] * 100),
            "when": pa.array([0] * 200, pa.date32()),
            "list": pa.array([[1]] * 200),
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    dataset = read_survey("respondents", tmp_path / "p.parquet", ReadOptions(min_respondents=1))
    question = next(q for q in dataset.iter_questions() if q.question_id == "How much?")
    assert question.responses == ("Low", "Mid", "High")
    assert question.ordinal == (1.0, 2.0, 3.0)
    assert any("list<" in reason for reason in dataset.dropped_by_reason())


def test_decimal_commas_of_weights(tmp_path):
    rows = "\n".join(f"{'Yes' if i % 3 else 'No'};{'m' if i % 2 else 'w'};{1 + i % 4},5" for i in range(120))
    (tmp_path / "p.csv").write_text("Better parks?;sex;weight\n" + rows + "\n")
    dataset = read_survey("respondents", tmp_path / "p.csv", ReadOptions(min_respondents=1))
    weight = np.array([1.5 + i % 4 for i in range(120)])
    man = np.arange(120) % 2 == 1
    found = next(p for p in dataset.preferences.to_pylist() if p["group_id"] == "sex=m")
    assert found["n"] == pytest.approx(weight[man].sum() ** 2 / (weight[man] ** 2).sum())
    question = next(dataset.iter_questions())
    yes = question.responses.index("Yes")
    said = man & (np.arange(120) % 3 != 0)
    assert found["share"][yes] == pytest.approx(weight[said].sum() / weight[man].sum())
