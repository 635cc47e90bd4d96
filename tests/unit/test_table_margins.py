"""What spreadsheets leave around and within a table: titles, sources, empty rows and cells."""

import openpyxl
import pytest
from table_files import notes, one, read, shares, table

from gpo_ray.errors import DataError

ROWS = ["group;prompt;response;count", "A;Tea?;Yes;1", "A;Tea?;No;3"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([ROWS[0], *(f"{row};;;" for row in ROWS[1:])], "2 rows have more or fewer empty cells at the end"),
        ([ROWS[0], f"{ROWS[1]};;", ROWS[2]], "1 rows have more or fewer"),
        ([f"{ROWS[0]};;;", *ROWS[1:]], "2 rows have more or fewer"),
        ([f"{row};;;" for row in ROWS], None),
        ([*ROWS, ";;;", ";;;;;;"], None),
        ([*ROWS, "", "   ", ""], None),
        ([*ROWS[:2], "", ROWS[2]], "empty rows that are not read: 3"),
        ([*ROWS[:2], ";;;", '"";;"";', ROWS[2]], "empty rows that are not read: 3, 4"),
        ([ROWS[0], "", ";", *ROWS[1:]], "empty rows that are not read: 2, 3"),
        (["", "", *ROWS], None),
        (["sep=;", "", *ROWS], None),
    ],
)
def test_empty_cells_and_rows(lines, said, tmp_path):
    data = table(tmp_path, "\n".join(lines) + "\n")
    assert one(data) == {"Yes": 0.25, "No": 0.75}
    assert said is None or any(said in x for x in notes(data))


def test_quoted_rows_with_empty_cells_stay_whole(tmp_path):
    data = table(
        tmp_path,
        'group,prompt,response,count\nA,"Tea, or\nmilk?","say ""yes""",1,,\nA,"Tea, or\nmilk?",No,3\n',
    )
    assert shares(data) == {("A", "Tea, or milk?", 'say "yes"'): 0.25, ("A", "Tea, or milk?", "No"): 0.75}


def test_rows_keep_their_numbers(tmp_path):
    with pytest.raises(DataError, match=r"row 7 \(line 8\): count 'x' is not a number"):
        table(tmp_path, "\n".join(["sep=;", "", *ROWS, "", "", "B;Tea?;No;x"]))
    with pytest.raises(DataError, match="row 5: 3 cells, the header has 4"):
        table(tmp_path, "\n".join([*ROWS, "", "B;Tea?;No"]))


@pytest.mark.parametrize(
    ("lines", "row"),
    [
        (["Survey of lakes", *ROWS], 2),
        (["Survey of lakes, 2024", "", *ROWS], 3),
        (["Survey; of; lakes; 2024; all", "by us", *ROWS], 3),
        (['"Survey of ""lakes"""', "", "", *ROWS], 4),
        (["Survey of lakes;;;", *ROWS], 2),
    ],
)
def test_a_title_above_the_header(lines, row, tmp_path):
    for separator in ";,\t":
        text = "\n".join(line.replace(";", separator) for line in lines)
        with pytest.raises(DataError, match=f"header seems to be in row {row}; remove the rows above"):
            table(tmp_path, text)


@pytest.mark.parametrize("separator", [*",;\t"])
@pytest.mark.parametrize("title", ["Who likes tea?", "Who likes tea?\n"])
def test_a_title_above_people(separator, title, tmp_path):
    lines = f"{title}\nid;Tea?;Milk?\np1;Yes;No\np2;No;No\n".replace(";", separator)
    row = title.count("\n") + 2
    with pytest.raises(DataError, match=rf"row 1 is no header: 'Who.*; the header seems to be in row {row};"):
        table(tmp_path, lines, units="individuals")


@pytest.mark.parametrize("foot", ["Source: the town", "* weighted", "Quelle: Stadt;;;", "n = 1,012"])
def test_a_source_below_the_table(foot, tmp_path):
    with pytest.raises(DataError, match=r"row 4: .*(remove the row|leave the row out)"):
        table(tmp_path, "\n".join([*ROWS, foot]))
    with pytest.raises(DataError, match="row 5: "):
        table(tmp_path, "\n".join([*ROWS, "", foot]))


@pytest.mark.parametrize("gap", [1, 3])
def test_empty_rows_of_a_sheet(gap, tmp_path):
    book = openpyxl.Workbook()
    rows = [row.split(";") for row in ROWS]
    for row in [*rows[:2], *[[]] * gap, rows[2]]:
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    data = read(tmp_path / "t.xlsx")
    assert one(data) == {"Yes": 0.25, "No": 0.75}
    assert any("empty rows that are not read: 3" in x for x in notes(data))
