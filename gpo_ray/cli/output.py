"""Print the results of commands."""

from __future__ import annotations

import json
import sys
from typing import Any

from gpo_ray.runtime.terminal_text import shown


def print_json(result: dict[str, Any]) -> None:
    """Print one JSON object on one line of standard output."""
    print(json.dumps(result, allow_nan=False), flush=True)


def report(result: dict[str, Any], as_json: bool, text: str) -> None:
    """Print a command's result: as JSON, or as a line of text with its fields filled in."""
    if as_json:
        print_json(result)
    elif text:
        print(shown(text.format(**result)))


def progress(as_json: bool = False) -> bool:
    """Return whether to show progress: always on a terminal, otherwise unless only JSON is wanted."""
    return sys.stderr.isatty() or not as_json
