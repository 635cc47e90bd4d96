"""Embeddings of questions for the service: the language model that makes them, and a cache of them.

Shapes: R responses of a question, E embedding width.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpo_ray.embedding.encoder import Encoder, needs_prompt_eol
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import DataError, EmbeddingError, QuestionTooLongError
from gpo_ray.model.bundle import BundleConfig
from gpo_ray.model.texts import Slate, bundle_language_model, manifest_for
from gpo_ray.preferences.labels import slate_key
from gpo_ray.serving.inference.caching import CACHED_BYTES, Cache, bounded, has_room, keep
from gpo_ray.serving.settings import Limits

T = TypeVar("T")
log = getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EncodedSlate:
    """A question with its embeddings, as the model reads it.

    ``key`` is the question's :func:`~gpo_ray.preferences.labels.slate_key`, or the prior's key of a question
    that it recognised, whose responses are then in the prior's order; ``vectors`` are embeddings
    (R, E) in the bundle's pooling; ``letter_logprob`` are log-probabilities (R,) of the option letters.
    """

    key: str
    vectors: NDArray[np.float32]
    letter_logprob: NDArray[np.float32]
    spelled: str | None = None
    """The :func:`~gpo_ray.preferences.labels.slate_key` of the texts asked, where it is not ``key``."""

    @property
    def asked(self) -> str:
        """The key of the texts that were asked, which other spellings of the question do not have."""
        return self.spelled or self.key

    @property
    def nbytes(self) -> int:
        """Return the memory in bytes, except for small parts."""
        return self.vectors.nbytes + self.letter_logprob.nbytes


class LoadedEncoder:
    """The language model that a bundle was trained with, ready to encode.

    Args:
        model: the language model, by default the one named in the bundle.
        config: configuration of the bundle.
        bundle: name of the bundle, for messages.
        device: as in :class:`~gpo_ray.embedding.encoder.Encoder`.
        gpus: as in :class:`~gpo_ray.embedding.encoder.Encoder`.

    Raises:
        BundleError: if the model or the template is not the bundle's.
        EmbeddingError: if the model cannot be found or loaded.
    """

    def __init__(
        self,
        model: str | None,
        config: BundleConfig,
        bundle: str = "the bundle",
        device: str | None = None,
        gpus: float = 0,
    ) -> None:
        source = bundle_language_model(config, model, bundle)
        self._pooling = config.model.pooling
        self._encoder = Encoder(
            source, config.embedding_dtype, device, gpus, readings=needs_prompt_eol(self._pooling)
        )
        self.encoded = 0
        """Number of questions that the language model has read."""

    def encode(self, slates: Sequence[Slate]) -> list[EncodedSlate | EmbeddingError]:
        """Encode questions of any number of requests, in the order given; repeated ones are read once.

        Returns:
            The encoded questions, with an error in the place of each one that is longer than the model can
            read.
        """
        keys = [slate_key(s.prompt, s.responses) for s in slates]
        distinct = dict(zip(keys, slates, strict=True))
        found = self._encoder.encode_each([(s.prompt, s.responses) for s in distinct.values()])
        result: dict[str, EncodedSlate | EmbeddingError] = {}
        for key, e in zip(distinct, found, strict=True):
            if isinstance(e, EmbeddingError):
                result[key] = e
            else:
                result[key] = EncodedSlate(key, e.pooled(self._pooling), e.letter_logprob)
                self.encoded += 1
        return [result[k] for k in keys]

    def tokens(self, slates: Sequence[Slate]) -> list[int]:
        """Return the tokens that the model reads for each question; other threads may call this, too."""
        return self._encoder.count_tokens([(s.prompt, s.responses) for s in slates])


def check_tokens(
    questions: Sequence[tuple[str, Sequence[str]]], tokens: Sequence[int], limits: Limits
) -> None:
    """Check that the language model is not asked to read too much.

    Args:
        questions: prompts and responses of one request.
        tokens: number of tokens of each question, or of those that are counted so far.
        limits: limits, of which those of tokens are used.

    Raises:
        QuestionTooLongError: if one question has too many tokens; the message names the number and the limit.
        DataError: if all questions together have too many; the message names the number and the limit.
    """
    for (prompt, _), count in zip(questions, tokens, strict=False):
        if count > limits.question_tokens:
            most = f"the limit is {limits.question_tokens} (limits.question_tokens)"
            raise QuestionTooLongError(prompt, f"{count} tokens for the language model, {most}")
    total = sum(tokens)
    if total > limits.request_tokens:
        least = "" if len(tokens) == len(questions) else "at least "
        raise DataError(
            f"the request's new questions have {least}{total} tokens for the language model together, "
            f"the limit is {limits.request_tokens} (limits.request_tokens)"
        )


def chunks(items: Sequence[T], tokens: Sequence[int], most: int) -> list[tuple[list[T], int]]:
    """Divide items into chunks of at most ``most`` tokens, in order; a longer item is a chunk by itself.

    Returns:
        The chunks, each with its number of tokens.
    """
    found: list[tuple[list[T], int]] = []
    for item, count in zip(items, tokens, strict=True):
        if found and found[-1][1] + count <= most:
            some, total = found[-1]
            found[-1] = [*some, item], total + count
        else:
            found.append(([item], count))
    return found


class EmbeddingCache:
    """A cache of the most recently used questions, before a store on disk; any number of threads may use it.

    On opening, each shard of the store is read once and checked, and questions are kept until ``capacity``
    is reached. For other questions only the key and the shard's name stay in memory (some 200 bytes each);
    such questions are read from their shard when they are asked for.

    Args:
        store: folder or URI of an embedding store; None to start empty.
        config: configuration of the bundle.
        capacity: most questions kept in memory, each of 4 R E bytes.
        size: most bytes of memory for the questions.

    Raises:
        EmbeddingError: if the store is incomplete or damaged, or made with another language model or
            template.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | None,
        config: BundleConfig,
        capacity: int,
        size: int = CACHED_BYTES,
    ) -> None:
        self._known: Cache[EncodedSlate] = bounded(capacity, size)
        self._lock = threading.Lock()
        self._config = config
        self._shard: dict[str, str] = {}
        self.hits = 0
        """Number of questions that were found in memory."""
        self.store_hits = 0
        """Number of questions that were read from the store."""
        self.misses = 0
        """Number of questions that were found nowhere."""
        if store is not None:
            self._store = EmbeddingStore(store)
            self._manifest = manifest_for(self._store, config, "make others with: gpo embed")
            for name in self._manifest["files"]:
                self._open(name)

    def get_many(self, keys: Iterable[str]) -> dict[str, EncodedSlate]:
        """Return the questions that are in memory or in the store, by key."""
        distinct = dict.fromkeys(keys)
        found = self.in_memory(distinct)
        by_shard: dict[str, list[str]] = defaultdict(list)
        for key in distinct.keys() - found.keys():
            if (name := self._shard.get(key)) is not None:
                by_shard[name].append(key)
        for name, wanted in by_shard.items():
            read = self._read(name, wanted)
            self.store_hits += len(read)
            found |= read
            self.put(read.values())
        self.misses += len(distinct) - len(found)
        return found

    def in_memory(self, keys: Iterable[str]) -> dict[str, EncodedSlate]:
        """Return the questions that are in memory, by key; this reads no file."""
        with self._lock:
            found = {k: slate for k in keys if (slate := self._known.get(k)) is not None}
            self.hits += len(found)
        return found

    def put(self, slates: Iterable[EncodedSlate]) -> None:
        """Keep some questions; they replace the least recently used ones."""
        with self._lock:
            for slate in slates:
                keep(self._known, slate.key, slate)

    def _open(self, name: str) -> None:
        for key, slate in self._load(name).items():
            width = slate.vectors.shape[1]
            if width != self._config.embedding_width:
                raise EmbeddingError(
                    f"{self._store.folder}/{name}: embeddings have width {width}, the bundle needs "
                    f"{self._config.embedding_width}"
                )
            self._shard[key] = name
            if has_room(self._known, slate):
                self._known[key] = slate

    def _read(self, name: str, keys: list[str]) -> dict[str, EncodedSlate]:
        try:
            return self._load(name, keys)
        except EmbeddingError as e:  # the language model can still read these questions
            log.warning("embedding store is no longer used for %s: %s", name, e)
            self._shard = {k: n for k, n in self._shard.items() if n != name}
            return {}

    def _load(self, name: str, keys: list[str] | None = None) -> dict[str, EncodedSlate]:
        wanted = None if keys is None else pa.array(keys, pa.string())
        found = self._store.read_shard(name, self._manifest, self._config.model.pooling, wanted)
        # copies, since a view of one row would keep the whole array in memory
        return {k: EncodedSlate(k, v.copy(), letters.copy()) for k, (v, letters) in found.items()}
