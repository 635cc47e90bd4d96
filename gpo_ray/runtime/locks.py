"""Let only one writer at a time work in a folder.

The folder is on this machine, or on a file system that carries locks between hosts. The lock is the
operating system's lock of a file in the folder, so that it ends with the process that holds it, however
that process ends. The next writer removes what a killed writer left half-written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

LOCK = ".lock"
TEMPORARY = ".tmp-"
"""Beginning of the names of files and folders that are being written."""
_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_HOLDER = re.compile(r"process [0-9]{1,10} on [A-Za-z0-9._-]{1,100}")
_mine: dict[str, tuple[int, int]] = {}
"""Locks of this process by folder: the thread that holds the lock, and how often it took it."""
_guard = threading.Lock()


class TakenError(Exception):
    """Another writer holds the folder's lock; the message says which process."""


@contextlib.contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold a folder's lock during the block; the same thread may take it again.

    The folder is made if necessary, and removed at the end if nothing was put into it. If the file system
    has no locks, a warning is logged instead.

    Args:
        folder: the folder to write in.
        wait: whether to wait for another writer to end.

    Raises:
        TakenError: if another writer holds the lock and ``wait`` is false.
        OSError: if the folder cannot be written.
    """
    key = os.path.realpath(folder)
    while not _enter(key):
        if not wait:
            raise TakenError(f"process {os.getpid()} on this machine")
        time.sleep(0.2)
    try:
        made: list[Path] = []
        if _mine[key][1] > 1:
            yield
            return
        descriptor = _acquire(folder, made, wait)
        try:
            sweep(folder)
            yield
        finally:
            _release(folder, descriptor, made)
    finally:
        _leave(key)


def holds(folder: Path) -> bool:
    """Return whether this process holds the folder's lock."""
    return os.path.realpath(folder) in _mine


@contextlib.contextmanager
def temporary_held(path: Path) -> Iterator[None]:
    """Mark a temporary file or folder as one that is being written, so that :func:`sweep` leaves it alone.

    Args:
        path: an existing folder, or a file, which is made if necessary.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    try:
        with contextlib.suppress(OSError):  # a file system without locks has no lock for sweep() either
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove temporary files that dead writers left in the folder and in the folders directly inside.

    A folder inside with a lock file of its own is skipped; the next holder of that lock sweeps it.
    """
    for place in (folder, *(p for p in _listed(folder) if p.is_dir() and not p.is_symlink())):
        if place != folder and (place.name.startswith(TEMPORARY) or (place / LOCK).exists()):
            continue
        for left in _listed(place):
            if left.name.startswith(TEMPORARY):
                _remove_left(left)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _remove_left(path: Path) -> None:
    with contextlib.suppress(OSError):
        directory = path.is_dir() and not path.is_symlink()
        flags = os.O_RDONLY if directory else os.O_RDWR
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if directory:
                shutil.rmtree(path)
            else:
                path.unlink()
        finally:
            os.close(descriptor)


def _enter(key: str) -> bool:
    me = threading.get_ident()
    with _guard:
        holder, depth = _mine.get(key, (me, 0))
        if holder != me:
            return False
        _mine[key] = (me, depth + 1)
        return True


def _leave(key: str) -> None:
    with _guard:
        holder, depth = _mine.pop(key)
        if depth > 1:
            _mine[key] = (holder, depth - 1)


def _acquire(folder: Path, made: list[Path], wait: bool) -> int:
    """Take the lock and return its descriptor; folders that have to be made are appended to ``made``."""
    told = False
    while True:
        missing = [p for p in (folder, *folder.parents) if not p.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        made += [p for p in missing if p not in made]
        try:
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except FileNotFoundError:
            continue  # another writer has just removed the folder, which it had made
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno not in _TAKEN:
                logger.warning(
                    "%s: the file system knows no locks (%s); do not write here twice at a time", folder, e
                )
                return descriptor
            holder = _holder(descriptor)
            os.close(descriptor)
            if not wait:
                raise TakenError(holder) from e
            if not told:
                logger.warning("%s: waiting for %s, which writes there", folder, holder)
                told = True
            time.sleep(0.2)
            continue
        if os.fstat(descriptor).st_nlink:  # it is 0 if the file was removed after it was opened
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return descriptor
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """Return who holds a lock, if the file says so in the format that :func:`_acquire` writes."""
    found = _HOLDER.fullmatch(os.pread(descriptor, 200, 0).decode("ascii", "replace"))
    return found[0] if found else "another process"


def _release(folder: Path, descriptor: int, made: list[Path]) -> None:
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink()  # before closing: whoever waits for the lock sees that it is gone
    os.close(descriptor)
    for path in made:
        try:
            path.rmdir()
        except OSError:
            break  # the folder holds something else
