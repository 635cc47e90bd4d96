"""The three Ray Serve deployments: HTTP ingress, predictor, language-model encoder.

A request passes through one handle only, from ingress to predictor, as long as its questions have been
embedded before; what is new goes on to the encoder.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from gpo_ray.config import StrictConfig, parse
from gpo_ray.errors import DataError, GPOError, QuestionTooLongError
from gpo_ray.model.bundle import read_bundle
from gpo_ray.predicting import Answer, Slate
from gpo_ray.preferences.dataset import question_key
from gpo_ray.serving.backend import Overloaded, Predicted, Readiness, Unavailable
from gpo_ray.serving.encoding import EmbeddingCache, EncodedSlate, LoadedEncoder
from gpo_ray.serving.metrics import IngressMetrics, Metrics
from gpo_ray.serving.predictor import BatchPredictor, PredictRequest
from gpo_ray.serving.settings import Replicas, ServeSettings
from gpo_ray.terminal_text import one_line

if TYPE_CHECKING:
    from starlette.types import ASGIApp

R = TypeVar("R")

ATTEMPTS = 3
"""Times a replica is asked when replicas die: nothing here changes anything, so that asking again is safe."""
WARM_UP_SECONDS = 60
ENCODE_BATCH = 16
"""Questions from different requests that are embedded together at most."""


@dataclass(frozen=True)
class Failure:
    """What went wrong, as a value.

    Ray would wrap an exception in its own and log its traceback, and takes a replica that passes on
    another one's death for dead itself.
    """

    error: GPOError | Overloaded | Unavailable


async def ask(call: Callable[[], Awaitable[R | Failure]]) -> R:
    """Call a replica, and another one if it dies.

    Raises:
        Overloaded: if too many requests wait for a replica already.
        Unavailable: if one replica after the other died, or none can be started.
        DataError: if the replica says so.
    """
    for attempt in range(ATTEMPTS):
        try:
            found = await call()
        except BackPressureError as e:
            raise Overloaded from e
        except (RayActorError, DeploymentUnavailableError) as e:
            if attempt == ATTEMPTS - 1:
                raise Unavailable from e
            await asyncio.sleep(0.05 * (attempt + 1))
        else:
            break
    if isinstance(found, Failure):
        raise found.error
    return found


class Encoder:
    """Holds the language model; embeds questions that nobody asked about before."""

    def __init__(self, settings: ServeSettings) -> None:
        config = read_bundle(settings.bundle).config
        self._encoder = LoadedEncoder(settings.model, config, settings.bundle, gpus=settings.encoder.gpus)
        self._encoder.encode([Slate(prompt="?", responses=("yes", "no"))])  # the first time takes seconds

    @serve.batch(max_batch_size=ENCODE_BATCH, batch_wait_timeout_s=0.005)  # type: ignore[untyped-decorator]
    async def encode(self, slates: list[Slate]) -> list[EncodedSlate | Failure]:
        """Embeddings of questions, each with its own failure."""
        found = await asyncio.to_thread(self._encoder.encode, slates)
        return [_failure(e) if isinstance(e, GPOError) else e for e in found]


class SwapConfig(StrictConfig):
    """What can be changed while the service runs (Serve's ``user_config``)."""

    bundle: str
    """Folder or URI of the bundle to serve from now on."""


class Predictor:
    """Holds the bundle; predicts questions of many groups together."""

    def __init__(self, settings: ServeSettings, encoder: DeploymentHandle) -> None:
        self._predictor = BatchPredictor(settings.bundle, settings.cached_contexts, settings.cached_questions)
        self._cache = EmbeddingCache(settings.embeddings, self._predictor.config, settings.cached_questions)
        self._serving = settings.bundle
        self._problem: str | None = None
        self._encoder = encoder
        self._metrics = Metrics()
        self._warm = False
        self._predict_batch.set_max_batch_size(settings.batch_size)
        self._predict_batch.set_batch_wait_timeout_s(settings.batch_wait_seconds)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take another bundle; one that cannot be used leaves the old one serving, and the reason here."""
        await self._warm_up()
        try:
            wanted = parse(SwapConfig, user_config, "user_config").bundle
            if wanted != self._serving:
                await asyncio.to_thread(self._predictor.swap, wanted)
                self._serving = wanted
            self._problem = None
        except asyncio.CancelledError:
            raise
        except BaseException as e:  # noqa: BLE001 -- whatever it raises, panics of extensions too
            self._problem = _in_words(e)

    async def check_health(self) -> None:
        """Called by Serve every few seconds; Ray exports a gauge only while it is set again and again."""
        self._metrics.bundle(refused=self._problem is not None)

    async def _warm_up(self) -> None:
        """The first question through a handle takes seconds, which no caller should wait for."""
        if self._warm:
            return
        with contextlib.suppress(Exception):  # real requests say what is wrong, one by one
            answer = Answer(prompt="?", responses=("yes", "no"), choice=0)
            await asyncio.wait_for(self.predict([answer], [answer], time.time()), WARM_UP_SECONDS)
        self._warm = True

    async def ready(self) -> Readiness:
        """The bundle that serves, and why another one does not."""
        return Readiness(ready=True, bundle=self._predictor.bundle_id, problem=self._problem)

    async def predict(
        self, context: Sequence[Answer], questions: Sequence[Slate], sent: float
    ) -> Predicted | Failure:
        """Predict a group's preferences; see :class:`~gpo_ray.serving.backend.Backend`.

        Args:
            context: the group's answers.
            questions: what to predict.
            sent: time at which the ingress asked, in seconds since the epoch.
        """
        begun = time.time()
        try:
            encoded = await self._embedded([*context, *questions])
            embedded = time.time()
            answered = [(e, a.shares()) for e, a in zip(encoded, context, strict=False)]
            found = await self._predict_batch(PredictRequest(answered, encoded[len(context) :]))
        except GPOError as e:
            return _failure(e)
        except (Overloaded, Unavailable) as e:
            return Failure(type(e)())  # without its cause, which need not be picklable
        if isinstance(found, Failure):
            return found
        self._metrics.predicted(
            queued=begun - sent,
            embedded=embedded - begun,
            predicted=time.time() - embedded,
            context=len(context),
        )
        return found

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002)  # type: ignore[untyped-decorator]
    async def _predict_batch(self, requests: list[PredictRequest]) -> list[Predicted | Failure]:
        self._metrics.batch(len(requests))
        found = self._predictor.predict(requests)
        return [_failure(e) if isinstance(e, GPOError) else e for e in found]

    async def _embedded(self, slates: Sequence[Slate]) -> list[EncodedSlate]:
        keys = [question_key(s.prompt, s.responses) for s in slates]
        found = self._cache.get_many(keys)
        missing = {k: s for k, s in zip(keys, slates, strict=True) if k not in found}
        self._metrics.embeddings(hits=len(found), misses=len(missing))
        if missing:
            plain = [Slate(prompt=s.prompt, responses=s.responses) for s in missing.values()]
            for encoded in await asyncio.gather(*(ask(partial(self._encode, s)) for s in plain)):
                self._cache.put([encoded])
                found[encoded.key] = encoded
        return [found[k] for k in keys]

    async def _encode(self, slate: Slate) -> EncodedSlate | Failure:
        return await self._encoder.encode.remote(slate)


def _in_words(error: BaseException) -> str:
    """Why a bundle was not taken; of errors that are not ours, which may say anything, with their kind."""
    words = str(error) if isinstance(error, GPOError) else f"{type(error).__name__}: {error}"
    return f"the bundle was not taken: {one_line(words)[:500]}"


def _failure(error: GPOError) -> Failure:
    return Failure(error if isinstance(error, QuestionTooLongError) else DataError(str(error)))


class ServeBackend:
    """The model side as seen from the ingress."""

    def __init__(self, predictor: DeploymentHandle) -> None:
        self._predictor = predictor

    async def predict(self, context: Sequence[Answer], questions: Sequence[Slate]) -> Predicted:
        """See :class:`~gpo_ray.serving.backend.Backend`."""

        async def predict() -> Predicted | Failure:
            return await self._predictor.predict.remote(tuple(context), tuple(questions), time.time())

        return await ask(predict)

    async def ready(self) -> Readiness:
        """See :class:`~gpo_ray.serving.backend.Backend`."""
        try:
            return await asyncio.wait_for(self._ask_ready(), timeout=5)
        except (TimeoutError, RayActorError, BackPressureError, DeploymentUnavailableError) as e:
            return Readiness(ready=False, bundle=None, problem=f"the predictor does not answer: {e!r}"[:300])

    async def _ask_ready(self) -> Readiness:
        return await self._predictor.ready.remote()


@serve.ingress()
class Ingress:
    """Speaks HTTP; knows the groups and who may do what."""

    def __init__(self, settings: ServeSettings, predictor: DeploymentHandle) -> None:
        self._settings = settings
        self._backend = ServeBackend(predictor)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The HTTP application, made in the replica since it holds connections."""
        from gpo_ray.serving.database import open_database
        from gpo_ray.serving.http import create_api
        from gpo_ray.serving.keys import KeyRing
        from gpo_ray.serving.middleware import log_requests
        from gpo_ray.serving.registry import Registry

        log_requests(self._settings.log_level)
        engine = open_database(self._settings.database)
        parts = (self._settings, self._backend, Registry(engine), KeyRing(engine))
        api = create_api(*parts, on_refusal=IngressMetrics().refused)
        if self._settings.page:
            from gpo_ray.serving.page import mount_page

            mount_page(api, *parts)
        return api


def options(
    replicas: Replicas, ongoing: int, user_config: dict[str, Any] | None = None, patience: float = 20
) -> dict[str, Any]:
    """Deployment options; ``ongoing`` requests run on each copy at the same time.

    A copy that is told to stop gives them ``patience`` seconds.
    """
    found: dict[str, Any] = {
        "ray_actor_options": {"num_cpus": replicas.cpus, "num_gpus": replicas.gpus},
        "max_ongoing_requests": ongoing,
        "max_queued_requests": replicas.queue,
        "backpressure_config": {"status_code": 429, "retry_after_s": 1},
        "health_check_period_s": 5,
        "health_check_timeout_s": 30,
        "graceful_shutdown_timeout_s": patience,
        "graceful_shutdown_wait_loop_s": 0.2,
    }
    if replicas.max > replicas.min:
        found["autoscaling_config"] = {
            "min_replicas": replicas.min,
            "max_replicas": replicas.max,
            "target_ongoing_requests": max(1, ongoing // 2),
        }
    else:
        found["num_replicas"] = replicas.min
    if user_config is not None:
        found["user_config"] = user_config
    return found
