"""Reading files of SPSS (.sav, .zsav, .por), Stata (.dta) and SAS (.sas7bdat, .xpt) with pyreadstat."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers.common import require_columns, require_file
from gpo_ray.preferences.readers.respondents.case import in_one_case
from gpo_ray.preferences.readers.respondents.declared import declared_sets
from gpo_ray.preferences.readers.respondents.table import Column, RespondentTable, Value, coded
from gpo_ray.preferences.readers.respondents.trial import (
    CELL_BYTES,
    CELLS,
    DAMAGED,
    TEXT_BYTES,
    check_size,
    check_width,
    try_reading,
)

READERS = {
    ".sav": "read_sav",
    ".zsav": "read_sav",
    ".por": "read_por",
    ".dta": "read_dta",
    ".sas7bdat": "read_sas7bdat",
    ".xpt": "read_xport",
}
"""The functions of pyreadstat by the ends of files' names."""

OLD_ENCODING = "WINDOWS-1252"
"""What texts are taken for that are not of the encoding that their file states."""

_DATES = re.compile(
    r"%t[a-zA-Z]|%-?d|[AEJS]?DATE|D?TIME|MOYR|QYR|WKYR|YYMM|YYQ|MMDD|DDMM|MONYY|JULIAN|[EB]8601"
)
"""How the formats of dates and times begin."""

_Code = NDArray[np.int32]
_BAD_TEXT = "invalid byte sequence"


def read_statistical(path: Path, encoding: str | None = None, merge_case: bool = False) -> RespondentTable:
    """Read a file of SPSS, Stata or SAS: its variables, labels and missing values.

    Values that SPSS declares missing, by single values or ranges, and the special missing values of Stata
    (.a to .z) and SAS (.A to .Z and ._) keep their labels and are marked as missing. Texts that are not in
    the encoding which the file states are read as Windows-1252, with a note.

    Args:
        path: the file; the end of its name says what it is.
        encoding: encoding of its texts, by default what the file states.
        merge_case: whether answers that differ in case alone are one; otherwise they are the problem of a
            variable that cannot be used.

    Raises:
        ConfigError: if pyreadstat is not installed.
        DataError: if the file is missing, damaged, cut off or not what its name says.
    """
    require_file(path)
    try:
        import pyreadstat
    except ImportError as e:
        raise ConfigError(
            f"{path.suffix} files need pyreadstat; install it with: pip install 'gpo-ray[surveys]'"
        ) from e
    if encoding is not None and path.suffix.lower() == ".por":
        raise ConfigError(f"{path}: the encoding of a .por file cannot be chosen; leave --encoding out")
    file = _File(path, getattr(pyreadstat, READERS[path.suffix.lower()]), _errors(pyreadstat), encoding)
    file.try_in_process()
    meta, arrays = file.read()
    count = len(next(iter(arrays.values()), ()))
    if not count:
        raise DataError(f"{path}: the file holds no respondents; export it with its data")
    columns = {name: _column(name, arrays.pop(name), meta) for name in list(arrays)}
    notes = [*file.notes()]
    columns = {n: in_one_case(c, merge_case, f"{path.name}: {n}", notes) for n, c in columns.items()}
    added, sets = declared_sets(meta, columns)
    columns |= {c.name: c for c in added}
    return RespondentTable(path, count, columns, sets=sets, notes=tuple(notes))


def _errors(pyreadstat: Any) -> tuple[type[Exception], ...]:
    """Return what pyreadstat raises for files that it cannot read."""
    return (
        pyreadstat.ReadstatError,
        pyreadstat.PyreadstatError,
        ValueError,
        TypeError,
        LookupError,
        OverflowError,
        MemoryError,
        OSError,
    )


