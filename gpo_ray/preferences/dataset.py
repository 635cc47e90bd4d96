"""The data set of a survey: questions, groups and the groups' preferences as three Arrow tables.

The columns of the tables are in tables.py. A survey too large for memory is in large.py, joining two surveys
in join.py, and splits for training and test in splits.py.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpo_ray.errors import DataError, UnknownGroupError
from gpo_ray.preferences.labels import question_key, slate_key
from gpo_ray.preferences.tables import (
    DROPPED,
    GROUPS,
    NOTES,
    PREFERENCES,
    QUESTIONS,
    SCHEMAS,
    answer_files,
    log_table,
    preference_table,
    read_stored,
    without_nulls,
)
from gpo_ray.runtime.storage import Folder, parquet_bytes

KIND = "preferences"
GROUP_KINDS = ("attribute", "country", "individual", "community")
SHARE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Question:
    """A prompt with its slate of responses."""

    question_id: str
    source: str
    prompt: str
    responses: tuple[str, ...]
    topic: str | None = None
    ordinal: tuple[float, ...] | None = None
    """The scale value of each response; None for a nominal question."""

    def in_order(self, order: Sequence[int]) -> Question:
        """Return the question with its responses in another order, without their scale values.

        Args:
            order: which of the R responses stands at each place.
        """
        return replace(self, responses=tuple(self.responses[i] for i in order), ordinal=None)

    @property
    def key(self) -> str:
        """The hash that identifies the question, see :func:`~gpo_ray.preferences.labels.question_key`."""
        return question_key(self.prompt, self.responses)

    @property
    def slate_key(self) -> str:
        """The hash of what a language model reads, see :func:`~gpo_ray.preferences.labels.slate_key`."""
        return slate_key(self.prompt, self.responses)


@dataclass(frozen=True)
class Group:
    """Somebody whose preferences are known: a demographic group, a country, one person or a community."""

    group_id: str
    kind: str
    description: str | None = None


@dataclass(frozen=True)
class PreferenceDataset:
    """A data set of groups' preferences: three Arrow tables, and a log of the source rows left out.

    :mod:`gpo_ray.preferences.tables` says which columns the tables have. Construct a data set with
    :meth:`build` or :meth:`load`, which validate it; both raise :class:`DataError`, which names the table,
    row and key of the first problem.
    """

    questions: pa.Table
    """``question_id, source, topic, prompt, responses``, and ``ordinal``: the responses' values on a scale;
    None for a nominal question."""
    groups: pa.Table
    """``group_id``, ``kind`` (attribute, country, individual or community), ``description``."""
    preferences: pa.Table
    """``group_id, question_id``, either ``share`` over the responses or ``choice``, the index of one of them,
    and ``n``, the respondents behind it."""
    dropped: pa.Table
    """The rows that a reader left out: ``where`` (file, row, key) and ``reason``."""
    notes: pa.Table = field(default_factory=NOTES.empty_table)
    """What a reader took from the source in a way that its user should know of: ``where`` (file, row, key)
    and ``note``."""

    @classmethod
    def build(
        cls,
        questions: Iterable[Question],
        groups: Iterable[Group],
        preferences: Mapping[str, Sequence[Any]] | pa.Table | None,
        dropped: Iterable[tuple[str, str]] = (),
        notes: Iterable[tuple[str, str]] = (),
    ) -> PreferenceDataset:
        """Assemble a data set and validate it.

        Args:
            questions: questions with distinct ``question_id``.
            groups: groups with distinct ``group_id``.
            preferences: columns ``group_id, question_id`` and ``share`` and/or ``choice`` and
                optionally ``n`` (number of respondents behind it). None makes a data set without
                preferences, like :meth:`load` without answers.
            dropped: ``(where, reason)`` of every source row that was left out.
            notes: ``(where, note)`` of what was read in a way that the user should know of.
        """
        question_rows = [
            {
                "question_id": q.question_id,
                "source": q.source,
                "topic": q.topic,
                "prompt": q.prompt,
                "responses": list(q.responses),
                "ordinal": None if q.ordinal is None else list(q.ordinal),
            }
            for q in questions
        ]
        group_rows = [{"group_id": g.group_id, "kind": g.kind, "description": g.description} for g in groups]
        dataset = cls(
            questions=pa.Table.from_pylist(question_rows, schema=QUESTIONS),
            groups=pa.Table.from_pylist(group_rows, schema=GROUPS),
            preferences=PREFERENCES.empty_table() if preferences is None else preference_table(preferences),
            dropped=log_table(dropped, DROPPED),
            notes=log_table(notes, NOTES),
        )
        dataset.validate(answers=preferences is not None)
        return dataset

    @classmethod
    def load(cls, uri: str | os.PathLike[str], answers: bool = True) -> PreferenceDataset:
        """Read a folder written by :meth:`save` or :func:`~gpo_ray.preferences.large.write_survey`.

        Args:
            uri: the folder.
            answers: whether to read the preferences; without them that table is empty, and only the sizes
                of their files are checked.

        Raises:
            DataError: if the manifest is absent or a file does not match it.
        """
        folder = Folder(uri, DataError)
        manifest = folder.read_manifest(KIND, hint="make it with: gpo survey import")
        tables = {}
        for name in ("questions", "groups", "dropped"):
            tables[name] = read_stored(folder, manifest, f"{name}.parquet", SCHEMAS.get(name, DROPPED))
        if "notes.parquet" in manifest["files"]:  # surveys written before there were notes have none
            tables["notes"] = read_stored(folder, manifest, "notes.parquet", NOTES)
        parts = []
        for file in answer_files(manifest):
            if answers:
                parts.append(read_stored(folder, manifest, file, PREFERENCES))
            else:
                folder.check_size(file, manifest)
        dataset = cls(**tables, preferences=pa.concat_tables([PREFERENCES.empty_table(), *parts]))
        dataset.validate(str(folder), answers)
        return dataset

    def save(self, uri: str | os.PathLike[str]) -> None:
        """Write the data set to a folder, the manifest last."""
        folder = Folder(uri, DataError)
        folder.publish(
            KIND,
            {
                f"{name}.parquet": parquet_bytes(getattr(self, name))
                for name in (*SCHEMAS, "dropped", "notes")
            },
            questions=self.questions.num_rows,
            groups=self.groups.num_rows,
            preferences=self.preferences.num_rows,
            dropped=self.dropped_by_reason(),
        )

    def validate(self, where: str = "preferences", answers: bool = True) -> None:
        """Check ids, shares and references.

        Args:
            where: name of the data set in error messages.
            answers: whether to check the preferences too.

        Raises:
            DataError: naming the table, row and key of the first problem.
        """
        tables = (self.questions, self.groups, self.preferences)
        if not all(table.num_rows for table in tables[: 3 if answers else 2]):
            raise DataError(f"{where}: no questions, groups or preferences are left to work with")
        _check_unique(self.questions["question_id"], f"{where}: questions", "question_id")
        _check_unique(self.groups["group_id"], f"{where}: groups", "group_id")
        for i, kind in enumerate(self.groups["kind"].to_pylist()):
            if kind not in GROUP_KINDS:
                raise DataError(f"{where}: groups row {i}: kind {kind!r} is not one of {list(GROUP_KINDS)}")
        for i, q in enumerate(self.iter_questions()):
            _check_question(q, f"{where}: questions row {i} ({q.question_id})")
        if answers:
            self.check_answers(where)

    def check_answers(self, where: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Check only the preferences; errors are raised as in :meth:`validate`.

        Returns:
            The results of :meth:`group_codes` and :meth:`question_codes`, which the check needs anyway.
        """
        p = self.preferences
        group, question = self.group_codes(), self.question_codes()
        for name, codes in (("group_id", group), ("question_id", question)):
            if (codes < 0).any():
                i = int(np.argmax(codes < 0))
                raise DataError(f"{where}: preferences row {i}: {name} {p[name][i].as_py()!r} is not known")
        pair = group.astype(np.int64) * self.questions.num_rows + question
        _, first = np.unique(pair, return_index=True)
        if len(first) < len(pair):
            i = int(np.setdiff1d(np.arange(len(pair)), first)[0])
            key = f"{p['group_id'][i].as_py()!r}, {p['question_id'][i].as_py()!r}"
            raise DataError(f"{where}: preferences row {i}: ({key}) occurs twice")
        has_share, has_choice = (
            pc.is_valid(p[c]).to_numpy(zero_copy_only=False) for c in ("share", "choice")
        )
        sizes = self.slate_sizes()[question]
        values, offsets = self.shares()
        starts = offsets[:-1]
        for bad, problem in (
            (has_share == has_choice, "exactly one of share and choice must be given"),
            (_share_lengths(p) != np.where(has_share, sizes, 0), "share and responses differ in length"),
            (~_choice_in_range(p, sizes), "choice is not the index of a response"),
        ):
            self._raise_at(bad, problem, where)
        self._raise_at(~np.logical_and.reduceat(np.isfinite(values), starts), "share is not finite", where)
        self._raise_at(np.logical_or.reduceat(values < 0, starts), "share is negative", where)
        total = np.add.reduceat(values, starts)
        self._raise_at(np.abs(total - 1) > SHARE_TOLERANCE, "share does not sum to 1", where)
        n = pc.fill_null(p["n"], 1.0).to_numpy()
        self._raise_at(~np.isfinite(n) | (n <= 0), "n must be a positive number, or missing", where)
        return group, question

    def _raise_at(self, bad: NDArray[np.bool_], problem: str, where: str) -> None:
        if bad.any():
            i = int(np.argmax(bad))
            row = {k: self.preferences[k][i].as_py() for k in PREFERENCES.names}
            raise DataError(f"{where}: preferences row {i}: {problem}: {row}")

    def iter_questions(self) -> Iterable[Question]:
        """Yield the questions in row order."""
        for row in self.questions.to_pylist():
            yield Question(
                question_id=row["question_id"],
                source=row["source"],
                topic=row["topic"],
                prompt=row["prompt"],
                responses=tuple(row["responses"]),
                ordinal=None if row["ordinal"] is None else tuple(row["ordinal"]),
            )

    def group_codes(self) -> NDArray[np.int64]:
        """Return the row of ``groups`` for each preference, -1 where the group is unknown."""
        return _codes(self.preferences["group_id"], self.groups["group_id"])

    def question_codes(self) -> NDArray[np.int64]:
        """Return the row of ``questions`` for each preference, -1 where the question is unknown."""
        return _codes(self.preferences["question_id"], self.questions["question_id"])

    def slate_sizes(self) -> NDArray[np.int64]:
        """Return the number of responses of each question."""
        return pc.list_value_length(self.questions["responses"]).to_numpy().astype(np.int64)

    def shares(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Lay the shares of all preferences end to end, with single choices as one-hot shares.

        Returns:
            ``values`` and ``offsets`` (one more than preferences): the shares of row ``i`` are
            ``values[offsets[i]:offsets[i + 1]]``.
        """
        sizes = self.slate_sizes()[self.question_codes()]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        values = np.zeros(offsets[-1])
        choice = self.preferences["choice"].to_numpy(zero_copy_only=False)
        chosen = ~np.isnan(choice.astype(np.float64))
        in_range = chosen.copy()
        in_range[chosen] = (choice[chosen] >= 0) & (choice[chosen] < sizes[chosen])
        values[offsets[:-1][in_range] + choice[in_range].astype(np.int64)] = 1.0
        given = pc.is_valid(self.preferences["share"]).to_numpy(zero_copy_only=False)
        flat = self.preferences["share"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        place = np.repeat(given, sizes)
        if place.sum() == len(flat):  # otherwise some share has a wrong length, which validation reports
            values[place] = flat
        return values, offsets

    def sampling_variance(self) -> NDArray[np.float64]:
        """Return the sampling variance (N,) of each preference's shares m, in units of m (1 - m).

        It is 1 / n for shares of n respondents (an effective number where answers are weighted), and 0 where
        n is not known. A person's answer is the preference itself and not a sample of it: it has 0 too.
        """
        n = pc.fill_null(self.preferences["n"], np.inf).to_numpy()
        sampled = pc.is_valid(self.preferences["share"]).to_numpy(zero_copy_only=False)
        people = pc.equal(self.groups["kind"], "individual").to_numpy(zero_copy_only=False)
        sampled = sampled & ~people[self.group_codes()]
        return np.where(sampled, 1 / np.maximum(n, 1), 0.0)

    def select_groups(self, group_ids: Iterable[str]) -> PreferenceDataset:
        """Restrict the data set to some groups and the questions that they answered.

        Raises:
            UnknownGroupError: for an id that is not in the data set.
        """
        wanted = list(group_ids)
        known = set(self.groups["group_id"].to_pylist())
        for g in wanted:
            if g not in known:
                raise UnknownGroupError(f"group {g!r} is not in the data set; it has {sorted(known)[:5]} ...")
        keep = pa.array(wanted, pa.string())
        preferences = self.preferences.filter(pc.is_in(self.preferences["group_id"], keep))
        asked = pc.is_in(self.questions["question_id"], pc.unique(preferences["question_id"]))
        return PreferenceDataset(
            questions=self.questions.filter(asked),
            groups=self.groups.filter(pc.is_in(self.groups["group_id"], keep)),
            preferences=preferences,
            dropped=self.dropped,
            notes=self.notes,
        )

    def dropped_by_reason(self) -> dict[str, int]:
        """Count the source rows that were left out, by reason."""
        counts = self.dropped.group_by("reason").aggregate([("where", "count")]).to_pylist()
        return {c["reason"]: c["where_count"] for c in sorted(counts, key=lambda c: str(c["reason"]))}

    def fingerprint(self) -> str:
        """Return the hash of the contents, which a model trained on them records as its provenance."""
        digest = hashlib.sha256()
        for name, schema in SCHEMAS.items():
            table = without_nulls(getattr(self, name).select(schema.names))
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
            digest.update(sink.getvalue())
        return digest.hexdigest()[:16]


def _codes(values: pa.ChunkedArray, ids: pa.ChunkedArray) -> NDArray[np.int64]:
    found = pc.index_in(values, value_set=ids.combine_chunks())
    return pc.fill_null(found, -1).to_numpy().astype(np.int64)


def _check_unique(column: pa.ChunkedArray, where: str, name: str) -> None:
    if column.null_count:
        raise DataError(f"{where}: {name} is missing in {column.null_count} rows")
    seen: set[str] = set()
    for i, value in enumerate(column.to_pylist()):
        if value in seen:
            raise DataError(f"{where} row {i}: {name} {value!r} occurs twice")
        seen.add(value)


def _check_question(q: Question, where: str) -> None:
    if not q.prompt or not q.prompt.strip():
        raise DataError(f"{where}: the prompt is empty")
    if len(q.responses) < 2:
        raise DataError(f"{where}: a slate needs at least 2 responses, it has {len(q.responses)}")
    if any(not r or not r.strip() for r in q.responses):
        raise DataError(f"{where}: a response is empty")
    if len(set(q.responses)) < len(q.responses):
        raise DataError(f"{where}: two responses are the same")
    if q.ordinal is not None:
        if len(q.ordinal) != len(q.responses):
            raise DataError(f"{where}: {len(q.ordinal)} scale values for {len(q.responses)} responses")
        if not all(v is not None and np.isfinite(v) for v in q.ordinal):
            raise DataError(f"{where}: a scale value is not finite")


def _share_lengths(p: pa.Table) -> NDArray[np.int64]:
    return pc.fill_null(pc.list_value_length(p["share"]), 0).to_numpy().astype(np.int64)


def _choice_in_range(p: pa.Table, sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    choice = pc.fill_null(p["choice"], 0).to_numpy()
    return (choice >= 0) & (choice < sizes)
