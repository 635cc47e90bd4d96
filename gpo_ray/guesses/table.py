"""The table of guesses: what a language model thinks how people answer, question by question.

A *guess* is a distribution over the responses of a question. It belongs to a :class:`Way`, in which the
model was asked, and to the group as whom it was asked, if any. A question that was asked and brought no
distribution has the reason instead: nothing is put in its place.

Shapes: R responses of a question.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import SHARE_TOLERANCE, Question
from gpo_ray.preferences.labels import response_labels, response_order
from gpo_ray.preferences.slates import Array
from gpo_ray.preferences.tables import NOTES, as_schema, log_table, read_stored
from gpo_ray.runtime.storage import MANIFEST, Folder, parquet_bytes, read_parquet_bytes

KIND, SHARD = "guesses", "guesses-"
IMPORTED = f"{SHARD}imported-"
"""Beginning of the names of shards that were not asked for here, and so cannot be made again."""
HINT = "make it with: gpo guess"

GUESSES = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("asked", pa.string(), nullable=False),
        pa.field("as", pa.string(), nullable=False),
        pa.field("group_id", pa.string()),
        pa.field("question_key", pa.string(), nullable=False),
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("responses", pa.list_(pa.string()), nullable=False),
        pa.field("share", pa.list_(pa.float64())),
        pa.field("reason", pa.string()),
        pa.field("reply", pa.string()),
        pa.field("content", pa.string()),
    ]
)
"""A row is one question, asked in one way: either ``share`` over ``responses``, or the ``reason`` why there
is no distribution, with the beginning of the model's ``reply``. ``content`` is the hash of all that the
answer depends on, null for guesses of a table; ``group_id`` is null where the model was asked as nobody."""
NOT_USED = pa.schema(
    [
        pa.field("what", pa.string()),
        pa.field("label", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("rows", pa.int64()),
    ]
)
"""What a table has and the survey does not: ``what`` it is (question, group or response), its label, and the
number of the table's rows that were left out."""
MAX_REPLY = 400
"""Most characters of a reply that are kept."""


class Way(NamedTuple):
    """How a model was asked."""

    model: str
    asked: str
    """What it was asked for: ``logprobs``, ``distribution``, ``sequence``, or what a table says."""
    style: str
    """How the group was told to it: ``none``, ``qa``, ``bio``, ``portray``, or what a table says."""


@dataclass(frozen=True)
class Guess:
    """What came of asking a question in one way: shares, or the reason why there are none."""

    way: Way
    group_id: str | None
    question: Question
    share: Sequence[float] | None
    """The R shares, in the order of the question's responses; None if there is no distribution."""
    reason: str | None = None
    reply: str | None = None
    content: str | None = None
    """Hash of all that the answer depends on; None if this is not known."""

    def row(self) -> dict[str, Any]:
        """Return the guess as a row of :data:`GUESSES`."""
        return {
            **dict(zip(("model", "asked", "as"), self.way, strict=True)),
            "group_id": self.group_id,
            "question_key": self.question.key,
            "question_id": self.question.question_id,
            "responses": list(self.question.responses),
            "share": None if self.share is None else [float(s) for s in self.share],
            "reason": self.reason,
            "reply": None if self.reply is None else self.reply[:MAX_REPLY],
            "content": self.content,
        }


