"""The readers' common interface, the table reader and the helpers."""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from survey_sources import prefs

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.readers import READERS, ReadOptions, read_survey
from gpo_ray.preferences.readers.common import normal_text, parse_literal, parse_numbers, read_csv_rows

ROWS = """group,prompt,response,count
Left Bank,Which tea?,Green,3
Left Bank,Which tea?,Black,1
Right Bank,Which tea?,Black,4
Left Bank,Which cup?,Large,0
Left Bank,Which cup?,Small,0
Right Bank,Which cup?,Large,2.5
"""


def write(folder: Path, text: str, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_unknown_kind_names_the_known_ones():
    with pytest.raises(ConfigError, match="unknown survey kind 'nosuch'") as e:
        read_survey("nosuch")
    assert all(kind in str(e.value) for kind in READERS)
    assert set(READERS) == {
        "gss",
        "opinionqa",
        "globalopinionqa",
        "opinionqa-individuals",
        "gss-panel",
        "table",
        "respondents",
    }


@pytest.mark.parametrize("kind", [k for k in READERS if k != "gss"])
def test_source_is_needed_and_must_be_there(kind, tmp_path):
    with pytest.raises(ConfigError, match="needs a source"):
        read_survey(kind)
    with pytest.raises(DataError, match=r"no such (file|folder)"):
        read_survey(kind, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("table", {"contentious": True}),
        ("gss", {"groups": "paper"}),
        ("gss-panel", {"contentious": True}),
        ("globalopinionqa", {"contentious": True}),
        ("opinionqa", {"min_respondents": 10}),
        ("opinionqa-individuals", {"groups": "paper"}),
    ],
)
def test_option_that_does_not_apply(kind, options, tmp_path):
    with pytest.raises(ConfigError, match="does not apply"):
        read_survey(kind, tmp_path, ReadOptions(**options))


def test_min_respondents_means_nothing_to_individuals():
    with pytest.raises(ConfigError, match="units='individuals'"):
        read_survey("gss", None, ReadOptions(units="individuals", min_respondents=10))


@pytest.mark.parametrize(
    "bad", [{"unit": "groups"}, {"units": "people"}, {"min_respondents": 0}, {"min_respondents": math.nan}]
)
def test_options_are_strict(bad):
    with pytest.raises(ValidationError):
        ReadOptions(**bad)
    with pytest.raises(ValidationError):
        ReadOptions().units = "individuals"


def test_table_csv(tmp_path):
    data = read_survey("table", write(tmp_path, ROWS))
    tea, cup = data.questions.to_pylist()
    assert (tea["prompt"], tea["responses"], tea["ordinal"], tea["topic"]) == (
        "Which tea?",
        ["Green", "Black"],
        None,
        None,
    )
    assert cup["responses"] == ["Large", "Small"]
    found = prefs(data)
    assert found["Left Bank", tea["question_id"]]["share"] == [0.75, 0.25]
    assert found["Left Bank", tea["question_id"]]["n"] == 4
    assert found["Right Bank", tea["question_id"]]["share"] == [0, 1]
    assert found["Right Bank", cup["question_id"]]["n"] == 2.5
    assert {g["kind"] for g in data.groups.to_pylist()} == {"community"}
    assert data.dropped.to_pylist() == [
        {
            "where": f"mine.csv: Left Bank, {cup['question_id']}",
            "reason": "no answers of this group to this question",
        }
    ]


def test_table_parquet_with_optional_columns_is_the_same_as_csv(tmp_path):
    rows = {
        "group": ["a", "a", "b", "b"],
        "prompt": ["Tea?"] * 4,
        "response": ["Yes", "No"] * 2,
        "count": [1, 2, 3, 4],
        "kind": ["country"] * 4,
        "topic": ["drinks"] * 4,
        "question_id": ["q1"] * 4,
    }
    pq.write_table(pa.table(rows), tmp_path / "mine.parquet")
    lines = [",".join(rows), *(",".join(map(str, r)) for r in zip(*rows.values(), strict=True))]
    a = read_survey("table", tmp_path / "mine.parquet")
    b = read_survey("table", str(write(tmp_path, "\n".join(lines))))
    assert a.fingerprint() == b.fingerprint()
    assert a.groups.to_pylist()[0] == {"group_id": "a", "kind": "country", "description": None}
    assert a.questions.to_pylist()[0]["question_id"] == "q1"
    assert a.questions.to_pylist()[0]["topic"] == "drinks"


