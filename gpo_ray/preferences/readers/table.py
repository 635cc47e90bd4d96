"""The reader of a user's own table: delimited text, an Excel workbook or a Parquet file, long or wide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.dataset import GROUP_KINDS, PreferenceDataset
from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers import parquet
from gpo_ray.preferences.readers.amounts import UNITS, WHOLE, Unit, most, too_large_advice
from gpo_ray.preferences.readers.cells import (
    Cells,
    as_text,
    header_advice,
    require_header,
    with_yes_and_no,
)
from gpo_ray.preferences.readers.common import Collector, require_columns
from gpo_ray.preferences.readers.delimited import read_delimited
from gpo_ray.preferences.readers.numerals import Numbers, Signs, read_numbers
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.spellings import Spellings, normal_levels
from gpo_ray.preferences.readers.tally import Row, Tally
from gpo_ray.preferences.readers.totals import names_total
from gpo_ray.preferences.readers.wide import read_wide
from gpo_ray.preferences.readers.wide_groups import MARK, read_wide_groups
from gpo_ray.preferences.readers.workbook import OLD_WORKBOOKS, WORKBOOKS, read_workbook

LABELS = ("group", "prompt", "response")
DEFAULT_KIND = "community"
PARQUET = (".parquet", ".pq")
PARQUET_TYPES = {
    "prompt": parquet.TEXT,
    "kind": parquet.TEXT,
    "ordered": parquet.FLAG,
    **dict.fromkeys(("group", "topic", "question_id", "source"), parquet.CODE),
    "response": parquet.LABEL,
    **dict.fromkeys((*UNITS, "n", "position", "scale"), parquet.COUNT),
}
TRUE = frozenset(["true", "yes", "1", "wahr", "ja", "vrai", "oui", "verdadero", "sí", "si", "vero", "waar"])
FALSE = frozenset(["false", "no", "0", "falsch", "nein", "faux", "non", "falso", "nee", "onwaar"])
NO_RESPONSE = "leave the row out, and give the number of respondents in a column 'n'"
NEITHER_FORM = (
    "; a long table has a row per group, prompt and response. A table with a row per group is read if its "
    "columns are named 'question: response'; one with a row per person and a column per question with "
    "--units individuals"
)


def read_table(source: Path | None, options: ReadOptions) -> PreferenceDataset:
    """Read a table of delimited text (.csv, .tsv, .txt), Excel (.xlsx) or Parquet (.parquet).

    A long table has a row per group, prompt and response, with the columns ``group``, ``prompt``,
    ``response`` and one of ``count`` (people or votes, perhaps weighted), ``share`` and ``percent``.
    Optional are ``n``, the respondents of the group and question (by default the sum of counts); ``kind``
    of the group; ``topic``; ``question_id``, for a prompt that is asked with several slates; ``source``;
    ``position``, the order of the responses; ``scale``, a response's value; and ``ordered``, whether the
    responses' order is a scale 1..R. With ``units="individuals"`` a row without count is one person's choice,
    and a table without these columns is wide: a row per person and a column per question, see
    :func:`~gpo_ray.preferences.readers.wide.read_wide`. A row per group and a column per response is read by
    :func:`~gpo_ray.preferences.readers.wide_groups.read_wide_groups`.

    Names of columns are matched without case. Labels are normalised by
    :func:`~gpo_ray.preferences.labels.normal_label`. How the file was understood is in the data set's notes.
    Error messages number rows as a spreadsheet does: the header of a text file is row 1.

    Raises:
        ConfigError: for ``units="both"``.
        DataError: if the file is missing, empty or not strictly what it is, a column or value is missing, a
            number is none or ambiguous, a row occurs twice, or rows contradict each other.
    """
    if options.units == "both":
        raise ConfigError("option units='both' does not apply to 'table'; give groups or individuals")
    path, into = Path(source or ""), Collector()
    people = options.units == "individuals"
    cells = _open(path, options, people)
    for note in cells.notes:
        into.note(path.name, note)
    names = [*map(_plain, cells.header)]
    if people and not {"prompt", "response"} & {*names}:
        require_header(cells)
        return read_wide(cells, options, into)
    if not {"prompt", "response"} & {*names}:
        wide = read_wide_groups(cells, options, into)
        if wide is not None:
            return wide
    units: list[Unit] = [unit for unit in UNITS if unit in names]
    if len(units) > 1:
        raise DataError(f"{path}: columns {units[0]!r} and {units[1]!r} are both there; keep one of them")
    needed = LABELS if people and not units else (*LABELS, *(units or ["count"]))
    try:
        require_columns(path, names, needed)
    except DataError as e:
        absent = not {"prompt", "response"} & {*names}
        advice = header_advice(cells, needed)
        if advice:
            raise DataError(f"{path}: the first row has no column {needed[0]!r}; {advice}") from e
        raise DataError(f"{e}{NEITHER_FORM if absent else ''}") from e
    return _read_long(cells, names, units[0] if units else None, options, into)


def _plain(name: str) -> str:
    """Return the name of a column as it is compared with others."""
    return normal_label(name).lower()


def _open(path: Path, options: ReadOptions, people: bool) -> Cells:
    """Read the cells of a file of any of the formats."""
    suffix = path.suffix.lower()
    if suffix in OLD_WORKBOOKS:
        raise DataError(f"{path}: workbooks of this format are not read; save it as .xlsx or .csv")
    if suffix in (*PARQUET, *WORKBOOKS) and options.encoding is not None:
        raise DataError(f"{path}: --encoding is for text files; leave it out")
    if suffix in PARQUET:
        names = [*map(_plain, parquet.column_names(path))]
        wide = not {"prompt", "response"} & {*names} and any(MARK in name for name in names)
        other = parquet.LABEL if people or wide else None

        def type_of(name: str) -> parquet.ColumnType | None:
            number = wide and not people and MARK in name
            return parquet.COUNT if number else PARQUET_TYPES.get(_plain(name), other)

        return parquet.read_cells(path, type_of)
    if suffix in WORKBOOKS:
        return with_yes_and_no(read_workbook(path), lambda name: people or _plain(name) == "response")
    return read_delimited(path, options.encoding, () if people else LABELS)


def _read_long(
    cells: Cells, names: list[str], unit: Unit | None, options: ReadOptions, into: Collector
) -> PreferenceDataset:
    """Read a long table, in which a row without a unit is one person's choice."""
    column: dict[str, list[Any]] = {
        name: cells.values(i) for i, name in enumerate(names) if name in PARQUET_TYPES and name
    }
    rows = len(cells.rows)
    read = partial(_numbers, cells, column, options, into)
    amounts: Iterable[float] = [1.0] * rows
    counted: Unit = "count"
    if unit is not None:
        found = read(unit, most(unit))
        counted = "percent" if found.percent else unit
        amounts = found.values.tolist()
        _require_range(cells, column, unit, counted, found)
    extra = {name: _optional(read, column, name, cells.place, rows) for name in ("n", "position", "scale")}
    spellings = {name: Spellings(name, cells.place, options.merge_case) for name in (*LABELS, "topic")}
    default_kind = "individual" if options.units == "individuals" else DEFAULT_KIND
    tally = Tally(cells.path, counted, options, into)
    ordered = column.get("ordered")
    for i, amount in enumerate(amounts):
        row = _row(cells, column, spellings, i, (amount, extra["n"][i], default_kind))
        scale = tally.take(row)
        for name in ("position", "scale"):
            if name in column:
                scale.take(name, row.response, extra[name][i], row.where)
        if ordered is not None:
            scale.take_ordered(_flag(ordered[i], row.where), row.where)
    for spelling in spellings.values():
        spelling.note(into, cells.path.name)
    levels = cells.levels.get(names.index("response"), ())
    return tally.dataset(normal_levels(levels))


