"""The header rows of exports of survey tools: Qualtrics, SurveyMonkey and others that write more than one.

Qualtrics writes a row of names, one of the texts of questions, and one of ids as ``{"ImportId": "QID1"}``.
SurveyMonkey writes a question above the first of its columns, and below it what each column holds: one of
its items or options, or "Response".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers.cells import Cells, Unreadable, as_text
from gpo_ray.preferences.readers.respondents.table import DeclaredSet

_IMPORT_ID = re.compile(r'\{\s*"ImportId"\s*:.*\}', re.DOTALL)
_QUESTION_ID = re.compile(r'"ImportId"\s*:\s*"[^"]*QID\d')
EMBEDDED = "embedded data"
"""Label of what a survey noted of a respondent without asking."""
_RESPONSE = re.compile(
    r"(?:open[ -]?ended |numeric |single |other )?(?:response|comment)s?|open-ended|"
    r"(?:offene )?antwort|(?:reponse|réponse)(?: ouverte| libre)?|respuesta(?: abierta)?|"
    r"risposta(?: aperta)?|"
    r"resposta(?: aberta)?|(?:open )?antwoord|(?:öppet )?svar|odpowied[zź]|回答|ответ",
    re.IGNORECASE,
)
"""What the second row holds below a question that has one column, in languages of SurveyMonkey."""
MIN_BELOW = 2
"""Fewest columns of which only the second row says what they are, if none holds "Response"."""


@dataclass(frozen=True)
class Exported:
    """The cells of an export below its header rows, and what these say of the columns."""

    cells: Cells
    labels: dict[str, str]
    """Texts of questions by the normal form of their columns' names."""
    marked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Questions of which several options can be marked, with the names of their options' columns."""

    def sets(self) -> tuple[DeclaredSet, ...]:
        """Return the questions "mark all that apply"."""
        return tuple(DeclaredSet(q, names, q) for q, names in self.marked.items() if len(names) > 1)


def without_header_rows(cells: Cells) -> Exported:
    """Return the table of an export whose header has several rows; others are returned as they are."""
    rows = [_row(cells, i) for i in range(min(3, len(cells.rows)))]
    for i in (0, 1):  # the row of ids is the third, or the second where the texts were removed
        if i < len(rows) and _are_ids(rows[i]):
            return _qualtrics(cells, rows[:i], rows[i])
    if rows and _is_below(cells.header, rows[0]):
        return _two_rows(cells, rows[0])
    return Exported(cells, {})


def _row(cells: Cells, i: int) -> list[str]:
    """Return a row's cells as texts, those without a certain value as empty."""
    found = []
    for column in cells.columns:
        value = column[i].as_py() if isinstance(column, pa.ChunkedArray) else column[i]
        found.append("" if isinstance(value, Unreadable) else normal_label(as_text(value)))
    return found


def _are_ids(row: Sequence[str]) -> bool:
    said = [text for text in row if text]
    return bool(said) and all(_IMPORT_ID.fullmatch(text) for text in said)


def _qualtrics(cells: Cells, texts: Sequence[Sequence[str]], ids: Sequence[str]) -> Exported:
    """Return the table below the names, the texts of questions and the ids.

    Columns whose ids are none of questions hold what the survey noted, such as the version someone was given.
    """
    labels = {}
    for i, name in enumerate(map(normal_label, cells.header)):
        text = re.sub(r"\s+-\s+Selected Choice$", "", texts[0][i]) if texts else ""
        if ids[i] and _QUESTION_ID.search(ids[i]) is None and text in ("", name):
            labels[name] = f"{EMBEDDED}: {name}"
        elif text and text != name:
            labels[name] = text
    note = "an export of Qualtrics: texts of questions in the second row of its header, ids in the third"
    if not texts:
        note = "an export of Qualtrics: ids are in the second row of its header"
    return Exported(_below(cells, cells.header, len(texts) + 1, note), labels)


def _is_below(header: Sequence[str], row: Sequence[str]) -> bool:
    """Return whether a row says what the columns of the questions above hold.

    It does where columns have no name of their own and a text below, and the texts of a question's columns
    differ; and where one says "Response", or there are several such columns.
    """
    names = [normal_label(name) for name in header]
    if not names or not names[0] or sum(map(bool, names)) < 2:  # a single name is a title above the table
        return False
    nameless = [i for i, name in enumerate(names) if not name]
    told = [i for i in nameless if row[i]]
    numbers = [text for text in row if text and not any(map(str.isalpha, text))]
    if len(told) < len(nameless) or numbers:
        return False
    responses = sum(_RESPONSE.fullmatch(text) is not None for text in row)
    single = [text for i, text in enumerate(row) if names[i] and (i + 1 == len(names) or names[i + 1])]
    plain_below = all(not text or _RESPONSE.fullmatch(text) for text in single)
    return bool(responses and plain_below) or (len(told) >= MIN_BELOW and plain_below and bool(single))


def _two_rows(cells: Cells, row: Sequence[str]) -> Exported:
    """Return the table with names made of a question and, where it has several columns, what each holds."""
    names: list[str] = []
    heads: list[tuple[str, str]] = []
    question = ""
    for name, below in zip(map(normal_label, cells.header), row, strict=True):
        question = name or question
        option = below if _RESPONSE.fullmatch(below) is None else ""
        heads.append((question, option))
        names.append(f"{question} | {option}" if option else question)
    names = _distinct(names)
    note = "a header of two rows, as SurveyMonkey writes it: questions, and below them their items or options"
    body = _below(cells, names, 1, note)
    labels = {n: f"{q}: {option}" for n, (q, option) in zip(names, heads, strict=True) if option}
    marked: dict[str, tuple[str, ...]] = {}
    for name, (question, option), column in zip(names, heads, body.columns, strict=True):
        if _marks(column, option):
            marked[question] = (*marked.get(question, ()), name)
    return Exported(body, labels, marked)


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names of which those that occur again have a number."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _marks(column: Any, option: str) -> bool:
    """Return whether a column holds its own option and nothing else."""
    if not option:
        return False
    values = column.unique().to_pylist() if isinstance(column, pa.ChunkedArray) else list(column)
    given = {normal_label(as_text(v)) for v in values if not isinstance(v, Unreadable)} - {""}
    return given == {option}


def _below(cells: Cells, header: Sequence[str], rows: int, note: str) -> Cells:
    """Return the cells below further rows of the header."""
    return replace(
        cells,
        header=list(header),
        columns=[column[rows:] for column in cells.columns],
        rows=cells.rows[rows:],
        lines=None if cells.lines is None else cells.lines[rows:],
        notes=(*cells.notes, note),
    )
