"""The table reader: amounts, labels, scales, people, wide tables, workbooks and Parquet."""

import datetime

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_files import HEADER, drops, n, notes, one, read, shares, table

from gpo_ray.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("share", ["0.4", "0.4"], "adds up to 0.8 for 'Tea.', not to 1"),
        ("share", ["40", "60"], "row 2: share 40 is more than 1; name the column 'percent'"),
        ("percent", ["0.4", "0.6"], "adds up to 1 for 'Tea.', not to 100; name the column 'share'"),
        ("percent", ["70", "70"], "adds up to 140"),
        ("count", ["22.7", "77.3"], "looks like percentages"),
        ("count", ["0.227", "0.773"], "looks like shares"),
        ("share,n", ["0.4,100", "0.6,90"], "n of 'A' for 'Tea.' is 100.0 before and 90.0 here"),
        ("share,n", ["0.4,10%", "0.6,10%"], "row 2: n has a percent sign"),
        ("share,n", ["0.4,0", "0.6,0"], "n 0 is not above 0"),
        ("count,share", ["4,.4", "6,.6"], "columns 'count' and 'share' are both there"),
    ],
)
def test_amounts_that_contradict_their_column(header, rows, message, tmp_path):
    lines = [f"A,Tea?,{r},{x}" for r, x in zip(("Yes", "No"), rows, strict=True)]
    with pytest.raises(DataError, match=message):
        table(tmp_path, "\n".join([f"group,prompt,response,{header}", *lines]))


def test_percentages_with_a_row_left_out_are_no_counts(tmp_path):
    text = HEADER + "A,Vote?,Reds,22.7\nA,Vote?,Blues,77.3\nB,Vote?,Reds,40\n"
    with pytest.raises(DataError, match="looks like percentages"):
        table(tmp_path, text)


@pytest.mark.parametrize("rows", [["60", "40"], ["512", "488"], ["0.5", "312.5"]])
def test_counts_stay_counts(rows, tmp_path):
    data = table(tmp_path, HEADER + f"A,Tea?,Yes,{rows[0]}\nA,Tea?,No,{rows[1]}\n")
    assert n(data) == [sum(map(float, rows))]


def test_respondents_beside_the_amounts(tmp_path):
    head = "group,prompt,response,{},n\n"
    rows = 'A,Tea?,Yes,60,"1,5e2"\nA,Tea?,No,40,150\nB,Tea?,Yes,10,\nB,Tea?,No,90,\n'
    data = table(tmp_path, head.format("percent") + rows)
    assert n(data) == [150, None]
    assert n(table(tmp_path, head.format("count") + rows)) == [150, 100]
    with pytest.raises(DataError, match=r"--min-respondents needs to know.* column 'n'"):
        table(tmp_path, head.format("percent") + rows, min_respondents=10)


def test_fewest_respondents_of_a_table(tmp_path):
    rows = "A,Tea?,Yes,60\nA,Tea?,No,41\nB,Tea?,Yes,3\nB,Tea?,No,4\n"
    data = table(tmp_path, HEADER + rows, min_respondents=50)
    assert data.groups["group_id"].to_pylist() == ["A"]
    assert [x for x in drops(data) if "B, q-" in x and "fewer respondents than min_respondents" in x]


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        ("a,Tea?,Yes,1\nA,Tea?,No,2\n", "group 'A' differs in case alone from 'a' in row 2"),
        ("A,tea?,Yes,1\nA,Tea?,No,2\n", "prompt 'Tea.' differs in case alone from 'tea.' in row 2"),
        ("A,Tea?,STRASSE,1\nA,Tea?,Straße,2\n", "response 'Straße' differs in case alone from 'STRASSE'"),
    ],
)
def test_case_alone(rows, column, tmp_path):
    with pytest.raises(DataError, match=f"row 3: {column}.*--merge-case"):
        table(tmp_path, HEADER + rows)


def test_spaces_and_unicode_forms_are_one_text(tmp_path):
    rows = "Cafe\u0301,Tea  or\u00a0milk?,Yes,1\nCafé , Tea or milk?,No,3\n"
    data = table(tmp_path, HEADER + rows)
    assert shares(data) == {("Café", "Tea or milk?", "Yes"): 0.25, ("Café", "Tea or milk?", "No"): 0.75}
    assert any("is read as 'Tea or milk?'" in x for x in notes(data))


def test_rows_that_differ_in_spaces_alone_are_added_up(tmp_path):
    data = table(tmp_path, HEADER + "A,Tea?,Yes,1\nA,Tea?,Yes ,2\nA,Tea?,No,3\n")
    assert one(data) == {"Yes": 0.5, "No": 0.5}
    assert any("row 3: added to a row of the same labels" in x for x in notes(data))


