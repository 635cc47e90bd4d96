"""The cells of a table as a file holds them: text of a delimited file, typed values of a workbook."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from gpo_ray.errors import DataError
from gpo_ray.preferences.labels import normal_label

Column: TypeAlias = "pa.ChunkedArray | Sequence[Any]"


@dataclass(frozen=True)
class Unreadable:
    """A cell of a workbook that has no certain value, such as a date; it matters if its column is used."""

    problem: str
    """The cell's name, what it holds and what to do, for the error message."""


@dataclass(frozen=True)
class Cells:
    """A table of R rows and C columns, as its file holds it."""

    path: Path
    header: list[str]
    """C names, as they are written."""
    columns: Sequence[Column]
    """C columns of R cells: Arrow strings, or values of a workbook."""
    rows: Sequence[int]
    """The R numbers of the rows as a spreadsheet shows them; the header of a delimited file is row 1."""
    lines: Sequence[int] | None = None
    """For a delimited file the R lines on which the rows begin."""
    notes: tuple[str, ...] = ()
    """How the file is understood: its separator and encoding, its sheet, or codes that became texts."""
    levels: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """For the index of a column that is an ordered factor in Parquet: its levels, in order."""

    def place(self, row: int) -> str:
        """Return the words that locate the row of an index in error messages."""
        number = self.rows[row]
        if self.lines is None or self.lines[row] == number:
            return f"{self.path}: row {number}"
        return f"{self.path}: row {number} (line {self.lines[row]})"

    def values(self, column: int) -> list[Any]:
        """Return a column's R cells: texts, and from a workbook also numbers, bools and None.

        Raises:
            DataError: naming the first cell that holds a date, a formula or an error.
        """
        cells = self.columns[column]
        if isinstance(cells, pa.ChunkedArray):
            return cells.to_pylist()
        for cell in cells:
            if isinstance(cell, Unreadable):
                raise DataError(f"{self.path}: {cell.problem}")
        return list(cells)

    def texts(self, column: int) -> pa.ChunkedArray:
        """Return a column's R cells as Arrow strings, in which an empty cell is "".

        Whole numbers of a workbook have no decimal sign; its bools are "True" and "False".

        Raises:
            DataError: naming the first cell that holds a date, a formula or an error.
        """
        cells = self.columns[column]
        if isinstance(cells, pa.ChunkedArray):
            return cells
        return pa.chunked_array([pa.array([as_text(v) for v in self.values(column)], pa.string())])


HEADER_ROWS = 10
"""Within so many rows the header is looked for."""


def header_advice(cells: Cells, needed: Collection[str] = ()) -> str:
    """Return in which row below the header the names of columns seem to be, and what to do; "" if in none.

    It is the first of ten rows that has all needed names; without these, the first that holds different
    texts, none of them numbers, in every column.
    """
    heads = [_first(column) for column in cells.columns]
    for i in range(min(HEADER_ROWS, len(cells.rows))):
        row = [normal_label(column[i]).casefold() if i < len(column) else "" for column in heads]
        texts = all(any(map(str.isalpha, name)) for name in row) and len({*row}) == len(row)
        if ({*needed} <= {*row}) if needed else texts:
            return f"the header seems to be in row {cells.rows[i]}; remove the rows above"
    return ""


def _first(column: Column) -> list[str]:
    """Return the first cells of a column as texts, those without a certain value as empty."""
    some = column[:HEADER_ROWS]
    some = some.to_pylist() if isinstance(some, pa.ChunkedArray) else list(some)
    return ["" if isinstance(v, Unreadable) else as_text(v) for v in some]


def require_header(cells: Cells) -> None:
    """Check that the first row holds names of columns, rather than a title above them.

    Raises:
        DataError: if it has one name alone, and two columns or more without a name hold anything; or if
            half of the columns or more have none.
    """
    nameless = [i for i, name in enumerate(cells.header) if not normal_label(name)]
    used = [i for i in nameless if any(t.strip() for t in _first(cells.columns[i]))]
    named = len(cells.header) - len(nameless)
    if used and (named == 1 or len(used) > 1):
        advice = header_advice(cells) or "write a name above each column, and nothing above the names"
        raise DataError(
            f"{cells.path}: the first row has no name for {len(used)} of the columns that hold data; {advice}"
        )


def without_empty_columns(cells: Cells) -> Cells:
    """Return the table without the columns that have neither a name nor anything in them."""
    kept = [
        i
        for i, name in enumerate(cells.header)
        if normal_label(name) or any(isinstance(v, Unreadable) or as_text(v).strip() for v in _all(cells, i))
    ]
    if len(kept) == len(cells.header):
        return cells
    levels = {kept.index(i): names for i, names in cells.levels.items() if i in kept}
    columns = [cells.columns[i] for i in kept]
    return replace(cells, header=[cells.header[i] for i in kept], columns=columns, levels=levels)


def _all(cells: Cells, column: int) -> Sequence[Any]:
    found = cells.columns[column]
    return found.to_pylist() if isinstance(found, pa.ChunkedArray) else found


def with_yes_and_no(cells: Cells, used: Callable[[str], bool]) -> Cells:
    """Return a workbook's table with "Yes" and "No" for its bools, as in a Parquet file, and notes on it.

    Args:
        cells: the table.
        used: whether a column of a name holds labels.
    """
    columns, notes = [*cells.columns], [*cells.notes]
    for i, name in enumerate(cells.header):
        column = columns[i]
        if isinstance(column, pa.ChunkedArray) or not used(name):
            continue
        if any(isinstance(value, bool) for value in column):
            columns[i] = [("No", "Yes")[value] if isinstance(value, bool) else value for value in column]
            notes.append(f"column {name!r}: true is read as 'Yes' and false as 'No'")
    return replace(cells, columns=columns, notes=tuple(notes))


BLANK_SHOWN = 10
"""Most empty rows that a note names."""


def blank_note(rows: Sequence[int], number: int) -> str:
    """Return what to say of empty rows between others.

    Args:
        rows: their numbers, of which the first are enough.
        number: how many they are.
    """
    more = f" and {number - BLANK_SHOWN:,} more" if number > BLANK_SHOWN else ""
    shown = ", ".join(map(str, rows[:BLANK_SHOWN])) + more
    return f"empty rows that are not read: {shown}"


def as_text(value: Any) -> str:
    """Return a cell's value as text: 1.0 is "1", None is ""."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return "" if value is None else str(value)
