"""Reading a table of guesses that were made elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpo_ray.errors import DataError
from gpo_ray.guesses.matching import RESPONSE, Survey, response_index
from gpo_ray.guesses.table import Guess, GuessTable, Way
from gpo_ray.preferences.dataset import PreferenceDataset, Question
from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers import parquet
from gpo_ray.preferences.readers.amounts import EXACT, ROUNDING
from gpo_ray.preferences.readers.cells import Cells, as_text
from gpo_ray.preferences.readers.common import require_columns
from gpo_ray.preferences.readers.delimited import read_delimited
from gpo_ray.preferences.readers.numerals import Signs, read_numbers
from gpo_ray.preferences.readers.options import ReadOptions

NEEDED = ("asked", "question", "response")
PLAIN = "none"
"""The style of a guess that is nobody's in particular."""
MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "-"})
"""Cells, in lower case, that hold no share."""

NO_SHARE = "no distribution: a share is missing"
ALL_ZERO = "no distribution: all shares are 0"
NOT_ALL = "no distribution: a response of the survey is missing, and the others do not make up the whole"
ELSEWHERE = "no distribution: all of it is on responses that the survey does not have"

_TYPES = dict.fromkeys(("model", "asked", "as", "attribute", "group", "question"), parquet.CODE) | {
    "response": parquet.LABEL,
    "share": parquet.COUNT,
    "percent": parquet.COUNT,
}


@dataclass
class _Asked:
    """What the table holds of one question, asked in one way."""

    where: str
    question: Question
    shares: dict[int, float] = field(default_factory=dict)
    """The numbers by the index of the response; NaN where the cell is empty."""
    other: dict[str, float] = field(default_factory=dict)
    """The numbers of responses that the survey does not have."""


_Key = tuple[Way, str | None, str]


def read_guesses(
    path: Path, dataset: PreferenceDataset, model: str | None = None, options: ReadOptions | None = None
) -> GuessTable:
    """Read a long table of guesses: a row for each way of asking, question and response.

    Its columns are ``asked`` (how: ``logprobs``, ``distribution``, ...), ``question`` (an id or a prompt of
    the survey), ``response`` and one of ``share`` and ``percent``. Optional are ``model``; ``as`` (how the
    group was told); ``group`` (an id of the survey, or a level) and ``attribute``. Where ``group`` is empty,
    the model was asked as nobody.

    Shares are scaled to sum to 1; how many did not is noted. A question whose shares are all 0, or of which
    one is missing, is stored with that reason and without a distribution. Labels that the survey does not
    have are in :attr:`GuessTable.not_used`. Shares of responses that it does not have, such as "Refused", are
    left out with a note, provided that all of its own responses are in the table.

    Args:
        path: a delimited text file, which may be compressed (``.csv.gz``), or a Parquet file.
        dataset: the survey.
        model: the model of a table without that column; of a table with it, the only model that is read.
        options: ``encoding``, ``decimal`` and ``thousands`` of a text file.

    Raises:
        DataError: if the file is not strictly what it is, a column or label is missing, a number is none or
            negative, a row occurs twice, or nothing is left.
    """
    chosen = options or ReadOptions()
    cells = _open(path, chosen)
    column = _columns(cells, model)
    numbers, unit = _numbers(cells, column, chosen)
    tally = _Tally(cells, Survey(dataset), column)
    for i, number in enumerate(numbers):
        tally.take(i, float(number), model)
    table = tally.table(1.0 if unit == "share" else 100.0)
    if not table.guesses.num_rows:
        unused = Counter(e["reason"] for e in table.not_used.to_pylist()).most_common(3)
        why = "; ".join(f"{reason} ({n})" for reason, n in unused) or f"it has no rows of model {model!r}"
        raise DataError(f"{path}: no guess is about this survey: {why}; check --survey and --from")
    return table


def _open(path: Path, options: ReadOptions) -> Cells:
    if path.suffix.lower() in (".parquet", ".pq"):
        return parquet.read_cells(path, lambda name: _TYPES.get(_plain(name)))
    return read_delimited(path, options.encoding, NEEDED)


