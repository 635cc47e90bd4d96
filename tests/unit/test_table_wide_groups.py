"""Wide tables of groups: a row per group, a column per response of a question."""

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_files import drops, n, notes, read, shares, table

from gpo_ray.errors import DataError

NAMES = ["group", "Tea?: Yes", "Tea?: No", "Milk?: Hot", "Milk?: Cold", "Milk?: Never"]
PERCENT = [["A", 40, 60, 20, 30, 50], ["B", 25, 75, 10, 10, 81]]
EXPECTED = {
    ("A", "Tea?", "Yes"): 0.4,
    ("A", "Tea?", "No"): 0.6,
    ("A", "Milk?", "Hot"): 0.2,
    ("A", "Milk?", "Cold"): 0.3,
    ("A", "Milk?", "Never"): 0.5,
    ("B", "Tea?", "Yes"): 0.25,
    ("B", "Tea?", "No"): 0.75,
    ("B", "Milk?", "Hot"): 10 / 101,
    ("B", "Milk?", "Cold"): 10 / 101,
    ("B", "Milk?", "Never"): 81 / 101,
}
TWO_ROWS = [["", "Tea?", "", "Milk?", "", ""], ["group", "Yes", "No", "Hot", "Cold", "Never"]]
REPEATED = [["group", "Tea?", "Tea?", "Milk?", "Milk?", "Milk?"], ["", "Yes", "No", "Hot", "Cold", "Never"]]


def text(*rows, separator=";"):
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


@pytest.mark.parametrize("head", [[NAMES], [["Region", *NAMES[1:]]], TWO_ROWS, REPEATED])
@pytest.mark.parametrize("separator", [*";,\t"])
def test_wide_table_of_groups(head, separator, tmp_path):
    data = table(tmp_path, text(*head, *PERCENT, separator=separator))
    assert shares(data) == EXPECTED
    assert n(data) == [None] * 4
    assert any("names the group; the numbers are read as percentages" in x for x in notes(data))
    assert any("B: adds up to 101 for 'Milk?', scaled to 1" in x for x in notes(data))


@pytest.mark.parametrize("head", [[NAMES], TWO_ROWS])
def test_wide_sheet_of_groups(head, tmp_path):
    book = openpyxl.Workbook()
    for row in [*head, *PERCENT]:
        book.active.append([value or None for value in row])
    book.save(tmp_path / "t.xlsx")
    assert shares(read(tmp_path / "t.xlsx")) == EXPECTED


def test_wide_parquet_of_groups(tmp_path):
    columns = dict(zip(NAMES, map(list, zip(*PERCENT, strict=True)), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert shares(read(tmp_path / "t.parquet")) == EXPECTED
    floats = {k: [float(x) / 100 for x in v] if k != "group" else v for k, v in columns.items()}
    pq.write_table(pa.table(floats), tmp_path / "t.parquet")
    assert shares(read(tmp_path / "t.parquet")) == EXPECTED


@pytest.mark.parametrize(
    ("rows", "what", "people"),
    [
        ([["A", 412, 103], ["B", 12, 44]], "counts", [515, 56]),
        ([["A", "40,5%", "59,5%"], ["B", "10%", "90%"]], "percentages", [None, None]),
        ([["A", 0.4, 0.6], ["B", 0.25, 0.76]], "shares", [None, None]),
        ([["A", 40, 60], ["B", 300, 100]], "counts", [100, 400]),
    ],
)
def test_what_the_numbers_are(rows, what, people, tmp_path):
    data = table(tmp_path, text(NAMES[:3], *rows))
    assert n(data) == people
    assert any(f"the numbers are read as {what}" in x for x in notes(data))


def test_respondents_kind_and_questions_not_asked(tmp_path):
    head = ["kind", "Group", "N", *NAMES[1:]]
    rows = [["country", "A", "1.012,5", 40, 60, "", "NA", ""], ["", "B", "", 25, 75, 20, 30, 50]]
    data = table(tmp_path, text(head, *rows))
    assert n(data) == [1012.5, None, None]
    assert data.groups["kind"].to_pylist() == ["country", "community"]
    assert ("A", "Milk?", "Hot") not in shares(data)


def test_totals_in_rows_and_columns(tmp_path):
    head = [*NAMES[:3], "Tea?: Total"]
    data = table(tmp_path, text(head, ["A", 10, 20, 30], ["B", 5, 7, 12], ["Total", 15, 27, 42]))
    assert set(shares(data)) == {(g, "Tea?", r) for g in "AB" for r in ("Yes", "No")}
    assert len([x for x in drops(data) if "total of the others" in x]) == 2


@pytest.mark.parametrize(
    ("head", "row", "message"),
    [
        ([*NAMES, "Age"], [*PERCENT[0], 40], r"column 7, 'Age', is neither group, kind or n nor a response"),
        ([*NAMES, "Tea?: Yes"], [*PERCENT[0], 40], r"column 'Tea\?: Yes' is there twice"),
        ([*NAMES, "Tea?: Other: what"], [*PERCENT[0], 4], r"is the only response of 'Tea\?: Other'"),
        (NAMES, ["A", 40, "", 20, 30, 50], r"row 2: 'Tea\?: No' is empty; fill it in"),
        (NAMES, ["A", 40, "<1", 20, 30, 50], r"row 2: 'Tea\?: No' '<1' is not a number"),
        (NAMES, ["A", 40, -1, 20, 30, 50], r"row 2: 'Tea\?: No' -1 is negative"),
        (
            [*NAMES, "Tea?: Base"],
            [*PERCENT[0], 1012],
            "Base' 1012 is more than 100; remove the column",
        ),
        (["group", "Tea?", "Milk?"], ["A", 40, 60], r"column 'prompt' is missing.*'question: response'"),
        (["group", "kind", "Tea?: Yes", "Tea?: No"], ["A", "town", 40, 60], "kind 'town' is not one of"),
        (["group", "n", "Tea?: Yes", "Tea?: No"], ["A", 0, 40, 60], "row 2: n is not a number above 0"),
    ],
)
def test_wide_tables_of_groups_that_are_not_certain(head, row, message, tmp_path):
    with pytest.raises(DataError, match=message):
        table(tmp_path, text(head, row))
