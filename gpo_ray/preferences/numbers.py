"""Single numbers of files, each checked, with errors that say where it stands."""

from __future__ import annotations

import math
import re
from typing import Any

from gpo_ray.errors import DataError, shortened

ADVICE = "correct it in the source"

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.I)


def as_number(value: Any, where: str, advice: str = ADVICE) -> float:
    """Convert a number, which may be nan or infinite, to a float.

    Args:
        value: an int or float; neither a bool nor a text counts as a number.
        where: file, row and name of the value, for the error message.
        advice: what the user can do, for the error message.

    Raises:
        DataError: if the value is not a number or too large for a float.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where} {shorten(value)} is not a number; {advice}")
    try:
        return float(value)
    except OverflowError as e:
        raise DataError(f"{where} is a number too large to read; {advice}") from e


def finite_number(value: Any, where: str, advice: str = ADVICE) -> float:
    """Convert a finite number to a float; the arguments are those of :func:`as_number`.

    Raises:
        DataError: if the value is not a finite number.
    """
    number = as_number(value, where, advice)
    if not math.isfinite(number):
        raise DataError(f"{where} is {number}, not finite; {advice}")
    return number


def text_number(text: str, where: str, advice: str = ADVICE) -> float:
    """Parse a finite number in plain decimal notation from a cell of a CSV file.

    Raises:
        DataError: if the text is not such a number; ``1_000``, which Python accepts, is not.
    """
    if not _DECIMAL.fullmatch(text.strip()):
        raise DataError(f"{where} {shorten(text)} is not a number; {advice}")
    return finite_number(float(text), where, advice)


def shorten(value: Any) -> str:
    """Format a value for an error message, with bounded length."""
    if isinstance(value, str):
        return repr(shortened(value, 80))
    return (
        repr(value) if value is None or isinstance(value, bool | float) else f"of type {type(value).__name__}"
    )
