"""Functions that all readers share: checking files, parsing Python literals, collecting preferences."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.numbers import ADVICE as ADVICE
from gpo_ray.preferences.numbers import as_number as as_number
from gpo_ray.preferences.numbers import finite_number as finite_number
from gpo_ray.preferences.numbers import shorten as shorten
from gpo_ray.preferences.numbers import text_number as text_number
from gpo_ray.preferences.readers.delimited import read_delimited
from gpo_ray.preferences.readers.files import require_file as require_file
from gpo_ray.preferences.readers.files import require_text as require_text

Drops = list[tuple[str, str]]
"""``(where, reason)`` of each source row that is left out."""
Notes = Sequence[tuple[str, str]]
"""``(where, note)`` of what is read in a way that the user should know of."""

EMPTY_PAIR = "no answers of this group to this question"
NO_PREFERENCE_LEFT = "no group's answers to this question are left"
NO_COUNTS = "no answer counts for this question"
REPEATED_QUESTION = "question listed before; its first row is used"
UNKNOWN_QUESTION = "answers to a question that is not listed"
NOT_A_GROUP = "level is not a group (refusal, unknown or other)"
NOT_IN_PAPER = "not a group of the paper"

NOT_GROUPS = frozenset({"refused", "nan", "other", ""})
"""Levels of an attribute, in lower case, that do not name a group of people."""

MAX_FREQUENT = 3
"""Number of reasons that the error message names when no preferences are left."""

UNREADABLE = (ValueError, SyntaxError, RecursionError, MemoryError, OverflowError)
"""Exceptions that parsers of literals and JSON raise for texts that are wrong, too deep or too long."""

_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"'})


def is_group_level(level: str | None) -> bool:
    """Return whether a level of an attribute names a group of people."""
    return level is not None and level.strip().casefold() not in NOT_GROUPS


def normal_text(text: str) -> str:
    """Normalise a text by removing differences of case, white space, kind of quotes and outer quotes."""
    plain = re.sub(r"\s+", " ", text.translate(_QUOTES)).strip()
    return plain.strip("\"'").strip().casefold()


class _NamedFloats(ast.NodeTransformer):
    """A transformer of bare ``nan`` and ``inf`` into constants.

    ``repr`` writes these names, but ``ast.literal_eval`` rejects them.
    """

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in ("nan", "inf"):
            return ast.copy_location(ast.Constant(float(node.id)), node)
        return node


def parse_literal(text: Any, expected: type, where: str) -> Any:
    """Parse a Python literal, as in CSV files into which a publisher wrote ``str(list)``.

    Nothing in the text is executed.

    Raises:
        DataError: if the text is not a literal of the expected type.
    """
    shown = shorten(text)
    try:
        value = ast.literal_eval(_NamedFloats().visit(ast.parse(text.strip(), mode="eval")))
    except (*UNREADABLE, AttributeError, TypeError) as e:
        raise DataError(
            f"{where}: cannot read {shown} as a Python {expected.__name__}; restore the publisher's file"
        ) from e
    if not isinstance(value, expected):
        raise DataError(f"{where}: expected a {expected.__name__}, found {shown}")
    return value


def parse_numbers(text: str, where: str) -> list[float]:
    """Parse a literal list of finite numbers.

    Raises:
        DataError: if the text is anything else.
    """
    values = parse_literal(text, list, where)
    return [finite_number(v, f"{where}: value {i}") for i, v in enumerate(values)]


def parse_texts(text: str, where: str) -> list[str]:
    """Parse a literal list of texts, some of which may be written as numbers.

    Raises:
        DataError: if the text is anything else.
    """
    values = parse_literal(text, list, where)
    for i, value in enumerate(values):
        if not isinstance(value, str):
            as_number(value, f"{where}: value {i}")
    return [str(v) for v in values]


def require_folder(path: Path, advice: str) -> None:
    """Check that a folder exists.

    Raises:
        DataError: if it does not.
    """
    if not path.exists():
        raise DataError(f"{path}: no such folder; {advice}")
    if not path.is_dir():
        raise DataError(f"{path}: a file where a folder is expected; {advice}")


def require_columns(path: Path, found: Iterable[str], expected: Iterable[str]) -> None:
    """Check that a file has the expected columns and no name occurs twice.

    Raises:
        DataError: naming the column that is missing or occurs twice.
    """
    present = list(found)
    absent = [c for c in expected if c not in present]
    if absent:
        raise DataError(
            f"{path}: column {absent[0]!r} is missing; found {present[:20]}, expected {list(expected)}"
        )
    twice = [c for c, n in Counter(present).items() if n > 1 and c]
    if twice:
        raise DataError(f"{path}: column {twice[0]!r} is there twice; rename or remove one of the two")


def read_csv_rows(path: Path, expected: Sequence[str]) -> list[dict[str, str]]:
    """Read all rows of a UTF-8 CSV file with a header, as :func:`read_delimited` reads it.

    Raises:
        DataError: if the file is missing, empty, not a strict CSV in UTF-8, or a column or cell is missing.
    """
    cells = read_delimited(path, expected=expected)
    require_columns(path, cells.header, expected)
    columns = (cells.values(i) for i in range(len(cells.header)))
    return [dict(zip(cells.header, row, strict=True)) for row in zip(*columns, strict=True)]


def build_dataset(
    source: Path | str,
    questions: Iterable[Question],
    groups: Iterable[Group],
    preferences: Mapping[str, Sequence[Any]] | pa.Table,
    drops: Drops,
    notes: Notes = (),
) -> PreferenceDataset:
    """Build a data set with :meth:`PreferenceDataset.build`; error messages name the source.

    Raises:
        DataError: if no preferences are left, naming the most frequent reasons, or the data is inconsistent.
    """
    kept = list(questions)
    if not kept or not len(preferences["group_id"]):
        # NO_PREFERENCE_LEFT is not counted: it only follows from the other reasons.
        reasons = Counter(r for _, r in drops if r != NO_PREFERENCE_LEFT).most_common(MAX_FREQUENT)
        why = "; ".join(f"{reason} ({n})" for reason, n in reasons)
        raise DataError(
            f"{source}: no questions, groups or preferences are left to work with; "
            + (f"left out most often: {why}" if why else "it holds no answers to its questions")
            + "; check the source and the options"
        )
    try:
        return PreferenceDataset.build(kept, groups, preferences, drops, notes)
    except DataError as e:
        raise DataError(f"{source}: {e}; {ADVICE}") from e
    except UnicodeEncodeError as e:
        raise DataError(f"{source}: a text holds half a character ({e}); {ADVICE}") from e


class Collector:
    """A collector of preferences, their groups and the rows left out, while a source is read."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}
        self.drops: Drops = []
        self.notes: list[tuple[str, str]] = []
        self._columns: dict[str, list[Any]] = {"group_id": [], "question_id": [], "share": [], "n": []}

    def drop(self, where: str, reason: str) -> None:
        """Log a source row that is left out."""
        self.drops.append((where, reason))

    def note(self, where: str, note: str) -> None:
        """Log what was read in a way that the user should know of, such as shares that were renormalised."""
        self.notes.append((where, note))

    def add(self, group: Group, question_id: str, counts: ArrayLike, n: float | None) -> None:
        """Add a group's preference on one question.

        Args:
            group: the group.
            question_id: the question's id.
            counts: non-negative numbers, not all zero, one per response; they are scaled to sum to 1.
            n: number of respondents or votes behind them, if known.
        """
        values = np.asarray(counts, np.float64)
        self.groups.setdefault(group.group_id, group)
        self._columns["group_id"].append(group.group_id)
        self._columns["question_id"].append(question_id)
        self._columns["share"].append((values / values.sum()).tolist())
        self._columns["n"].append(n)

    def dataset(self, questions: Iterable[Question], where: str, source: Path | str) -> PreferenceDataset:
        """Build the data set of all preferences added; questions without one are logged and left out.

        Args:
            questions: all questions of the source.
            where: name of the file or table, for the log.
            source: name of the source, for error messages.
        """
        answered = set(self._columns["question_id"])
        kept = []
        for q in questions:
            if q.question_id in answered:
                kept.append(q)
            else:
                self.drop(f"{where}: {q.question_id}", NO_PREFERENCE_LEFT)
        return build_dataset(source, kept, self.groups.values(), self._columns, self.drops, self.notes)
