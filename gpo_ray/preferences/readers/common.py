"""What the readers share: opening files with clear errors, Python literals, collecting preferences."""

from __future__ import annotations

import ast
import csv
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question

Drops = list[tuple[str, str]]
"""``(where, reason)`` of each source row left out."""

EMPTY_PAIR = "no answers of this group to this question"
NO_PREFERENCE_LEFT = "no group's answers to this question are left"
NO_COUNTS = "no answer counts for this question"
REPEATED_QUESTION = "question listed before; its first row is used"
UNKNOWN_QUESTION = "answers to a question that is not listed"
NOT_A_GROUP = "level is not a group (refusal, unknown or other)"
NOT_IN_PAPER = "not a group of the paper"

NOT_GROUPS = frozenset({"refused", "nan", "other", ""})
"""Levels, in lower case, that name no one in particular."""

_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"'})


def is_group_level(level: str | None) -> bool:
    """Whether a level of an attribute names a group of people."""
    return level is not None and level.strip().casefold() not in NOT_GROUPS


def normal_text(text: str) -> str:
    """A text without the differences that mean nothing: case, white space, kind of quotes, outer quotes."""
    plain = re.sub(r"\s+", " ", text.translate(_QUOTES)).strip()
    return plain.strip("\"'").strip().casefold()


class _NamedFloats(ast.NodeTransformer):
    """Bare ``nan`` and ``inf``, which ``repr`` writes and ``ast.literal_eval`` refuses, as constants."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in ("nan", "inf"):
            return ast.copy_location(ast.Constant(float(node.id)), node)
        return node


def parse_literal(text: str, expected: type, where: str) -> Any:
    """A Python literal, as publishers that wrote ``str(list)`` into a CSV ship it.

    Raises:
        DataError: if the text is not a literal of the expected type. Nothing is ever executed.
    """
    try:
        value = ast.literal_eval(_NamedFloats().visit(ast.parse(text.strip(), mode="eval")))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as e:
        raise DataError(
            f"{where}: cannot read {text[:80]!r} as a Python {expected.__name__}; "
            "restore the publisher's file"
        ) from e
    if not isinstance(value, expected):
        raise DataError(f"{where}: expected a {expected.__name__}, found {text[:80]!r}")
    return value


def parse_numbers(text: str, where: str) -> list[float]:
    """A literal list of finite numbers.

    Raises:
        DataError: if it is anything else.
    """
    values = parse_literal(text, list, where)
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        raise DataError(f"{where}: expected a list of finite numbers, found {text[:80]!r}")
    return [float(v) for v in values]


def require_file(path: Path) -> None:
    """Check that a file is there and holds something.

    Raises:
        DataError: if not.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")


def require_columns(path: Path, found: Iterable[str], expected: Iterable[str]) -> None:
    """Check the columns of a file.

    Raises:
        DataError: with the columns found and expected.
    """
    present = list(found)
    absent = [c for c in expected if c not in present]
    if absent:
        raise DataError(
            f"{path}: column {absent[0]!r} is missing; found {present[:20]}, expected {list(expected)}"
        )


def read_csv_rows(path: Path, expected: Sequence[str]) -> list[dict[str, str]]:
    """All rows of a UTF-8 CSV file with a header.

    Raises:
        DataError: if the file is missing, empty, not a UTF-8 CSV, or a column or cell is missing.
    """
    require_file(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            require_columns(path, header, expected)
            records = list(reader)
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 ({e}); save the file as UTF-8") from e
    except csv.Error as e:
        raise DataError(f"{path}: not a readable CSV file: {e}") from e
    while records and not records[-1]:
        records.pop()
    if not records:
        raise DataError(f"{path}: the file has a header and no rows")
    for i, cells in enumerate(records, 2):
        if len(cells) != len(header):
            raise DataError(
                f"{path}: row {i}: {len(cells)} cells, the header has {len(header)}; repair the row"
            )
    return [dict(zip(header, cells, strict=True)) for cells in records]


def read_parquet(path: Path, expected: Sequence[str], optional: Sequence[str] = ()) -> pa.Table:
    """The expected columns of a Parquet file and those of the optional ones that are there.

    Raises:
        DataError: if the file is missing, empty or not Parquet, or a column is missing.
    """
    require_file(path)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"{path}: not a readable Parquet file: {e}") from e
    require_columns(path, table.column_names, expected)
    if table.num_rows == 0:
        raise DataError(f"{path}: the file has no rows")
    return table.select([*expected, *(c for c in optional if c in table.column_names)])


class Collector:
    """Gathers preferences, their groups and what is left out while a source is read."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}
        self.drops: Drops = []
        self._columns: dict[str, list[Any]] = {"group_id": [], "question_id": [], "share": [], "n": []}

    def drop(self, where: str, reason: str) -> None:
        """Log a source row that is left out."""
        self.drops.append((where, reason))

    def add(self, group: Group, question_id: str, counts: ArrayLike, n: float | None) -> None:
        """Take a preference.

        Args:
            group: whose it is.
            question_id: of which question.
            counts: non-negative, not all zero, one per response; any scale.
            n: respondents or votes behind them, if known.
        """
        values = np.asarray(counts, np.float64)
        self.groups.setdefault(group.group_id, group)
        self._columns["group_id"].append(group.group_id)
        self._columns["question_id"].append(question_id)
        self._columns["share"].append((values / values.sum()).tolist())
        self._columns["n"].append(n)

    def dataset(self, questions: Iterable[Question], where: str) -> PreferenceDataset:
        """The data set of all that was taken; questions without a preference are logged and left out."""
        answered = set(self._columns["question_id"])
        kept = []
        for q in questions:
            if q.question_id in answered:
                kept.append(q)
            else:
                self.drop(f"{where}: {q.question_id}", NO_PREFERENCE_LEFT)
        return PreferenceDataset.build(kept, self.groups.values(), self._columns, self.drops)
