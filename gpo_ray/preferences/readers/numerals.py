"""Reading numbers as people write them: decimal commas, signs between thousands, percent signs.

Which signs a column uses follows from all of its numbers together. Where they allow two readings, as "1.412"
beside "987" does, the column is refused: an option says which is meant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpo_ray.errors import DataError

GIVE_A_NUMBER = "leave the row out or give a number"
PER_MILLE = "in per mille; divide the numbers of the column by 10 and write them with percent signs"

MAX_PERCENT = 102.0
"""The largest percentage of a response, up to rounding."""

_SPACES = str.maketrans(dict.fromkeys("\u00a0\u202f\u2007\u2009\u2008", " ") | {"’": "'", "−": "-"})
"""The spaces that are set between thousands, the typographic apostrophe and the minus sign."""
_NUMBER = re.compile(r"(?P<sign>[+-]?)(?P<body>(?:\d[\d.,' ]*|[.,]\d+))(?P<exponent>[eE][+-]?\d+)?", re.ASCII)
_MARKS = ".,"
_OTHER = {".": ",", ",": "."}


@dataclass(frozen=True)
class Numbers:
    """The numbers of a column and how they were read."""

    values: NDArray[np.float64]
    percent: bool
    """Whether all numbers had a percent sign; the values are not divided by 100."""
    note: str | None
    """What was understood, where it is not plain decimal notation."""


@dataclass(frozen=True)
class Signs:
    """The signs that the numbers of a column may have."""

    decimal: str | None = None
    """``.`` or ``,``; None if it is not known."""
    thousands: str | None = None
    """``.``, ``,``, ``'`` or a space; None if it is not known."""
    most: float = np.inf
    """The largest number that a column may hold: a reading with signs between thousands that is larger "
    "is none."""


@dataclass
class _Evidence:
    """For each of the signs ``.`` and ``,``: the first row that shows what it means."""

    decimal: dict[str, int]
    thousands: dict[str, int]
    either: dict[str, int]


def read_numbers(
    cells: Sequence[Any],
    place: Callable[[int], str],
    signs: Signs | None = None,
    advice: str = GIVE_A_NUMBER,
) -> Numbers:
    """Read a column of numbers, each a text or, in a workbook or a Parquet file, a number already.

    Args:
        cells: the column's cells.
        place: gives the words that locate the cell of an index, with the name of the column.
        signs: what is known of the signs; by default nothing is.
        advice: what the user can do about a cell that is no number.

    Raises:
        DataError: for a cell that is not one finite number, percent signs in some cells only, and signs that
            allow two readings or contradict each other.
    """
    known = signs or Signs()
    texts = {i: _plain(cell) for i, cell in enumerate(cells) if isinstance(cell, str)}
    percent = _all_percent(texts, len(cells), place)
    if percent:
        known = replace(known, most=MAX_PERCENT)
    parts = {}
    for i, text in texts.items():
        found = _NUMBER.fullmatch(text.removesuffix("%").rstrip())
        if found is None:
            what = PER_MILLE if "‰" in text else f"not a number; {advice}"
            raise DataError(f"{place(i)} {cells[i][:80]!r} is {what}")
        parts[i] = found
    used = _signs(parts, cells, place, known)
    values = np.zeros(len(cells))
    for i, cell in enumerate(cells):
        values[i] = _value(parts[i], used, cell, place(i)) if i in parts else _typed(cell, place, i, advice)
    return Numbers(values, percent, _note(used, parts, percent))


def _row(where: str) -> str:
    """Return the words of a place without the name of the file, which the message has named."""
    _, mark, row = where.rpartition(": row ")
    return f"row {row}" if mark else where


def _plain(cell: str) -> str:
    return cell.translate(_SPACES).strip()


def _all_percent(texts: dict[int, str], n: int, place: Callable[[int], str]) -> bool:
    """Return whether all cells have a percent sign, after checking that otherwise none has."""
    signed = [i for i, text in texts.items() if text.endswith("%")]
    if not signed or len(signed) == n:
        return bool(signed)
    bare = min({*range(n)} - {*signed})
    raise DataError(
        f"{place(bare)} has no percent sign, but {_row(place(signed[0]))} has one; write all numbers "
        "of the column alike"
    )


