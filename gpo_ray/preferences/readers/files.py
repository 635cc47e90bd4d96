"""Checks of a file before it is read."""

from __future__ import annotations

from pathlib import Path

from gpo_ray.errors import DataError


def require_file(path: Path) -> None:
    """Check that a file exists and is not empty.

    Raises:
        DataError: if it does not exist, is a folder or is empty.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder where a file is expected; give the path of the file")
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")


def require_text(path: Path) -> None:
    """Check that a file exists, is not empty, and holds text.

    Raises:
        DataError: if it does not exist or is empty, or if it holds a NUL byte.
    """
    require_file(path)
    with path.open("rb") as stream:
        for i, line in enumerate(stream, 1):
            if b"\0" in line:
                raise DataError(
                    f"{path}: line {i} holds a NUL byte, so it is no text; save the file as UTF-8"
                )
