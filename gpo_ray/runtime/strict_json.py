"""Parse JSON from strangers so that it has one meaning only, and so that parsing cannot exhaust the stack."""

from __future__ import annotations

import json
import math
import re
from functools import partial
from typing import Any

MAX_DEPTH = 64
"""Most levels of lists and objects nested in one another; this package writes fewer than ten."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)


class TooMuchError(ValueError):
    """A JSON text holds more than it may."""


def parse_strict_json(body: bytes, most_values: int | None = None, most_keys: int | None = None) -> Any:
    """Return the value of a JSON text (RFC 8259), without the liberties that Python's parser takes.

    Args:
        body: the text.
        most_values: most values in the text, all levels together; by default any number. They are counted
            first, since parsing takes far longer and blocks the rest of the process.
        most_keys: most keys of each object; by default any number.

    Raises:
        TooMuchError: if there are more values or keys.
        ValueError: if the text is not UTF-8 or not JSON, repeats a key, holds a number that a double cannot,
            half a surrogate pair, or is nested in more than ``MAX_DEPTH`` levels.
    """
    if most_values is not None:
        check_amount(body, most_values)
    make = partial(make_object, most_keys)
    try:
        value = json.loads(body.decode(), object_pairs_hook=make, parse_constant=_refuse, parse_float=_finite)
        check_value(value, body)
    except RecursionError as e:
        raise ValueError("nested too deeply") from e
    return value


def check_amount(body: bytes, most: int) -> None:
    """Check that a JSON text holds no more than ``most`` values, all levels together.

    Raises:
        TooMuchError: if it holds more.
    """
    if len(body) <= most:
        return
    bare = _STRING.sub(b"", body)
    # each value but the outermost follows one of these characters
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > most:
        raise TooMuchError(f"more than {most:,} values")


def check_value(value: Any, body: bytes) -> None:
    """Check the value that a parser made from a JSON text.

    Args:
        value: the value.
        body: the text that it was made from.

    Raises:
        ValueError: if it is nested in more than ``MAX_DEPTH`` levels, or holds half a surrogate pair.
    """
    level, depth = [value], 0
    while level:
        level = [v for v in level if isinstance(v, (dict, list))]
        depth += 1
        if level and depth > MAX_DEPTH:
            raise ValueError(f"nested in more than {MAX_DEPTH} levels")
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
    if b"\\ud" in body or b"\\uD" in body:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as e:
            raise ValueError(f"a text holds half a character ({e})") from e


def make_object(most_keys: int | None, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its keys and values, as a parser's hook.

    Raises:
        TooMuchError: if there are more than ``most_keys`` keys.
        ValueError: if a key is repeated.
    """
    if most_keys is not None and len(pairs) > most_keys:
        raise TooMuchError(f"an object of more than {most_keys} keys")
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is repeated")
    return made


def _refuse(_: str) -> Any:
    raise ValueError("not a number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value
