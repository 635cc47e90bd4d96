"""One writer at a time in a folder of this machine, or of a file system that carries locks between hosts.

The lock is the operating system's, on a file in the folder, so that it ends with the process that holds it,
however that ends. What a killed writer left half-written is removed by the next one.
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
"""How the names of files and folders begin that are being written."""
_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_HOLDER = re.compile(r"process [0-9]{1,10} on [A-Za-z0-9._-]{1,100}")
_mine: dict[str, tuple[int, int]] = {}
"""Locks of this process: by folder, the thread that holds it and how often."""
_guard = threading.Lock()


class TakenError(Exception):
    """Another writer holds the folder's lock; the message says who."""


@contextlib.contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold a folder's lock; the same thread may take it again.

    The folder is made if need be, and gone again at the end if nothing was put into it. Where the file
    system knows no locks there is a warning instead.

    Args:
        folder: to write in.
        wait: whether to wait for another writer to end.

    Raises:
        TakenError: if another writer holds it and ``wait`` is false.
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
    """Whether this process holds the folder's lock."""
    return os.path.realpath(folder) in _mine


@contextlib.contextmanager
def temporary_held(path: Path) -> Iterator[None]:
    """Mark a temporary file or folder as one that is being written, so that :func:`sweep` leaves it alone.

    Args:
        path: a folder that is there, or a file, which is made.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    try:
        with contextlib.suppress(OSError):  # no locks there: nor are there any to sweep by
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what writers that are gone were writing in the folder, and in those directly inside.

    A folder inside that has a lock of its own is left to whoever takes that.
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
    """The descriptor of the lock, once it is held; ``made`` takes the folders that were not there before."""
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
        if os.fstat(descriptor).st_nlink:  # else its holder removed it between our two steps
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return descriptor
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """Who holds a lock, as far as its file says so in the words of :func:`_acquire`."""
    found = _HOLDER.fullmatch(os.pread(descriptor, 200, 0).decode("ascii", "replace"))
    return found[0] if found else "another process"


def _release(folder: Path, descriptor: int, made: list[Path]) -> None:
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink()  # while it is held: whoever waits for it sees that it is gone
    os.close(descriptor)
    for path in made:
        try:
            path.rmdir()
        except OSError:
            break  # it holds something
