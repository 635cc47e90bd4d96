"""Reading the table on a sheet of an Excel workbook (.xlsx), whose cells have types."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.readers.cells import BLANK_SHOWN, Cells, Unreadable, as_text, blank_note
from gpo_ray.preferences.readers.files import require_file
from gpo_ray.runtime.tables import EXPANSION, SMALL

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
"""Most cells of all sheets, as far as they are looked at, blank ones among them: 100,000 respondents with 500
variables."""
MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384
"""Most rows and columns of a sheet, as in Excel itself."""


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
                filled, rows = _filled_sheets(path, book.worksheets)
            finally:
                book.close()
    except _UNREADABLE as e:
        raise DataError(
            f"{path}: not a readable .xlsx workbook ({e}); save it anew, without a password"
        ) from e
    if not filled:
        raise DataError(f"{path}: no sheet of the workbook holds anything")
    return _cells(path, filled, rows)


def _require_size(path: Path) -> None:
    """Refuse a workbook that would unpack to far more than a table of its length holds.

    Raises:
        DataError: if it does; what is no workbook is left to the reader.
    """
    most = _most_bytes(path)
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


def _most_bytes(path: Path) -> int:
    return max(SMALL, EXPANSION * path.stat().st_size)


def _cells(path: Path, filled: list[str], sheet: dict[int, list[Any]]) -> Cells:
    (_, header), *body = sheet.items()
    if not body:
        raise DataError(f"{path}: sheet {filled[0]!r} has a header and no rows")
    used = sorted({i for row in sheet.values() for i, value in enumerate(row) if value is not None})
    names = [header[i] if i < len(header) else None for i in used]
    bad = next((name for name in names if isinstance(name, Unreadable)), None)
    if bad is not None:
        raise DataError(f"{path}: {bad.problem}")
    notes = [f"sheet {filled[0]!r} is read"]
    if len(filled) > 1:
        notes.append(f"sheets that are not read: {', '.join(map(repr, filled[1:]))}")
    between = range(min(sheet), max(sheet) + 1)
    if len(between) > len(sheet):
        blank = [*islice((n for n in between if n not in sheet), BLANK_SHOWN)]
        notes.append(blank_note(blank, len(between) - len(sheet)))
    columns = [[row[i] if i < len(row) else None for _, row in body] for i in used]
    return Cells(path, [as_text(name) for name in names], columns, [n for n, _ in body], notes=tuple(notes))


def _filled_sheets(path: Path, sheets: Iterable[Any]) -> tuple[list[str], dict[int, list[Any]]]:
    """Return the titles of the sheets that hold anything, and the filled rows of the first of them.

    Raises:
        DataError: if the sheets have too many cells, or the first one holds too long texts.
    """
    filled: list[str] = []
    first: dict[int, list[Any]] = {}
    cells = 0
    for sheet in sheets:
        rows, cells = _filled_rows(path, sheet, cells, whole=not filled)
        if rows:
            filled.append(sheet.title)
            first = first or rows
    return filled, first


def _filled_rows(path: Path, sheet: Any, others: int, whole: bool) -> tuple[dict[int, list[Any]], int]:
    """Return the rows of a sheet that hold anything, by their number, and the number of cells so far.

    Args:
        path: the workbook.
        sheet: its sheet.
        others: the number of cells of the sheets before it.
        whole: whether all rows are wanted, or only the first that holds anything.

    Raises:
        DataError: if the sheet has too many cells, or too long texts: the same one may be in all cells.
    """
    sheet.reset_dimensions()  # what a file says of its size may be wrong
    rows: dict[int, list[Any]] = {}
    number = width = letters = 0
    most = _most_bytes(path)
    for number, cells in enumerate(sheet.iter_rows(), 1):
        width = max(width, len(cells), 1)
        if number > MAX_ROWS or width > MAX_COLUMNS or others + number * width > MAX_CELLS:
            raise DataError(
                f"{path}: sheet {sheet.title!r} has {number:,} rows and {width:,} columns or more; at most "
                f"{MAX_ROWS:,} rows, {MAX_COLUMNS:,} columns, and {MAX_CELLS:,} cells of all sheets are "
                "read; delete what stands far from the table"
            )
        values = _values(cells)
        if all(value is None for value in values):
            continue
        rows[number] = values
        if not whole:
            break
        letters += sum(len(value) for value in values if isinstance(value, str))
        if letters > most:
            raise DataError(
                f"{path}: the texts of sheet {sheet.title!r} would take more than {most / 1e9:.1f} GB in "
                "memory; leave out what is no answer"
            )
    return rows, others + number * width


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
