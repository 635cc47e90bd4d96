"""Read single files on this machine's file system, regular ones only, and replace them atomically."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from gpo_ray.runtime.locks import TEMPORARY, temporary_held


def read_regular(path: str, most: int | None) -> tuple[int, bytes]:
    """Read a regular file, unless it is too long.

    Returns:
        The size of the file, and its bytes; no bytes if there are more than ``most``.

    Raises:
        OSError: if the file cannot be read or is not a regular one; a pipe is not waited for.
    """
    with open(path, "rb", buffering=0, opener=_at_once) as f:
        found = os.fstat(f.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is no regular file")
        if most is not None and found.st_size > most:
            return found.st_size, b""
        return found.st_size, f.readall()


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path beside ``target`` to write to; the file there takes the target's place when the block ends.

    Readers see the old file or the new one, never a part. If the block raises, the old file stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        with temporary_held(temporary):
            yield temporary
            with temporary.open("rb") as f:
                os.fsync(f.fileno())
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
