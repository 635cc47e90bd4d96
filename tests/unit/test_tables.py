"""Parquet of others': bounded in memory, and one error for whatever is wrong with it."""

import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers import read_survey
from gpo_ray.runtime import tables
from gpo_ray.runtime.storage import parquet_bytes, read_parquet_bytes
from gpo_ray.runtime.tables import SMALL, ParquetSource

TEXT = "x" * 1_000_000
SCALE = 64
"""By how much the first tests are smaller than what is refused otherwise."""
N, MANY = 2_500 // SCALE, SMALL // 8 // SCALE + 1


def written(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def repeated(value, kind, times=N):
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), pa.array([value], kind))


def in_list(array):
    return pa.ListArray.from_arrays(pa.array([0, len(array)], pa.int32()), array)


def in_struct(array):
    return pa.StructArray.from_arrays([array], ["b"])


BOMBS = {
    "category": lambda: written(pa.table({"a": repeated(TEXT, pa.string())})),
    "text": lambda: written(pa.table({"a": repeated(TEXT, pa.string())}), store_schema=False),
    "large text": lambda: written(pa.table({"a": repeated(TEXT, pa.large_string())})),
    "bytes": lambda: written(pa.table({"a": repeated(TEXT.encode(), pa.binary())}), store_schema=False),
    "list": lambda: written(pa.table({"a": in_list(repeated(TEXT, pa.string()))}), store_schema=False),
    "struct": lambda: written(pa.table({"a": in_struct(repeated(TEXT, pa.string()))}), store_schema=False),
    "lists of structs": lambda: written(pa.table({"a": in_list(in_struct(pa.array([TEXT] * N)))})),
    "text after text": lambda: written(
        pa.table({"a": [TEXT] * N}), use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY"
    ),
    "text that compresses": lambda: written(
        pa.table({"a": [TEXT] * N}), use_dictionary=False, compression="zstd"
    ),
    "a number": lambda: written(pa.table({"a": np.zeros(MANY)}), compression="zstd"),
    "numbers": lambda: written(pa.table({"a": in_list(pa.array(np.zeros(MANY)))}), compression="zstd"),
    "vector": lambda: written(pa.table({"a": pa.FixedSizeListArray.from_arrays(np.zeros(MANY), MANY)})),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_small_file_that_takes_much_memory_is_refused(bomb, monkeypatch):
    data = BOMBS[bomb]()
    read_parquet_bytes(data, "f", DataError)
    monkeypatch.setattr(tables, "SMALL", SMALL // SCALE)
    monkeypatch.setattr(tables, "EXPANSION", 2)
    assert len(data) < 3_000_000
    with pytest.raises(DataError, match=r"f: would take .* GB in memory"):
        read_parquet_bytes(data, "f", DataError)


def test_survey_that_stands_for_gigabytes_takes_little_memory(tmp_path):
    path = tmp_path / "t.parquet"
    rows = 3_000
    table = {"group": ["g"] * rows, "prompt": repeated(TEXT, pa.string(), rows), "count": [1.0] * rows}
    table["response"] = [str(i) for i in range(rows)]
    path.write_bytes(written(pa.table(table), store_schema=False))
    script = (
        "import resource, sys; from gpo_ray import cli\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (2**31, 2**31))\n"
        f"sys.argv = ['gpo', 'survey', 'import', 'table', '--from', {str(path)!r}, '--out', 'out']\n"
        "cli.main()"
    )
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 2, found.stderr
    assert "would take 3.0 GB" in found.stderr
    assert not (tmp_path / "out").exists()


LIST = pa.list_(pa.field("element", pa.string()))
VECTOR = pa.list_(pa.field("element", pa.float32()), 2)


def test_table_is_read_as_it_was_written():
    table = pa.table(
        {
            "text": ["ä", None, "", "ä"],
            "large": pa.array(["a", "b", None, "a"], pa.large_string()),
            "list": pa.array([["a", "b"], [], None, ["a", None]], LIST),
            "kind": pa.array(["a", "b", "a", None]).dictionary_encode(),
            "n": [1.5, None, 2.0, np.nan],
            "vector": pa.array(np.arange(8, dtype=np.float16).reshape(4, 2).tolist(), VECTOR),
        }
    ).replace_schema_metadata({"fingerprint": "x"})
    texts = ("text", "large", "list.list.element")
    deltas = [
        written(table, use_dictionary=False, column_encoding=dict.fromkeys(texts, encoding))
        for encoding in ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY")
    ]
    for data in (parquet_bytes(table), written(table), written(table, use_dictionary=False), *deltas):
        found = read_parquet_bytes(data, "f", DataError)
        assert found.schema.equals(table.schema, check_metadata=True)
        assert str(found.to_pylist()) == str(table.to_pylist())
        assert ParquetSource(data, "f", DataError).read(["list", "n"]).column_names == ["list", "n"]


TABLE = pa.table({"a": ["one", "two", "one"], "b": [[1.0], [], None], "c": [["x"], ["y", "x"], None]})
DATA = written(TABLE)


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_file_with_a_wrong_byte_is_a_table_or_an_error(place, change):
    data = bytearray(DATA)
    data[place] ^= change
    try:
        read_parquet_bytes(bytes(data), "f", DataError)
    except DataError as e:
        text = str(e)
    else:
        text = "f: "
    assert text.startswith("f: ")


@given(st.integers(0, len(DATA) - 1))
def test_file_that_was_cut(length):
    with pytest.raises(DataError, match=r"^f: not a readable Parquet file"):
        read_parquet_bytes(DATA[:length], "f", DataError)


@pytest.mark.parametrize("column", ["group", "prompt", "response", "count"])
def test_reader_of_a_column_that_is_missing_or_null(tmp_path, column):
    good = {"group": ["a", "a"], "prompt": ["p", "p"], "response": ["x", "y"], "count": [1.0, 2.0]}
    without = {k: v for k, v in good.items() if k != column}
    for table in (without, good | {column: [None, None]}, good | {column: [{"a": 1}] * 2}):
        (tmp_path / "t.parquet").write_bytes(written(pa.table(table)))
        with pytest.raises(DataError, match=r"t\.parquet.*"):
            read_survey("table", tmp_path / "t.parquet")
