"""Reading respondents from delimited text, Excel and Parquet, whose values are labels or bare codes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from gpo_ray.errors import DataError
from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers.cells import Cells, require_header
from gpo_ray.preferences.readers.common import require_columns, require_file
from gpo_ray.preferences.readers.delimited import read_delimited
from gpo_ray.preferences.readers.numerals import Signs, read_numbers
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.respondents.case import one_case
from gpo_ray.preferences.readers.respondents.exports import without_header_rows
from gpo_ray.preferences.readers.respondents.several import split_cells
from gpo_ray.preferences.readers.respondents.table import Column, RespondentTable, Value, coded
from gpo_ray.preferences.readers.respondents.trial import check_width
from gpo_ray.preferences.readers.workbook import OLD_WORKBOOKS, WORKBOOKS, read_workbook
from gpo_ray.runtime.tables import ParquetSource

NOTHING = frozenset({"", "NA", "NaN", "nan", "NULL", "null", "#N/A", "#NULL!", "."})
"""Texts by which programs write a cell that holds nothing, apart from "." those of R, pandas and Excel."""
PARQUET = (".parquet", ".pq")
_R = "write it in R with haven::write_sav or arrow::write_parquet"
_ADVICE = dict.fromkeys(OLD_WORKBOOKS, "save it as .xlsx") | dict.fromkeys((".rds", ".rda", ".rdata"), _R)
NOT_READ = "column holds neither numbers nor texts"

_PLAIN_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LOOKS_NUMERIC = re.compile(r"[+-]?[\d.,' \u00a0\u202f]*\d[\d.,' \u00a0\u202f]*%?", re.ASCII)


def read_tabular(path: Path, options: ReadOptions) -> RespondentTable:
    """Read a file of respondents with a header: delimited text, an Excel workbook, or Parquet.

    Further rows of the header, as of Qualtrics and SurveyMonkey, give the texts of questions. Cells of
    several answers, as forms write them for "mark all that apply", are divided.

    A column whose values are all numbers is one of numbers. Cells are empty if they hold nothing, or what
    programs write for it (:data:`NOTHING`). Texts are trimmed; texts that differ in case alone are one if
    ``merge_case`` is set, otherwise they are the problem of a column that cannot be used.

    Raises:
        ConfigError: if the package that reads workbooks is not installed.
        DataError: if the file is missing, malformed or empty, or a column's name occurs twice.
    """
    require_file(path)
    suffix = path.suffix.lower()
    if suffix in _ADVICE:
        raise DataError(f"{path}: {suffix} files are not read; {_ADVICE[suffix]}")
    if suffix in PARQUET:
        return _parquet(path, options)
    cells = read_workbook(path) if suffix in WORKBOOKS else read_delimited(path, options.encoding)
    exported = without_header_rows(cells)
    cells = exported.cells
    names = [normal_label(name) for name in cells.header]
    require_header(cells)
    used = [i for i, name in enumerate(names) if name]
    check_width(path, len(used))
    require_columns(path, [names[i] for i in used], [])
    columns = {}
    notes = [(path.name, note) for note in cells.notes]
    drops = []
    for i in used:
        found = _column(names[i], cells, i, options, notes)
        if found is None:
            drops.append((f"{path.name}: {names[i]}", NOT_READ))
        else:
            columns[names[i]] = replace(found, label=exported.labels.get(names[i]))
    columns, several = split_cells(columns, path.name, notes)
    sets = (*exported.sets(), *several)
    return RespondentTable(path, len(cells.rows), columns, cells.rows, sets, tuple(notes), tuple(drops))


def _column(
    name: str, cells: Cells, i: int, options: ReadOptions, notes: list[tuple[str, str]]
) -> Column | None:
    try:
        texts = cells.texts(i)
    except DataError:  # a date or a formula somewhere in a column that may not be needed
        return None
    found, code = coded(texts)
    place = f"{cells.path.name}: {name}"
    return _text_column(name, [normal_label(str(v)) for v in found], code, options, place, notes)


def _text_column(
    name: str,
    found: Sequence[str],
    code: Any,
    options: ReadOptions,
    place: str,
    notes: list[tuple[str, str]],
) -> Column:
    """Make a column of texts, which may all be numbers."""
    blanks = sorted({v for v in found if v in NOTHING and v})
    if blanks:
        notes.append((place, f"cells that hold {', '.join(blanks)} are taken as empty"))
    given = [v for v in found if v not in NOTHING]
    numbers, problem = _numbers(given, options, place), None
    if numbers is not None:
        read: list[Value] = [numbers.get(v, "") for v in found]
        distinct: list[Value] = sorted({v for v in read if v != ""}, key=float)
        kind: Any = "number"
    else:
        spelt, problem = one_case(given, options.merge_case, place, notes)
        read = [spelt.get(v, "") for v in found]
        distinct = list(dict.fromkeys(v for v in read if v != ""))
        kind = "text"
    unclear = given[0] if kind == "text" and given and all(map(_LOOKS_NUMERIC.fullmatch, given)) else None
    index = {v: j for j, v in enumerate(distinct)}
    recode = np.array([*(index.get(v, -1) for v in read), -1], np.int32)
    return Column(name, tuple(distinct), recode[code], kind=kind, problem=problem, unclear=unclear)


def _numbers(given: Sequence[str], options: ReadOptions, place: str) -> dict[str, float] | None:
    """Return the numbers of texts that are all numbers without doubt, else None."""
    if not given or not all(_LOOKS_NUMERIC.fullmatch(v) or _PLAIN_NUMBER.fullmatch(v) for v in given):
        return None
    if all(_PLAIN_NUMBER.fullmatch(v) for v in given) and options.decimal in (None, "."):
        return {v: float(v) for v in given}
    try:
        signs = Signs(options.decimal, options.thousands)
        values = read_numbers(list(given), lambda _: place, signs).values.tolist()
    except DataError:  # it is refused if it is to be used as numbers
        return None
    return dict(zip(given, values, strict=True))


def _parquet(path: Path, options: ReadOptions) -> RespondentTable:
    file = ParquetSource(path, str(path), DataError)
    schema = file.schema()
    check_width(path, len(schema.names))
    require_columns(path, schema.names, [])
    columns: dict[str, Column] = {}
    notes: list[tuple[str, str]] = []
    drops: list[tuple[str, str]] = []
    rows = 0
    for i, field in enumerate(schema, 1):
        if not normal_label(field.name):
            drops.append((f"{path.name}: column {i}", "column has no name"))
            continue
        cells = file.read([field.name])[field.name]
        rows = len(cells)
        found = _arrow_column(field.name, cells, options, f"{path.name}: {field.name}", notes)
        if found is None:
            drops.append((f"{path.name}: {field.name}", f"{NOT_READ}, but {field.type}"))
        else:
            columns[field.name] = found
    if not rows:
        raise DataError(f"{path}: the file has no rows")
    return RespondentTable(path, rows, columns, notes=tuple(notes), drops=tuple(drops))


def _arrow_column(
    name: str,
    cells: pa.ChunkedArray,
    options: ReadOptions,
    place: str,
    notes: list[tuple[str, str]],
) -> Column | None:
    kind = cells.type
    if types.is_dictionary(kind):
        return _factor(name, cells, options, place, notes)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return Column(name, *coded(cells.cast(pa.float64(), safe=False)))
    if types.is_temporal(kind):
        return Column(name, *coded(cells.cast(pa.string())), kind="date")
    if types.is_boolean(kind):
        found, code = coded(cells.cast(pa.string()))
        names = {"true": "True", "false": "False"}
        return _text_column(name, [names[str(v)] for v in found], code, options, place, notes)
    if types.is_null(kind):
        return Column(name, (), np.full(len(cells), -1, np.int32))
    if not any(t(kind) for t in (types.is_string, types.is_large_string, types.is_string_view)):
        return None
    found, code = coded(cells.cast(pa.string()))
    return _text_column(name, [normal_label(str(v)) for v in found], code, options, place, notes)


def _factor(
    name: str, cells: pa.ChunkedArray, options: ReadOptions, place: str, notes: list[tuple[str, str]]
) -> Column | None:
    """Make a column of a factor, whose levels keep their order."""
    whole = cells.unify_dictionaries().combine_chunks()
    levels = (whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole).dictionary
    plain = _arrow_column(name, cells.cast(levels.type), options, place, notes)
    if plain is None or plain.kind != "text":
        return plain
    given = set(plain.values)
    order = list(dict.fromkeys([*(v for v in _normal(levels.to_pylist()) if v in given), *plain.values]))
    places = {v: i for i, v in enumerate(order)}
    place_of = np.array([*(places[v] for v in plain.values), -1], np.int32)
    return Column(
        name,
        tuple(order),
        place_of[plain.code],
        kind="text",
        measure="ordinal" if cells.type.ordered else None,
        levels=True,
        problem=plain.problem,
    )


def _normal(texts: Iterable[Any]) -> list[str]:
    return [normal_label(str(t)) for t in texts if t is not None]
