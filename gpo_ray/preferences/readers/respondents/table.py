"""The table of respondents that every kind of file is read into: coded columns with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Value = float | str
"""A value of a variable. Text in a column of numbers is a special missing value, such as ``.a`` of Stata."""


@dataclass(frozen=True)
class Column:
    """A variable of R respondents, as the distinct values that occur and the number of each respondent's."""

    name: str
    values: tuple[Value, ...]
    """The D distinct values that occur: numbers ascending before texts, or levels in their own order."""
    code: NDArray[np.int32]
    """(R,) index into ``values``; -1 where the file holds nothing, as for questions that were not asked."""
    label: str | None = None
    """What the file says the variable is, often the text of the question."""
    labels: Mapping[Value, str] = field(default_factory=dict)
    """Labels of values, of which some may not occur."""
    missing: frozenset[Value] = frozenset()
    """Values, occurring or labelled, that the file declares to be missing."""
    measure: Literal["nominal", "ordinal", "scale"] | None = None
    """The level of measurement that the file states; None if it states none."""
    kind: Literal["number", "text", "date"] = "number"
    levels: bool = False
    """Whether the order of ``values`` is the file's own, as of a factor's levels."""
    unclear: str | None = None
    """A value of a column of texts that all seem to be numbers, and can be read in two ways."""
    problem: str | None = None
    """Why the column cannot be used, and what to do; None if it can."""

    def counts(self) -> NDArray[np.int64]:
        """Return how many respondents have each of the D values."""
        return np.bincount(self.code[self.code >= 0], minlength=len(self.values))

    def numbers(self) -> NDArray[np.float64]:
        """Return the (R,) numbers of the respondents; NaN for nothing, a declared missing value or a text."""
        known = [v if isinstance(v, float) and v not in self.missing else np.nan for v in self.values]
        return np.array([*known, np.nan], np.float64)[self.code]

    def known(self) -> set[Value]:
        """Return the values that occur or are labelled."""
        return {*self.values, *self.labels}

    def order(self, value: Value) -> tuple[int, float, str]:
        """Return by what values are sorted: levels, or numbers, then texts in the order of their labels."""
        if self.levels or self.kind == "text":
            return (0, self._places.get(value, len(self._places)), str(value))
        return (0, value, "") if isinstance(value, float) else (1, 0.0, value)

    @cached_property
    def _places(self) -> dict[Value, int]:
        """The places of labelled and occurring values in their order, made once: there may be many."""
        return {v: i for i, v in enumerate((*self.labels, *self.values))}


@dataclass(frozen=True)
class DeclaredSet:
    """A multiple-response set that a file declares: "mark all that apply"."""

    name: str
    names: tuple[str, ...]
    """The variables of which each says whether one thing was marked."""
    label: str | None = None
    """The question, often without which the labels of the variables say little."""
    counted: Value | None = None
    """The value that says that it was; None if the labels of values tell."""
    mentions: tuple[str, ...] = ()
    """The file's variables that these were made of, with one thing each that the respondent named."""


@dataclass(frozen=True)
class RespondentTable:
    """The variables of R respondents."""

    path: Path
    respondents: int
    """R."""
    columns: Mapping[str, Column]
    rows: Sequence[int] | None = None
    """The number of each respondent's row as a spreadsheet shows it; by default they count from 1."""
    sets: tuple[DeclaredSet, ...] = ()
    """Multiple-response sets that the file declares."""
    notes: tuple[tuple[str, str], ...] = ()
    """How the file was understood."""
    drops: tuple[tuple[str, str], ...] = ()
    """What of the file is not read, and why."""

    def row(self, respondent: int) -> int:
        """Return the number of a respondent's row."""
        return respondent + 1 if self.rows is None else self.rows[respondent]

    def find(self, name: str) -> Column | None:
        """Return the variable of a name, whose case need not agree if only one variable fits."""
        if name in self.columns:
            return self.columns[name]
        alike = [c for n, c in self.columns.items() if n.casefold() == name.casefold()]
        return alike[0] if len(alike) == 1 else None


def coded(cells: pa.ChunkedArray | pa.Array) -> tuple[tuple[Value, ...], NDArray[np.int32]]:
    """Encode cells by their distinct values.

    Args:
        cells: R numbers or texts; nulls and NaN are cells that hold nothing.

    Returns:
        The distinct values, numbers ascending and texts in the order in which they first occur, and the (R,)
        index of each cell's value, -1 for nothing.
    """
    whole = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
    if pa.types.is_floating(whole.type):
        whole = pc.if_else(pc.is_nan(whole), pa.scalar(None, whole.type), whole)
    encoded = whole.dictionary_encode()
    code = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    found = encoded.dictionary.to_pylist()
    if not pa.types.is_floating(whole.type):
        return tuple(found), code
    order = np.argsort(np.array(found, np.float64), kind="stable")
    place = np.full(len(found) + 1, -1, np.int32)
    place[order] = np.arange(len(found), dtype=np.int32)
    return tuple(found[i] for i in order.tolist()), place[code]


def shown_value(value: Value) -> str:
    """Return a value as a codebook writes it: 1.0 is 1."""
    return f"{value:.15g}" if isinstance(value, float) else value
