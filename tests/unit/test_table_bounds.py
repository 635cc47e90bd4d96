"""Files that would take far more memory than a table of their length."""

import zipfile

import openpyxl
import pytest

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers import read_survey, workbook
from gpo_ray.preferences.readers.delimited import MAX_COLUMNS


def test_a_cell_far_away_does_not_fill_memory(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["group", "prompt", "response", "count"])
    book.active["XFD1048576"] = 1
    book.save(tmp_path / "far.xlsx")
    with pytest.raises(
        DataError, match=r"far.xlsx: sheet 'Sheet' has .* delete what stands far from the table"
    ):
        read_survey("table", tmp_path / "far.xlsx")


def test_a_workbook_that_unpacks_to_gigabytes_is_refused_unread(tmp_path):
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("sheet.xml", "w") as part:
        for _ in range(1030):
            part.write(b" " * 2**20)
    with pytest.raises(DataError, match=r"bomb.xlsx: unpacks to 1.0 GiB, at most 1.0 are read"):
        read_survey("table", path)


def test_too_many_columns_are_refused_by_the_header(tmp_path):
    path = tmp_path / "wide.csv"
    names = ",".join(f"c{i}" for i in range(MAX_COLUMNS + 1))
    path.write_text(f"{names}\n{names}\n")
    for kind in ("table", "respondents"):
        with pytest.raises(DataError, match=r"wide.csv: the header has 20,001 columns, at most 20,000"):
            read_survey(kind, path)


def book(path, *sheets):
    """Write a workbook of sheets that are given as the text of their rows."""
    made = openpyxl.Workbook()
    for _ in sheets[1:]:
        made.create_sheet()
    made.save(path.with_name("seed.xlsx"))
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    with (
        zipfile.ZipFile(path.with_name("seed.xlsx")) as seed,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in seed.namelist():
            text = seed.read(part)
            if part.startswith("xl/worksheets/"):
                rows = sheets[int(part.removesuffix(".xml")[-1]) - 1]
                text = f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>'
            packed.writestr(part, text)
    return path


def row(number, *texts, at="ABCD"):
    cells = "".join(
        f'<c r="{c}{number}" t="inlineStr"><is><t>{t}</t></is></c>' for c, t in zip(at, texts, strict=False)
    )
    return f'<row r="{number}">{cells}</row>'


TABLE = (
    row(1, "group", "prompt", "response", "share")
    + row(2, "a", "Tea?", "Yes", "0.25")
    + row(3, "a", "Tea?", "No", "0.75")
)


@pytest.mark.parametrize("far", [1_048_577, 16_000_000, 10**12])
def test_a_row_below_those_of_excel_is_refused_without_counting_to_it(tmp_path, far):
    path = book(tmp_path / "far.xlsx", TABLE + row(far, "a", "Tea?", "No", "0.75"))
    with pytest.raises(DataError, match=r"sheet 'Sheet' has 1,048,577 rows .* delete what stands far from"):
        read_survey("table", path)


def test_a_column_beside_those_of_excel_is_refused(tmp_path):
    path = book(tmp_path / "far.xlsx", TABLE + row(4, "x", at=("XFE",)))
    with pytest.raises(DataError, match=r"sheet 'Sheet' has 4 rows and 16,385 columns"):
        read_survey("table", path)


def test_many_blank_rows_are_counted(tmp_path):
    path = book(tmp_path / "gap.xlsx", TABLE + row(300_000, "b", "Tea?", "Yes", "1"))
    cells = workbook.read_workbook(path)
    assert cells.rows == [2, 3, 300_000]
    assert "empty rows that are not read: 4, 5, 6, 7, 8, 9, 10, 11, 12, 13 and 299,986 more" in cells.notes


def test_of_other_sheets_it_is_only_found_whether_they_hold_anything(tmp_path):
    other = row(5, "x") + row(6, "y", at=("ZZZZZ",))  # which cannot be read
    cells = workbook.read_workbook(book(tmp_path / "more.xlsx", "", TABLE, "", other, other))
    assert [len(column) for column in cells.columns] == [2] * 4
    assert any("'Sheet3', 'Sheet4'" in note for note in cells.notes)


def test_the_cells_of_all_sheets_are_counted_together(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "MAX_CELLS", 50)
    blank = '<row r="20"><c r="A20"/></row>'
    assert workbook.read_workbook(book(tmp_path / "a.xlsx", TABLE, blank)).rows == [2, 3]
    with pytest.raises(DataError, match=r"sheet 'Sheet2' has .* 50 cells of all sheets"):
        workbook.read_workbook(book(tmp_path / "b.xlsx", TABLE, blank, blank))


def test_a_text_in_many_cells_is_counted_as_often(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "SMALL", 2**20)
    monkeypatch.setattr(workbook, "_require_size", lambda path: None)
    table = TABLE + "".join(row(n, "a", "Tea? " + "x" * 2**15, "No", "1") for n in range(4, 100))
    with pytest.raises(DataError, match=r"the texts of sheet 'Sheet' would take more than 0.0 GB"):
        workbook.read_workbook(book(tmp_path / "long.xlsx", table))
