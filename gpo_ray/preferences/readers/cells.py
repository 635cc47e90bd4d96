"""The cells of a table as a file holds them: text of a delimited file, typed values of a workbook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from gpo_ray.errors import DataError

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


def as_text(value: Any) -> str:
    """Return a cell's value as text: 1.0 is "1", None is ""."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return "" if value is None else str(value)
