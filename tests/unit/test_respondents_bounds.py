"""Files of SPSS and Parquet that would fill memory, or whose variables have no names."""

import functools
import struct
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers import ReadOptions
from gpo_ray.preferences.readers.respondents import statistical, trial
from gpo_ray.preferences.readers.respondents.reader import read_table_of

pyreadstat = pytest.importorskip("pyreadstat", reason="the surveys extra is not installed")


def repeated(path, blocks, columns=50):
    """Write a .zsav whose data are one block of ones, again and again; return how many rows they make."""
    data = pd.DataFrame({f"q{i}": [1.0] * 10 for i in range(columns)})
    pyreadstat.write_sav(data, str(path), compress=True)
    head = bytearray(path.read_bytes())
    start = head.rfind(struct.pack("<ii", 999, 0)) + 8
    size = 0x3FF000
    block = zlib.compress(b"\x65" * size, 9)  # each byte is the cell 1.0
    rows = blocks * size // columns
    struct.pack_into("<i", head, 80, rows)
    end = start + 24 + blocks * len(block)
    with path.open("wb") as f:
        f.write(head[:start] + struct.pack("<qqq", start, end, 24 + 24 * blocks) + block * blocks)
        f.write(struct.pack("<qqii", -100, 0, size, blocks))
        for i in range(blocks):
            f.write(struct.pack("<qqii", start + i * size, start + 24 + i * len(block), size, len(block)))
    return rows


def asked_for(monkeypatch, name):
    """Return a list to which what pyreadstat's function is asked for is added, as its rows."""
    read, asked = getattr(pyreadstat, name), []

    @functools.wraps(read)
    def listed(path, **options):
        asked.append({k: v for k, v in options.items() if k in ("metadataonly", "row_offset", "row_limit")})
        return read(path, **options)

    monkeypatch.setattr(pyreadstat, name, listed)
    return asked


def test_a_small_file_of_many_cells_is_refused_by_what_it_states(tmp_path, monkeypatch):
    path = tmp_path / "p.zsav"
    rows = repeated(path, 20)
    assert path.stat().st_size < 100_000
    asked = asked_for(monkeypatch, "read_sav")
    with pytest.raises(DataError, match=rf"p.zsav: the {rows:,} respondents and 50 variables .* 2.7 GB"):
        read_table_of(path, ReadOptions())
    assert asked == [{"metadataonly": True}]


def test_a_survey_of_many_people_and_questions_is_not_refused(tmp_path):
    (tmp_path / "small.zsav").write_bytes(b"")
    trial.check_size(tmp_path / "small.zsav", 100_000 * 300 * trial.CELL_BYTES, "all")
    with pytest.raises(DataError):
        trial.check_size(tmp_path / "small.zsav", 4 * 100_000 * 300 * trial.CELL_BYTES, "all")


@pytest.mark.parametrize("suffix", ["por", "xpt"])
def test_rows_that_the_file_does_not_state_are_counted(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"p.{suffix}"
    data = pd.DataFrame({f"Q{i}": np.ones(2000) for i in range(20)})
    (pyreadstat.write_por if suffix == "por" else pyreadstat.write_xport)(data, str(path))
    assert read_table_of(path, ReadOptions()).respondents == 2000
    for module in (trial, statistical):
        monkeypatch.setattr(module, "CELLS", 2000)
    monkeypatch.setattr(trial, "SMALL", 2**18)
    monkeypatch.setattr(trial, "EXPANSION", 0)
    read = asked_for(monkeypatch, "read_por" if suffix == "por" else "read_xport")
    with pytest.raises(DataError, match=r"its respondents and 20 variables would take .* in memory"):
        read_table_of(path, ReadOptions())
    assert len(read) < 8  # of 20 parts


def test_long_texts_are_counted_and_read_in_short_parts(tmp_path, monkeypatch):
    path = tmp_path / "p.sav"
    pyreadstat.write_sav(pd.DataFrame({"q": ["x" * 2000] * 1000, "n": np.ones(1000)}), str(path))
    for module in (trial, statistical):
        monkeypatch.setattr(module, "TEXT_BYTES", 2000 * 300)
    read = asked_for(monkeypatch, "read_sav")
    assert read_table_of(path, ReadOptions()).respondents == 1000
    assert max(rows.get("row_limit", 0) for rows in read) <= 300
    monkeypatch.setattr(trial, "SMALL", 2**20)
    monkeypatch.setattr(trial, "EXPANSION", 0)
    with pytest.raises(DataError, match=r"its respondents and 2 variables would take"):
        read_table_of(path, ReadOptions())


@pytest.mark.parametrize("name", [b"\0\0\0\0\0\0\0\0", b"        "])
def test_a_variable_of_spss_without_a_name(tmp_path, name):
    path = tmp_path / "p.sav"
    pyreadstat.write_sav(pd.DataFrame({"ageofall": [1.0, 2.0] * 60, "q1": [1.0, 2.0] * 60}), str(path))
    whole = path.read_bytes()
    assert whole.count(b"AGEOFALL") >= 1
    path.write_bytes(whole.replace(b"AGEOFALL", name, 1).replace(b"AGEOFALL=", b"XGEOFALL="))
    with pytest.raises(DataError, match=r"p.sav: a variable has no name, the file is damaged") as e:
        read_table_of(path, ReadOptions())
    assert "\n" not in str(e.value)


def test_a_column_of_parquet_without_a_name_is_left_out(tmp_path):
    answers = pa.array(["Yes", "No"] * 50)
    table = pa.table([answers, answers, answers, answers], names=["", " ", "", "Better parks?"])
    pq.write_table(table, tmp_path / "p.parquet")
    found = read_table_of(tmp_path / "p.parquet", ReadOptions())
    assert list(found.columns) == ["Better parks?"]
    assert [where for where, _ in found.drops] == [f"p.parquet: column {i}" for i in (1, 2, 3)]
