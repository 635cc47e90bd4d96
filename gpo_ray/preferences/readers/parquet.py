"""Reading Parquet files, with a check that their columns have the types that a reader expects."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers.cells import Cells, as_text
from gpo_ray.preferences.readers.common import require_columns, require_file
from gpo_ray.runtime.tables import ParquetSource

Accepts = Callable[[pa.DataType], bool]


@dataclass(frozen=True)
class ColumnType:
    """The types that a column may have and the type that it is read as; a column of only nulls fits any."""

    name: str
    """Name of the type in error messages."""
    accepts: tuple[Accepts, ...]
    """Tests of a type, one of which must hold; for a list they test the type of its elements."""
    read_as: pa.DataType

    def fits(self, found: pa.DataType) -> bool:
        """Return whether a column of the type ``found`` may be read."""
        if types.is_null(found):
            return True
        if types.is_list(self.read_as):
            if not any(t(found) for t in _LISTS):
                return False
            found = found.value_type
        if types.is_dictionary(found):
            found = found.value_type
        return types.is_null(found) or any(t(found) for t in self.accepts)


_LISTS = (types.is_list, types.is_large_list, types.is_fixed_size_list)
_TEXT = (types.is_string, types.is_large_string, types.is_string_view)
_NUMBER = (types.is_integer, types.is_floating, types.is_decimal)

TEXT = ColumnType("text", _TEXT, pa.string())
TEXT_OR_INTEGER = ColumnType("text or whole numbers", (*_TEXT, types.is_integer), pa.string())
TEXT_OR_NUMBER = ColumnType("text or numbers", (*_TEXT, *_NUMBER), pa.string())
INTEGER = ColumnType("whole numbers", (types.is_integer,), pa.int64())
NUMBER = ColumnType("numbers", _NUMBER, pa.float64())
CODE = ColumnType("text or whole numbers", (*_TEXT, *_NUMBER), pa.string())
LABEL = ColumnType("text or whole numbers", (*_TEXT, *_NUMBER, types.is_boolean), pa.string())
COUNT = ColumnType("numbers", (*_TEXT, *_NUMBER), pa.string())
FLAG = ColumnType("true or false", (*_TEXT, types.is_boolean), pa.string())
TEXTS = ColumnType("lists of text", _TEXT, pa.list_(pa.string()))
NUMBERS = ColumnType("lists of numbers", _NUMBER, pa.list_(pa.float64()))

Columns = Mapping[str, ColumnType]


def read_parquet(path: Path, expected: Columns, optional: Columns | None = None) -> pa.Table:
    """Read the expected columns of a Parquet file, and the optional ones that it has.

    Each column is converted to the type that its :class:`ColumnType` is read as.

    Raises:
        DataError: if the file is missing, empty or not Parquet, a column is missing, occurs twice, or has
            another type, or a value does not fit into the type that it is read as.
    """
    require_file(path)
    file = ParquetSource(path, str(path), DataError)
    schema = file.schema()
    require_columns(path, schema.names, expected)
    wanted = dict(expected) | {c: t for c, t in (optional or {}).items() if c in schema.names}
    _require_types(path, schema, wanted)
    table = file.read(list(wanted))
    if table.num_rows == 0:
        raise DataError(f"{path}: the file has no rows")
    return pa.table({c: _cast(table[c], t, f"{path}: column {c!r}") for c, t in wanted.items()})


def _require_types(path: Path, schema: pa.Schema, wanted: Columns) -> None:
    for name, column in wanted.items():
        found = schema.field(name).type
        if not column.fits(found):
            raise DataError(
                f"{path}: column {name!r} is of type {found}, expected {column.name}; convert the column"
            )


def _cast(column: pa.ChunkedArray, kind: ColumnType, where: str) -> pa.ChunkedArray:
    # Conversion to a float can only round a value; conversion to an integer could change it: it is checked.
    rounds = types.is_floating(kind.read_as) or kind is NUMBERS
    try:
        return column.cast(kind.read_as, safe=not rounds)
    except pa.ArrowException as e:
        raise DataError(f"{where}: cannot read {column.type} as {kind.name}: {e}; convert the column") from e


def column_names(path: Path) -> list[str]:
    """Return the names of a Parquet file's columns.

    Raises:
        DataError: if the file is missing, empty or not Parquet.
    """
    require_file(path)
    return [*ParquetSource(path, str(path), DataError).schema().names]


def read_cells(path: Path, types_of: Callable[[str], ColumnType | None]) -> Cells:
    """Read the columns of a Parquet file as cells of a table, of which the first row is row 1.

    Labels become text: codes such as 1.0 are "1" and bools "Yes" and "No", which is noted. Numbers and texts
    of numbers stay what they are.

    Args:
        path: the file.
        types_of: gives the type that a column of a name may have; None for a column that is not read.

    Raises:
        DataError: if the file is missing, empty or not Parquet, a column has a type that it may not have, or
            a label is a number with decimals.
    """
    require_file(path)
    file = ParquetSource(path, str(path), DataError)
    schema = file.schema()
    wanted = {name: kind for name in schema.names if (kind := types_of(name)) is not None}
    twice = [name for name, n in Counter(schema.names).items() if n > 1 and name in wanted]
    if twice:
        raise DataError(f"{path}: column {twice[0]!r} is there twice; rename or remove one of the two")
    _require_types(path, schema, wanted)
    table = file.read(list(wanted))
    if table.num_rows == 0:
        raise DataError(f"{path}: the file has no rows")
    columns, notes, levels = [], [], {}
    for i, (name, kind) in enumerate(wanted.items()):
        column = table[name].unify_dictionaries() if types.is_dictionary(table[name].type) else table[name]
        if types.is_dictionary(column.type):
            if column.type.ordered and column.num_chunks:
                levels[i] = tuple(map(as_text, column.chunk(0).dictionary.to_pylist()))
            column = column.cast(column.type.value_type)
        values, note = (
            _labels(path, name, column) if kind in (TEXT, CODE, LABEL, FLAG) else (column.to_pylist(), None)
        )
        columns.append(_python_numbers(values))
        notes += [note] if note else []
    return Cells(path, list(wanted), columns, range(1, table.num_rows + 1), None, tuple(notes), levels)


def _labels(path: Path, name: str, column: pa.ChunkedArray) -> tuple[list[Any], str | None]:
    """Return a column of labels as texts, None where it has none, and what to say of the conversion."""
    if types.is_boolean(column.type):
        note = f"column {name!r}: true is read as 'Yes' and false as 'No'"
        return [None if v is None else "Yes" if v else "No" for v in column.to_pylist()], note
    if not types.is_floating(column.type) and not types.is_decimal(column.type):
        return [None if v is None else str(v) for v in column.to_pylist()], None
    texts: list[Any] = []
    for i, value in enumerate(column.to_pylist(), 1):
        if value is not None and (not math.isfinite(value) or value != int(value)):
            raise DataError(
                f"{path}: column {name!r} is of type {column.type}, expected text or whole numbers: row {i} "
                f"holds {value}; convert the column to text"
            )
        texts.append(None if value is None else str(int(value)))
    return texts, f"column {name!r}: codes such as 1.0 are read as '1'"


def _python_numbers(values: list[Any]) -> list[Any]:
    """Return the values with numbers of fixed decimals as floats."""
    return [float(v) if isinstance(v, Decimal) else v for v in values]


def require_values(path: Path, table: pa.Table, columns: Iterable[str]) -> None:
    """Check that the columns have no missing values.

    Raises:
        DataError: naming the column and the first row without a value.
    """
    for name in columns:
        if table[name].null_count:
            row = pc.index(table[name].is_null(), True).as_py()
            raise DataError(f"{path}: row {row}: {name} is missing; fill it in or remove the row")
