"""The same table through the formats: CSV, Excel and Parquet."""

import gzip

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import GOOD
from table_files import notes, read, shares, table

from gpo_ray.preferences.readers import read_survey

LONG = [("A", "Tea?", True, 1), ("A", "Tea?", False, 3), ("B", "Tea?", False, 2)]
HEADER = ("group", "prompt", "response", "count")
PEOPLE = [("p1", True, "x"), ("p2", False, "y"), ("p3", True, "y")]


def workbook(folder, header, rows):
    book = openpyxl.Workbook()
    for row in (header, *rows):
        book.active.append(row)
    book.save(folder / "t.xlsx")
    return folder / "t.xlsx"


def parquet(folder, header, rows):
    pq.write_table(
        pa.table(dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))), folder / "t.parquet"
    )
    return folder / "t.parquet"


@pytest.mark.parametrize(
    ("header", "rows", "options"),
    [(HEADER, LONG, {}), (("id", "Tea?", "Cup?"), PEOPLE, {"units": "individuals"})],
)
def test_truth_values_are_the_same_labels(header, rows, options, tmp_path):
    sheet = read(workbook(tmp_path, header, rows), **options)
    stored = read(parquet(tmp_path, header, rows), **options)
    assert shares(sheet) == shares(stored)
    assert {r for _, p, r in shares(sheet) if p == "Tea?"} == {"Yes", "No"}
    assert all(any("true is read as 'Yes' and false as 'No'" in x for x in notes(d)) for d in (sheet, stored))


@pytest.mark.parametrize("words", [("TRUE", "FALSE"), ("WAHR", "FALSCH"), ("True", "False")])
def test_truth_values_of_a_text_file_stay_texts(words, tmp_path):
    rows = [",".join(map(str, (g, p, words[not r], n))) for g, p, r, n in LONG]
    data = table(tmp_path, "\n".join([",".join(HEADER), *rows]))
    assert data.questions["responses"].to_pylist() == [list(words)]
    assert any("stay texts; in a workbook or Parquet file they are" in x for x in notes(data))


def test_words_and_truth_values_in_one_column(tmp_path):
    rows = [("A", "Tea?", "Yes", 1), ("A", "Tea?", False, 3)]
    found = shares(read(workbook(tmp_path, HEADER, rows)))
    assert found == {("A", "Tea?", "Yes"): 0.25, ("A", "Tea?", "No"): 0.75}


def test_a_compressed_table_is_read_as_the_table_itself(tmp_path):
    (tmp_path / "t.csv").write_text(GOOD)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(GOOD.encode()))
    plain, packed = (read_survey("table", tmp_path / name) for name in ("t.csv", "t.csv.gz"))
    assert plain.fingerprint() == packed.fingerprint()