def test_table_question_with_one_response_is_logged(tmp_path):
    data = read_survey("table", write(tmp_path, ROWS + "Left Bank,Which pot?,Any,3\n"))
    assert data.dropped_by_reason()["question has only one response"] == 1
    assert data.questions.num_rows == 2


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("A,Tea?,Green,\n", r"row 8: count '' is not a number; leave the row out or give a number"),
        ("A,Tea?,Green,many\n", r"row 8: count 'many' is not a number"),
        ("A,Tea?,Green,1_000\n", r"row 8: count '1_000' is not a number"),
        ("A,Tea?,Green,True\n", r"row 8: count 'True' is not a number"),
        ("A,Tea?,Green,0x10\n", r"row 8: count '0x10' is not a number"),
        ("A,Tea?,Green,1e308\nA,Tea?,Black,1e308\n", r"row 9: the counts of 'A' add up to infinity"),
        ("A,Te\0a?,Green,1\n", r"line 8 holds a NUL byte"),
        ("A,Tea?,Green,nan\n", r"row 8: count 'nan' is not a number"),
        ("A,Tea?,Green,inf\n", r"row 8: count 'inf' is not a number"),
        ("A,Tea?,Green,-1\n", r"row 8: count -1 is negative"),
        (",Tea?,Green,1\n", r"row 8: group is empty"),
        ("A, ,Green,1\n", r"row 8: prompt is empty"),
        ("A,Tea?,,1\n", r"row 8: response is empty"),
        ("Left Bank,Which tea?,Green,1\n", r"row 8: .*occurs twice; add the counts up"),
        ("A,Tea?,Green\n", r"row 8: 3 cells, the header has 4"),
        ("A,Tea?,Green,1,2\n", r"row 8: 5 cells, the header has 4"),
        ("\nA,Tea?,Green\n", r"row 9: 3 cells, the header has 4"),
        ("Source: us\n", r"row 8: 1 cells, .*if 'Source: us' is a note or a source, remove the row"),
    ],
)
def test_table_bad_row_is_named(extra, message, tmp_path):
    path = write(tmp_path, ROWS + extra)
    with pytest.raises(DataError, match=message) as e:
        read_survey("table", path)
    assert str(path) in str(e.value)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("kind", "martian", "kind 'martian' is not one of"),
        ("kind", "country,community", "group 'A' is of kind 'country' before"),
        ("topic", "x,y", "the prompt has topic 'x' before and 'y' here"),
    ],
)
def test_table_contradictions(header, rows, message, tmp_path):
    lines = [f"A,Tea?,r{i},1,{value}" for i, value in enumerate(rows.split(","))]
    path = write(tmp_path, "\n".join([f"group,prompt,response,count,{header}", *lines]))
    with pytest.raises(DataError, match=message):
        read_survey("table", path)


@pytest.mark.parametrize("name", ["group", "count", "kind", "note"])
def test_table_column_there_twice(name, tmp_path):
    path = write(tmp_path, f"group,prompt,response,count,kind,note,{name}\nA,Tea?,Yes,1,country,x,2\n")
    with pytest.raises(DataError, match=f"mine.csv: column '{name}' is there twice"):
        read_survey("table", path)


def test_table_columns_without_a_name_do_no_harm(tmp_path):
    path = write(tmp_path, ROWS.replace("\n", ",,\n"))
    assert read_survey("table", path).questions.num_rows == 2


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("count", [True, False], "of type bool, expected numbers"),
        ("count", ["1", "many"], "row 2: count 'many' is not a number; leave the row out"),
        ("count", [1.0, math.nan], "row 2: count nan is not a finite number"),
        ("count", [1.0, None], "row 2: count is empty; leave the row out"),
        ("response", [["Yes"], ["No"]], "of type list<.*>, expected text or whole numbers"),
        ("group", [{"a": 1}, {"a": 2}], "of type struct<.*>, expected text or whole numbers"),
        ("prompt", [1, 1], "of type int64, expected text"),
        ("topic", [1.5, 1.5], "of type double, expected text"),
    ],
)
def test_table_wrong_type_of_a_parquet_column(column, values, message, tmp_path):
    rows = {"group": ["a"] * 2, "prompt": ["Tea?"] * 2, "response": ["Yes", "No"], "count": [1, 2]}
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.table(rows | {column: values}), path)
    with pytest.raises(DataError, match=message) as e:
        read_survey("table", path)
    assert str(path) in str(e.value)
    assert column in str(e.value)


