"""Cells of several answers, as forms write them for a question "mark all that apply": "Bus, Train"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from gpo_ray.preferences.readers.respondents.declared import MARKED, UNMARKED
from gpo_ray.preferences.readers.respondents.kinds import kind_of
from gpo_ray.preferences.readers.respondents.table import Column, DeclaredSet, Value
from gpo_ray.preferences.readers.respondents.words import plain

SEPARATORS = (";", ", ", ",", "|", "\n")
MOST_PARTS = 30
"""Most different answers of a question "mark all that apply"."""
MOST_CELLS = 20_000
"""Most different cells of a column that is looked at."""
_MARK_ALL = re.compile(
    r"\b(?:all|any|everything|each) (?:that|which|of (?:these|those) that|options that) (?:apply|applies|"
    r"fit)|"
    r"\b(?:select|check|tick|mark|choose|pick|name) (?:all|any|as many|up to|one or more|several|multiple|"
    r"two|three|"
    r"the (?:two|three|top))\b|(?:multiple|several|more than one) (?:answers?|responses?|choices?|"
    r"selections?)|"
    r"mehrfach\w*|(?:alle?s?|mehrere) (?:\w+ )?(?:zutreffende\w*|antworten|auswahl\w*|moglich\w*)|"
    r"plusieurs (?:reponses|choix)|(?:toutes les|plusieurs) reponses|tout ce qui s ?applique|"
    r"(?:varias|multiples|todas las|mas de una) (?:opciones|respuestas?|que)|(?:piu|tutte le) (?:risposte|"
    r"opzioni|di una)|"
    r"(?:varias|todas as|mais de uma) (?:opcoes|respostas?|que)|meerdere (?:antwoorden|keuzes)|alles aan "
    r"?(?:kruisen|"
    r"vinken)|(?:flere|flera) (?:svar|alternativ\w*|valg)|(?:wszystkie|kilka|wiele) (?:odpowiedzi|pasujace)|"
    r"(?:несколько|все) "
    r"(?:вариант\w*|ответ\w*|подходящ\w*)|複数(?:回答|選択)|あてはまるもの(?:すべて|をすべて)|"
    r"多选|複選|"
    r"(?:모두|복수) ?(?:선택|응답|고르)|birden fazla"
)
"""Words of questions to which several answers may be given."""
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
        asked = _MARK_ALL.search(plain(column.label or name)) is not None
        parts = _parts(column, asked)
        if (
            parts is None
            or kind_of(name, column.label or name, [str(v) for v in column.values[:50]]) is not None
        ):
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


def _parts(column: Column, told: bool) -> tuple[list[str], list[list[str]]] | None:
    """Return the answers that recur in cells, and those of each cell; None if cells have one each.

    Args:
        column: a column of C different cells.
        told: whether the question says that several answers may be marked; then they need not recur.
    """
    if column.kind != "text" or column.labels or column.levels or column.problem is not None:
        return None
    if not 2 < len(column.values) <= MOST_CELLS:
        return None
    for separator in SEPARATORS:
        found = _divided(column.values, column.counts().tolist(), separator, told)
        if found is not None:
            return found
    return None


def _divided(
    values: Sequence[Value], counts: Sequence[int], separator: str, told: bool
) -> tuple[list[str], list[list[str]]] | None:
    fewest = 1 if told else MIN_COMBINED
    cells = [[p.strip() for p in str(v).split(separator) if p.strip()] for v in values]
    if sum(len(cell) > 1 for cell in cells) < fewest:
        return None
    cells = _joined(cells, separator)
    combined = [cell for cell in cells if len(cell) > 1]
    if len(combined) < fewest or any(len({*cell}) < len(cell) for cell in combined):
        return None
    beside: dict[str, set[tuple[str, ...]]] = {}
    for cell in cells:
        for part in cell:
            beside.setdefault(part, set()).add(tuple(cell))
    recurring = [p for p, others in beside.items() if (told or len(others) > 1) and len(p) <= LONGEST]
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