def _plain(name: str) -> str:
    return normal_label(name).lower()


def _columns(cells: Cells, model: str | None) -> dict[str, list[Any]]:
    """Return the cells of the known columns by name, after checking which are there."""
    names = [*map(_plain, cells.header)]
    units = [u for u in ("share", "percent") if u in names]
    if len(units) == 2:
        raise DataError(f"{cells.path}: columns 'share' and 'percent' are both there; keep one of them")
    needed = (*(() if model else ("model",)), *NEEDED, *(units or ["share"]))
    try:
        require_columns(cells.path, names, needed)
    except DataError as e:
        advice = "; or name the model with --model" if "column 'model'" in str(e) else ""
        raise DataError(f"{e}{advice}") from e
    return {name: cells.values(i) for i, name in enumerate(names) if name in _TYPES}


def _numbers(
    cells: Cells, column: Mapping[str, list[Any]], options: ReadOptions
) -> tuple[NDArray[np.float64], str]:
    """Return the numbers of all rows, NaN where there is none, and their unit."""
    unit = "share" if "share" in column else "percent"
    given = column[unit]
    empty = np.array([as_text(cell).strip().lower() in MISSING for cell in given], bool)
    filled = [cell for cell, none in zip(given, empty, strict=True) if not none]
    place = np.flatnonzero(~empty)
    signs = Signs(options.decimal, options.thousands)
    read = read_numbers(filled, lambda i: f"{cells.place(int(place[i]))}: {unit}", signs)
    numbers = np.full(len(given), np.nan)
    numbers[place] = read.values
    bad = np.flatnonzero(numbers < 0)
    if len(bad):
        raise DataError(
            f"{cells.place(int(bad[0]))}: {unit} {numbers[bad[0]]:g} is negative; shares start at 0"
        )
    return numbers, "percent" if read.percent else unit


class _Tally:
    """The rows of a table, gathered by what was asked."""

    def __init__(self, cells: Cells, survey: Survey, column: Mapping[str, Sequence[Any]]) -> None:
        self._cells, self._survey, self._column = cells, survey, column
        self._asked: dict[_Key, _Asked] = {}
        self._unused: Counter[tuple[str, str, str]] = Counter()
        self._questions: dict[str, Question | str] = {}
        self._groups: dict[tuple[str, str], tuple[str | None, str | None]] = {}

    def take(self, i: int, number: float, model: str | None) -> None:
        """Take a row of the table."""
        name = self._text("model", i) or (model if "model" not in self._column else "")
        if model is not None and name != model:
            return
        way = Way(self._needed("model", i, name), self._needed("asked", i), self._style(i))
        question = self._question(self._needed("question", i))
        group, known = self._group(i)
        if question is None or not known:
            return
        key = (way, group, question.question_id)
        asked = self._asked.setdefault(key, _Asked(self._cells.place(i), question))
        response = self._needed("response", i)
        index = response_index(question, response)
        if (response if index is None else index) in (asked.other if index is None else asked.shares):
            raise DataError(
                f"{self._cells.place(i)}: response {response!r} of question {question.question_id!r} is "
                f"there twice for {'/'.join(way)}{f' as {group}' if group else ''}; keep one of the rows"
            )
        if index is None:
            asked.other[response] = number
            self._unused["response", response, RESPONSE] += 1
        else:
            asked.shares[index] = number

    def _text(self, name: str, i: int) -> str:
        cells = self._column.get(name)
        return "" if cells is None else normal_label(as_text(cells[i]))

    def _needed(self, name: str, i: int, value: str | None = None) -> str:
        found = self._text(name, i) if value is None else value
        if not found:
            raise DataError(f"{self._cells.place(i)}: {name} is empty; fill it in or remove the row")
        return found

    def _style(self, i: int) -> str:
        style, group = self._text("as", i), self._text("group", i)
        if group and style.lower() in ("", PLAIN):
            raise DataError(
                f"{self._cells.place(i)}: group {group!r} is named, but the column 'as' does not say how it "
                "was told to the model; write a word there, such as persona"
            )
        return style if style.lower() not in ("", PLAIN) else PLAIN

    def _question(self, label: str) -> Question | None:
        if label not in self._questions:
            self._questions[label] = self._survey.question(label)
        found = self._questions[label]
        if isinstance(found, str):
            self._unused["question", label, found] += 1
            return None
        return found

    def _group(self, i: int) -> tuple[str | None, bool]:
        """Return the group of a row, None for nobody, and whether the survey has it."""
        attribute, label = self._text("attribute", i), self._text("group", i)
        if not label:
            return None, True
        if (attribute, label) not in self._groups:
            self._groups[attribute, label] = self._survey.group(attribute, label)
        group, problem = self._groups[attribute, label]
        if problem is not None:
            named = f"{attribute}={label}" if attribute else label
            self._unused["group", named, problem] += 1
        return group, problem is None

    def table(self, whole: float) -> GuessTable:
        """Return the guesses; ``whole`` is what the numbers of a question should sum to."""
        guesses, said = [], _Said(self._cells.path.name)
        seen: set[_Key] = set()
        for (way, group, _), asked in self._asked.items():
            key = (way, group, asked.question.key)
            if key in seen:  # a survey may ask the same question twice, under two ids
                said.same.append(asked.question.question_id)
                continue
            seen.add(key)
            share, reason = _share(asked, whole, said)
            guesses.append(Guess(way, group, asked.question, share, reason))
        notes = [(self._cells.path.name, note) for note in self._cells.notes]
        unused = [(*entry, rows) for entry, rows in sorted(self._unused.items())]
        return GuessTable.build(guesses, unused, notes + said.notes())