def _numbers(
    cells: Cells,
    column: Mapping[str, list[Any]],
    options: ReadOptions,
    into: Collector,
    name: str,
    most: float,
) -> Numbers:
    """Read a column of numbers, and note how."""
    signs = Signs(options.decimal, options.thousands, most)
    found = read_numbers(column[name], lambda i: f"{cells.place(i)}: {name}", signs)
    if found.note is not None:
        into.note(f"{cells.path.name}: column {name!r}", found.note)
    return found


def _require_range(
    cells: Cells, column: Mapping[str, list[Any]], name: str, unit: Unit, numbers: Numbers
) -> None:
    """Check that the numbers of a column are neither negative nor more than the whole."""
    for i in np.flatnonzero((numbers.values < 0) | (numbers.values > most(unit))):
        where, value = cells.place(int(i)), numbers.values[i]
        if value < 0:
            raise DataError(f"{where}: {name} {value:g} is negative; {name}s start at 0")
        total = any(names_total(normal_label(as_text(column[c][i]))) for c in ("group", "response"))
        advice = NO_RESPONSE if total else too_large_advice(unit, value)
        raise DataError(f"{where}: {name} {value:g} is more than {WHOLE[unit]:g}; {advice}")


def _optional(
    read: Callable[[str, float], Numbers],
    column: dict[str, list[Any]],
    name: str,
    place: Callable[[int], str],
    rows: int,
) -> list[float | None]:
    """Read a column that may be absent or have empty cells, for which the result has None."""
    given = [i for i, cell in enumerate(column.get(name, ())) if as_text(cell).strip()]
    numbers: list[float | None] = [None] * rows
    if given:
        column[name] = ["0" if not as_text(cell).strip() else cell for cell in column[name]]
        found = read(name, np.inf)
        if found.percent:
            raise DataError(f"{place(given[0])}: {name} has a percent sign; give a number")
        for i in given:
            numbers[i] = float(found.values[i])
    return numbers


