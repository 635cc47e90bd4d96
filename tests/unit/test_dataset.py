"""PreferenceDataset: what it accepts, what it refuses and by which words, and its folder."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import flip_byte, survey, truncate

from gpo_ray.errors import DataError, UnknownGroupError
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.tables import SCHEMAS
from gpo_ray.runtime.storage import MANIFEST, Folder, parquet_bytes

Q2 = Question("two", "test", "Yes or no?", ("Yes", "No"), "a topic", (0.0, 1.0))
Q3 = Question("three", "test", "Which colour?", ("Red", "Green", "Blue"))
GROUPS = (Group("a", "attribute", "group a"), Group("b", "individual"))
ROWS = (
    {"group_id": "a", "question_id": "two", "share": [0.25, 0.75], "n": 100.0},
    {"group_id": "b", "question_id": "three", "choice": 1},
    {"group_id": "a", "question_id": "three", "share": [0.0, 0.5, 0.5]},
)
FILES = ("questions.parquet", "groups.parquet", "preferences.parquet", "dropped.parquet")


def columns(rows):
    return {k: [r.get(k) for r in rows] for k in ("group_id", "question_id", "share", "choice", "n")}


def build(questions=(Q2, Q3), groups=GROUPS, rows=ROWS, dropped=()):
    return PreferenceDataset.build(questions, groups, columns(rows), dropped)


def changed(row, **values):
    """The rows with some values of one changed."""
    return [r | values if i == row else r for i, r in enumerate(ROWS)]


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "survey"
    build(dropped=[("file.csv row 3", "no answer")]).save(folder)
    return folder


def test_build_keeps_everything():
    dataset = build(dropped=[("row 1", "no answer"), ("row 2", "no answer"), ("row 9", "refused")])
    assert list(dataset.iter_questions()) == [Q2, Q3]
    assert dataset.groups.to_pylist() == [dataclasses.asdict(g) for g in GROUPS]
    assert dataset.preferences.to_pylist() == [
        {"share": None, "choice": None, "n": None} | row for row in ROWS
    ]
    assert dataset.dropped_by_reason() == {"no answer": 2, "refused": 1}


@given(seed=st.integers(0, 50), answered=st.floats(0.1, 1))
def test_shares_are_those_of_the_rows_end_to_end(seed, answered):
    dataset = survey(3, 5, seed, answered)
    values, offsets = dataset.shares()
    for i, share in enumerate(dataset.preferences["share"].to_pylist()):
        np.testing.assert_array_equal(values[offsets[i] : offsets[i + 1]], share)
    assert len(values) == offsets[-1]


def test_choice_stands_for_a_one_hot_share():
    values, offsets = build().shares()
    assert values.tolist() == [0.25, 0.75, 0.0, 1.0, 0.0, 0.0, 0.5, 0.5]
    assert offsets.tolist() == [0, 2, 5, 8]


def test_choices_alone_and_shares_alone_are_enough():
    only = {"group_id": ["a", "b"], "question_id": ["two", "three"]}
    choices = PreferenceDataset.build((Q2, Q3), GROUPS, only | {"choice": [0, 2]})
    assert choices.shares()[0].tolist() == [1, 0, 0, 0, 1]
    shares = PreferenceDataset.build((Q2, Q3), GROUPS, only | {"share": [[1, 0], [0, 0, 1]]})
    assert shares.shares()[0].tolist() == [1, 0, 0, 0, 1]


def test_an_arrow_table_does_as_well_as_a_mapping():
    table = build().preferences
    assert PreferenceDataset.build((Q2, Q3), GROUPS, table).preferences.equals(table)


def test_codes_and_sizes_point_into_the_tables():
    dataset = build()
    assert dataset.group_codes().tolist() == [0, 1, 0]
    assert dataset.question_codes().tolist() == [0, 1, 1]
    assert dataset.slate_sizes().tolist() == [2, 3]


def question(**values):
    return (dataclasses.replace(Q2, **values), Q3)


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ((Q2, Q3, Q2), "questions row 2: question_id 'two' occurs twice"),
        (question(prompt="  "), r"questions row 0 \(two\): the prompt is empty"),
        (question(responses=("Yes",), ordinal=None), "a slate needs at least 2 responses, it has 1"),
        (question(responses=(), ordinal=None), "a slate needs at least 2 responses, it has 0"),
        (question(responses=("Yes", "Yes")), "two responses are the same"),
        (question(responses=("Yes", " ")), "a response is empty"),
        (question(ordinal=(1.0,)), "1 scale values for 2 responses"),
        (question(ordinal=(1.0, float("nan"))), "a scale value is not finite"),
        (question(ordinal=(1.0, float("inf"))), "a scale value is not finite"),
        (question(question_id=None), "question_id is missing in 1 rows"),
        ((), "no questions, groups or preferences"),
    ],
)
def test_bad_question_is_named(questions, message):
    with pytest.raises(DataError, match=message):
        build(questions=questions)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ((*GROUPS, GROUPS[0]), "groups row 2: group_id 'a' occurs twice"),
        ((Group("a", "tribe"), GROUPS[1]), "groups row 0: kind 'tribe' is not one of"),
        ((Group(None, "country"), GROUPS[1]), "group_id is missing in 1 rows"),
        ((), "no questions, groups or preferences"),
    ],
)
def test_bad_group_is_named(groups, message):
    with pytest.raises(DataError, match=message):
        build(groups=groups)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (changed(1, group_id="c"), "preferences row 1: group_id 'c' is not known"),
        (changed(1, group_id=None), "preferences row 1: group_id None is not known"),
        (changed(2, question_id="four"), "preferences row 2: question_id 'four' is not known"),
        ([*ROWS, ROWS[1]], r"preferences row 3: \('b', 'three'\) occurs twice"),
        (changed(2, share=[-0.5, 0.5, 1.0]), "row 2: share is negative"),
        (changed(2, share=[float("nan"), 0.5, 0.5]), "row 2: share is not finite"),
        (changed(2, share=[None, 0.5, 0.5]), "row 2: share is not finite"),
        (changed(2, share=[float("inf"), 0.5, 0.5]), "row 2: share is not finite"),
        (changed(0, share=[0.25, 0.7]), "row 0: share does not sum to 1"),
        (changed(0, share=[0.0, 0.0]), "row 0: share does not sum to 1"),
        (changed(0, share=[0.25, 0.5, 0.25]), "row 0: share and responses differ in length"),
        (changed(2, share=[1.0]), "row 2: share and responses differ in length"),
        (changed(2, share=[]), "row 2: share and responses differ in length"),
        (changed(1, choice=3), "row 1: choice is not the index of a response"),
        (changed(1, choice=-1), "row 1: choice is not the index of a response"),
        (changed(0, choice=0), "row 0: exactly one of share and choice"),
        (changed(1, choice=None), "row 1: exactly one of share and choice"),
        (changed(0, n=0.0), "row 0: n must be a positive number"),
        (changed(0, n=float("inf")), "row 0: n must be a positive number"),
        (changed(0, share=["much", "little"]), "a column has the wrong type"),
        (changed(1, choice=1.5), "a column has the wrong type"),
        ([], "no questions, groups or preferences"),
    ],
)
def test_bad_preference_is_named(rows, message):
    with pytest.raises(DataError, match=message):
        build(rows=rows)


def test_two_wrong_lengths_that_cancel_are_still_named():
    both = changed(0, share=[0.25, 0.5, 0.25])
    both[2] = both[2] | {"share": [0.5, 0.5]}
    with pytest.raises(DataError, match="row 0: share and responses differ in length"):
        build(rows=both)


def test_columns_of_unequal_length_are_an_error():
    rows = {"group_id": ["a", "b"], "question_id": ["two"], "choice": [0, 0]}
    with pytest.raises(DataError):
        PreferenceDataset.build((Q2, Q3), GROUPS, rows)


@pytest.mark.parametrize("absent", ["group_id", "question_id"])
def test_absent_key_column_is_an_error(absent):
    rows = columns(ROWS)
    del rows[absent]
    with pytest.raises(DataError, match=absent):
        PreferenceDataset.build((Q2, Q3), GROUPS, rows)


def test_rounded_shares_are_accepted():
    build(rows=changed(2, share=[0.333, 0.333, 0.3335]))


def test_select_groups_keeps_their_rows_and_questions():
    dataset = build(dropped=[("row 1", "no answer")])
    chosen = dataset.select_groups(["b"])
    assert [g["group_id"] for g in chosen.groups.to_pylist()] == ["b"]
    assert list(chosen.iter_questions()) == [Q3]
    assert chosen.preferences.to_pylist() == dataset.preferences.to_pylist()[1:2]
    assert chosen.dropped_by_reason() == {"no answer": 1}
    chosen.validate()
    assert dataset.select_groups(["b", "a"]).fingerprint() == dataset.fingerprint()


def test_select_groups_names_an_unknown_group():
    with pytest.raises(UnknownGroupError, match="'c' is not in the data set"):
        build().select_groups(["a", "c"])


def test_keys_of_questions_and_of_slates():
    same = dataclasses.replace(Q2, question_id="x", source="y", topic=None, ordinal=None)
    others = [
        dataclasses.replace(Q2, prompt="Yes or no??"),
        dataclasses.replace(Q2, responses=("No", "Yes")),
        dataclasses.replace(Q2, responses=("Yes", "No", "Maybe")),
        dataclasses.replace(Q2, responses=('Yes", "No',)),
    ]
    assert same.slate_key == Q2.slate_key
    assert len({Q2.slate_key, *(q.slate_key for q in others)}) == 5
    assert same.key == Q2.key == others[1].key
    assert len({Q2.key, *(q.key for q in others)}) == 4


@pytest.mark.parametrize("uri", [False, True])
def test_folder_round_trip(tmp_path, uri):
    dataset = build(dropped=[("row 1", "no answer")])
    place = f"file://{tmp_path}/survey" if uri else tmp_path / "survey"
    dataset.save(place)
    again = PreferenceDataset.load(place)
    for name in ("questions", "groups", "preferences", "dropped"):
        assert getattr(again, name).to_pylist() == getattr(dataset, name).to_pylist()
    assert PreferenceDataset.load(place).fingerprint() == again.fingerprint()


def test_fingerprint_survives_saving_and_loading(saved):
    assert PreferenceDataset.load(saved).fingerprint() == build().fingerprint()


def test_fingerprint_changes_with_any_value():
    prints = {
        build().fingerprint(),
        build(rows=changed(0, share=[0.26, 0.74])).fingerprint(),
        build(rows=changed(1, choice=2)).fingerprint(),
        build(questions=question(topic="other")).fingerprint(),
        build(groups=(GROUPS[0], Group("b", "country"))).fingerprint(),
    }
    assert len(prints) == 5


def test_fingerprint_does_not_depend_on_chunks():
    dataset = build()
    halves = pa.concat_tables([dataset.preferences.slice(0, 1), dataset.preferences.slice(1)])
    assert dataclasses.replace(dataset, preferences=halves).fingerprint() == dataset.fingerprint()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [flip_byte, truncate], ids=["changed byte", "truncated"])
def test_damaged_file_is_named(saved, name, damage):
    damage(saved / name)
    with pytest.raises(DataError, match=f"/survey/{name}: does not match its manifest"):
        PreferenceDataset.load(saved)


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(DataError, match=f"/survey/{name}: no such file"):
        PreferenceDataset.load(saved)


def test_missing_manifest_and_folder_say_what_to_do(saved):
    (saved / MANIFEST).unlink()
    with pytest.raises(DataError, match=r"no manifest.json.*gpo survey import"):
        PreferenceDataset.load(saved)
    with pytest.raises(DataError, match=r"nowhere: no such folder.*gpo survey import"):
        PreferenceDataset.load(saved / "nowhere")


def test_another_kind_of_folder_is_refused(saved):
    Folder(saved).write_manifest("bundle", {})
    with pytest.raises(DataError, match="holds 'bundle', expected 'preferences'"):
        PreferenceDataset.load(saved)


@pytest.mark.parametrize(
    "files",
    [
        None,
        {},
        {name: {} for name in FILES},
    ],
)
def test_manifest_without_its_entries_is_a_data_error(saved, files):
    manifest = {"kind": "preferences", "format": 1} | ({} if files is None else {"files": files})
    (saved / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=MANIFEST):
        PreferenceDataset.load(saved)


def test_contents_are_validated_again_when_loaded(saved):
    bad = dataclasses.replace(build(), groups=build().groups.slice(0, 1))
    bad.save(saved)
    with pytest.raises(DataError, match="/survey: preferences row 1: group_id 'b' is not known"):
        PreferenceDataset.load(saved)


def test_file_with_other_columns_is_named(saved):
    bad = dataclasses.replace(build(), groups=pa.table({"name": ["a", "b"]}))
    files = {}
    folder = Folder(saved, DataError)
    for name in FILES:
        files[name] = folder.write(name, parquet_bytes(getattr(bad, name.removesuffix(".parquet"))))
    folder.write_manifest("preferences", files)
    with pytest.raises(DataError, match=r"groups.parquet: columns must be"):
        PreferenceDataset.load(saved)


@pytest.mark.parametrize("done", range(5))
def test_interrupted_save_is_never_taken_for_a_whole_one(saved, monkeypatch, done):
    new = build(rows=changed(0, share=[0.5, 0.5]), dropped=[("x", "y")] * 3)
    write, calls = Folder.write, []

    def stop(self, name, data):
        calls.append(name)
        if len(calls) > done:
            raise KeyboardInterrupt
        return write(self, name, data)

    monkeypatch.setattr(Folder, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        new.save(saved)
    with pytest.raises(DataError, match="no manifest"):
        PreferenceDataset.load(saved)
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        new.save(saved.parent / "new")
    with pytest.raises(DataError, match=r"no such folder|no manifest"):
        PreferenceDataset.load(saved.parent / "new")


def rewritten(folder, name, change):
    """A saved survey of which one table was changed, and its hash with it."""
    survey().save(folder)
    file = f"{name}.parquet"
    where = Folder(folder, DataError)
    manifest = where.read_manifest("preferences")
    manifest["files"][file] = where.write(file, parquet_bytes(change(pq.read_table(folder / file))))
    where.write(MANIFEST, json.dumps(manifest).encode())


COLUMNS = [(t, c) for t, schema in SCHEMAS.items() for c in schema.names]
COLUMNS += [("dropped", "where"), ("dropped", "reason")]
MAY_BE_NULL = {"topic", "ordinal", "description", "n", "choice", "where", "reason"}


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_saved_column_that_is_missing_or_null_or_something_else(tmp_path, table, column):
    rewritten(tmp_path, table, lambda t: t.drop_columns([column]))
    with pytest.raises(DataError, match=f"{table}.*{column}"):
        PreferenceDataset.load(tmp_path)

    def with_values(values):
        return lambda t: t.set_column(t.column_names.index(column), column, values(t))

    objects = pa.struct({"a": pa.int8()})
    rewritten(tmp_path, table, with_values(lambda t: pa.array([{"a": 1}] * t.num_rows, objects)))
    with pytest.raises(DataError, match=table):
        PreferenceDataset.load(tmp_path)
    rewritten(tmp_path, table, with_values(lambda t: pa.nulls(t.num_rows, t[column].type)))
    if column in MAY_BE_NULL:
        PreferenceDataset.load(tmp_path).dropped_by_reason()
    else:
        with pytest.raises(DataError, match=table):
            PreferenceDataset.load(tmp_path)


@pytest.mark.parametrize("n", [float("nan"), float("inf"), -1.0, 0.0])
def test_saved_n_that_is_no_number_of_people(tmp_path, n):
    def change(t):
        return t.set_column(4, "n", [pa.array([n] + [None] * (t.num_rows - 1), pa.float64())])

    rewritten(tmp_path, "preferences", change)
    with pytest.raises(DataError, match="preferences row 0: n must be a positive number"):
        PreferenceDataset.load(tmp_path)


@pytest.mark.parametrize(("column", "value"), [("responses", ["a", None]), ("ordinal", [None, 1.0])])
def test_saved_list_that_lacks_an_element(tmp_path, column, value):
    def change(t):
        rows = t.to_pylist()
        rows[0] |= {"responses": ["a", "b"], "ordinal": None, column: value}
        return pa.Table.from_pylist(rows, schema=t.schema)

    rewritten(tmp_path, "questions", change)
    with pytest.raises(DataError, match="questions row 0"):
        PreferenceDataset.load(tmp_path)
