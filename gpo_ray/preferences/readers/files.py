"""Checks of a file before it is read, and the bytes of one that may be compressed."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from gpo_ray.errors import DataError
from gpo_ray.runtime.tables import EXPANSION, SMALL


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


def file_bytes(path: Path) -> bytes:
    """Return the bytes of a file, decompressed if its name ends with ``.gz``.

    Raises:
        DataError: if it is no gzip file, is cut off, or holds far more than its length explains.
    """
    if path.suffix.lower() != ".gz":
        return path.read_bytes()
    most = max(SMALL, EXPANSION * path.stat().st_size)
    try:
        with gzip.open(path) as stream:
            data = stream.read(most + 1)
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(f"{path}: not a complete gzip file ({e}); get it again, or decompress it") from e
    if len(data) > most:
        raise DataError(f"{path}: holds more than {most / 1e9:.1f} GB; decompress it and divide it")
    return data