class _File:
    """A file that pyreadstat reads in parts."""

    def __init__(
        self, path: Path, read: Any, errors: tuple[type[Exception], ...], encoding: str | None
    ) -> None:
        self._path, self._read, self._errors = path, read, errors
        self._given = self._encoding = encoding

    def read(self) -> tuple[Any, dict[str, pa.ChunkedArray]]:
        """Return the metadata, and each variable's cells as numbers or texts."""
        try:
            return self._whole()
        except DataError as e:
            if self._given is not None or _BAD_TEXT not in str(e):
                raise
        self._encoding = OLD_ENCODING
        return self._whole()

    def notes(self) -> tuple[tuple[str, str], ...]:
        """Return what was understood of the encoding."""
        if self._encoding == self._given:
            return ()
        return (
            (self._path.name, f"texts are read as {OLD_ENCODING}, since they are not what the file states"),
        )

    def try_in_process(self) -> None:
        """Read the file, or its first rows, in a process of its own.

        Raises:
            DataError: if the process crashes, does not end, or takes too much memory.
        """
        try_reading(self._path, self._read.__name__, self._options())

    def _whole(self) -> tuple[Any, dict[str, pa.ChunkedArray]]:
        meta = self._part(metadataonly=True)[1]
        if not all(name and normal_label(name) for name in meta.column_names):
            raise DataError(f"{self._path}: a variable has no name, the file is damaged; {DAMAGED}")
        require_columns(self._path, meta.column_names, [])
        if not meta.column_names:
            raise DataError(f"{self._path}: the file holds no variables; export it with its data")
        width = len(meta.column_names)
        check_width(self._path, width)
        known = meta.number_rows or 0
        stated = f"the {known:,} respondents and {width:,} variables that the file states"
        check_size(self._path, known * width * CELL_BYTES, stated)
        chunks: dict[str, list[pa.Array]] = {name: [] for name in meta.column_names}
        size = 0
        for part in self._parts(meta):
            for name, cells in part.items():
                array = _array(cells)
                chunks[name].append(array)
                size += max(CELL_BYTES * len(array), array.nbytes)
            check_size(self._path, size, f"its respondents and {width:,} variables")
        arrays = {name: _joined(chunks.pop(name)) for name in meta.column_names}
        found = len(next(iter(arrays.values())))
        if meta.number_rows is not None and meta.number_rows > found:
            raise DataError(
                f"{self._path}: the file says it holds {meta.number_rows} respondents, and ends after "
                f"{found}; get a complete copy"
            )
        return meta, arrays

    def _parts(self, meta: Any) -> Iterator[Mapping[str, list[Any]]]:
        """Yield some rows after the other."""
        kinds, widths = meta.readstat_variable_types, meta.variable_storage_width
        broad = sum(widths.get(n) or 0 for n, kind in kinds.items() if kind == "string")
        rows, at = max(1, min(CELLS // len(meta.column_names), TEXT_BYTES // max(1, broad))), 0
        while True:
            cells = self._part(row_offset=at, row_limit=rows)[0]
            read = len(next(iter(cells.values())))
            if read or not at:
                yield cells
            at += read
            if read < rows or at == meta.number_rows:
                return

    def _options(self) -> dict[str, Any]:
        suffix = self._path.suffix.lower()
        encoding = {} if self._encoding is None or suffix == ".por" else {"encoding": self._encoding}
        return encoding | ({} if suffix in (".por", ".xpt") else {"user_missing": True})

    def _part(self, **rows: Any) -> Any:
        options = self._options() | rows
        try:
            return self._read(
                str(self._path), output_format="dict", disable_datetime_conversion=True, **options
            )
        except self._errors as e:
            advice = DAMAGED
            if _BAD_TEXT in str(e) or "encoding" in str(e):
                advice = "give its encoding, such as --encoding cp1252"
            raise DataError(
                f"{self._path}: not a readable {self._path.suffix} file "
                f"({str(e).strip() or type(e).__name__}); {advice}"
            ) from e


def _array(cells: list[Any]) -> pa.Array:
    """Return cells as numbers or texts; a special missing value among numbers makes all of them texts."""
    try:
        return pa.array(cells, pa.float64())
    except (pa.ArrowException, TypeError, ValueError):
        pass
    return pa.array([_text(c) for c in cells], pa.string())


def _text(cell: Any) -> str | None:
    if cell is None or cell == "" or (isinstance(cell, float) and cell != cell):
        return None
    return cell if isinstance(cell, str) else repr(float(cell))


def _joined(chunks: list[pa.Array]) -> pa.ChunkedArray:
    kinds = {str(c.type) for c in chunks if c.null_count < len(c)}
    if kinds <= {"double"}:
        return pa.chunked_array([c.cast(pa.float64()) for c in chunks], pa.float64())
    return pa.chunked_array(
        [c if c.type == pa.string() else _array([_text(v) or "" for v in c.to_pylist()]) for c in chunks],
        pa.string(),
    )


def _column(name: str, cells: pa.ChunkedArray, meta: Any) -> Column:
    values, code = coded(cells)
    numeric = meta.readstat_variable_types.get(name) != "string"
    if numeric and pa.types.is_string(cells.type):
        values, code = _with_special(values, code)
    elif not numeric:
        values, code = _trimmed(values, code)
    text = {
        _key(v, numeric): normal_label(str(t)) for v, t in meta.variable_value_labels.get(name, {}).items()
    }
    labels = {v: t for v, t in text.items() if t}
    special = {v for v in {*values, *labels} if numeric and isinstance(v, str)}
    missing = special | _declared(meta.missing_ranges.get(name, ()), {*values, *labels})
    label = normal_label(meta.column_names_to_labels.get(name) or "") or None
    measure = meta.variable_measure.get(name)
    return Column(
        name,
        values,
        code,
        None if label == name else label,
        labels,
        frozenset(missing),
        measure if measure in ("nominal", "ordinal", "scale") else None,
        _kind(meta.original_variable_types.get(name), numeric),
    )


def _kind(form: str | None, numeric: bool) -> Literal["number", "text", "date"]:
    if not numeric:
        return "text"
    return "date" if form and _DATES.match(form) else "number"


def _key(value: Any, numeric: bool) -> Value:
    """Return a labelled value as a column holds it."""
    if isinstance(value, str):
        return f".{value.strip('.')}" if numeric else value.rstrip()
    return float(value)


def _with_special(values: tuple[Value, ...], code: _Code) -> tuple[tuple[Value, ...], _Code]:
    """Return values that were read as texts as numbers, and special missing values as .a and the like."""
    read: list[Value] = []
    for value in values:
        try:
            read.append(float(value))
        except ValueError:
            read.append(f".{value}")
    return _sorted(read, code)


def _trimmed(values: tuple[Value, ...], code: _Code) -> tuple[tuple[Value, ...], _Code]:
    """Return texts without the blanks at their ends; a blank text is nothing."""
    return _sorted([str(v).strip() for v in values], code)


def _sorted(read: list[Value], code: _Code) -> tuple[tuple[Value, ...], _Code]:
    distinct = sorted({v for v in read if v != ""}, key=lambda v: (isinstance(v, str), v))
    place = {v: i for i, v in enumerate(distinct)}
    return tuple(distinct), np.array([*(place.get(v, -1) for v in read), -1], np.int32)[code]


def _declared(ranges: Any, values: set[Value]) -> set[Value]:
    """Return the values that lie in ranges of user-missing values."""
    found: set[Value] = set()
    for each in ranges:
        low, high = (each["lo"], each["hi"]) if isinstance(each, dict) else (each, each)
        if isinstance(low, str):
            found |= {v for v in values if isinstance(v, str) and low.strip() <= v <= high.strip()}
        else:
            found |= {v for v in values if isinstance(v, float) and low <= v <= high}
    return found
