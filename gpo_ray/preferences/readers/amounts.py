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
MILLE = 1000.0
PER_MILLE = "divide them by 10 and name the column 'percent'"
EXACT = 1e-6
"""How far from the whole, as a part of it, a sum is not worth a note."""

Pairs = Mapping[tuple[str, str], Sequence[float]]
"""The numbers of each group and question."""


def most(unit: Unit) -> float:
    """Return the largest number that a column of a unit may hold."""
    return WHOLE[unit] * (1 + ROUNDING) if unit in WHOLE else float("inf")


def too_large_advice(unit: Unit, value: float) -> str:
    """Return what to do about a share or percentage that is more than the whole."""
    if unit == "share" and value <= WHOLE["percent"] * (1 + ROUNDING):
        return "name the column 'percent'"
    return f"if these are per mille, {PER_MILLE}; counts go into a column 'count'"


def _is_about(total: float, whole: float, off: float = ROUNDING + EXACT) -> bool:
    return abs(total / whole - 1) <= off


def rounding_note(path: Path, unit: Unit, group: str, prompt: str, total: float) -> str | None:
    """Return what to say of shares that do not add up to the whole; None if they do.

    Raises:
        DataError: if they are further from the whole than rounding explains.
    """
    off = total / WHOLE[unit] - 1
    if abs(off) > ROUNDING + EXACT:
        other = "percent" if unit == "share" else "share"
        advice = (
            f"name the column {other!r}"
            if _is_about(total, WHOLE[other])
            else f"if these are per mille, {PER_MILLE}"
            if _is_about(total, MILLE)
            else "give the shares of all responses of one choice, or the counts in a column 'count'"
        )
        raise DataError(
            f"{path}: the column {unit!r} of {group!r} adds up to {total:.6g} for {prompt[:60]!r}, not to "
            f"{WHOLE[unit]:g}; {advice}"
        )
    return f"{group}: adds up to {total:.6g} for {prompt[:60]!r}, scaled to 1" if abs(off) > EXACT else None


def require_counts(path: Path, pairs: Pairs) -> list[str]:
    """Check that a column ``count`` does not hold shares, whose sums would pass as respondents.

    They are taken for shares if no sum is above the whole, 1 or 100, and at least half of them are about the
    whole: a response may be left out of the others. A single sum of whole numbers proves nothing. Numbers
    with decimals that add up to about 1 are no counts, whatever the others are.

    Returns:
        What to say of sums that are just 100, or all just 1,000: they may be percentages or per mille.

    Raises:
        DataError: if the numbers look like shares or percentages.
    """
    sums = {pair: total for pair, numbers in pairs.items() if (total := sum(numbers)) > 0}
    whole = {pair for pair in sums if all(float(v).is_integer() for v in pairs[pair])}
    for unit, word in (("share", "shares"), ("percent", "percentages")):
        near = sum(_is_about(total, WHOLE[unit]) for total in sums.values())
        if near == 0 or 2 * near < len(sums) or max(sums.values()) > WHOLE[unit] * (1 + ROUNDING + EXACT):
            continue
        if len(whole) == len(sums) and (unit == "share" or near == 1):
            continue
        raise DataError(
            f"{path}: the column 'count' looks like {word}: it adds up to about {WHOLE[unit]:g} for {near} "
            f"of {len(sums)} groups and questions, and never to more; rename it {unit!r}, or, if it holds "
            "counts, add a column 'n' with the number of respondents"
        )
    for (group, _), total in ((pair, total) for pair, total in sums.items() if pair not in whole):
        if _is_about(total, WHOLE["share"]):
            raise DataError(
                f"{path}: the column 'count' adds up to {total:.6g} for {group!r} and to more for others, so "
                "that it seems to hold shares there; give counts for all groups, or add a column 'n' with "
                "the number of respondents"
            )
    return _round_sums(sums)


def _round_sums(sums: Mapping[tuple[str, str], float]) -> list[str]:
    said = "read as counts of so many people; if these are {}, {}"
    if len(sums) > 1 and all(_is_about(total, MILLE, EXACT) for total in sums.values()):
        return ["every group adds up to 1000: " + said.format("per mille", PER_MILLE)]
    advice = said.format("percentages", "name the column 'percent'")
    return [
        f"{g}: adds up to 100: {advice}" for (g, _), total in sums.items() if _is_about(total, 100, EXACT)
    ]
