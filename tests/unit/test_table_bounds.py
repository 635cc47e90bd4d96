"""Files that would take far more memory than a table of their length."""

import zipfile

import openpyxl
import pytest

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers import read_survey
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
