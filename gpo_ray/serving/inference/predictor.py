"""Predict many requests at once, and keep adapted groups between requests."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from gpo_ray.errors import BundleError, DataError, GPOError
from gpo_ray.guesses.features import letter_features, letter_shares, reads_letters
from gpo_ray.model.bundle import Bundle, BundleConfig, read_bundle
from gpo_ray.model.estimator import AdaptedGroup, GroupPreferenceModel
from gpo_ray.model.prepared import GroupPrediction, PreparedQuestion
from gpo_ray.preferences.guess_features import GuessFeatures
from gpo_ray.prior.recognition import Recognition
from gpo_ray.serving.inference.backend import SlatePrediction, SlatePredictions
from gpo_ray.serving.inference.caching import CACHED_BYTES, Cache, bounded, keep
from gpo_ray.serving.inference.encoding import EncodedSlate
from gpo_ray.serving.inference.prediction_job import EncodedRequest, PredictionJob

MAX_POINTS = 8192
"""Most responses in one pass through the transformer, padding included, unless one request has more."""
MADE_BYTES = 1 << 26
"""Most bytes of memory for kept predictions."""
TURN_COST = 250.0
"""Most cost of the requests that have a turn together; a unit is about a millisecond of one core at published
sizes."""


class BatchPredictor:
    """A bundle that predicts many requests together, each as if it were alone.

    Only one thread at a time may call :meth:`predict` and :meth:`turn`; other threads may call all other
    methods meanwhile.

    Args:
        bundle: folder or URI of a bundle, or a bundle that was read already.
        cached_contexts: most adapted groups to keep.
        cached_questions: most questions to keep, each with the prior's values for it.
        cached_bytes: most bytes of memory for each of the two; an adapted group of 20 questions takes about 1
            MB with the published sizes.
        device: device on which the transformer runs.

    Raises:
        BundleError: if the bundle is missing or damaged, or cannot predict.
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
        """Return a short hash of the contents of the bundle that is serving."""
        return self._serving.id

    @property
    def config(self) -> BundleConfig:
        """Return the configuration of the bundle that is serving."""
        return self._serving.model.config

    def predict(self, requests: Sequence[EncodedRequest]) -> list[SlatePredictions | GPOError]:
        """Predict requests, in the order given.

        Returns:
            The predictions of each request's targets, or the error of a request that cannot be predicted; an
            error does not affect other requests.
        """
        jobs = [self.start(r) for r in requests]
        while left := [job for job in jobs if job.cost]:
            self.turn(left)
        return [job.outcome for job in jobs]

    @property
    def serving(self) -> Serving:
        """Return the bundle that serves now; a request uses one for all that it does, whatever is swapped."""
        return self._serving

    def start(self, request: EncodedRequest) -> PredictionJob:
        """Return a request as a job that :meth:`turn` does piece by piece, all of it by the same bundle."""
        return self._serving.start(request)

    @staticmethod
    def turn(jobs: Sequence[PredictionJob]) -> None:
        """Do a bounded piece of each of some jobs, together."""
        by_bundle: dict[int, list[PredictionJob]] = {}
        for job in jobs:
            by_bundle.setdefault(id(job.serving), []).append(job)
        for some in by_bundle.values():
            some[0].serving.turn(some)

    def swap(self, bundle: str | os.PathLike[str]) -> str:
        """Serve another bundle from the next batch on.

        Returns:
            The id of the new bundle.

        Raises:
            BundleError: if the new bundle is missing or damaged, cannot predict, or reads other embeddings;
                the old bundle is then kept.
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

    def _start(self, bundle: Bundle) -> Serving:
        serving = Serving(bundle, self._device, *self._limits)
        serving.try_out()
        return serving


def _embeddings(config: BundleConfig) -> tuple[str, str, str, int]:
    return (
        config.embedding_fingerprint,
        config.embedding_template,
        config.model.pooling,
        config.embedding_width,
    )


class Serving:
    """One bundle with its caches, which are dropped together with it."""

    def __init__(self, bundle: Bundle, device: str, contexts: int, questions: int, size: int) -> None:
        self.id = bundle.id
        self.model = GroupPreferenceModel(bundle, device)
        self._groups: Cache[AdaptedGroup] = bounded(contexts, size)
        self._questions: Cache[PreparedQuestion] = bounded(questions, size)
        self._predictions: Cache[_Made] = bounded(10 * questions, min(size, MADE_BYTES))
        self._lock = threading.Lock()  # guards the caches

    def try_out(self) -> None:
        """Predict something, to find errors and to compute what all predictions share."""
        blank = np.zeros((2, self.model.config.embedding_width), np.float32)
        try:
            shares = self.model.adapt([(blank, [0.5, 0.5])]).predict([blank])[0]
        except (np.linalg.LinAlgError, ValueError) as e:
            raise BundleError(f"bundle {self.id}: cannot predict: {e}") from e
        if not np.isfinite(shares).all():
            raise BundleError(f"bundle {self.id}: predicts shares that are not finite")

    def group(self, context: str) -> AdaptedGroup | None:
        """Return the adapted group of the context with this id; None if it is not kept."""
        with self._lock:
            return self._groups.get(context)

    def predicted(self, context: str, keys: Sequence[str]) -> SlatePredictions | None:
        """Return the kept predictions of some questions for a context, or None if any of them is missing.

        Args:
            context: id of the context.
            keys: keys of the questions.
        """
        with self._lock:
            found = [self._predictions.get(f"{context}{key}") for key in keys]
        made = [m.prediction for m in found if m is not None]
        if len(made) < len(keys):
            return None
        return SlatePredictions(made, self.id, lacks_guesses=self.lacks_guesses)

    @property
    def lacks_guesses(self) -> bool:
        """Return whether the bundle reads guesses that the embeddings' language model does not make."""
        return bool(self.model.guess_ways) and not reads_letters(self.model.guess_ways)

    def recognise(self, prompt: str, responses: Sequence[str]) -> Recognition:
        """Find a question among the seen ones, see :meth:`GroupPreferenceModel.recognise`."""
        return self.model.recognise(prompt, responses)

    def start(self, request: EncodedRequest, group: AdaptedGroup | None = None) -> PredictionJob:
        """Return a request as a job, with what is kept for its group and questions.

        Args:
            request: the questions to predict, and the context.
            group: the request's group from :meth:`group`; if given, the request's context is not needed.
        """
        group = group or self.group(request.context_id)
        job = PredictionJob(self, request, group)
        slates = [*(s for s, _ in (request.context if group is None else ())), *request.targets]
        with self._lock:
            job.take({s.key: q for s in slates if (q := self._questions.get(s.key)) is not None})
        return job

    def turn(self, jobs: Sequence[PredictionJob]) -> None:
        """Prepare some questions of each job, or predict some; see :meth:`BatchPredictor.turn`."""
        self._prepare(jobs)
        ready: list[_Ready] = []
        for job in jobs:
            try:
                if job.group is None and job.context_prepared:
                    job.adapt(self._adapt(job))
                if job.group is not None and (chunk := job.chunk()):
                    ready.append((job, job.group, chunk))
            except GPOError as e:
                job.error = e
        for batch in _batches(ready):
            asked = [(group, [job.prepared(s) for s in chunk]) for job, group, chunk in batch]
            for (job, _, chunk), found in zip(batch, self.model.predict_prepared(asked), strict=True):
                made = _predictions(chunk, found)
                job.add(made)
                with self._lock:
                    for slate, prediction in zip(chunk, made, strict=True):
                        key = f"{job.request.context_id}{slate.asked}"
                        keep(self._predictions, key, _Made(prediction))

    def _prepare(self, jobs: Sequence[PredictionJob]) -> None:
        unmet = {slate.key: slate for job in jobs for slate in job.unmet()}
        found = dict(zip(unmet, self._prepare_each(list(unmet.values())), strict=True))
        with self._lock:
            for key, question in found.items():
                if not isinstance(question, GPOError):
                    keep(self._questions, key, question)
        for job in jobs:
            job.take({s.key: found[s.key] for s in job.unmet()})

    def _adapt(self, job: PredictionJob) -> AdaptedGroup:
        request = job.request
        group = self.group(request.context_id)
        if group is None:
            questions = [job.prepared(slate) for slate, _ in request.context]
            try:
                shares = [share for _, share in request.context]
                group = self.model.adapt_prepared(questions, shares, request.respondents)
            except np.linalg.LinAlgError as e:
                raise DataError(f"the group's answers together cannot be taken in: {e}") from e
            with self._lock:
                keep(self._groups, request.context_id, group)
        return group

    def _guesses(self, slates: Sequence[EncodedSlate]) -> GuessFeatures | None:
        """Return the guesses that the embeddings' language model makes, if the bundle reads them."""
        ways = self.model.guess_ways
        if not reads_letters(ways):
            return None
        return letter_features([s.letter_logprob for s in slates], ways, self.model.roles)

    def _prepare_each(self, slates: list[EncodedSlate]) -> list[PreparedQuestion | GPOError]:
        try:
            vectors, keys = [s.vectors for s in slates], [s.key for s in slates]
            return [*self.model.prepare(vectors, keys, guesses=self._guesses(slates))]
        except GPOError as e:
            return [e] if len(slates) == 1 else [p for s in slates for p in self._prepare_each([s])]


@dataclass(frozen=True)
class _Made:
    """A prediction that is kept."""

    prediction: SlatePrediction

    @property
    def nbytes(self) -> int:
        """Return the prediction's memory in bytes, at some 40 bytes for each number."""
        return 400 + 200 * len(self.prediction.share)


_Ready = tuple[PredictionJob, AdaptedGroup, list[EncodedSlate]]


def _batches(ready: list[_Ready]) -> Iterator[list[_Ready]]:
    """Yield requests of similar length together, so that there is little padding and memory is bounded."""
    batch: list[_Ready] = []
    for points, item in sorted(((job.points(c), (job, g, c)) for job, g, c in ready), key=itemgetter(0)):
        if batch and (len(batch) + 1) * points > MAX_POINTS:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _predictions(targets: Sequence[EncodedSlate], found: GroupPrediction) -> list[SlatePrediction]:
    intervals = found.intervals
    result = []
    for i, (slate, share) in enumerate(zip(targets, found.shares, strict=True)):
        result.append(
            SlatePrediction(
                share=share.tolist(),
                interval=None if intervals is None else [(low, high) for low, high in intervals[i].tolist()],
                language_model=letter_shares(slate.letter_logprob).tolist(),
            )
        )
    return result
