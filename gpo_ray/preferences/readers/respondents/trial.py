"""Reading a file of SPSS, Stata or SAS in a process of its own first, since a damaged one can end it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpo_ray.errors import DataError

CELLS = 2_000_000
"""Most cells that are read at a time: pyreadstat makes a Python object of each."""
MOST_VARIABLES = 20_000
"""Most variables of a file; more are a damaged file, or no survey."""
DAMAGED = "get a complete copy, or export it anew"

TRIAL_BYTES, TRIAL_SECONDS = 2**24, 300
"""Of larger files the first rows are tried; and how long a trial may take."""
TRIAL_MEMORY = 2**32
"""Most bytes of memory that a trial may take: a damaged file may ask for any amount."""
_TOO_MUCH = 77

_TRIAL = """
import json, os, sys
import pyreadstat
function, path, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
try:
    import resource
    with open("/proc/self/statm") as f:
        now = int(f.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = now + settings["memory"]
    resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))
except (ImportError, OSError, ValueError):
    pass
def part(**rows):
    return getattr(pyreadstat, function)(
        path, output_format="dict", disable_datetime_conversion=True, **settings["options"], **rows
    )
try:
    width = len(part(metadataonly=True)[1].column_names)
    rows, at, read = max(1, settings["cells"] // max(1, width)), 0, 1
    while width <= settings["variables"] and read and (at == 0 or settings["whole"]):
        read = len(next(iter(part(row_offset=at, row_limit=rows)[0].values()), ()))
        at += rows
        read *= read == rows
except MemoryError:
    sys.exit(77)
except Exception as e:
    sys.exit(77 if "allocate memory" in str(e) else 1)
"""


def try_reading(path: Path, function: str, options: Mapping[str, Any]) -> None:
    """Read a file, or the first rows of a large one, in another process.

    Errors that pyreadstat raises are none here: the reader has them again.

    Args:
        path: the file.
        function: name of pyreadstat's function.
        options: arguments of it.

    Raises:
        DataError: if the process crashes, does not end, or takes too much memory.
    """
    settings = {
        "options": dict(options),
        "memory": TRIAL_MEMORY,
        "cells": CELLS,
        "variables": MOST_VARIABLES,
        "whole": path.stat().st_size <= TRIAL_BYTES,
    }
    command = [sys.executable, "-c", _TRIAL, function, str(path), json.dumps(settings)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        tried = subprocess.run(  # noqa: S603 -- this interpreter, with this module's text
            command, env=environment, capture_output=True, timeout=TRIAL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as e:
        raise DataError(f"{path}: it takes too long to read; {DAMAGED}") from e
    if tried.returncode < 0:
        raise DataError(f"{path}: the file is damaged, reading it crashes; {DAMAGED}")
    if tried.returncode == _TOO_MUCH:
        raise DataError(
            f"{path}: reading it takes too much memory, as it does for damaged files, and for those with "
            f"hundreds of thousands of labels; {DAMAGED}"
        )


def check_width(path: Path, number: int) -> None:
    """Check that a file does not have too many variables.

    Raises:
        DataError: if it does.
    """
    if number > MOST_VARIABLES:
        raise DataError(
            f"{path}: the file holds {number:,} variables, and {MOST_VARIABLES:,} are read at most; keep "
            "those of the survey"
        )
