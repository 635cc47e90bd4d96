"""What the numbers of a table are: counts, shares or percentages; and whether they can be that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from gpo_ray.errors import DataError

Unit = Literal["count", "share", "percent"]
UNITS: tuple[Unit, ...] = ("count", "share", "percent")
WHOLE = {"share": 1.0, "percent": 100.0}
"""What a group's numbers for a question add up to."""
ROUNDING = 0.02
"""How far from the whole, as a part of it, rounded shares may add up to."""
EXACT = 1e-6
"""How far from the whole, as a part of it, a sum is not worth a note."""

Pairs = Mapping[tuple[str, str], Sequence[float]]
"""The numbers of each group and question."""


def most(unit: Unit) -> float:
    """Return the largest number that a column of a unit may hold."""
    return WHOLE[unit] * (1 + ROUNDING) if unit in WHOLE else float("inf")


def rounding_note(path: Path, unit: Unit, group: str, prompt: str, total: float) -> str | None:
    """Return what to say of shares that do not add up to the whole; None if they do.

    Raises:
        DataError: if they are further from the whole than rounding explains.
    """
    off = total / WHOLE[unit] - 1
    if abs(off) > ROUNDING + EXACT:
        other = "percent" if unit == "share" else "share"
        near = abs(total / WHOLE[other] - 1) <= ROUNDING + EXACT
        advice = (
            f"name the column {other!r}"
            if near
            else "give the shares of all responses of one choice, or the counts in a column 'count'"
        )
        raise DataError(
            f"{path}: the column {unit!r} of {group!r} adds up to {total:.6g} for {prompt[:60]!r}, not to "
            f"{WHOLE[unit]:g}; {advice}"
        )
    return f"{group}: adds up to {total:.6g} for {prompt[:60]!r}, scaled to 1" if abs(off) > EXACT else None


def require_counts(path: Path, pairs: Pairs) -> None:
    """Check that a column ``count`` does not hold shares, whose sums would pass as respondents.

    They are taken for shares if no sum is above the whole, 1 or 100, and at least half of them are about the
    whole: a response may be left out of the others. A single sum of whole numbers proves nothing.

    Raises:
        DataError: if the numbers look like shares or percentages.
    """
    sums = [total for numbers in pairs.values() if (total := sum(numbers)) > 0]
    all_whole = all(float(v).is_integer() for numbers in pairs.values() for v in numbers)
    for unit, word in (("share", "shares"), ("percent", "percentages")):
        off = [total / WHOLE[unit] - 1 for total in sums]
        near = sum(abs(part) <= ROUNDING + EXACT for part in off)
        if near == 0 or 2 * near < len(sums) or max(off) > ROUNDING + EXACT:
            continue
        if all_whole and (unit == "share" or near == 1):
            continue
        raise DataError(
            f"{path}: the column 'count' looks like {word}: it adds up to about {WHOLE[unit]:g} for {near} "
            f"of {len(sums)} groups and questions, and never to more; rename it {unit!r}, or, if it holds "
            "counts, add a column 'n' with the number of respondents"
        )
