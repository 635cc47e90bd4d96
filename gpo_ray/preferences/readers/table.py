"""The reader of a user's own counts from a long CSV or Parquet file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import GROUP_KINDS, Group, PreferenceDataset, Question
from gpo_ray.preferences.readers.common import (
    EMPTY_PAIR,
    Collector,
    finite_number,
    read_csv_rows,
    text_number,
)
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.parquet import NUMBER, TEXT, TEXT_OR_INTEGER, read_parquet

COLUMNS = ("group", "prompt", "response", "count")
PARQUET = {"group": TEXT_OR_INTEGER, "prompt": TEXT, "response": TEXT_OR_INTEGER, "count": NUMBER}
PARQUET_OPTIONAL = {"kind": TEXT, "topic": TEXT_OR_INTEGER, "question_id": TEXT_OR_INTEGER}
DEFAULT_KIND = "community"
ONE_RESPONSE = "question has only one response"


@dataclass
class _Counts:
    """The counts of one question, as far as its rows have been read."""

    prompt: str
    topic: str | None
    responses: dict[str, int] = field(default_factory=dict)
    """Index of each response, in the order in which they first appear."""
    by_group: dict[str, dict[str, float]] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    """Sum of each group's counts so far."""


def read_table(source: Path | None, options: ReadOptions) -> PreferenceDataset:  # noqa: ARG001
    """Read a long CSV or Parquet file, which has a row per group, prompt and response.

    The columns are ``group``, ``prompt``, ``response`` and ``count`` (of people or votes, not negative,
    perhaps weighted); optional are ``kind`` of the group (default ``community``), ``topic``, and
    ``question_id``, for a prompt that is asked with several slates. Responses are in the order in which they
    first appear; a response for which a group has no row counts 0. ``n`` is the sum of the counts. Error
    messages number rows as a spreadsheet does: the header of a CSV is row 1.

    Raises:
        DataError: if the file is missing or empty, a column or value is missing, a count is not a number of
            at least 0, a row occurs twice, or rows contradict each other about a group or question.
    """
    path = Path(source or "")
    questions: dict[str, _Counts] = {}
    kinds: dict[str, str] = {}
    for where, row in _rows(path):
        _take(row, where, questions, kinds)
    into = Collector()
    known = []
    for question_id, counts in questions.items():
        if len(counts.responses) < 2:
            for group in counts.by_group:
                into.drop(f"{path.name}: {group}, {question_id}", ONE_RESPONSE)
            continue
        known.append(Question(question_id, "table", counts.prompt, tuple(counts.responses), counts.topic))
        for group, given in counts.by_group.items():
            values = [given.get(r, 0.0) for r in counts.responses]
            if sum(values) == 0:
                into.drop(f"{path.name}: {group}, {question_id}", EMPTY_PAIR)
            else:
                into.add(Group(group, kinds[group]), question_id, values, sum(values))
    return into.dataset(known, path.name, path)


def _rows(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield each row after the words that locate it in error messages."""
    rows: list[dict[str, Any]]
    if path.suffix.lower() in (".parquet", ".pq"):
        first, rows = 1, read_parquet(path, PARQUET, PARQUET_OPTIONAL).to_pylist()
    else:
        first, rows = 2, [*read_csv_rows(path, COLUMNS)]
    return ((f"{path}: row {i}", row) for i, row in enumerate(rows, first))


def _text(row: dict[str, Any], column: str, where: str) -> str:
    value = row[column]
    text = "" if value is None else str(value).strip()
    if not text:
        raise DataError(f"{where}: {column} is empty; fill it in or remove the row")
    return text


def _count(value: Any, where: str) -> float:
    read = text_number if isinstance(value, str) else finite_number
    count = read(value, f"{where}: count", "give 0 where nobody chose it")
    if count < 0:
        raise DataError(f"{where}: count {count:g} is negative; counts start at 0")
    return count


def _take(row: dict[str, Any], where: str, questions: dict[str, _Counts], kinds: dict[str, str]) -> None:
    """Enter a row, after checking it against the rows before it."""
    group, prompt, response = (_text(row, c, where) for c in ("group", "prompt", "response"))
    count = _count(row["count"], where)
    kind = str(row.get("kind") or DEFAULT_KIND).strip()
    if kind not in GROUP_KINDS:
        raise DataError(f"{where}: kind {kind!r} is not one of {list(GROUP_KINDS)}")
    if kinds.setdefault(group, kind) != kind:
        raise DataError(f"{where}: group {group!r} is of kind {kinds[group]!r} before and {kind!r} here")
    topic = str(row.get("topic") or "").strip() or None
    if "question_id" in row:
        question_id = _text(row, "question_id", where)
    else:
        question_id = "q-" + hashlib.sha256(prompt.encode()).hexdigest()[:12]
    question = questions.setdefault(question_id, _Counts(prompt, topic))
    if question.prompt != prompt:
        raise DataError(
            f"{where}: question_id {question_id!r} has another prompt before; give each its own id"
        )
    if question.topic != topic:
        raise DataError(f"{where}: the prompt has topic {question.topic!r} before and {topic!r} here")
    question.responses.setdefault(response, len(question.responses))
    given = question.by_group.setdefault(group, {})
    if response in given:
        raise DataError(
            f"{where}: ({group!r}, {prompt[:60]!r}, {response!r}) occurs twice; add the counts up in one row"
        )
    given[response] = count
    question.totals[group] = question.totals.get(group, 0.0) + count
    if not math.isfinite(question.totals[group]):
        raise DataError(f"{where}: the counts of {group!r} add up to infinity; give smaller numbers")