def test_responses_without_a_row(tmp_path):
    head, rows = HEADER, "A,Tea?,Yes,1\nA,Tea?,No,3\nB,Tea?,Yes,2\n"
    data = table(tmp_path, head + rows)
    assert [x for x in notes(data) if "taken as 0" in x and "B: 'Tea?', 'No'" in x]
    rows = "A,Tea?,Yes,1,x\nA,Tea?,No,3,x\nB,Tea?,Yes,2,x\nC,Tea?,Yes,2,y\n"
    data = table(tmp_path, head.replace("count", "count,source") + rows)
    assert [x.rpartition("row: ")[2] for x in notes(data) if "taken as 0" in x] == ["C: 'Tea?', 'No'"]
    many = "".join(f"g{i},Tea?,Yes,{i + 1}\n" for i in range(30))
    data = table(tmp_path, head + "A,Tea?,No,3\n" + many)
    assert len([x for x in notes(data) if "taken as 0" in x]) == 21
    assert any("and 11 more" in x for x in notes(data))


@pytest.mark.parametrize(
    ("columns", "rows", "responses", "ordinal"),
    [
        ("position", ["Yes,3,2", "No,1,1"], ["No", "Yes"], None),
        ("scale", ["Yes,3,5", "No,1,-1.5"], ["Yes", "No"], [5.0, -1.5]),
        ("ordered", ["Low,3,true", "High,1,TRUE"], ["Low", "High"], [1.0, 2.0]),
        ("ordered", ["Low,3,false", "High,1,No"], ["Low", "High"], None),
        ("ordered,position", ["High,3,yes,9", "Low,1,yes,7"], ["Low", "High"], [1.0, 2.0]),
    ],
)
def test_order_and_scale(columns, rows, responses, ordinal, tmp_path):
    text = f"group,prompt,response,count,{columns}\n" + "".join(f"A,Tea?,{row}\n" for row in rows)
    question = table(tmp_path, text).questions.to_pylist()[0]
    assert (question["responses"], question["ordinal"]) == (responses, ordinal)


def test_order_of_a_scale_is_that_of_all_groups(tmp_path):
    head = HEADER.replace("count", "count,ordered")
    rows = ["A,Tea?,Low,1", "A,Tea?,High,2", "B,Tea?,Low,1", "B,Tea?,Middle,3", "B,Tea?,High,2"]
    data = table(tmp_path, head + "".join(f"{row},true\n" for row in rows))
    assert data.questions["responses"].to_pylist() == [["Low", "Middle", "High"]]
    assert any("Low = 1, Middle = 2, High = 3" in x for x in notes(data))
    with pytest.raises(
        DataError, match=r"do not say whether .* comes first; give the order in a column 'position'"
    ):
        table(
            tmp_path,
            head + "".join(f"{row},true\n" for row in [*rows[:2], "B,Tea?,Low,1", "B,Tea?,Middle,2"]),
        )
    with pytest.raises(DataError, match="different orders"):
        table(tmp_path, head + "".join(f"{row},true\n" for row in [*rows, "C,Tea?,High,1", "C,Tea?,Low,2"]))


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        ("position", ["Yes,3,1", "No,1,1"], "responses 'Yes' and 'No' have the same position"),
        ("position", ["Yes,3,1", "No,1,"], "response 'No' has no position, but others have"),
        ("scale", ["Yes,3,x", "No,1,1"], "row 2: scale 'x' is not a number"),
        ("scale,ordered", ["Yes,3,1,no", "No,1,2,no"], "ordered is false, but the responses have values"),
        ("ordered", ["Yes,3,maybe", "No,1,no"], "row 2: ordered 'maybe' is neither true nor false"),
        ("ordered", ["Yes,3,yes", "No,1,no"], "row 3: ordered is True in a row before and False here"),
    ],
)
def test_order_and_scale_that_contradict(columns, rows, message, tmp_path):
    text = f"group,prompt,response,count,{columns}\n" + "".join(f"A,Tea?,{row}\n" for row in rows)
    with pytest.raises(DataError, match=message):
        table(tmp_path, text)


def test_position_of_a_response_is_one(tmp_path):
    text = HEADER.replace("count", "count,position") + "A,Tea?,Yes,1,1\nA,Tea?,No,1,2\nB,Tea?,Yes,1,2\n"
    with pytest.raises(DataError, match="row 4: position of response 'Yes' is 1 before and 2 here"):
        table(tmp_path, text)


