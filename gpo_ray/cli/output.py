"""What commands print."""

from __future__ import annotations

import json
import sys
from typing import Any

from gpo_ray.runtime.terminal_text import shown


def print_json(result: dict[str, Any]) -> None:
    """One JSON object on one line of standard output."""
    print(json.dumps(result, allow_nan=False), flush=True)


def report(result: dict[str, Any], as_json: bool, text: str) -> None:
    """A command's result: as JSON, or as a line of text with its fields filled in."""
    if as_json:
        print_json(result)
    elif text:
        print(shown(text.format(**result)))


def progress(as_json: bool = False) -> bool:
    """Whether to show progress: always on a terminal, and otherwise unless only JSON was asked for."""
    return sys.stderr.isatty() or not as_json
