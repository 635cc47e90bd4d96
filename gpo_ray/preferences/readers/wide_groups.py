"""Wide tables of groups: a row per group, a column per response of a question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import GROUP_KINDS, PreferenceDataset
from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers.amounts import ROUNDING, WHOLE, Unit, most, too_large_advice
from gpo_ray.preferences.readers.cells import Cells, as_text, without_empty_columns
from gpo_ray.preferences.readers.common import Collector
from gpo_ray.preferences.readers.numerals import Numbers, Signs, read_numbers
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.spellings import Spellings
from gpo_ray.preferences.readers.tally import Row, Tally
from gpo_ray.preferences.readers.totals import names_total
from gpo_ray.preferences.readers.wide import NO_ANSWER

MARK = ": "
"""What stands between the question and the response in the name of a column."""
DEFAULT_KIND = "community"
PEOPLE = "a table with a row per person is read with --units individuals"
ABOUT_GROUPS = ("kind", "n")
"""Columns beside the group's name that are no responses."""
FILL_IN = "fill it in, or leave all of the question's cells of the row empty"


@dataclass(frozen=True)
class _Layout:
    """Which column is what."""

    group: int
    slots: Mapping[int, tuple[str, str]]
    """Question and response of each column of numbers."""
    about: Mapping[str, int]
    """The columns of :data:`ABOUT_GROUPS` that are there."""

    def by_question(self) -> Mapping[str, list[int]]:
        """Return the columns of each question."""
        found: dict[str, list[int]] = defaultdict(list)
        for i, (prompt, _) in self.slots.items():
            found[prompt].append(i)
        return found


def read_wide_groups(cells: Cells, options: ReadOptions, into: Collector) -> PreferenceDataset | None:
    """Read a table with a row per group and a column per response of a question.

    Columns are named ``question: response``, or there are two rows of names: questions, each over its first
    response or over all of them, and responses below. A column ``group``, otherwise the first, names the
    group; ``kind`` and ``n``, the respondents of the group, are optional. Numbers are percentages if all have
    percent signs or add up to about 100 for each group and question, shares if they add up to about 1, and
    counts otherwise; a note says which. A group whose cells of a question are all empty was not asked it.

    Returns:
        The data set, or None if the names of the columns have neither form.

    Raises:
        DataError: if a name of a column is none of these, a cell is no number or alone empty, or numbers are
            not what they seem to be.
    """
    cells = _one_header(without_empty_columns(cells))
    layout = _layout(cells)
    if layout is None:
        return None
    numbers, percent = _numbers(cells, layout, options, into)
    unit = "percent" if percent else _unit(layout, numbers)
    what = {"count": "counts", "share": "shares", "percent": "percentages"}[unit]
    name = cells.header[layout.group]
    into.note(cells.path.name, f"column {name!r} names the group; the numbers are read as {what}")
    _require_range(cells, layout, unit, numbers)
    tally = Tally(cells.path, unit, options, into)
    spelling = Spellings(name or "group", cells.place, options.merge_case)
    people, kinds = _people(cells, layout, options, into), _kinds(cells, layout)
    for row, cell in enumerate(cells.values(layout.group)):
        group = spelling.take(cell, row)
        for i, (prompt, response) in layout.slots.items():
            if (row, i) in numbers:
                raw = (group, prompt, response)
                amount = numbers[row, i]
                tally.take(Row(cells.place(row), *raw, raw, amount, kinds[row], n=people[row]))
    spelling.note(into, cells.path.name)
    return tally.dataset()


def _one_header(cells: Cells) -> Cells:
    """Return the table with names ``question: response`` if it has them in two rows."""
    names = [*map(normal_label, cells.header)]
    below = [_below(cells, i) for i in range(len(names))]
    repeated = any(not name or name == before for before, name in pairwise(names[1:]))
    if not repeated or len(cells.rows) < 2 or any(MARK in name for name in names):
        return cells
    if any(not text or text[0].isdigit() for text in below[1:]):
        return cells
    joined, question = [names[0] or below[0]], ""
    for name, response in zip(names[1:], below[1:], strict=True):
        question = name or question
        alone = response.lower() in ABOUT_GROUPS and names.count(question) == 1 and not name
        joined.append(response if alone or not question else f"{question}{MARK}{response}")
    columns = [column[1:] for column in cells.columns]
    lines = None if cells.lines is None else cells.lines[1:]
    return replace(cells, header=joined, columns=columns, rows=cells.rows[1:], lines=lines)


def _below(cells: Cells, column: int) -> str:
    """Return the text of a column's first cell, "" for a number."""
    first = cells.columns[column][0]
    value = first.as_py() if hasattr(first, "as_py") else first
    return normal_label(value) if isinstance(value, str) else ""