def _row(
    cells: Cells,
    column: Mapping[str, list[Any]],
    spellings: Mapping[str, Spellings],
    i: int,
    known: tuple[float, float | None, str],
) -> Row:
    """Return the row of an index, with its labels in their normal form, and what is known of it already.

    Args:
        cells: the cells of the file.
        column: the cells of each column by its name.
        spellings: the spellings of the labels of each column.
        i: index of the row.
        known: the row's number, its ``n`` and the kind of group that it is by default.
    """
    where = cells.place(i)
    amount, n, default_kind = known

    def optional(name: str) -> str | None:
        return (normal_label(as_text(column[name][i])) or None) if name in column else None

    group, prompt = (spellings[name].take(column[name][i], i) for name in ("group", "prompt"))
    question_id, topic = optional("question_id"), optional("topic")
    if "question_id" in column and question_id is None:
        raise DataError(f"{where}: question_id is empty; fill it in or remove the row")
    response = spellings["response"].take(column["response"][i], i, question_id or prompt)
    kind = (optional("kind") or default_kind).lower()
    if kind not in GROUP_KINDS:
        raise DataError(f"{where}: kind {kind!r} is not one of {list(GROUP_KINDS)}")
    if n is not None and n <= 0:
        raise DataError(f"{where}: n {n:g} is not above 0; leave it empty where it is not known")
    return Row(
        where,
        group,
        prompt,
        response,
        tuple(as_text(column[name][i]) for name in LABELS),
        amount,
        kind,
        None if topic is None else spellings["topic"].take(topic, i),
        question_id,
        n,
        optional("source"),
    )


def _flag(cell: Any, where: str) -> bool:
    """Read a cell of the column ``ordered``."""
    text = normal_label(as_text(cell)).casefold()
    if text not in TRUE | FALSE:
        raise DataError(f"{where}: ordered {text[:40]!r} is neither true nor false; write one of them")
    return text in TRUE