@dataclass(frozen=True)
class GuessTable:
    """Guesses, with what was left out of their source and what is to be known of them.

    Construct it with :meth:`build` or :meth:`load`, which check it.
    """

    guesses: pa.Table
    """See :data:`GUESSES`."""
    not_used: pa.Table = field(default_factory=NOT_USED.empty_table)
    """See :data:`NOT_USED`."""
    notes: pa.Table = field(default_factory=NOTES.empty_table)
    """``where`` and ``note`` of what was read in a way that the user should know of."""
    models: Mapping[str, str | None] = field(default_factory=dict)
    """The fingerprint of each model by its name; None if it is not known."""

    @classmethod
    def build(
        cls,
        guesses: Iterable[Guess],
        not_used: Sequence[tuple[str, str, str, int]] = (),
        notes: Iterable[tuple[str, str]] = (),
        models: Mapping[str, str | None] | None = None,
    ) -> GuessTable:
        """Assemble a table and check it.

        Args:
            guesses: the guesses; no two of the same way, group and question.
            not_used: the values of the columns of :data:`NOT_USED`.
            notes: ``(where, note)``.
            models: fingerprints by model; by default those of the guesses' models are not known.

        Raises:
            DataError: naming the row and key of the first problem.
        """
        table = guess_rows(guesses)
        known = dict.fromkeys(sorted(set(table["model"].to_pylist()))) | dict(models or {})
        columns = [[entry[i] for entry in not_used] for i in range(len(NOT_USED))]
        found = cls(table, pa.table(columns, schema=NOT_USED), log_table(notes, NOTES), known)
        found.check("guesses")
        return found

    @classmethod
    def load(cls, uri: str | os.PathLike[str]) -> GuessTable:
        """Read a folder that :meth:`save` or ``gpo guess`` wrote.

        Raises:
            DataError: if the folder is not complete, or a file does not match its manifest or is no table of
                guesses.
        """
        folder = Folder(uri, DataError)
        manifest = folder.read_manifest(KIND, HINT, {"models": dict})
        shards = [n for n in sorted(manifest["files"]) if n.startswith(SHARD)]
        parts = [read_stored(folder, manifest, name, GUESSES) for name in shards]
        found = cls(
            pa.concat_tables([GUESSES.empty_table(), *parts]),
            *read_beside(folder, manifest),
        )
        found.check(str(folder))
        return found

    def save(self, uri: str | os.PathLike[str]) -> None:
        """Write the table to a folder, the manifest last; an earlier table there is replaced.

        Raises:
            ConfigError: if the folder cannot be written, or another process writes in it.
            DataError: if the folder holds something else, or guesses that a model was asked for there.
        """
        folder = Folder(uri, DataError)
        with folder.writing():
            shards = [name for name in folder.names() if name.startswith(SHARD)]
            if not all(name.startswith(IMPORTED) for name in shards):
                raise DataError(f"{folder}: holds guesses that a model was asked for; choose another folder")
            folder.begin(KIND)
            for name in shards:
                folder.remove(name)
            data = parquet_bytes(self.guesses)
            name = f"{IMPORTED}{hashlib.sha256(data).hexdigest()[:20]}.parquet"
            commit(folder, {name: folder.write(name, data)}, self)

    def check(self, where: str) -> None:
        """Check every row.

        Args:
            where: name of the table in messages.

        Raises:
            DataError: if a row has both a share and a reason or neither, a share is no distribution over the
                row's responses, or a question was asked twice in the same way.
        """
        seen: set[tuple[Any, ...]] = set()
        for i, row in enumerate(self.guesses.to_pylist()):
            problem = _problem(row)
            key = (row["model"], row["asked"], row["as"], row["group_id"], row["question_key"])
            if key in seen:
                problem = "occurs twice: the same question, asked in the same way as the same group"
            seen.add(key)
            if problem is not None:
                raise DataError(
                    f"{where}: guesses row {i} (model {row['model']!r}, question {row['question_id']!r}): "
                    f"{problem}; make the guesses again"
                )

    @cached_property
    def ways(self) -> tuple[Way, ...]:
        """The ways in which models were asked, sorted."""
        columns = (self.guesses[c].to_pylist() for c in ("model", "asked", "as"))
        return tuple(sorted({Way(*each) for each in zip(*columns, strict=True)}))

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """The ids of the groups as which models were asked with a distribution as result, sorted."""
        asked_as = ((group, row["share"]) for (_, group, _), row in self._rows.items())
        return tuple(sorted({group for group, share in asked_as if group is not None and share is not None}))

    @cached_property
    def _rows(self) -> dict[tuple[Way, str | None, str], dict[str, Any]]:
        columns = (self.guesses[c].to_pylist() for c in ("model", "asked", "as", "group_id", "question_key"))
        names = ("responses", "share", "reason", "reply", "content")
        rows = self.guesses.select(names).to_pylist()
        return {
            (Way(model, asked, style), group, key): row
            for model, asked, style, group, key, row in zip(*columns, rows, strict=True)
        }

    def guess(self, way: Way, group_id: str | None, question: Question) -> Guess | None:
        """Return what came of asking a question, with shares in the order of its responses.

        Shares follow the responses' labels, so that the question may have another order or spelling than
        where it was asked.

        Args:
            way: one of :attr:`ways`.
            group_id: the group as which the model was asked; None for nobody.
            question: the question.

        Returns:
            The guess; None if the question was not asked.
        """
        found = self._rows.get((way, group_id, question.key))
        if found is None:
            return None
        share = found["share"]
        if share is not None:
            order = response_order(response_labels(question.responses), response_labels(found["responses"]))
            if order is None:
                return None
            share = [share[i] for i in order]
        return Guess(way, group_id, question, share, found["reason"], found["reply"], found["content"])

    def share(self, way: Way, group_id: str | None, question: Question) -> Array | None:
        """Return the shares (R,) that were guessed for a question, in the order of its responses.

        Args:
            way: one of :attr:`ways`.
            group_id: the group as which the model was asked; None for nobody.
            question: the question.

        Returns:
            The shares; None if there is no such guess, or it is no distribution.
        """
        found = self.guess(way, group_id, question)
        return None if found is None or found.share is None else np.array(found.share)

    def without(self) -> dict[str, int]:
        """Count the questions that were asked and brought no distribution, by reason."""
        reasons = Counter(r for r in self.guesses["reason"].to_pylist() if r is not None)
        return dict(sorted(reasons.items()))

    def counts(self) -> dict[str, Any]:
        """Return how much is here: numbers of guesses, questions, roles, and questions without a guess."""
        held = self.guesses.filter(pc.is_valid(self.guesses["share"]))
        return {
            "guesses": held.num_rows,
            "questions": len(set(held["question_key"].to_pylist())),
            "roles": len(self.roles),
            "ways": len(self.ways),
            "models": sorted(set(self.guesses["model"].to_pylist())),
            "without": self.without(),
        }


