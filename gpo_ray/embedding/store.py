"""Write and read the embedding store: Parquet shards of response vectors, and a manifest, written last.

A row is one response: ``question_key`` (its :func:`~gpo_ray.preferences.labels.slate_key`), ``question_id``,
``response_index``, the poolings as fixed-size lists, ``letter_logprob`` and ``tokens`` (the number of tokens
that the language model read for the question). Every shard also carries, in its own metadata, the model
fingerprint and template, so that shards left by an interrupted run can be trusted and reused.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpo_ray.embedding.encoder import POOLINGS, EncodedQuestion, needs_prompt_eol
from gpo_ray.embedding.features import PUBLISHED, FeatureBlock
from gpo_ray.embedding.stored_rows import VectorsAndLogprobs, by_question
from gpo_ray.embedding.template import PROMPT_EOL, TEMPLATE
from gpo_ray.errors import EmbeddingError
from gpo_ray.preferences.dataset import PreferenceDataset, Question
from gpo_ray.runtime.storage import MANIFEST, Folder, parquet_bytes, read_parquet_bytes

logger = logging.getLogger(__name__)

KIND, SHARD = "embeddings", "shard-"
STORE_DTYPES = ("float32", "float16")
IdAndKey = tuple[str, str]
"""The id of a question and its key."""
"""The vectors (R, E) and the letter log-probabilities (R,) of one question's responses."""


_COLUMNS = {
    "question_key": pa.string(),
    "question_id": pa.string(),
    "response_index": pa.int32(),
    "letter_logprob": pa.float32(),
}
"""Columns of every shard, beside its vectors, with their types."""


