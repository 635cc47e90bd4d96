"""Read Parquet files that somebody else may have written, without taking far more memory than their length.

A megabyte of a file can become gigabytes in memory: from one repeated number, from one repeated text in a
dictionary, or from zeros, which compress well. So the memory for a file is computed before it is taken: from
its footer, and for texts from their dictionaries.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from gpo_ray.errors import GPOError

SMALL = 2**30
"""Bytes in memory that any file may take."""
EXPANSION = 100
"""Bytes in memory for each byte of a file that a larger file may take; sorted choices take some 50."""

_WIDTH = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}
_UNREADABLE = (pa.ArrowException, OSError, ValueError, TypeError, LookupError, OverflowError, MemoryError)
"""Exceptions of Arrow for a file that is not Parquet, or is incomplete."""


class ParquetSource:
    """A Parquet file, in memory or on this machine's disk.

    Args:
        source: the file's bytes or its path.
        where: the file's name in messages.
        error: the exception class that reading problems raise.
    """

    def __init__(self, source: bytes | Path, where: str, error: type[GPOError]) -> None:
        self._source, self._where, self._error = source, where, error
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        self._most = max(SMALL, EXPANSION * size)

    def schema(self) -> pa.Schema:
        """Return the names and types of the columns.

        Raises:
            GPOError: of class ``error``, if it is no Parquet file.
        """
        with self._open() as file:
            return file.schema_arrow

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the table, or some columns of it, with all values checked to fit the column types.

        Raises:
            GPOError: of class ``error``, if the file cannot be read, or would take far more memory than its
                length.
        """
        with self._open() as file:
            leaves = _leaves(file.metadata, columns)
            self._check(sum(_least(file.metadata, i) for i, _ in leaves))
            texts = [(i, path) for i, path in leaves if _is_text(file.metadata.schema.column(i))]
            deltas = {path for i, path in texts if _is_delta(file.metadata, i)}
            size = sum(self._delta_bytes(file, i, path) for i, path in texts if path in deltas)
            size += sum(_fixed(file.metadata, i) for i, _ in leaves)
            schema = file.schema_arrow
        with self._open([path for _, path in texts if path not in deltas]) as file:
            table = file.read(columns=columns)
            self._check(size + sum(_text_bytes(c) for column in table for c in column.chunks))
            wanted = pa.schema([schema.field(n) for n in table.column_names], schema.metadata)
            table = table.cast(wanted) if texts else table
            table.validate(full=True)
        return table

    def _delta_bytes(self, file: pq.ParquetFile, leaf: int, path: str) -> int:
        """Return the bytes of a column's texts, each of which may repeat the beginning of the last one."""
        packed = sum(c.total_uncompressed_size for c in _chunks(file.metadata, leaf))
        if "." in path:  # the number of texts in a row is not known
            most = packed * sum(c.num_values for c in _chunks(file.metadata, leaf))
            self._check(most, f" ({path}: write it without DELTA_BYTE_ARRAY)")
            return most
        size = 0
        rows = max(1, min(2**16, self._most // max(packed, 1)))
        for batch in file.iter_batches(rows, columns=[path]):
            size += int(pc.sum(pc.binary_length(batch.column(0)).cast(pa.int64())).as_py() or 0)
            self._check(size)
        return size

    @contextlib.contextmanager
    def _open(self, texts: Iterable[str] = ()) -> Iterator[pq.ParquetFile]:
        source = io.BytesIO(self._source) if isinstance(self._source, bytes) else self._source
        try:
            with pq.ParquetFile(source, read_dictionary=list(texts)) as file:
                yield file
        except _UNREADABLE as e:
            reason = " ".join(str(e).split())[:300]
            raise self._error(f"{self._where}: not a readable Parquet file ({reason})") from e

    def _check(self, size: int, why: str = "") -> None:
        if size > self._most:
            raise self._error(
                f"{self._where}: would take {size / 1e9:.1f} GB in memory, more than {EXPANSION} times its "
                f"length and than {SMALL / 1e9:.1f} GB{why}; divide it, or see what is in it"
            )


def _leaves(metadata: Any, columns: Sequence[str] | None) -> list[tuple[int, str]]:
    """Return the number and path of the stored columns that belong to the columns asked for."""
    paths = [(i, metadata.schema.column(i).path) for i in range(metadata.num_columns)]
    if columns is None:
        return paths
    return [(i, p) for i, p in paths if any(p == c or p.startswith(f"{c}.") for c in columns)]


def _is_text(column: Any) -> bool:
    return column.physical_type == "BYTE_ARRAY" and column.converted_type in ("UTF8", "NONE")


def _is_delta(metadata: Any, leaf: int) -> bool:
    """Return whether some chunk of a column has an encoding that Arrow cannot read as a dictionary."""
    return any(e.startswith("DELTA") for c in _chunks(metadata, leaf) for e in c.encodings)


def _chunks(metadata: Any, leaf: int) -> list[Any]:
    return [metadata.row_group(r).column(leaf) for r in range(metadata.num_row_groups)]


def _least(metadata: Any, leaf: int) -> int:
    """Return the bytes that a column takes at least, as far as the footer says."""
    return max(_fixed(metadata, leaf), sum(c.total_uncompressed_size for c in _chunks(metadata, leaf)))


def _fixed(metadata: Any, leaf: int) -> int:
    """Return the bytes of a column's values or, for texts, of their offsets."""
    column = metadata.schema.column(leaf)
    width = (
        max(1, column.length) if column.physical_type.startswith("FIXED") else _WIDTH[column.physical_type]
    )
    groups = [metadata.row_group(r) for r in range(metadata.num_row_groups)]
    return int(width) * sum(max(g.num_rows, g.column(leaf).num_values) for g in groups)


def _text_bytes(array: pa.Array) -> int:
    """Return the bytes of the texts in an array, each counted as often as it occurs."""
    kind = array.type
    if types.is_dictionary(kind):
        values = array.dictionary
        if not (types.is_string(values.type) or types.is_binary(values.type) or _is_large(values.type)):
            return 0
        return int(pc.sum(pc.take(pc.binary_length(values).cast(pa.int64()), array.indices)).as_py() or 0)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _text_bytes(array.flatten())
    if types.is_map(kind):
        return _text_bytes(array.keys) + _text_bytes(array.items)
    if types.is_struct(kind):
        return sum(_text_bytes(array.field(i)) for i in range(kind.num_fields))
    return 0


def _is_large(kind: pa.DataType) -> bool:
    return bool(types.is_large_string(kind) or types.is_large_binary(kind))
