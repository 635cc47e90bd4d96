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
from gpo_ray.runtime.tables import EXPANSION, SMALL

CELLS = 2_000_000
"""Most cells that are read at a time: pyreadstat makes a Python object of each."""
TEXT_BYTES = 2**30
"""Most bytes that the texts which are read at a time may have, by the widths of their variables."""
CELL_BYTES = 32
"""Bytes that a cell is counted with: those of a Python float and of its place in a list."""
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
    try:
        with open("/proc/self/statm") as f:
            now = int(f.read().split()[0]) * resource.getpagesize()
    except OSError:
        now = 2**31
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
    meta = part(metadataonly=True)[1]
    width = len(meta.column_names)
    texts = [n for n, kind in meta.readstat_variable_types.items() if kind == "string"]
    broad = sum(meta.variable_storage_width.get(n) or 0 for n in texts)
    rows = max(1, min(settings["cells"] // max(1, width), settings["texts"] // max(1, broad)))
    size = (meta.number_rows or 0) * width * settings["cell"]
    at, size, read = 0, size if size > settings["most"] else 0, width <= settings["variables"]
    while read and size <= settings["most"] and (at == 0 or settings["whole"]):
        cells = part(row_offset=at, row_limit=rows)[0]
        read = len(next(iter(cells.values()), ()))
        size += read * width * settings["cell"]
        size += sum(len(text) for n in texts for text in cells.get(n, ()) if isinstance(text, str))
        at += rows
        read *= read == rows
except MemoryError:
    sys.exit(77)
except Exception as e:
    sys.exit(77 if "allocate memory" in str(e) else 1)
"""


def try_reading(path: Path, function: str, options: Mapping[str, Any]) -> None:
    """Read a file, or the first rows of a large one, in another process.

    Errors that pyreadstat raises are none here: the reader has them again. So has it the bound of
    :func:`check_size`, at which the trial ends.

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
        "most": most_bytes(path),
        "cell": CELL_BYTES,
        "cells": CELLS,
        "texts": TEXT_BYTES,
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


def most_bytes(path: Path) -> int:
    """Return how many bytes the cells of a file may be counted with, as for Parquet files.

    A repeated row takes next to nothing in a compressed file, so that some kilobytes may hold any number.
    """
    return max(SMALL, EXPANSION * path.stat().st_size)


def check_size(path: Path, size: int, what: str) -> None:
    """Check that the cells of a file do not take far more memory than its length.

    Args:
        path: the file.
        size: bytes that its cells are counted with.
        what: what of the file takes them.

    Raises:
        DataError: if they do.
    """
    if size > most_bytes(path):
        raise DataError(
            f"{path}: {what} would take {size / 1e9:,.1f} GB in memory, more than {EXPANSION} times its "
            f"length and than {SMALL / 1e9:.1f} GB; keep fewer of them, or get a complete copy of a damaged "
            "file"
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