@dataclass(frozen=True)
class Embeddings:
    """The vectors of a data set's responses, question by question in the data set's order.

    ``vectors`` (N, E) are float32 and of the given ``pooling``; ``letter_logprob`` (N,) are the
    log-probabilities of the option letters. The rows of question ``q`` are ``offsets[q]:offsets[q + 1]``.
    """

    vectors: NDArray[np.float32]
    letter_logprob: NDArray[np.float32]
    offsets: NDArray[np.int64]
    fingerprint: str
    template: str
    pooling: str

    @property
    def width(self) -> int:
        """Width E of the vectors."""
        return int(self.vectors.shape[1])

    @property
    def published(self) -> FeatureBlock | None:
        """Block of columns from the published prompt; None if all columns or none are from it."""
        parts = self.pooling.split("+")
        plain = [not needs_prompt_eol(part) for part in parts]
        if all(plain) or not any(plain):
            return None
        return FeatureBlock(PUBLISHED, 0, self.width // len(parts) * plain.index(False))


@dataclass(frozen=True)
class StoreContents:
    """The contents of a store: its questions, each shard's manifest entry, and damaged shards."""

    keys: frozenset[IdAndKey]
    shards: dict[str, dict[str, Any]]
    damaged: dict[str, str]
    """Description of the damage, by shard name."""


class EmbeddingStore:
    """A folder of embeddings of one model under one template."""

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        self.folder = Folder(uri, EmbeddingError)

    def write_shard(
        self,
        questions: Sequence[Question],
        encoded: Sequence[EncodedQuestion],
        fingerprint: str,
        dtype: str = "float32",
    ) -> tuple[str, dict[str, Any]]:
        """Write one shard atomically, under a name made from its questions' ids and keys.

        Because of this name, a repeated attempt, such as that of a restarted worker, replaces the shard and
        does not add another one.

        Returns:
            The shard's name and manifest entry.
        """
        identity = repr([(q.question_id, q.slate_key) for q in questions])
        name = f"{SHARD}{hashlib.sha256(identity.encode()).hexdigest()[:20]}.parquet"
        metadata = {b"fingerprint": fingerprint.encode(), b"template": TEMPLATE.encode()}
        table = _shard_table(questions, encoded, dtype).replace_schema_metadata(metadata)
        return name, self.folder.write(name, parquet_bytes(table))

    def commit(self, fingerprint: str, shards: dict[str, dict[str, Any]], **meta: Any) -> None:
        """Declare the store complete, including the shards that other processes have written meanwhile.

        An object store has no locks that keep other processes out. Each process writes all its shards before
        its manifest and looks for other shards afterwards, so the last process has seen all of them. (If two
        processes embed the same questions at the same time, one shard replaces the other, and a reader may
        find another hash than the listed one; the next run makes such shards again.)

        Raises:
            EmbeddingError: if other processes' shards are of another model or template, or a shard is
                missing.
        """
        written: dict[str, dict[str, Any]] | None = None
        listed = shards | self._others(shards, fingerprint)
        while listed != written:
            files = dict(sorted(listed.items()))
            self.folder.write_manifest(KIND, files, fingerprint=fingerprint, template=TEMPLATE, **meta)
            written, listed = listed, listed | self._others(listed, fingerprint)

    def _others(self, listed: dict[str, Any], fingerprint: str) -> dict[str, dict[str, Any]]:
        """Return the manifest entries of the readable shards that are not listed yet."""
        names = {n for n in self.folder.names() if n.startswith(SHARD)}
        gone = sorted(listed.keys() - names)
        if gone:
            raise EmbeddingError(
                f"{self.folder}: {gone[0]} is gone: another process works here; run the same command again"
            )
        found: dict[str, dict[str, Any]] = {}
        for name in sorted(names - listed.keys()):
            try:
                table, entry = self._read_shard(name, None)
            except EmbeddingError:
                continue  # a damaged shard is made again by the next run that needs it
            self._check_origin(table, fingerprint)
            found[name] = entry
        return found

    def contents(self, fingerprint: str, readings: bool = True) -> StoreContents:
        """Inspect an existing store, complete or interrupted, so that it can be continued.

        Args:
            fingerprint: fingerprint of the model.
            readings: whether the store shall hold the poolings of the second readings.

        Raises:
            EmbeddingError: if the store holds embeddings of another model or template, or other poolings.
        """
        listed = self.manifest()["files"] if self.folder.exists(MANIFEST) else {}
        keys: set[IdAndKey] = set()
        shards: dict[str, dict[str, Any]] = {}
        damaged = dict.fromkeys(listed, "is listed in the manifest but missing")
        for name in self.folder.names():
            if not name.startswith(SHARD):
                continue
            damaged.pop(name, None)
            try:
                table, entry = self._read_shard(name, listed.get(name))
            except EmbeddingError as e:
                damaged[name] = str(e)
                continue
            self._check_origin(table, fingerprint)
            if _has_prompt_eol(table) != readings:
                made, do = ("without", "add") if readings else ("with", "leave out")
                raise EmbeddingError(
                    f"{self.folder}: was made {made} the readings {list(PROMPT_EOL)}; "
                    f"{do} --no-readings, or choose another folder"
                )
            ids, hashes = table["question_id"].to_pylist(), table["question_key"].to_pylist()
            keys |= set(zip(ids, hashes, strict=True))
            shards[name] = entry
        return StoreContents(frozenset(keys), shards, damaged)

    def load(self, dataset: PreferenceDataset, pooling: str = "mean") -> Embeddings:
        """Load the vectors of every response of ``dataset``, in one pooling or several joined by ``+``.

        Raises:
            EmbeddingError: if the store is incomplete or damaged, or lacks a question.
        """
        manifest = self.manifest()
        wanted = [q.slate_key for q in dataset.iter_questions()]
        keys = pa.array(sorted(set(wanted)), pa.string())
        found: dict[str, VectorsAndLogprobs] = {}
        for name in manifest["files"]:
            found |= self.read_shard(name, manifest, pooling, keys)
        sizes = dataset.slate_sizes()
        ids = dataset.questions["question_id"].to_pylist()
        missing = [i for i, key in enumerate(wanted) if key not in found or len(found[key][1]) != sizes[i]]
        left_out = self.dropped() if missing else {}
        dropped = [ids[i] for i in missing if wanted[i] in left_out]
        if dropped:
            raise EmbeddingError(
                f"{self.folder}: {len(dropped)} of {len(wanted)} questions were left out as too long for the "
                f"language model: {', '.join(map(repr, dropped))}; use a survey without them"
            )
        if missing:
            raise EmbeddingError(
                f"{self.folder}: lacks {len(missing)} of {len(wanted)} questions of the survey "
                f"(first: {ids[missing[0]]!r}); run gpo embed with this survey and this --out"
            )
        return Embeddings(
            vectors=np.concatenate([found[k][0] for k in wanted]),
            letter_logprob=np.concatenate([found[k][1] for k in wanted]),
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            fingerprint=manifest["fingerprint"],
            template=manifest["template"],
            pooling=pooling,
        )

    def read_shard(
        self, name: str, manifest: dict[str, Any], pooling: str, keys: pa.Array | None = None
    ) -> dict[str, VectorsAndLogprobs]:
        """Read the vectors (R, E) and letter log-probabilities (R,) of a shard's questions, by question key.

        Args:
            name: one of the manifest's files.
            manifest: the manifest of this store.
            pooling: one pooling, or several joined by ``+``.
            keys: keys of the questions to read, by default all.

        Raises:
            EmbeddingError: if the shard is missing, damaged, or of another model than the manifest says.
        """
        unknown = [p for p in pooling.split("+") if p not in POOLINGS]
        if unknown:
            raise EmbeddingError(f"pooling {unknown[0]!r} is not one of {list(POOLINGS)}")
        data = self.folder.read_checked(name, manifest)
        table = _checked(data, self.folder.where(name))
        self._check_origin(table, manifest["fingerprint"])
        if needs_prompt_eol(pooling) and not _has_prompt_eol(table):
            raise EmbeddingError(
                f"{self.folder}: was made without the readings {list(PROMPT_EOL)}; run gpo embed again "
                "with another --out, or train with a configuration of another model.pooling"
            )
        absent = [p for p in pooling.split("+") if p not in table.column_names]
        if absent:
            raise EmbeddingError(f"{self.folder.where(name)}: no column {absent[0]!r}; run gpo embed again")
        if keys is not None:
            table = table.filter(pc.is_in(table["question_key"], keys))
        return by_question(table, pooling, self.folder.where(name))

    def dropped(self) -> dict[str, int]:
        """Return the tokens of each question that is not here since it was too long, by question key."""
        if not self.folder.exists(MANIFEST):
            return {}
        listed = self.manifest().get("dropped", {})
        if not isinstance(listed, dict):
            raise EmbeddingError(
                f"{self.folder}: damaged: its manifest names no dropped questions; embed again"
            )
        return listed

    def without_dropped(self, dataset: PreferenceDataset, told: bool = False) -> PreferenceDataset:
        """Return a data set without the questions that were left out of this store as too long.

        Groups that answered no other question are left out too.

        Args:
            dataset: the data set; if it was loaded without answers, it must have none of these questions.
            told: whether the user has been told of them; if not, they are named in a warning.

        Raises:
            EmbeddingError: if the store is incomplete, or the data set's answers stay on disk.
        """
        keys = self.dropped()
        gone = [q.question_id for q in dataset.iter_questions() if q.slate_key in keys] if keys else []
        if not gone:
            return dataset
        named = f"{len(gone)} questions were too long for the language model: {', '.join(map(repr, gone))}"
        if not dataset.preferences.num_rows:
            raise EmbeddingError(
                f"{self.folder}: {named}; answers on disk need every question: use a survey without them, "
                "or --in-memory"
            )
        if not told:
            logger.warning("%s: %s; they are left out", self.folder, named)
        taken = pa.array(gone, pa.string())
        preferences, questions = (
            table.filter(pc.invert(pc.is_in(table["question_id"], value_set=taken)))
            for table in (dataset.preferences, dataset.questions)
        )
        kept = replace(dataset, preferences=preferences, questions=questions)
        if not preferences.num_rows:
            raise EmbeddingError(f"{self.folder}: {named}; no other question was answered")
        return kept.select_groups(pc.unique(preferences["group_id"]).to_pylist())

    def manifest(self) -> dict[str, Any]:
        """Read the store's manifest; raises :class:`EmbeddingError` if the store is not complete."""
        return self.folder.read_manifest(
            KIND, hint="make it with: gpo embed", fields={"fingerprint": str, "template": str}
        )

    def _read_shard(self, name: str, listed: dict[str, Any] | None) -> tuple[pa.Table, dict[str, Any]]:
        data = self.folder.read_checked(name, {"files": {name: listed}}) if listed else self.folder.read(name)
        table = _checked(data, self.folder.where(name))
        return table, {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def _check_origin(self, table: pa.Table, fingerprint: str) -> None:
        metadata = table.schema.metadata or {}
        found = (metadata.get(k, b"?") for k in (b"fingerprint", b"template"))
        model, template = (value.decode(errors="replace") for value in found)
        if model != fingerprint:
            raise EmbeddingError(
                f"{self.folder}: holds embeddings of model {model}, not of {fingerprint}; "
                "choose another folder"
            )
        if template != TEMPLATE:
            raise EmbeddingError(
                f"{self.folder}: was made with template {template}, not {TEMPLATE}; choose another folder"
            )


def _checked(data: bytes, where: str) -> pa.Table:
    """Read a shard, and check that it has all its columns, without missing or non-finite values."""
    table = read_parquet_bytes(data, where, EmbeddingError)
    vectors = [p for p in POOLINGS if p in table.column_names]
    kinds = {f.name: f.type for f in table.schema}
    wrong = [name for name, kind in _COLUMNS.items() if kinds.get(name) != kind]
    wrong += [p for p in vectors if not _is_vector(kinds[p])]
    if wrong or not vectors:
        raise EmbeddingError(f"{where}: damaged: no column {[*wrong, *POOLINGS][0]!r} of its type")
    for name in (*_COLUMNS, *vectors):
        column = table[name]
        if column.null_count:
            raise EmbeddingError(f"{where}: damaged: column {name!r} lacks values")
        for chunk in column.chunks if name in vectors or name == "letter_logprob" else []:
            values = (chunk.flatten() if name in vectors else chunk).to_numpy(zero_copy_only=False)
            if not (np.isfinite(values) | ((values < 0) & (name == "letter_logprob"))).all():
                raise EmbeddingError(f"{where}: damaged: column {name!r} holds a value that is not finite")
    return table


def _is_vector(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_fixed_size_list(kind) and kind.list_size > 0 and pa.types.is_floating(kind.value_type)
    )


def _has_prompt_eol(table: pa.Table) -> bool:
    return not PROMPT_EOL.keys().isdisjoint(table.column_names)


def _shard_table(questions: Sequence[Question], encoded: Sequence[EncodedQuestion], dtype: str) -> pa.Table:
    if dtype not in STORE_DTYPES:
        raise EmbeddingError(f"store dtype {dtype!r} is not one of {list(STORE_DTYPES)}")
    sizes = [len(q.responses) for q in questions]
    columns: dict[str, pa.Array] = {
        "question_key": pa.array(
            [q.slate_key for q, s in zip(questions, sizes, strict=True) for _ in range(s)]
        ),
        "question_id": pa.array(
            [q.question_id for q, s in zip(questions, sizes, strict=True) for _ in range(s)]
        ),
        "response_index": pa.array([i for s in sizes for i in range(s)], pa.int32()),
    }
    for pooling in [p for p in POOLINGS if getattr(encoded[0], p) is not None]:
        with np.errstate(over="ignore"):  # values that overflow are refused just below
            vectors = np.concatenate([e.pooled(pooling) for e in encoded]).astype(dtype)
        if not np.isfinite(vectors).all():
            raise EmbeddingError(f"a vector is not finite in {dtype}; use --dtype or --store-dtype float32")
        columns[pooling] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    columns["letter_logprob"] = pa.array(np.concatenate([e.letter_logprob for e in encoded]), pa.float32())
    columns["tokens"] = pa.array([e.tokens for e, s in zip(encoded, sizes, strict=True) for _ in range(s)])
    return pa.table(columns)
