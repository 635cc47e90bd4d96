"""Labels of one column in their normal form.

What differs in spaces or in typographic signs is one label, what differs in case is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gpo_ray.errors import DataError
from gpo_ray.preferences.labels import folded_label, normal_label, plain_label
from gpo_ray.preferences.readers.cells import as_text
from gpo_ray.preferences.readers.common import Collector

TRUTH = frozenset(["true", "false", "wahr", "falsch", "vrai", "faux", "verdadero", "falso", "vero"])
"""How spreadsheets write truth values into a text file."""
MAX_NOTES = 20
"""Number of notes of one kind that are written in full; the others are counted."""


class Spellings:
    """The spellings of the labels of one column.

    Args:
        name: the column's name.
        place: gives the words that locate the row of an index.
        merge_case: whether labels that differ in case alone become one, in its first spelling.
    """

    def __init__(self, name: str, place: Callable[[int], str], merge_case: bool) -> None:
        self._name, self._place, self._merge_case = name, place, merge_case
        self._first: dict[tuple[str, str], tuple[str, int]] = {}
        self._known: dict[tuple[str, str], str] = {}
        self._notes: list[str] = []

    def take(self, cell: Any, row: int, within: str = "") -> str:
        """Return the label of a cell in its normal form.

        Args:
            cell: the cell of the file.
            row: index of its row.
            within: what the labels belong to, such as a question; only labels within the same are compared.

        Raises:
            DataError: if the cell is empty, or differs in case alone from a label before it.
        """
        raw = as_text(cell)
        known = self._known.get((within, raw))
        if known is None:
            known = self._known[within, raw] = self._new(raw, row, within)
        return known

    def _new(self, raw: str, row: int, within: str) -> str:
        label = normal_label(raw)
        if not label:
            raise DataError(f"{self._place(row)}: {self._name} is empty; fill it in or remove the row")
        first, at = self._first.setdefault((within, folded_label(raw)), (label, row))
        if label == first:
            if raw.strip() != label:
                self._notes.append(f"{raw[:60]!r} is read as {label[:60]!r}")
            return label
        if plain_label(label) == plain_label(first):
            self._notes.append(f"{label[:60]!r} is read as {first[:60]!r}, typed with other signs before")
            return first
        if not self._merge_case:
            raise DataError(
                f"{self._place(row)}: {self._name} {label[:60]!r} differs in case alone from {first[:60]!r} "
                f"in {self._place(at).rpartition(': ')[2]}; write them alike, or merge them with --merge-case"
            )
        self._notes.append(f"{label[:60]!r} is merged with {first[:60]!r}")
        return first

    def note(self, into: Collector, file: str) -> None:
        """Log which spellings were read as another, and texts that other formats have as truth values."""
        truth = sorted({label for label in self._known.values() if label.casefold() in TRUTH})
        if truth:
            self._notes.append(
                f"{' and '.join(truth)} stay texts; in a workbook or Parquet file they are 'Yes' and 'No'"
            )
        note_some(into, f"{file}: column {self._name!r}", self._notes)


def note_some(into: Collector, where: str, notes: list[str]) -> None:
    """Log notes of one kind: the first of them in full, and how many more there are."""
    for text in notes[:MAX_NOTES]:
        into.note(where, text)
    if len(notes) > MAX_NOTES:
        into.note(where, f"and {len(notes) - MAX_NOTES} more of this kind")


def normal_levels(levels: Iterable[str]) -> list[str]:
    """Return a factor's levels in their normal form, without empty ones and those that become the same."""
    return [*dict.fromkeys(label for level in levels if (label := normal_label(level)))]
