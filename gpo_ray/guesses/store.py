"""The folder in which guesses are gathered while they are made, so that an interrupted run goes on.

Guesses are written in shards, each atomically, and the manifest last. What was asked already, with the same
content, is not asked again.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gpo_ray.errors import DataError
from gpo_ray.guesses.asking import Asked
from gpo_ray.guesses.table import (
    GUESSES,
    HINT,
    IMPORTED,
    KIND,
    SHARD,
    Guess,
    GuessTable,
    Way,
    commit,
    guess_rows,
    read_beside,
    read_shards,
)
from gpo_ray.runtime.storage import MANIFEST, Folder, parquet_bytes

logger = logging.getLogger(__name__)

Entry = dict[str, Any]
"""A file's entry in the manifest."""


class GuessStore:
    """A folder of guesses that is being added to.

    Args:
        uri: the folder.

    Raises:
        DataError: if it holds something else.
    """

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        self.folder = Folder(uri, DataError)
        self._beside = GuessTable(GUESSES.empty_table())
        self._shards: dict[str, Entry] = {}

    def missing(self, asked: Sequence[Asked]) -> list[Asked]:
        """Open the folder for writing, and return what it does not hold yet.

        Damaged shards are removed, so that they are made again.

        Raises:
            DataError: if the folder holds damaged guesses of a table, which cannot be made again.
            DataError: if the folder holds something else, or an answer to one of the questions in the same
                way and role that depends on something else, such as another description of the group.
        """
        self.folder.claim(KIND)
        rows, self._shards, damaged = read_shards(self.folder)
        for name, problem in damaged.items():
            if name.startswith(IMPORTED):
                raise DataError(f"{problem}; choose another --out, or run gpo guess import again")
            logger.warning("%s; its questions are asked again", problem)
            self.folder.remove(name)
        if self.folder.exists(MANIFEST):
            manifest = self.folder.read_manifest(KIND, HINT, {"models": dict})
            self._beside = GuessTable(rows, *read_beside(self.folder, manifest))
        columns = (
            rows[c].to_pylist() for c in ("model", "asked", "as", "group_id", "question_key", "content")
        )
        there = {
            (Way(model, ask, style), group, key): content
            for model, ask, style, group, key, content in zip(*columns, strict=True)
        }
        left = []
        for a in asked:
            key = (a.way, a.group_id, a.question.key)
            if key not in there:
                left.append(a)
            elif there[key] != a.content:
                role = f" as {a.group_id}" if a.group_id else ""
                raise DataError(
                    f"{self.folder}: holds a guess for question {a.question.question_id!r}, asked for "
                    f"{a.way.asked} in style {a.way.style}{role}, that depends on another model, wording, "
                    "number of orders or seed; choose another --out"
                )
        return left

    def write(self, guesses: Sequence[Guess]) -> tuple[str, Entry]:
        """Write one shard under a name made from what its guesses depend on; return it and its entry.

        A repeated attempt, such as that of a restarted worker, replaces the shard.
        """
        identity = repr([(g.way, g.group_id, g.content) for g in guesses])
        name = f"{SHARD}{hashlib.sha256(identity.encode()).hexdigest()[:20]}.parquet"
        return name, self.folder.write(name, parquet_bytes(guess_rows(guesses)))

    def add(self, name: str, entry: Entry) -> None:
        """Count a shard among those of the folder."""
        self._shards[name] = entry

    def finish(self, model: str, fingerprint: str | None, **meta: Any) -> GuessTable:
        """Write the manifest, and return the whole table.

        Args:
            model: the model that was asked now.
            fingerprint: what identifies it; None if that is not known.
            meta: further values of the manifest.
        """
        rows, entries, _ = read_shards(self.folder)
        known = dict(self._beside.models) | {model: fingerprint}
        models = dict.fromkeys(sorted(set(rows["model"].to_pylist()))) | known
        table = replace(self._beside, guesses=rows, models=models)
        table.check(str(self.folder))
        commit(self.folder, self._shards | entries, table, **meta)
        return table
