"""Metrics of the service, which Ray exports beside Serve's own (as ``ray_gpo_...`` for Prometheus)."""

from __future__ import annotations

from ray.serve.metrics import Counter, Gauge, Histogram

from gpo_ray.serving.api.problems import Reason

MILLISECONDS = [1.0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000]
COUNTS = [1.0, 2, 4, 8, 16, 32, 64, 128, 256, 512]


class Metrics:
    """The metrics of a predictor replica."""

    def __init__(self) -> None:
        part = ("part",)
        self._latency = Histogram(
            "gpo_predict_milliseconds",
            "Time of a prediction spent in the queue, on embedding, and on predicting",
            MILLISECONDS,
            part,
        )
        self._batch = Histogram("gpo_batch_size", "Requests predicted together", COUNTS)
        self._context = Histogram("gpo_context_questions", "Answers that a prediction rests on", COUNTS)
        self._embeddings = Counter(
            "gpo_embedding_lookups", "Questions whose embedding was known (hit) or not (miss)", ("result",)
        )
        self._refused = Gauge("gpo_bundle_refused", "1 while a bundle that was to be taken was not")

    def bundle(self, refused: bool) -> None:
        """Record whether the bundle that was last asked for was refused."""
        self._refused.set(int(refused))

    def predicted(self, queued: float, embedded: float, predicted: float, context: int) -> None:
        """Record the seconds of each part of a prediction, and the number of answers that it used."""
        for part, seconds in (("queue", queued), ("embed", embedded), ("predict", predicted)):
            self._latency.observe(1000 * max(seconds, 0.0), {"part": part})
        self._context.observe(context)

    def batch(self, size: int) -> None:
        """Record the number of requests in one batch."""
        self._batch.observe(size)

    def embeddings(self, hits: int, misses: int) -> None:
        """Record how many questions were found in the cache or store, and how many were not."""
        for result, count in (("hit", hits), ("miss", misses)):
            if count:
                self._embeddings.inc(count, {"result": result})


class IngressMetrics:
    """The metrics of an ingress replica."""

    def __init__(self) -> None:
        self._refusals = Counter(
            "gpo_refusals", "Well-formed requests that were not carried out, by reason", ("reason",)
        )

    def refused(self, reason: Reason) -> None:
        """Record a request that was not carried out."""
        self._refusals.inc(1, {"reason": reason})