def _layout(cells: Cells) -> _Layout | None:
    """Return which column is what; None if no column is named as a response of a question."""
    names = [*map(normal_label, cells.header)]
    plain = [name.lower() for name in names]
    group = plain.index("group") if "group" in plain else 0
    about = {name: plain.index(name) for name in ABOUT_GROUPS if name in plain}
    rest = [i for i in range(len(names)) if i != group and i not in about.values()]
    if not any(MARK in names[i] for i in rest):
        return None
    slots: dict[int, tuple[str, str]] = {}
    for i in rest:
        prompt, _, response = map(str.strip, names[i].rpartition(MARK))
        if not prompt or not response:
            raise DataError(
                f"{cells.path}: column {i + 1}, {names[i][:60]!r}, is neither group, kind or n nor a "
                f"response; name it 'question: response', or remove it; {PEOPLE}"
            )
        if (prompt, response) in slots.values():
            raise DataError(f"{cells.path}: column {names[i][:60]!r} is there twice; rename or remove one")
        slots[i] = prompt, response
    layout = _Layout(group, slots, about)
    for prompt, columns in layout.by_question().items():
        if len(columns) == 1:
            raise DataError(
                f"{cells.path}: column {names[columns[0]][:60]!r} is the only response of {prompt[:60]!r}; "
                f"give a column for each response, with ': ' before the response alone; {PEOPLE}"
            )
    return layout


def _numbers(
    cells: Cells, layout: _Layout, options: ReadOptions, into: Collector
) -> tuple[dict[tuple[int, int], float], bool]:
    """Return the numbers by row and column, and whether all have percent signs."""
    values = {i: cells.values(i) for i in layout.slots}
    filled: list[tuple[int, int]] = []
    for row in range(len(cells.rows)):
        for columns in layout.by_question().values():
            given = [(row, i) for i in columns if not _is_empty(values[i][row])]
            if given and len(given) < len(columns):
                absent = next(i for i in columns if (row, i) not in given)
                raise DataError(f"{cells.place(row)}: {cells.header[absent][:60]!r} is empty; {FILL_IN}")
            filled += given

    def place(j: int) -> str:
        row, i = filled[j]
        return f"{cells.place(row)}: {cells.header[i][:60]!r}"

    if not filled:
        raise DataError(f"{cells.path}: no cell of the questions holds a number")
    found = read_numbers(
        [values[i][row] for row, i in filled], place, Signs(options.decimal, options.thousands)
    )
    _note(cells, found, into)
    return dict(zip(filled, found.values.tolist(), strict=True)), found.percent


def _is_empty(value: Any) -> bool:
    return normal_label(as_text(value)) in NO_ANSWER


def _note(cells: Cells, found: Numbers, into: Collector) -> None:
    if found.note is not None:
        into.note(cells.path.name, found.note)


def _unit(layout: _Layout, numbers: Mapping[tuple[int, int], float]) -> Unit:
    """Return what the numbers are: what adds up to 100 or to 1 everywhere is no count."""
    sums: dict[tuple[int, str], float] = defaultdict(float)
    for (row, i), value in numbers.items():
        prompt, response = layout.slots[i]
        if names_total(response) is None:
            sums[row, prompt] += value
    answered = [total for total in sums.values() if total > 0]
    units: Sequence[Unit] = ("share", "percent")
    for unit in units:
        if answered and all(abs(total / WHOLE[unit] - 1) <= ROUNDING for total in answered):
            return unit
    return "count"


def _require_range(
    cells: Cells, layout: _Layout, unit: Unit, numbers: Mapping[tuple[int, int], float]
) -> None:
    """Check that the numbers are neither negative nor more than the whole."""
    for (row, i), value in numbers.items():
        where = f"{cells.place(row)}: {cells.header[i][:60]!r} {value:g}"
        if value < 0:
            raise DataError(f"{where} is negative; {unit}s start at 0")
        if value > most(unit):
            total = names_total(layout.slots[i][1])
            advice = (
                "remove the column, and give the number of respondents in a column 'n'"
                if total
                else too_large_advice(unit, value)
            )
            raise DataError(f"{where} is more than {WHOLE[unit]:g}; {advice}")


def _people(cells: Cells, layout: _Layout, options: ReadOptions, into: Collector) -> list[float | None]:
    """Return the respondents of each row, None where they are not given."""
    if "n" not in layout.about:
        return [None] * len(cells.rows)
    values = cells.values(layout.about["n"])
    given = [row for row, value in enumerate(values) if not _is_empty(value)]
    if not given:
        return [None] * len(cells.rows)
    signs = Signs(options.decimal, options.thousands)
    found = read_numbers([values[row] for row in given], lambda j: f"{cells.place(given[j])}: n", signs)
    _note(cells, found, into)
    people: list[float | None] = [None] * len(values)
    for row, value in zip(given, found.values.tolist(), strict=True):
        if value <= 0 or found.percent:
            raise DataError(
                f"{cells.place(row)}: n is not a number above 0; leave it empty if it is not known"
            )
        people[row] = value
    return people


def _kinds(cells: Cells, layout: _Layout) -> list[str]:
    """Return the kind of each row's group."""
    if "kind" not in layout.about:
        return [DEFAULT_KIND] * len(cells.rows)
    cells_of = cells.values(layout.about["kind"])
    kinds = [normal_label(as_text(value)).lower() or DEFAULT_KIND for value in cells_of]
    known = [name for name in GROUP_KINDS if name != "individual"]
    for row, kind in enumerate(kinds):
        if kind not in known:
            raise DataError(f"{cells.place(row)}: kind {kind!r} is not one of {known}")
    return kinds
