"""Cells of several answers, as forms write them for a question "mark all that apply": "Bus, Train"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from gpo_ray.preferences.readers.respondents.declared import MARKED, UNMARKED
from gpo_ray.preferences.readers.respondents.table import Column, DeclaredSet, Value

SEPARATORS = (";", ", ", ",", "|", "\n")
MOST_PARTS = 30
"""Most different answers of a question "mark all that apply"."""
MOST_CELLS = 20_000
"""Most different cells of a column that is looked at."""
LONGEST = 200
"""Most characters of an answer; longer ones are texts of the respondent."""
MIN_COMBINED = 3
"""Fewest different cells with several answers."""
MIN_RECURRING = 0.9
"""Least part of all answers in cells that occur in cells of other answers too."""


def split_cells(
    columns: Mapping[str, Column], file: str, notes: list[tuple[str, str]]
) -> tuple[dict[str, Column], tuple[DeclaredSet, ...]]:
    """Add, for each column of several answers in a cell, a column of each answer: whether it was marked.

    A column is one if its cells, divided at a sign such as a comma, have parts that recur in other cells. Who
    marked nothing has an empty cell, and no answer.

    Args:
        columns: the file's columns.
        file: its name, for notes.
        notes: where it is noted which columns are divided.

    Returns:
        The columns and those that were added, and the sets of these.
    """
    found = dict(columns)
    sets = []
    for name, column in columns.items():
        parts = _parts(column)
        if parts is None:
            continue
        answers, cells = parts
        label = column.label or name
        made = [f"{name} | {answer}" for answer in answers]
        if len({*made}) < len(made) or any(m in found for m in made):
            continue
        for new, answer in zip(made, answers, strict=True):
            marked = np.array([*(np.int32(answer in cell) for cell in cells), -1], np.int32)
            found[new] = Column(
                new,
                (UNMARKED, MARKED),
                marked[column.code],
                f"{label}: {answer}",
                {UNMARKED: "Not marked", MARKED: "Marked"},
            )
        sets.append(DeclaredSet(name, tuple(made), label, MARKED, (name,)))
        rest = len({a for cell in cells for a in cell} - {*answers})
        told = f"cells hold several answers: {len(answers)} questions, one for each"
        notes.append(
            (f"{file}: {name}", told + (f"; {rest} that one cell alone holds are left out" if rest else ""))
        )
    return found, tuple(sets)


def _parts(column: Column) -> tuple[list[str], list[list[str]]] | None:
    """Return the answers that recur in cells, and those of each distinct cell; None if cells have one each."""
    if column.kind != "text" or column.labels or column.levels or column.problem is not None:
        return None
    if not 2 < len(column.values) <= MOST_CELLS:
        return None
    for separator in SEPARATORS:
        found = _divided(column.values, column.counts().tolist(), separator)
        if found is not None:
            return found
    return None


def _divided(
    values: Sequence[Value], counts: Sequence[int], separator: str
) -> tuple[list[str], list[list[str]]] | None:
    cells = [[p.strip() for p in str(v).split(separator) if p.strip()] for v in values]
    if sum(len(cell) > 1 for cell in cells) < MIN_COMBINED:
        return None
    cells = _joined(cells, separator)
    combined = [cell for cell in cells if len(cell) > 1]
    if len(combined) < MIN_COMBINED or any(len({*cell}) < len(cell) for cell in combined):
        return None
    beside: dict[str, set[tuple[str, ...]]] = {}
    for cell in cells:
        for part in cell:
            beside.setdefault(part, set()).add(tuple(cell))
    recurring = [p for p, others in beside.items() if len(others) > 1 and len(p) <= LONGEST]
    number: Counter[str] = Counter()
    for cell, count in zip(cells, counts, strict=True):
        number.update(dict.fromkeys(cell, count))
    kept = sum(number[p] for p in recurring)
    if not 2 <= len(recurring) <= MOST_PARTS or kept < MIN_RECURRING * number.total():
        return None
    return recurring, cells


def _joined(cells: list[list[str]], separator: str) -> list[list[str]]:
    """Return cells in which parts that occur only beside each other are one: "Food, drink" is an answer."""
    sign = separator if separator.endswith(" ") or separator == "\n" else f"{separator} "
    while True:
        number = Counter(part for cell in cells for part in cell)
        pairs = Counter(pair for cell in cells for pair in pairwise(cell))
        alone = {p for p, n in pairs.items() if n > 1 and n == number[p[0]] == number[p[1]]}
        if not alone:
            return cells
        first, second = min(alone)
        cells = [_with_joined(cell, first, second, sign) for cell in cells]


def _with_joined(cell: list[str], first: str, second: str, sign: str) -> list[str]:
    if first not in cell:
        return cell
    i = cell.index(first)
    return [*cell[:i], f"{first}{sign}{second}", *cell[i + 2 :]]
