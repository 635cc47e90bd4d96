"""Reading the table on a sheet of an Excel workbook (.xlsx), whose cells have types."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.readers.cells import Cells, Unreadable, as_text, blank_note
from gpo_ray.preferences.readers.files import require_file

WORKBOOKS = (".xlsx", ".xlsm")
OLD_WORKBOOKS = (".xls", ".xlsb", ".ods")

_UNREADABLE = (
    zipfile.BadZipFile,
    ParseError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OSError,
)
"""What openpyxl raises for files that are no workbook, or a damaged one."""
MAX_CELLS = 50_000_000
"""Most cells of a sheet, blank ones among them: 100,000 respondents with 500 variables."""
MAX_UNPACKED_BYTES, MAX_RATIO = 2**30, 100
"""Most bytes that a workbook may unpack to, or so many times its own length if that is more."""


def read_workbook(path: Path) -> Cells:
    """Read the first sheet of a workbook that holds anything; other such sheets are named in a note.

    The header is the first row that holds anything. Rows keep the numbers that the spreadsheet shows. Texts
    stay texts; numbers are Python numbers; a number that is shown as a percentage is a text such as "22.7%".
    Dates, formulas and errors are refused once their column is used.

    Raises:
        ConfigError: if openpyxl is not installed.
        DataError: if the file is missing, not a workbook, or has no sheet with a header and a row.
    """
    require_file(path)
    _require_size(path)
    try:
        import openpyxl
    except ImportError as e:
        raise ConfigError("workbooks need openpyxl; install it with: pip install 'gpo-ray[surveys]'") from e
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions that a table of values does not need
            book = openpyxl.load_workbook(path, read_only=True)
            try:
                sheets = {sheet.title: _filled_rows(path, sheet) for sheet in book.worksheets}
            finally:
                book.close()
    except _UNREADABLE as e:
        raise DataError(
            f"{path}: not a readable .xlsx workbook ({e}); save it anew, without a password"
        ) from e
    filled = [title for title, rows in sheets.items() if rows]
    if not filled:
        raise DataError(f"{path}: no sheet of the workbook holds anything")
    return _cells(path, filled, sheets[filled[0]])


def _require_size(path: Path) -> None:
    """Refuse a workbook that would unpack to far more than a table of its length holds.

    Raises:
        DataError: if it does; what is no workbook is left to the reader.
    """
    most = max(MAX_UNPACKED_BYTES, MAX_RATIO * path.stat().st_size)
    try:
        with zipfile.ZipFile(path) as packed:
            unpacked = sum(part.file_size for part in packed.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return
    if unpacked > most:
        raise DataError(
            f"{path}: unpacks to {unpacked / 2**30:,.1f} GiB, at most {most / 2**30:,.1f} are read; save the "
            "table alone, or as .csv"
        )


def _cells(path: Path, filled: list[str], sheet: dict[int, list[Any]]) -> Cells:
    (_, header), *body = sheet.items()
    if not body:
        raise DataError(f"{path}: sheet {filled[0]!r} has a header and no rows")
    width = max(map(len, sheet.values()))
    wide = [[*row, *[None] * (width - len(row))] for row in (header, *(row for _, row in body))]
    used = [i for i in range(width) if any(row[i] is not None for row in wide)]
    names = [wide[0][i] for i in used]
    bad = next((name for name in names if isinstance(name, Unreadable)), None)
    if bad is not None:
        raise DataError(f"{path}: {bad.problem}")
    notes = [f"sheet {filled[0]!r} is read"]
    if len(filled) > 1:
        notes.append(f"sheets that are not read: {', '.join(map(repr, filled[1:]))}")
    blank = sorted({*range(min(sheet), max(sheet))} - sheet.keys())
    if blank:
        notes.append(blank_note(blank))
    columns = [[row[i] for row in wide[1:]] for i in used]
    return Cells(path, [as_text(name) for name in names], columns, [n for n, _ in body], notes=tuple(notes))


def _filled_rows(path: Path, sheet: Any) -> dict[int, list[Any]]:
    """Return the rows of a sheet that hold anything, by their number.

    Raises:
        DataError: if the sheet has too many cells.
    """
    sheet.reset_dimensions()  # what a file says of its size may be wrong
    rows: dict[int, list[Any]] = {}
    width = 1
    for number, cells in enumerate(sheet.iter_rows(), 1):
        values = _values(cells)
        width = max(width, len(values))
        if number * width > MAX_CELLS:
            raise DataError(
                f"{path}: sheet {sheet.title!r} has {number:,} rows and {width:,} columns, more than "
                f"{MAX_CELLS:,} cells together; delete what stands far from the table"
            )
        if any(value is not None for value in values):
            rows[number] = values
    return rows


def _values(cells: Iterable[Any]) -> list[Any]:
    """Return the values of a row's cells; what has no certain value is :class:`Unreadable`."""
    values: list[Any] = []
    for cell in cells:
        value = cell.value
        if isinstance(value, str):
            value = value if value.strip() else None
        if value is None:
            values.append(None)
        elif cell.data_type == "f":
            values.append(Unreadable(f"cell {cell.coordinate} holds a formula; paste it as a value"))
        elif cell.data_type == "e":
            values.append(Unreadable(f"cell {cell.coordinate} holds the error {value}; correct it"))
        elif isinstance(value, str | bool):
            values.append(value)
        elif isinstance(value, int | float):
            percent = "%" in (cell.number_format or "")
            values.append(f"{value * 100:.15g}%" if percent else value)
        else:
            values.append(
                Unreadable(
                    f"cell {cell.coordinate} holds a date ({value}), which Excel makes of texts such as 1-2; "
                    "write it as text"
                )
            )
    return values