def test_long_table_of_peoples_choices(tmp_path):
    text = "group,prompt,response\np1,Tea?,Yes\np1,Milk?,No\np2,Tea?,No\np2,Milk?,Yes\n"
    data = table(tmp_path, text, units="individuals")
    assert set(data.groups["kind"].to_pylist()) == {"individual"}
    assert shares(data)["p1", "Tea?", "Yes"] == 1
    assert not [x for x in notes(data) if "taken as 0" in x]
    with pytest.raises(DataError, match=r"'p1' answers 'Tea.' again with 'No'"):
        table(tmp_path, text + "p1,Tea?,No\n", units="individuals")
    last = table(tmp_path, text + "p1,Tea?,No\n", units="individuals", repeated="last")
    assert shares(last)["p1", "Tea?", "No"] == 1
    with pytest.raises(DataError, match="column 'count' is missing"):
        table(tmp_path, text)


def test_wide_table_of_people(tmp_path):
    text = "Age;Respondent;Is tea good?;Is milk good?\n30;p1;Yes;No\n40;p2;No;\n50;p3;NA;No\n60;p4; Yes;Yes\n"
    data = table(tmp_path, text, units="individuals")
    found = shares(data)
    assert {p for _, p, _ in found} == {"Age", "Is tea good?", "Is milk good?"}
    assert found["p4", "Is tea good?", "Yes"] == 1
    assert ("p2", "Is milk good?", "Yes") not in found
    assert ("p3", "Is tea good?", "Yes") not in found
    assert any("'NA' (1 cells): cell says that there is no answer" in x for x in drops(data))
    assert any("column 'Respondent' names the person" in x for x in notes(data))


def test_wide_table_whose_first_column_names_the_person(tmp_path):
    rows = "".join(f"2026-01-01 10:{i},{'Yes' if i % 3 else 'No'},said {i}\n" for i in range(40))
    data = table(tmp_path, "Timestamp,Tea?,Comment\n" + rows, units="individuals")
    assert data.questions["prompt"].to_pylist() == ["Tea?"]
    assert [x for x in drops(data) if "'Comment': column has too many different answers" in x]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,Tea?\np1,Yes\np1,No\n", "row 3: id 'p1' is in row 2 too"),
        ("id,Tea?,Tea? \np1,Yes,No\n", "columns 2 and 3 are both named 'Tea.'"),
        ("id,,Tea?\np1,x,No\n", "column 2 has no name"),
        ("id\np1\n", "has the one column 'id'"),
        ("id,Tea?\np1,Yes\np2,yes\n", "differs in case alone"),
    ],
)
def test_wide_table_that_is_not_certain(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        table(tmp_path, text, units="individuals")


def test_wide_table_without_the_option(tmp_path):
    with pytest.raises(DataError, match=r"column 'group' is missing.*--units individuals"):
        table(tmp_path, "id,Tea?\np1,Yes\np2,No\n")
    with pytest.raises(ConfigError, match="units='both' does not apply"):
        table(tmp_path, "id,Tea?\np1,Yes\np2,No\n", units="both")


def workbook(folder, *sheets, name="mine.xlsx"):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for i, rows in enumerate(sheets):
        sheet = book.create_sheet(f"s{i}")
        for row in rows:
            sheet.append(row)
    book.save(folder / name)
    return folder / name


LONG = [["Group", "prompt", "response", "count"], ["A", "Tea?", "Yes", 1.412], ["A", "Tea?", "No", 987]]


def test_workbook(tmp_path):
    data = read(workbook(tmp_path, [], [[], *LONG, [], []], [["other"], [1]]))
    assert one(data) == {"Yes": 1.412 / 988.412, "No": 987 / 988.412}
    assert any("sheet 's1' is read" in x for x in notes(data))
    assert any("not read: 's2'" in x for x in notes(data))


def test_workbook_with_codes_and_percentages(tmp_path):
    path = workbook(
        tmp_path, [["group", "prompt", "response", "share"], [1, "Tea?", 4.0, 0.25], [1, "Tea?", 5, 0.75]]
    )
    book = openpyxl.load_workbook(path)
    for cell in ("D2", "D3"):
        book["s0"][cell].number_format = "0.0%"
    book.save(path)
    assert shares(read(path)) == {("1", "Tea?", "4"): 0.25, ("1", "Tea?", "5"): 0.75}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["A", "Tea?", datetime.date(2026, 2, 1), 3], "cell C4 holds a date"),
        (["A", "Tea?", "Perhaps", "=1+1"], "cell D4 holds a formula"),
        (
            ["A", "Tea?", "Perhaps", "#N/A"],
            "cell D4 holds the error #N/A|row 4: count '#N/A' is not a number",
        ),
        (["A", "Tea?", "Perhaps", None], "row 4: count is empty; leave the row out or give a number"),
        ([None, "Tea?", "Perhaps", 1], "row 4: group is empty"),
        (["A", "Tea?", "Perhaps", True], "row 4: count True is not a number"),
    ],
)
def test_workbook_cell_without_a_value(row, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(workbook(tmp_path, [*LONG, row]))


def test_date_in_a_column_that_is_not_used(tmp_path):
    rows = [[*row, datetime.date(2026, 2, 1) if i else "when"] for i, row in enumerate(LONG)]
    assert len(one(read(workbook(tmp_path, rows)))) == 2


@pytest.mark.parametrize(
    ("name", "message"), [("a.xlsx", "not a readable .xlsx"), ("a.xls", "save it as .xlsx")]
)
def test_no_workbook(name, message, tmp_path):
    (tmp_path / name).write_bytes(b"PK\3\4 nothing of the kind")
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)