def test_table_whole_numbers_as_ids_and_responses(tmp_path):
    rows = {"group": [1, 1], "prompt": ["Tea?"] * 2, "response": [4, 5], "count": [2**60, 2**60]}
    pq.write_table(pa.table(rows | {"question_id": [9, 9]}), tmp_path / "mine.parquet")
    data = read_survey("table", tmp_path / "mine.parquet")
    assert prefs(data)["1", "9"]["share"] == [0.5, 0.5]
    assert data.questions["responses"].to_pylist() == [["4", "5"]]


@pytest.mark.parametrize("name", ["mine.csv", "mine.parquet", "mine"])
def test_table_folder_in_place_of_the_file(name, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=f"{name}: a folder where a file is expected"):
        read_survey("table", tmp_path / name)


def test_table_question_id_with_two_prompts(tmp_path):
    path = write(tmp_path, "group,prompt,response,count,question_id\nA,Tea?,Yes,1,q\nA,Cup?,Yes,1,q\n")
    with pytest.raises(DataError, match="row 3: question_id 'q' has another prompt before"):
        read_survey("table", path)


def test_table_missing_column_says_found_and_expected(tmp_path):
    with pytest.raises(DataError, match=r"column 'count' is missing; found .*'number'.*, expected .*'count'"):
        read_survey("table", write(tmp_path, "group,prompt,response,number\nA,Tea?,Yes,1\n"))
    pq.write_table(pa.table({"group": ["A"], "prompt": ["Tea?"]}), tmp_path / "mine.parquet")
    with pytest.raises(DataError, match="column 'response' is missing"):
        read_survey("table", tmp_path / "mine.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.csv", b"", "the file is empty"),
        ("e.csv", b"group,prompt,response,count\n", "a header and no rows"),
        ("e.csv", b"group,prompt,response,count\n\xff\xfe,b,c,1\n", "not UTF-8"),
        ("e.parquet", b"", "the file is empty"),
        ("e.parquet", b"not parquet at all", "not a readable Parquet file"),
    ],
)
def test_table_unusable_file(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_survey("table", tmp_path / name)


def test_table_without_any_count_above_zero(tmp_path):
    text = "group,prompt,response,count\nA,Tea?,Yes,0\nA,Tea?,No,0\n"
    path = write(tmp_path, text + "A,Cup?,Any,1\nB,Cup?,Any,1\n")
    with pytest.raises(DataError, match="no questions, groups or preferences are left") as e:
        read_survey("table", path)
    assert str(path) in str(e.value)
    assert (
        "left out most often: question has only one response (2); "
        "no answers of this group to this question (1)" in str(e.value)
    )


def test_table_survives_saving(tmp_path):
    data = read_survey("table", write(tmp_path, ROWS))
    data.save(tmp_path / "out")
    assert type(data).load(tmp_path / "out").fingerprint() == data.fingerprint()


def test_csv_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    path = tmp_path / "bom.csv"
    path.write_text("group,x\na,1\n\n", encoding="utf-8-sig")
    assert read_csv_rows(path, ["group"]) == [{"group": "a", "x": "1"}]


NUMBER = st.floats() | st.integers(-5, 5)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(), st.lists(NUMBER | st.text())))
def test_literals_round_trip(value):
    assert repr(parse_literal(repr(value), dict, "here")) == repr(value)


@pytest.mark.parametrize(
    "text", ["__import__('os').getcwd()", "[x for x in (1, 2)]", "[1, 2", "", "{'a': 1}", "[" * 10_000]
)
def test_what_is_no_literal_list_is_refused(text):
    with pytest.raises(DataError, match="file: row 3"):
        parse_literal(text, list, "file: row 3")


@pytest.mark.parametrize("text", ["[1, nan]", "['a']", "[inf]", "3", "[True]", "[1" + "0" * 400 + "]"])
def test_scale_values_must_be_finite_numbers(text):
    with pytest.raises(DataError, match="info"):
        parse_numbers(text, "info")


def test_normal_text():
    assert normal_text(' "Neither  better noR worse" ') == normal_text("neither better nor worse")
    assert normal_text("don’t know") == "don't know"
    assert normal_text("Yes") != normal_text("Yes, likely")