@dataclass
class _Said:
    """What is to be known of the numbers of a table, counted."""

    name: str
    scaled: list[float] = field(default_factory=list)
    """The sums that were far from the whole."""
    rounded: int = 0
    zeros: int = 0
    left: list[float] = field(default_factory=list)
    """The parts of the whole that were on responses which the survey does not have."""

    same: list[str] = field(default_factory=list)
    """Ids of questions that are the same as another one, whose guesses are used."""

    def notes(self) -> list[tuple[str, str]]:
        said = []
        if self.same:
            first = ", ".join(map(repr, sorted(set(self.same))[:5]))
            said.append(
                f"{len(self.same)} distributions are not used: their questions ({first} ...) are the same as "
                "others of the survey, whose guesses are used"
            )
        if self.scaled:
            low, high = min(self.scaled), max(self.scaled)
            said.append(
                f"{len(self.scaled)} distributions summed to {low:.3g} to {high:.3g} and were scaled to 1"
            )
        if self.rounded:
            said.append(f"{self.rounded} distributions missed 1 by {ROUNDING:g} at most and were scaled to 1")
        if self.zeros:
            said.append(
                f"{self.zeros} shares are taken as 0: the table has no such row, and the others make up 1"
            )
        if self.left:
            said.append(
                f"{len(self.left)} distributions had up to {max(self.left):.3g} on responses that the survey "
                "does not have; the rest was scaled to 1"
            )
        return [(self.name, note) for note in said]


def _share(asked: _Asked, whole: float, said: _Said) -> tuple[list[float] | None, str | None]:
    """Return the R shares of a question and None, or None and why there is no distribution."""
    size = len(asked.question.responses)
    mine = [asked.shares.get(i, 0.0) / whole for i in range(size)]
    other = float(np.nansum([*asked.other.values()])) / whole
    total = sum(mine)
    if np.isnan(total):
        return None, NO_SHARE
    if total + other == 0:
        return None, ALL_ZERO
    absent = size - len(asked.shares)
    if total == 0 and not absent:
        return None, ELSEWHERE
    if absent and abs(total - 1) > ROUNDING + EXACT:
        return None, NOT_ALL
    said.zeros += absent
    off = abs(total + other - 1)
    if off > ROUNDING + EXACT:
        said.scaled.append(total + other)
    elif off > EXACT:
        said.rounded += 1
    if other > 0:
        said.left.append(other / (total + other))
    return [m / total for m in mine], None
