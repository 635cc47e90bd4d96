"""Define questions and answers as texts, and get the embeddings of questions for a bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gpo_ray.embedding.encoder import Encoder, needs_prompt_eol
from gpo_ray.embedding.question_cache import QuestionCache
from gpo_ray.embedding.store import EmbeddingStore, VectorsAndLogprobs
from gpo_ray.embedding.template import TEMPLATE
from gpo_ray.errors import BundleError, EmbeddingError
from gpo_ray.lm.find import ModelSource, find_model
from gpo_ray.lm.load import fingerprint
from gpo_ray.model.bundle import BundleConfig
from gpo_ray.preferences.labels import same_responses, unusable
from gpo_ray.runtime.terminal import Steps

EncodedByKey = dict[str, VectorsAndLogprobs]
"""The embeddings (R, E) of questions' responses and the log-probabilities (R,) of the option letters, by
:func:`~gpo_ray.preferences.labels.slate_key`."""
READ_TOGETHER = 64
"""Number of questions that the language model reads between two updates of the progress display."""


class Slate(BaseModel):
    """A question to predict."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = Field(min_length=1)
    """Text of the question."""
    responses: tuple[str, ...] = Field(min_length=2)
    """Texts of the possible responses."""

    @model_validator(mode="after")
    def _texts(self) -> Slate:
        for what, text in (
            ("prompt", self.prompt),
            *((f"response {i}", r) for i, r in enumerate(self.responses)),
        ):
            if problem := unusable(text):
                raise ValueError(f"{what} {problem}")
        if (same := same_responses(self.responses)) is not None:
            one, other = (self.responses[i][:60] for i in same[:2])
            raise ValueError(
                f"two responses are the same: {one!r} and {other!r} differ in {same[2]}; leave one out or "
                "write them differently"
            )
        return self


class AnsweredSlate(Slate):
    """A question with the group's answer: shares over the responses, or one choice."""

    share: tuple[float, ...] | None = None
    """The group's shares, summing to 1."""
    choice: int | None = None
    """Index of the one response that was given."""
    n: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Number of people behind the shares, if it is known."""

    @model_validator(mode="after")
    def _one_answer(self) -> AnsweredSlate:
        if (self.share is None) == (self.choice is None):
            raise ValueError("exactly one of share and choice must be given")
        if self.choice is not None and self.n is not None:
            raise ValueError("n is the number of people behind shares; a choice is one person's")
        if self.choice is not None and not 0 <= self.choice < len(self.responses):
            raise ValueError("choice is not the index of a response")
        if self.share is not None:
            if len(self.share) != len(self.responses):
                raise ValueError(f"{len(self.share)} shares for {len(self.responses)} responses")
            if not all(math.isfinite(s) and s >= 0 for s in self.share) or abs(sum(self.share) - 1) > 1e-3:
                raise ValueError("shares must be at least 0 and sum to 1")
        return self

    def shares(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the shares (R,), which are one-hot for a choice."""
        return np.asarray(self.share) if self.share is not None else np.eye(len(self.responses))[self.choice]


def encoded_texts(
    slates: Mapping[str, Slate], source: ModelSource, config: BundleConfig, progress: bool
) -> EncodedByKey:
    """Return the embeddings of questions, by key.

    Embeddings are taken from the cache where it has them; the language model is loaded only for the others.
    """
    pooling = config.model.pooling
    cache = QuestionCache(
        config.embedding_fingerprint, config.embedding_dtype, config.embedding_template, pooling
    )
    # the cache keeps one array for each question: the embeddings, and the letters as their last column
    shapes = {k: (len(s.responses), config.embedding_width + 1) for k, s in slates.items()}
    cached = cache.get(list(slates))
    fit = {k: v for k, v in cached.items() if v.shape == shapes[k] and np.isfinite(v).all()}
    found: EncodedByKey = {k: (v[:, :-1], v[:, -1]) for k, v in fit.items()}
    keys = [k for k in slates if k not in found]
    # all questions of a call are encoded together, so that a common beginning of their texts is read once
    steps = Steps("predict", 2 if keys else 1, progress)
    if not keys:
        steps.skip(f"{source.name} has read these questions before")
        return found
    with steps.step(f"load the language model {source.name}"):
        encoder = Encoder(source, config.embedding_dtype, readings=needs_prompt_eol(pooling))
    with steps.step(f"read {len(keys)} questions", len(keys), "questions") as step:
        for some in (keys[i : i + READ_TOGETHER] for i in range(0, len(keys), READ_TOGETHER)):
            encoded = encoder.encode([(slates[k].prompt, slates[k].responses) for k in some])
            read = {k: (e.pooled(pooling), e.letter_logprob) for k, e in zip(some, encoded, strict=True)}
            cache.put({k: np.column_stack(parts) for k, parts in read.items()})
            found |= read
            step.advance(len(some))
    return found


def stored_texts(embeddings: str, config: BundleConfig, keys: Sequence[str]) -> EncodedByKey:
    """Return the embeddings, by key, of those questions that an embedding store holds.

    Raises:
        EmbeddingError: if the store is incomplete or damaged, or if its language model or template is not the
            one that the bundle was trained with.
    """
    store = EmbeddingStore(embeddings)
    manifest = manifest_for(store, config, "leave --embeddings out, or make others with: gpo embed")
    wanted = set(keys)
    found: EncodedByKey = {}
    for name in manifest["files"]:
        if wanted <= found.keys():
            break
        found |= store.read_shard(name, manifest, config.model.pooling, pa.array(sorted(wanted), pa.string()))
    for vectors, _ in found.values():
        if vectors.shape[1] != config.embedding_width:
            raise EmbeddingError(
                f"{store.folder}: embeddings have width {vectors.shape[1]}, the bundle needs "
                f"{config.embedding_width}"
            )
    return found


def manifest_for(store: EmbeddingStore, config: BundleConfig, advice: str) -> dict[str, Any]:
    """Return the manifest of an embedding store, after checking that its embeddings fit a bundle.

    Raises:
        EmbeddingError: if the store is incomplete, or if its language model or template is another one; the
            message then ends with ``advice``.
    """
    manifest = store.manifest()
    for what, mine in (
        ("fingerprint", config.embedding_fingerprint),
        ("template", config.embedding_template),
    ):
        theirs = manifest.get(what)
        if theirs != mine:
            raise EmbeddingError(
                f"{store.folder}: holds embeddings of {what} {theirs}, the bundle needs {mine}; {advice}"
            )
    return manifest


def bundle_language_model(config: BundleConfig, model: str | None, bundle: str) -> ModelSource:
    """Find the language model that a bundle was trained with.

    Args:
        config: the bundle's configuration.
        model: where to find the language model, instead of what the bundle names; it must have the same
            weights.
        bundle: name of the bundle in error messages.

    Raises:
        BundleError: if the model or the template is not the one that the bundle was trained with.
        EmbeddingError: if the model cannot be found.
    """
    source = find_model(model or config.embedding_model)
    found = fingerprint(source, config.embedding_dtype)
    if found != config.embedding_fingerprint:
        raise BundleError(
            f"{bundle}: was trained on embeddings of {config.embedding_fingerprint}, not of {found}; "
            "give that model with --model"
        )
    if config.embedding_template != TEMPLATE:
        raise BundleError(f"{bundle}: was trained with template {config.embedding_template}, not {TEMPLATE}")
    return source


def first_problem(error: ValidationError) -> str:
    """Return where and what the first problem of a malformed question or answer is."""
    first = error.errors()[0]
    where = ".".join(str(k) for k in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what
