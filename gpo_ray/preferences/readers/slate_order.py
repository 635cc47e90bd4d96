"""The order of a question's responses and their values on a scale, as the rows of a table tell them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from gpo_ray.errors import DataError

GIVE_POSITION = "give the order in a column 'position'"


@dataclass
class Scale:
    """What the rows of one question say of its responses' order and scale."""

    position: dict[str, float | None] = field(default_factory=dict)
    value: dict[str, float | None] = field(default_factory=dict)
    ordered: bool | None = None
    """Whether the order of the responses is a scale; None if no row says."""

    def take(self, name: str, response: str, number: float | None, where: str) -> None:
        """Enter a row's position or scale value of a response.

        Raises:
            DataError: if another row gives another one.
        """
        known = self.position if name == "position" else self.value
        if known.setdefault(response, number) != number:
            raise DataError(
                f"{where}: {name} of response {response[:60]!r} is {_shown(known[response])} before and "
                f"{_shown(number)} here; give each response of a question one"
            )

    def take_ordered(self, ordered: bool, where: str) -> None:
        """Enter whether a row says that the question's responses are ordered.

        Raises:
            DataError: if another row says the opposite.
        """
        if self.ordered is None:
            self.ordered = ordered
        if self.ordered != ordered:
            raise DataError(f"{where}: ordered is {self.ordered} in a row before and {ordered} here")

    def order(
        self, responses: Iterable[str], sequences: Iterable[Sequence[str]], where: str
    ) -> tuple[tuple[str, ...], tuple[float, ...] | None]:
        """Return a question's R responses in order, and their R values on the scale, None if it has none.

        Args:
            responses: the responses in the order in which they first appear.
            sequences: for each group, its responses in the order of its rows.
            where: words that locate the question in error messages.

        Raises:
            DataError: if only some responses have a position or a value, two have the same position, or the
                order of ordered responses does not follow from the rows.
        """
        slate = list(responses)
        has_position = self._all("position", self.position, slate, where)
        has_value = self._all("scale", self.value, slate, where)
        if has_position:
            slate.sort(key=lambda r: self.position[r] or 0.0)
            for a, b in pairwise(slate):
                if self.position[a] == self.position[b]:
                    raise DataError(f"{where}: responses {a[:60]!r} and {b[:60]!r} have the same position")
        if has_value:
            if self.ordered is False:
                raise DataError(f"{where}: ordered is false, but the responses have values on a scale")
            return tuple(slate), tuple(self.value[r] or 0.0 for r in slate)
        if not self.ordered:
            return tuple(slate), None
        if not has_position:
            slate = _merged(slate, sequences, where)
        return tuple(slate), tuple(float(i) for i in range(1, len(slate) + 1))

    def _all(self, name: str, known: Mapping[str, float | None], slate: list[str], where: str) -> bool:
        """Return whether all responses have a value, after checking that otherwise none has."""
        absent = [r for r in slate if known.get(r) is None]
        if 0 < len(absent) < len(slate):
            raise DataError(
                f"{where}: response {absent[0][:60]!r} has no {name}, but others have; give it one, or leave "
                "its rows out"
            )
        return not absent


def _shown(number: float | None) -> str:
    return "empty" if number is None else f"{number:g}"


def _merged(slate: list[str], sequences: Iterable[Sequence[str]], where: str) -> list[str]:
    """Return the one order that agrees with all groups' rows.

    A group without a row for a response says nothing of it; so the order of first appearance may be wrong.
    """
    before: dict[str, set[str]] = {response: set() for response in slate}
    for sequence in sequences:
        for a, b in pairwise(sequence):
            before[b].add(a)
    try:
        order = [*TopologicalSorter(before).static_order()]
    except CycleError as e:
        raise DataError(f"{where}: two groups have the responses in different orders; {GIVE_POSITION}") from e
    for a, b in pairwise(order):
        if a not in before[b]:
            raise DataError(
                f"{where}: the rows do not say whether {a[:60]!r} or {b[:60]!r} comes first; {GIVE_POSITION}"
            )
    return order
