"""Predictions of many requests at once, and the adapted groups that are kept between requests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gpo_ray.errors import BundleError, DataError, GPOError
from gpo_ray.model.bundle import Bundle, BundleConfig, read_bundle
from gpo_ray.model.estimator import AdaptedGroup, GroupPreferenceModel, PreparedQuestion
from gpo_ray.model.estimator import Predicted as Shares
from gpo_ray.serving.backend import Predicted, SlatePrediction
from gpo_ray.serving.caching import CACHED_BYTES, Cache, bounded, keep
from gpo_ray.serving.encoding import EncodedSlate

MOST_POINTS = 8192
"""Responses in one pass through the transformer, padding included, unless one request has more."""

Answered = tuple[EncodedSlate, NDArray[np.float64]]
"""A question and the group's shares (R,) over its responses."""


def context_id(answers: Iterable[tuple[str, Sequence[float] | NDArray[np.float64]]]) -> str:
    """Content hash of a group's answers: of each the question's key and the shares, in their order."""
    digest = hashlib.sha256()
    for key, share in answers:
        y = np.asarray(share, np.float64)
        digest.update(f"{len(key)}:{key}{y.shape}".encode() + y.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class PredictRequest:
    """Questions to a group that gave some answers."""

    context: Sequence[Answered]
    targets: Sequence[EncodedSlate]

    @cached_property
    def context_id(self) -> str:
        """As in :func:`context_id`."""
        return context_id((slate.key, share) for slate, share in self.context)

    @property
    def points(self) -> int:
        """Number of responses."""
        return sum(len(s.vectors) for s in (*self.targets, *(slate for slate, _ in self.context)))


class BatchPredictor:
    """A bundle that predicts many requests together, each as if it were alone.

    :meth:`predict` is for one thread at a time; :meth:`swap` may run in another meanwhile.

    Args:
        bundle: folder or URI, or a bundle that was read already.
        cached_contexts: adapted groups kept at most.
        cached_questions: questions kept at most with what the prior says of them.
        cached_bytes: memory for each of the two; an adapted group of 20 questions takes about 1 MB with
            the published sizes.
        device: where the transformer runs.

    Raises:
        BundleError: if the bundle is missing or damaged, or predicts nothing.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | Bundle,
        cached_contexts: int = 10_000,
        cached_questions: int = 20_000,
        cached_bytes: int = CACHED_BYTES,
        device: str = "cpu",
    ) -> None:
        self._limits = cached_contexts, cached_questions, cached_bytes
        self._device = device
        self._serving = self._start(bundle if isinstance(bundle, Bundle) else read_bundle(bundle))

    @property
    def bundle_id(self) -> str:
        """Short hash of the contents of the bundle that is serving."""
        return self._serving.id

    @property
    def config(self) -> BundleConfig:
        """Of the bundle that is serving."""
        return self._serving.model.config

    def predict(self, requests: Sequence[PredictRequest]) -> list[Predicted | GPOError]:
        """Predict, in the order given.

        Returns:
            For each request the predictions of its targets, or why it cannot be predicted, which does not
            disturb the others.
        """
        return self._serving.predict(requests)

    def swap(self, bundle: str | os.PathLike[str]) -> str:
        """Serve another bundle from the next batch on.

        Returns:
            Its id.

        Raises:
            BundleError: if it is missing or damaged, predicts nothing, or reads other embeddings; the old
                bundle then serves on.
        """
        found = read_bundle(bundle)
        for what, old, new in zip(
            ("language model", "template", "pooling", "embedding width"),
            _embeddings(self.config),
            _embeddings(found.config),
            strict=True,
        ):
            if old != new:
                raise BundleError(f"{bundle}: has {what} {new}, but this service was started with {old}")
        if found.id != self.bundle_id:
            self._serving = self._start(found)
        return self.bundle_id

    def _start(self, bundle: Bundle) -> _Serving:
        serving = _Serving(bundle, self._device, *self._limits)
        serving.try_out()
        return serving


def _embeddings(config: BundleConfig) -> tuple[str, str, str, int]:
    return (
        config.embedding_fingerprint,
        config.embedding_template,
        config.model.pooling,
        config.embedding_width,
    )


class _Serving:
    """One bundle with its caches, so that nothing of it outlives it."""

    def __init__(self, bundle: Bundle, device: str, contexts: int, questions: int, size: int) -> None:
        self.id = bundle.id
        self.model = GroupPreferenceModel(bundle, device)
        self._groups: Cache[AdaptedGroup] = bounded(contexts, size)
        self._questions: Cache[PreparedQuestion] = bounded(questions, size)

    def try_out(self) -> None:
        """Predict something, which also computes what all predictions share."""
        blank = np.zeros((2, self.model.config.embedding_width), np.float32)
        try:
            shares = self.model.adapt([(blank, [0.5, 0.5])]).predict([blank])[0]
        except (np.linalg.LinAlgError, ValueError) as e:
            raise BundleError(f"bundle {self.id}: cannot predict: {e}") from e
        if not np.isfinite(shares).all():
            raise BundleError(f"bundle {self.id}: predicts shares that are not finite")

    def predict(self, requests: Sequence[PredictRequest]) -> list[Predicted | GPOError]:
        results: dict[int, Predicted | GPOError] = {}
        groups = {r.context_id: self._groups.get(r.context_id) for r in requests}
        prepared = self._prepare(
            slate
            for r in requests
            for slate in (*r.targets, *(s for s, _ in r.context if groups[r.context_id] is None))
        )
        ready: list[_Ready] = []
        for i, request in enumerate(requests):
            try:
                if not request.targets:
                    raise DataError("no question was asked")
                group = groups[request.context_id]
                if group is None:
                    group = groups[request.context_id] = self._adapt(request, prepared)
                ready.append((i, request, group, _all(prepared, request.targets)))
            except GPOError as e:
                results[i] = e
        for batch in _batches(ready):
            together = self.model.predict_prepared([(group, targets) for _, _, group, targets in batch])
            for (i, request, _, _), shares in zip(batch, together, strict=True):
                results[i] = Predicted(_predictions(request.targets, shares), self.id)
        return [results[i] for i in range(len(requests))]

    def _adapt(self, request: PredictRequest, prepared: _Prepared) -> AdaptedGroup:
        questions = _all(prepared, [slate for slate, _ in request.context])
        try:
            group = self.model.adapt_prepared(questions, [share for _, share in request.context])
        except np.linalg.LinAlgError as e:
            raise DataError(f"the group's answers together cannot be taken in: {e}") from e
        keep(self._groups, request.context_id, group)
        return group

    def _prepare(self, slates: Iterable[EncodedSlate]) -> _Prepared:
        """All questions by key, those not met lately together."""
        result: _Prepared = {}
        unmet: dict[str, EncodedSlate] = {}
        for slate in slates:
            question = self._questions.get(slate.key)
            if question is None:
                unmet[slate.key] = slate
            else:
                result[slate.key] = question
        for key, found in zip(unmet, self._prepare_each(list(unmet.values())), strict=True):
            result[key] = found
            if not isinstance(found, GPOError):
                keep(self._questions, key, found)
        return result

    def _prepare_each(self, slates: list[EncodedSlate]) -> list[PreparedQuestion | GPOError]:
        try:
            return [*self.model.prepare([s.vectors for s in slates], [s.key for s in slates])]
        except GPOError as e:
            return [e] if len(slates) == 1 else [p for s in slates for p in self._prepare_each([s])]


_Prepared = dict[str, PreparedQuestion | GPOError]
_Ready = tuple[int, PredictRequest, AdaptedGroup, list[PreparedQuestion]]


def _all(prepared: _Prepared, slates: Sequence[EncodedSlate]) -> list[PreparedQuestion]:
    questions = []
    for slate in slates:
        question = prepared[slate.key]
        if isinstance(question, GPOError):
            raise question
        questions.append(question)
    return questions


def _batches(ready: list[_Ready]) -> Iterator[list[_Ready]]:
    """Requests of similar length together, so that little is padded and memory is bounded."""
    batch: list[_Ready] = []
    for item in sorted(ready, key=lambda item: item[1].points):
        if batch and (len(batch) + 1) * item[1].points > MOST_POINTS:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _predictions(targets: Sequence[EncodedSlate], found: Shares) -> list[SlatePrediction]:
    intervals = found.intervals
    result = []
    for i, (slate, share) in enumerate(zip(targets, found.shares, strict=True)):
        letters = np.exp(slate.letter_logprob.astype(np.float64) - slate.letter_logprob.max())
        result.append(
            SlatePrediction(
                share=share.tolist(),
                interval=None if intervals is None else [(low, high) for low, high in intervals[i].tolist()],
                language_model=(letters / letters.sum()).tolist(),
            )
        )
    return result