def _signs(
    parts: dict[int, re.Match[str]], cells: Sequence[Any], place: Callable[[int], str], known: Signs
) -> Signs:
    """Decide which signs a column uses, from what is known and what its numbers show."""
    decimal, thousands = known.decimal, known.thousands
    if decimal is not None and decimal == thousands:
        raise DataError(f"{place(0)}: the decimal sign and the sign between thousands are both {decimal!r}")
    if decimal is None and thousands in _OTHER:
        decimal = _OTHER[thousands]
    if decimal is not None:
        return Signs(decimal, thousands, known.most)
    seen = _evidence(parts, known.most)

    def shown(i: int, again: bool = False) -> str:
        return f"{_row(place(i)) if again else place(i)} {cells[i][:40]!r}"

    for mark in _MARKS:
        if mark in seen.decimal and mark in seen.thousands:
            raise DataError(
                f"{shown(seen.decimal[mark])} has {mark!r} before its decimals, but "
                f"{shown(seen.thousands[mark], again=True)} has it between thousands; write the numbers of "
                "the column alike"
            )
    for mark in _MARKS:
        other = _OTHER[mark]
        if mark in seen.decimal or other in seen.thousands:
            if other in seen.decimal:
                raise DataError(
                    f"{shown(seen.decimal[mark])} and {shown(seen.decimal[other], again=True)} have "
                    "different decimal signs; write the numbers of the column alike"
                )
            if mark in seen.thousands:
                raise DataError(
                    f"{shown(seen.thousands[mark])} and {shown(seen.thousands[other], again=True)} have "
                    "different signs between thousands; write the numbers of the column alike"
                )
            return Signs(mark, thousands, known.most)
    for mark, i in seen.either.items():
        raise DataError(
            f"{shown(i)} is ambiguous: {mark!r} may be the decimal sign or stand between thousands; say "
            f"which with --decimal {mark} or --thousands {mark}"
        )
    return Signs(".", thousands, known.most)


def _evidence(parts: dict[int, re.Match[str]], most: float) -> _Evidence:
    """Collect what each number shows about the meaning of ``.`` and ``,``."""
    seen = _Evidence({}, {}, {})
    for i, found in parts.items():
        body = found["body"]
        marks = [c for c in body if c in _MARKS]
        if not marks:
            continue
        last = marks[-1]
        if len(set(marks)) == 2:
            seen.decimal.setdefault(last, i)
            seen.thousands.setdefault(_OTHER[last], i)
        elif len(marks) > 1:
            seen.thousands.setdefault(last, i)
        else:
            before, _, after = body.partition(last)
            grouped = re.fullmatch(r"[1-9]\d{0,2}", before) and len(after) == 3 and after.isdigit()
            if grouped and not found["exponent"] and int(before + after) <= most:
                seen.either.setdefault(last, i)
            else:
                seen.decimal.setdefault(last, i)
    return seen


def _value(found: re.Match[str], signs: Signs, cell: str, where: str) -> float:
    """Return the value of a number that is written with a column's signs."""
    if found["body"].isdigit() and not found["exponent"]:
        return _finite(float(found[0]), cell, where)
    decimal = signs.decimal or "."
    whole, _, fraction = found["body"].partition(decimal)
    allowed = signs.thousands or f"{_OTHER[decimal]}' "
    grouping = {c for c in whole if not c.isdigit()}
    if grouping:
        sign = min(grouping)
        grouped = len(grouping) == 1 and sign in allowed
        if not grouped or not re.fullmatch(rf"[1-9]\d{{0,2}}(?:{re.escape(sign)}\d{{3}})+", whole):
            raise DataError(
                f"{where} {cell[:80]!r} is not a number with {decimal!r} before decimals and "
                f"{' or '.join(map(repr, allowed))} between groups of three digits; correct it, or see "
                "--decimal and --thousands"
            )
        whole = whole.replace(sign, "")
    if not re.fullmatch(r"\d*", fraction, re.ASCII):
        raise DataError(f"{where} {cell[:80]!r} is not one number; {GIVE_A_NUMBER}")
    return _finite(
        float(f"{found['sign']}{whole or 0}.{fraction or 0}{found['exponent'] or ''}"), cell, where
    )


def _typed(cell: Any, place: Callable[[int], str], i: int, advice: str) -> float:
    """Return the value of a cell that is no text."""
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        shown = "is empty" if cell is None else f"{cell!r} is not a number"
        raise DataError(f"{place(i)} {shown}; {advice}")
    try:
        return _finite(float(cell), cell, place(i))
    except OverflowError as e:
        raise DataError(f"{place(i)} is too large a number; {advice}") from e


def _finite(value: float, cell: Any, where: str) -> float:
    if not math.isfinite(value):
        raise DataError(f"{where} {str(cell)[:80]} is not a finite number; {GIVE_A_NUMBER}")
    return value


def _note(signs: Signs, parts: dict[int, re.Match[str]], percent: bool) -> str | None:
    """Return what was understood of numbers that are not in plain decimal notation."""
    bodies = [found["body"] for found in parts.values()]
    decimal = signs.decimal or "."
    said = [f"{decimal!r} before decimals"] if any(decimal in body for body in bodies) else []
    for sign in f"{_OTHER[decimal]}' ":
        if any(sign in body for body in bodies):
            said.append(f"{sign!r} between thousands")
    if percent:
        said.append("a percent sign")
    return "numbers are read with " + " and ".join(said) if said else None
