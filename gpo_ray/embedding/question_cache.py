"""Cache the vectors of questions that a language model has read on this machine, for later predictions.

Loading a language model takes most of the time of a prediction, and people predict the same questions for
one group after another. So the vectors are kept in one SQLite file beside the converted models, under a hash
of everything that they depend on; the file holds no texts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from logging import getLogger
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpo_ray.lm.cache import cache_bytes, cache_folder, installed

MAX_BYTES = 256 * 2**20
"""Maximum size in bytes of the vectors that are kept; the least recently used ones are deleted first."""
WAIT = 2.0
"""Seconds to wait for another process to release the file; after that, the cache is not used."""
_LAYOUT = 2
"""Version of the file's layout, which is part of the file's name."""
_TABLE = (
    "CREATE TABLE questions (name BLOB PRIMARY KEY, used REAL NOT NULL, "
    "width INTEGER NOT NULL, vectors BLOB NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID"
)

logger = getLogger(__name__)


class QuestionCache:
    """A cache of the vectors that one language model gave for questions, by their keys.

    A cache that cannot be read or written is treated as empty, and no error is raised.
    """

    def __init__(self, *depends: str) -> None:
        """Open the cache for vectors that depend on the question and on ``depends``.

        Args:
            depends: fingerprint of the model, dtype, template and pooling.
        """
        self._depends = json.dumps([*depends, installed("transformers")])

    def get(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors (R, E), by key, of those questions that the cache holds."""
        found: dict[str, NDArray[np.float32]] = {}

        def look(connection: sqlite3.Connection) -> None:
            for key in keys:
                name = self._name(key)
                row = connection.execute(
                    "SELECT width, vectors, digest FROM questions WHERE name = ? AND LENGTH(vectors) <= ?",
                    (name, MAX_BYTES),
                ).fetchone()
                if row is not None:
                    if _digest(name, row[0], row[1]) != row[2]:
                        raise sqlite3.DatabaseError("damaged")
                    found[key] = np.frombuffer(row[1], np.float32).reshape(-1, row[0]).copy()
                    connection.execute("UPDATE questions SET used = ? WHERE name = ?", (time.time(), name))

        _transaction(look)
        return found

    def put(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep the vectors (R, E) of questions, by key."""
        rows = []
        for key, vector in vectors.items():
            name, data = self._name(key), np.ascontiguousarray(vector, np.float32).tobytes()
            rows.append((name, time.time(), vector.shape[1], data, _digest(name, vector.shape[1], data)))

        def keep(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO questions VALUES (?, ?, ?, ?, ?)", rows)
            _evict(connection)

        _transaction(keep)

    def _name(self, key: str) -> bytes:
        return hashlib.sha256(f"{self._depends}{key}".encode()).digest()


def question_cache_file() -> Path:
    """Return the path of the file with the vectors."""
    return cache_folder().parent / f"questions-{_LAYOUT}.sqlite"


def question_cache_bytes() -> int:
    """Return the size of the file with the vectors, in bytes."""
    try:
        return question_cache_file().stat().st_size
    except OSError:
        return 0


def clear_question_cache() -> None:
    """Delete the file with the vectors.

    Raises:
        OSError: if a file cannot be deleted.
    """
    for end in ("", "-journal", "-wal", "-shm"):
        Path(f"{question_cache_file()}{end}").unlink(missing_ok=True)


def _transaction(work: Callable[[sqlite3.Connection], None]) -> None:
    """Do ``work`` in one transaction; if this fails, only log the error."""
    file = question_cache_file()
    try:
        if cache_bytes() == 0:
            return  # the cache is switched off
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        with contextlib.closing(sqlite3.connect(file, timeout=WAIT)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")  # nobody changes the layout after it was checked
            _check_layout(connection)
            work(connection)
    except (OSError, sqlite3.OperationalError) as e:
        logger.info("%s: %s", file, e)
    except (sqlite3.DatabaseError, TypeError, ValueError) as e:  # a damaged file is deleted
        logger.info("%s: %s", file, e)
        with contextlib.suppress(OSError):
            clear_question_cache()


def _check_layout(connection: sqlite3.Connection) -> None:
    """Make the table in an empty file; refuse a file with anything but this table, such as a trigger.

    What a file defines runs when it is read or written, and may come from others.

    Raises:
        DatabaseError: if the file defines anything else.
    """
    found = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    if not found:
        connection.execute(_TABLE)
    elif found != [("table", "questions", _TABLE)]:
        raise sqlite3.DatabaseError("holds other tables than this program makes, or triggers")


def _digest(name: bytes, width: int, vectors: bytes) -> bytes:
    """Return the digest of a row, which reveals changed bytes; SQLite itself does not notice them."""
    return hashlib.sha256(b"%b %d %b" % (name, width, vectors)).digest()


def _evict(connection: sqlite3.Connection) -> None:
    """If the cache is too large, delete the least recently used vectors down to three quarters of its bound.

    The spare quarter avoids doing this at every call.
    """
    bound = min(MAX_BYTES, cache_bytes())
    total = connection.execute("SELECT COALESCE(SUM(LENGTH(vectors)), 0) FROM questions").fetchone()[0]
    if total <= bound:
        return
    oldest = connection.execute("SELECT name, LENGTH(vectors) FROM questions ORDER BY used").fetchall()
    for name, nbytes in oldest:
        if total <= 0.75 * bound:
            return
        connection.execute("DELETE FROM questions WHERE name = ?", (name,))
        total -= nbytes