def parquet(folder, **columns):
    rows = {
        "group": ["A", "A", "B"],
        "prompt": ["Tea?"] * 3,
        "response": ["Yes", "No", "No"],
        "count": [1, 2, 3],
    }
    pq.write_table(pa.table(rows | columns), folder / "mine.parquet")
    return folder / "mine.parquet"


def factor(values, levels, of=None):
    indices = pa.array([levels.index(v) for v in values], pa.int8())
    return pa.DictionaryArray.from_arrays(indices, pa.array(levels, of), ordered=True)


def test_parquet_levels_without_a_row_were_offered(tmp_path):
    path = parquet(tmp_path, response=factor(["Yes", "No", "No"], ["No", "Maybe", "Yes"]))
    data = read(path)
    assert data.questions.to_pylist()[0]["responses"] == ["No", "Maybe", "Yes"]
    assert data.questions.to_pylist()[0]["ordinal"] == [1.0, 2.0, 3.0]
    assert data.preferences["share"].to_pylist()[0] == pytest.approx([2 / 3, 0, 1 / 3])
    assert any("Maybe" in x and "offered" in x for x in notes(data))


def test_parquet_levels_of_long_text(tmp_path):
    response = factor(["8", "9", "9"], ["9", "10", "8"], pa.large_string())
    question = read(parquet(tmp_path, response=response)).questions.to_pylist()[0]
    assert (question["responses"], question["ordinal"]) == (["9", "10", "8"], [1.0, 2.0, 3.0])


def test_parquet_levels_of_a_wide_table(tmp_path):
    people = {
        "id": ["a", "b", "c"],
        "Tea?": factor(["Low", "High", "Low"], ["Low", "Mid", "High"]),
        "Cup?": [*"xyx"],
    }
    pq.write_table(pa.table(people), tmp_path / "w.parquet")
    tea, cup = read(tmp_path / "w.parquet", units="individuals").questions.to_pylist()
    assert (tea["responses"], tea["ordinal"]) == (["Low", "Mid", "High"], [1.0, 2.0, 3.0])
    assert (cup["responses"], cup["ordinal"]) == (["x", "y"], None)


def test_parquet_levels_of_several_questions(tmp_path):
    response = factor(["Yes", "No", "Low", "High"], ["No", "Yes", "Low", "High"])
    path = parquet(
        tmp_path, group=["A"] * 4, prompt=["Tea?"] * 2 + ["How?"] * 2, response=response, count=[1, 2, 3, 4]
    )
    assert read(path).questions["responses"].to_pylist() == [["No", "Yes"], ["Low", "High"]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"response": [1.5, 2.0, 2.0]}, "column 'response' is of type double, .* row 1 holds 1.5"),
        ({"response": ["Yes", None, "No"]}, "row 2: response is empty"),
        ({"group": ["A", None, "B"]}, "row 2: group is empty"),
        ({"group": [True, True, False]}, "column 'group' is of type bool, expected text or whole numbers"),
        ({"count": ["1", "1,412", "3"]}, "row 2: count '1,412' is ambiguous"),
        ({"count": [1, None, 3]}, "row 2: count is empty; leave the row out or give a number"),
    ],
)
def test_parquet_values_that_are_not_certain(columns, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(parquet(tmp_path, **columns))


def test_parquet_column_names_without_case(tmp_path):
    rows = {
        "Group": ["A", "A"],
        "PROMPT": ["Tea?"] * 2,
        " response": ["Yes", "No"],
        "Count": [1, 3],
        "x": [[1], [2]],
    }
    pq.write_table(pa.table(rows), tmp_path / "mine.parquet")
    assert one(read(tmp_path / "mine.parquet")) == {"Yes": 0.25, "No": 0.75}


def test_parquet_wide_table(tmp_path):
    pq.write_table(
        pa.table({"id": [1, 2], "Tea?": [True, False], "Milk?": [1.0, 2.0]}), tmp_path / "w.parquet"
    )
    found = shares(read(tmp_path / "w.parquet", units="individuals"))
    assert found["1", "Tea?", "Yes"] == 1
    assert found["2", "Milk?", "2"] == 1
