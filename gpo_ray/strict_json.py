"""JSON from strangers: it means one thing only, and reading it cannot exhaust the stack."""

from __future__ import annotations

import json
import math
from typing import Any

MOST_DEPTH = 64
"""Levels of lists and objects within one another; what is made here has less than ten."""


def parse_json(body: bytes) -> Any:
    """The value of a JSON text (RFC 8259), without the liberties that Python's parser takes.

    Raises:
        ValueError: if it is not UTF-8 or not JSON, repeats a key, holds a number that a double cannot,
            half a surrogate pair, or is nested in more than ``MOST_DEPTH`` levels.
    """
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite
        )
        _check_depth(value)
        if b"\\ud" in body or b"\\uD" in body:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as e:
        raise ValueError("nested too deeply") from e
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
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


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        level = [v for v in level if isinstance(v, (dict, list))]
        depth += 1
        if level and depth > MOST_DEPTH:
            raise ValueError(f"nested in more than {MOST_DEPTH} levels")
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
