"""Surveys and predictions as tables: what is written is what is there, to the last digit."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import flip_byte, one_topic_each, survey

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences import export
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.export import LONG, export_survey, long_table, predictions_table, write_table
from gpo_ray.preferences.large import write_survey
from gpo_ray.preferences.readers import read_survey

TEXTS = ('=1+1, "a" & b', "line\none\r\ntwo", "NA", "Zoë 早 \u202e", " trimmed? ", "@x;\ty")


def mixed():
    """Shares with awkward digits, single choices, known and unknown n, scales, and texts of every kind."""
    asked = [
        Question("q0", "test", TEXTS[0], (TEXTS[1], TEXTS[2], TEXTS[3]), TEXTS[5], (3.0, -1.5, 0.1)),
        Question("q1", "test", "Plain?", (TEXTS[4], "no"), None),
        Question("q2", "test", "Nobody was asked", ("yes", "no"), ""),
    ]
    groups = [
        Group("a", "attribute", "the first"),
        Group(TEXTS[0], "country"),
        Group("p", "individual", ""),
        Group("silent", "community"),
    ]
    third = 1 / 3
    rows = {
        "group_id": ["p", "a", TEXTS[0], "a"],
        "question_id": ["q0", "q0", "q1", "q1"],
        "share": [None, [third, 1e-17, 1 - third], [0.1 + 0.2, 1 - (0.1 + 0.2)], None],
        "choice": [1, None, None, 0],
        "n": [None, 1 / 7, 1e6, None],
    }
    return PreferenceDataset.build(asked, groups, rows)


def rows_of(dataset):
    """The same table made row by row."""
    asked = {q.question_id: q for q in dataset.iter_questions()}
    groups = {g["group_id"]: g for g in dataset.groups.to_pylist()}
    made = []
    for answer in dataset.preferences.to_pylist():
        q, g = asked[answer["question_id"]], groups[answer["group_id"]]
        for i, response in enumerate(q.responses):
            share = float(answer["choice"] == i) if answer["share"] is None else answer["share"][i]
            made.append(
                {
                    "group": g["group_id"],
                    "kind": g["kind"],
                    "description": g["description"],
                    "question_id": q.question_id,
                    "source": q.source,
                    "topic": q.topic,
                    "prompt": q.prompt,
                    "response": response,
                    "position": i + 1,
                    "scale": None if q.ordinal is None else q.ordinal[i],
                    "ordered": q.ordinal is not None,
                    "share": share,
                    "n": answer["n"],
                }
            )
    return made


SURVEYS = {
    "mixed": mixed,
    "groups": lambda: survey(answered=0.5),
    "people": one_topic_each,
}


@pytest.mark.parametrize("kind", SURVEYS)
def test_table_has_a_row_for_each_response(kind):
    dataset = SURVEYS[kind]()
    table = long_table(dataset)
    assert table.schema == LONG
    assert table.to_pylist() == rows_of(dataset)


@pytest.mark.parametrize("batch", [1, 3, 200_000])
@pytest.mark.parametrize("kind", SURVEYS)
def test_parquet_file_is_the_same_in_any_batches(tmp_path, monkeypatch, kind, batch):
    monkeypatch.setattr(export, "BATCH", batch)
    dataset = SURVEYS[kind]()
    dataset.save(tmp_path / "s")
    rows = export_survey(tmp_path / "s", tmp_path / "t.parquet")
    found = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert (len(found), found) == (rows, rows_of(dataset))


@pytest.mark.parametrize("kind", SURVEYS)
def test_csv_file_holds_every_digit_and_text(tmp_path, kind):
    dataset = SURVEYS[kind]()
    dataset.save(tmp_path / "s")
    rows = export_survey(tmp_path / "s", tmp_path / "t.CSV")
    with (tmp_path / "t.CSV").open(encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(stream))
    assert len(found) == rows

    def cell(name, text):
        if text == "":
            return None
        if name in ("scale", "share", "n"):
            return float(text)
        return {"position": int, "ordered": json.loads}.get(name, str)(text)

    expected = [{k: None if v == "" else v for k, v in row.items()} for row in rows_of(dataset)]
    assert [{k: cell(k, v) for k, v in row.items()} for row in found] == expected


def test_survey_of_several_files_is_exported_and_a_repeated_answer_is_not(tmp_path):
    dataset = survey()
    halves = [dataset.preferences.slice(0, 20), dataset.preferences.slice(20)]
    asked = list(dataset.iter_questions())
    groups = [Group(f"g{i}", "attribute") for i in range(6)]
    write_survey(tmp_path / "s", asked, groups, halves)
    export_survey(tmp_path / "s", tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == rows_of(dataset)
    write_survey(tmp_path / "twice", asked, groups, [*halves, dataset.preferences.slice(3, 1)])
    with pytest.raises(DataError, match="answers a question twice"):
        export_survey(tmp_path / "twice", tmp_path / "u.parquet")
    assert not (tmp_path / "u.parquet").exists()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("kind", ["groups", "people"])
def test_exported_survey_is_read_back_with_the_same_shares(tmp_path, kind, suffix):
    dataset = SURVEYS[kind]()
    dataset.save(tmp_path / "s")
    export_survey(tmp_path / "s", tmp_path / f"t.{suffix}")
    back = read_survey("table", tmp_path / f"t.{suffix}")
    assert answers_of(back) == answers_of(dataset)
    assert described(back) == described(dataset)


def described(dataset):
    """The questions and the groups, whose order is that of the rows."""
    asked = {(q.question_id, q.topic, q.responses, q.ordinal) for q in dataset.iter_questions()}
    return asked, {(g["group_id"], g["kind"]) for g in dataset.groups.to_pylist()}


def answers_of(dataset):
    """Shares by group, prompt and response, to 12 digits."""
    return {
        (r["group"], r["prompt"], r["response"]): pytest.approx(r["share"], abs=1e-12)
        for r in rows_of(dataset)
    }


PREDICTED = [
    {
        "prompt": TEXTS[0],
        "responses": [TEXTS[1], "no"],
        "share": [1 / 3, 2 / 3],
        "interval": [[0.1, 0.5], [0.5, 0.9]],
        "seen": True,
    },
    {"prompt": "Plain?", "responses": ["yes", "no"], "share": [0.25, 0.75], "interval": None, "seen": None},
]


def test_predictions_have_a_row_for_each_response():
    table = predictions_table(PREDICTED)
    assert table.column_names == ["prompt", "response", "position", "share", "lower", "upper", "seen"]
    assert [list(row.values()) for row in table.to_pylist()] == [
        [TEXTS[0], TEXTS[1], 1, 1 / 3, 0.1, 0.5, True],
        [TEXTS[0], "no", 2, 2 / 3, 0.5, 0.9, True],
        ["Plain?", "yes", 1, 0.25, None, None, None],
        ["Plain?", "no", 2, 0.75, None, None, None],
    ]


def test_predictions_say_what_was_recognised_where_this_is_known():
    table = predictions_table([PREDICTED[0] | {"recognised": False}, PREDICTED[1]])
    assert table["recognised"].to_pylist() == [False, False, None, None]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("t.xlsx", "ends with .csv or .parquet"),
        ("csv", "ends with .csv or .parquet"),
        ("none/t.csv", "there is no folder"),
        ("folder.csv", "a folder is there"),
    ],
)
def test_file_that_cannot_be_written(tmp_path, name, words):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match=words):
        write_table(pa.table({"a": [1]}), tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.csv"]


@pytest.mark.parametrize("name", ["b\udcff.csv", "b\udcff/t.csv", "a\0b.csv", ""])
def test_path_that_is_none(fails, tmp_path, name):
    survey().save(tmp_path / "s")
    out = f"{tmp_path}/{name}" if name else ""
    fails("survey", "export", tmp_path / "s", "--out", out, words=[])
    fails("survey", "show", tmp_path / "s", "--html", out.replace(".csv", ".html"), words=[])
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_failed_export_leaves_an_earlier_file_whole(gpo, fails, tmp_path):
    survey().save(tmp_path / "s")
    out = tmp_path / "t.csv"
    code, text, _ = gpo("survey", "export", tmp_path / "s", "--out", out, "--json")
    rows = int(survey().slate_sizes()[survey().question_codes()].sum())
    assert (code, json.loads(text)) == (0, {"rows": rows, "columns": LONG.names, "out": str(out)})
    before = out.read_bytes()
    assert gpo("survey", "export", tmp_path / "s", "--out", out)[1] == f"{out}: {rows} rows\n"
    assert out.read_bytes() == before
    flip_byte(tmp_path / "s" / "preferences.parquet")
    fails("survey", "export", tmp_path / "s", "--out", out, words=["preferences.parquet"])
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s", "t.csv"]


def test_export_to_an_object_store(tmp_path):
    pytest.importorskip("fsspec")
    import fsspec

    dataset = survey()
    dataset.save(tmp_path / "s")
    export_survey(tmp_path / "s", "memory://export-test/t.parquet")
    with fsspec.open("memory://export-test/t.parquet") as stream:
        assert pq.read_table(stream).to_pylist() == rows_of(dataset)


def test_predict_checks_the_file_before_it_loads_anything(fails, tmp_path):
    options = ("--bundle", tmp_path / "b", "--context", tmp_path / "c", "--questions", tmp_path / "q")
    fails("predict", *options, "--out", tmp_path / "p.xlsx", words=["p.xlsx", ".csv or .parquet"])
    fails("predict", *options, "--out", tmp_path / "no" / "p.csv", words=["there is no folder"])


def test_predict_writes_the_table_of_what_it_prints(gpo, tmp_path, monkeypatch):
    monkeypatch.setattr("gpo_ray.api.predict_file", lambda *_: {"predictions": PREDICTED})
    options = ("--bundle", "b", "--context", "c", "--questions", "q", "--out", tmp_path / "p.csv")
    code, out, _ = gpo("predict", *options)
    assert code == 0
    assert out.splitlines()[-1] == f"table: {tmp_path / 'p.csv'}"
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [float(row["share"]) for row in found] == [1 / 3, 2 / 3, 0.25, 0.75]
    assert [row["lower"] for row in found] == ["0.1", "0.5", "", ""]
    result = json.loads(gpo("predict", *options, "--json")[1])
    assert result == {"predictions": PREDICTED, "out": str(tmp_path / "p.csv")}


def test_shares_are_those_of_the_survey_with_many_answers(tmp_path):
    dataset = survey(groups=40, count=60)
    assert np.array_equal(long_table(dataset)["share"].to_numpy(), dataset.shares()[0])