def guess_rows(guesses: Iterable[Guess]) -> pa.Table:
    """Return guesses as a table of the columns :data:`GUESSES`, which is not checked."""
    return pa.Table.from_pylist([g.row() for g in guesses], schema=GUESSES)


def commit(folder: Folder, shards: Mapping[str, dict[str, Any]], table: GuessTable, **meta: Any) -> None:
    """Write what belongs to a table besides its shards, and its manifest last.

    Args:
        folder: the folder, in which the shards are.
        shards: the manifest's entries of the shards.
        table: the table.
        meta: further values of the manifest.
    """
    files = dict(shards)
    for name in ("not_used", "notes"):
        files[f"{name}.parquet"] = folder.write(f"{name}.parquet", parquet_bytes(getattr(table, name)))
    folder.write_manifest(KIND, files, **(table.counts() | {"models": dict(table.models)} | meta))


def read_beside(folder: Folder, manifest: dict[str, Any]) -> tuple[pa.Table, pa.Table, dict[str, str | None]]:
    """Read what belongs to a table besides its guesses: what is not used, the notes and the models.

    Raises:
        DataError: if a file does not match the manifest.
    """
    not_used = read_stored(folder, manifest, "not_used.parquet", NOT_USED)
    return not_used, read_stored(folder, manifest, "notes.parquet", NOTES), dict(manifest["models"])


def read_shards(folder: Folder) -> tuple[pa.Table, dict[str, dict[str, Any]], dict[str, str]]:
    """Read the shards of a folder, complete or interrupted, so that it can be continued.

    Returns:
        The rows of all readable shards, the manifest's entries of these, and what is wrong with each other
        one. An entry in an earlier manifest is compared with the shard.

    Raises:
        DataError: if the folder holds something else than guesses.
    """
    listed = folder.read_manifest(KIND, HINT)["files"] if folder.exists(MANIFEST) else {}
    parts, entries, damaged = [GUESSES.empty_table()], {}, {}
    for name in folder.names() if folder.exists() else ():
        if not name.startswith(SHARD):
            continue
        try:
            data = folder.read_checked(name, {"files": listed}) if name in listed else folder.read(name)
            where = folder.where(name)
            parts.append(as_schema(read_parquet_bytes(data, where, DataError), GUESSES, where))
            entries[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        except DataError as e:
            damaged[name] = str(e)
    return pa.concat_tables(parts), entries, damaged


def _problem(row: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a row, None if nothing is."""
    share = row["share"]
    if (share is None) == (row["reason"] is None):
        return "exactly one of share and reason must be there"
    if share is None:
        return None
    if len(share) != len(row["responses"] or ()):
        return f"{len(share)} shares for {len(row['responses'] or ())} responses"
    if not all(s is not None and np.isfinite(s) and s >= 0 for s in share):
        return "a share is negative or not a finite number"
    if abs(sum(share) - 1) > SHARE_TOLERANCE:
        return f"the shares sum to {sum(share):.6g}, not to 1"
    return None
