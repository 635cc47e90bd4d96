"""The three Ray Serve deployments: HTTP ingress, predictor, and language-model encoder.

A request passes through one handle only, from ingress to predictor, if its questions have been embedded
before; new questions go on to the encoder, in chunks. Small requests that arrive at the same time share a
call. Predictor and encoder compute in a worker thread, in turns of bounded length (see inference/turns.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from gpo_ray.config import StrictConfig, parse
from gpo_ray.embedding.template import SlateTexts
from gpo_ray.errors import GPOError
from gpo_ray.model.bundle import read_bundle
from gpo_ray.model.texts import AnsweredSlate, Slate
from gpo_ray.runtime.ray_session import worker_threads
from gpo_ray.runtime.resources import device_of
from gpo_ray.runtime.terminal_text import one_line
from gpo_ray.runtime.threads import use_threads
from gpo_ray.serving.api.metrics import IngressMetrics, Metrics
from gpo_ray.serving.api.threads import Checkers
from gpo_ray.serving.inference.asked import Asked, Recognised
from gpo_ray.serving.inference.backend import (
    BackendReadiness,
    Overloaded,
    SlatePredictions,
    TooSlow,
    Unavailable,
)
from gpo_ray.serving.inference.calls import Call, Context, Failure, InProcess, answer, ask, slate_texts
from gpo_ray.serving.inference.encoder_jobs import TURN_CHARACTERS, CountJob, EncodeJob, slates_of
from gpo_ray.serving.inference.encoding import (
    EmbeddingCache,
    EncodedSlate,
    LoadedEncoder,
    check_tokens,
    chunks,
)
from gpo_ray.serving.inference.handles import ServeBackend
from gpo_ray.serving.inference.prediction_job import EncodedRequest, PredictionJob
from gpo_ray.serving.inference.predictor import TURN_COST, BatchPredictor, Serving
from gpo_ray.serving.inference.turns import Turns
from gpo_ray.serving.settings import ServeSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

WARM_UP_SECONDS = 60
ENCODE_BATCH = 16
"""Most requests whose chunks of questions, one of each request, are embedded together."""
COUNT_BATCH = 16
"""Most requests whose tokens are counted in one turn."""
TURN_TOKENS = 512
"""Most tokens that the language model reads in one turn, unless one question has more."""
QUICK_COST = 50.0
"""Highest cost of a request that is predicted while the other requests of its call wait."""


class EncoderDeployment:
    """A replica that holds the language model and embeds questions that nobody has asked about before.

    In Serve config files, status and metrics this deployment is named ``Encoder``.
    """

    def __init__(self, settings: ServeSettings) -> None:
        use_threads(worker_threads(settings.processes, settings.encoder.cpus))
        config = read_bundle(settings.bundle).config
        self._limits = settings.limits
        gpus = settings.encoder.gpus
        self._encoder = LoadedEncoder(settings.model, config, settings.bundle, device_of(gpus), gpus)
        self._encoder.encode([Slate(prompt="?", responses=("yes", "no"))])  # the first call takes seconds
        self._turns: Turns[EncodeJob] = Turns(self._turn, TURN_TOKENS, ENCODE_BATCH)
        self._counting: Turns[CountJob] = Turns(self._count, TURN_CHARACTERS, COUNT_BATCH)

    async def measure(
        self, questions: Sequence[SlateTexts], caller: str, deadline: float
    ) -> list[int] | Failure:
        """Return the tokens that the language model would read for each question, if not too many.

        Args:
            questions: prompts and responses of one request.
            caller: id of the caller; callers take turns.
            deadline: time after which the answer is no longer wanted, in seconds since the epoch.
        """
        job = CountJob(questions, self._limits)
        try:
            await self._counting.run(job, caller, deadline)
        except (GPOError, TooSlow) as e:
            return Failure.of(e)
        return job.counts

    async def encode(
        self, questions: Sequence[SlateTexts], tokens: int, caller: str, deadline: float
    ) -> list[EncodedSlate | Failure] | Failure:
        """Embed a chunk of one request's questions; each question may fail by itself.

        Args:
            questions: questions that :meth:`measure` has accepted.
            tokens: tokens of all the questions together.
            caller: id of the caller; callers take turns.
            deadline: time after which the questions are no longer wanted, in seconds since the epoch.
        """
        job = EncodeJob(slates_of(questions), tokens, [])
        try:
            await self._turns.run(job, caller, deadline)
        except TooSlow as e:
            return Failure.of(e)
        return job.found

    def _count(self, jobs: list[CountJob]) -> None:
        for job in jobs:
            job.counts.extend(self._encoder.tokens(slates_of(job.next())))
            check_tokens(job.questions, job.counts, job.limits)

    def _turn(self, jobs: list[EncodeJob]) -> None:
        found = iter(self._encoder.encode([s for job in jobs for s in job.slates]))
        for job in jobs:
            job.found.extend(
                Failure.of(e) if isinstance(e, GPOError) else e for e in islice(found, len(job.slates))
            )


class SwapConfig(StrictConfig):
    """The settings that can be changed while the service runs (Serve's ``user_config``)."""

    bundle: str
    """Folder or URI of the bundle to serve from now on."""


class Predictor:
    """A replica that holds the bundle and predicts the questions of many groups together."""

    def __init__(self, settings: ServeSettings, encoder: DeploymentHandle) -> None:
        use_threads(worker_threads(settings.processes, settings.predictor.cpus))
        caches = (settings.cached_contexts, settings.cached_questions)
        self._predictor = BatchPredictor(settings.bundle, *caches, device=device_of(settings.predictor.gpus))
        self._recognised, self._looking = Recognised(), Checkers()
        self._cache = EmbeddingCache(settings.embeddings, self._predictor.config, settings.cached_questions)
        self._serving = settings.bundle
        self._problem: str | None = None
        self._encoder = encoder
        self._encoders = settings.encoder.max
        self._metrics, self._warm = Metrics(), False
        self._turns: Turns[PredictionJob] = Turns(
            self._turn, TURN_COST, settings.batch_size, settings.batch_wait_seconds
        )

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Change to another bundle; if it cannot be used, keep the old one and remember the reason."""
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
        """Report whether a bundle was refused; Serve calls this often, as Ray needs the gauge set again."""
        self._metrics.bundle(refused=self._problem is not None)

    async def _warm_up(self) -> None:
        """Answer a first question, since the first one through a handle takes seconds."""
        if self._warm:
            return
        with contextlib.suppress(Exception):  # real requests report what is wrong, each for itself
            first = [AnsweredSlate(prompt="?", responses=("yes", "no"), choice=0)]
            await self.predict(Call(Context.of(first), slate_texts(first), "", time.time() + WARM_UP_SECONDS))
        self._warm = True

    async def ready(self) -> BackendReadiness:
        """Return which bundle serves, and why another one could not be used."""
        return BackendReadiness(ready=True, bundle=self._predictor.bundle_id, problem=self._problem)

    async def predict(self, call: Call) -> SlatePredictions | Failure:
        """Predict a group's preferences; see :class:`~gpo_ray.serving.inference.backend.Backend`."""
        begun = time.time()
        try:
            async with asyncio.timeout(call.deadline - begun):
                return await self._predict(call, begun)
        except TimeoutError:
            return Failure(TooSlow())
        except (GPOError, Overloaded, Unavailable, TooSlow) as e:
            return Failure.of(e)

    async def predict_quickly(self, calls: Sequence[Call]) -> list[SlatePredictions | Failure | None]:
        """Predict the cheap ones of ``calls``; return None for the others, which must be asked singly."""
        found = await asyncio.gather(*(self._predict_quickly(c) for c in calls), return_exceptions=True)
        # an unexpected error recurs when its request is asked singly, and must not fail the whole call
        return [None if isinstance(f, BaseException) else f for f in found]

    async def _predict(self, call: Call, begun: float) -> SlatePredictions:
        serving = self._predictor.serving  # another bundle may be swapped in while this request waits
        group, recognise = serving.group(call.context.id), serving.recognise
        answers = [] if group else call.context.answers
        look = partial(self._look_through, answers, call, serving)
        if self._recognised.takes_long(call, serving.id, group is None):
            asked = await self._looking.run(call.caller, look)
        else:
            asked = look()
        known = self._in_memory(asked)
        if any(a.encoded(known) is None for a in asked):
            known |= await self._embedded(asked, known, call)
        else:
            self._metrics.embeddings(hits=len(known), misses=0)
        encoded = [e for a in asked if (e := a.encoded(known)) is not None]
        embedded = time.time()
        answered = [
            (e, q.found.to_prior(a.shares())) for e, q, a in zip(encoded, asked, answers, strict=False)
        ]
        n, people = len(answers), [a.n for a in answers]
        job = serving.start(EncodedRequest(answered, encoded[n:], call.context.id, people), group)
        made = await self._finish(job, call, begun, embedded)
        return self._recognised.restored(made, asked[n:], call, recognise)

    def _look_through(self, answers: Sequence[AnsweredSlate], call: Call, serving: Serving) -> list[Asked]:
        """Return the questions of some answers and of a call as the bundle knows them; note the answers."""
        self._recognised.notes(call, serving.id, serving.recognise)
        context = self._recognised.context(answers, serving.recognise)
        return [*context, *self._recognised.questions(call, serving.recognise)]

    async def _predict_quickly(self, call: Call) -> SlatePredictions | Failure | None:
        begun, serving = time.time(), self._predictor.serving
        if self._recognised.takes_long(call, serving.id):
            return None
        asked = self._recognised.questions(call, serving.recognise)
        made = serving.predicted(call.context.id, [a.spelled for a in asked])
        if made is not None:
            self._metrics.embeddings(hits=len(asked), misses=0)
            self._metrics.predicted(
                queued=begun - call.sent, embedded=0.0, predicted=0.0, context=call.context.size
            )
            return self._recognised.restored(made, asked, call, serving.recognise)
        group = serving.group(call.context.id)
        if group is None:
            return None
        known = self._in_memory(asked)
        encoded = [e for a in asked if (e := a.encoded(known)) is not None]
        if len(encoded) < len(asked):
            return None
        job = serving.start(EncodedRequest((), encoded, call.context.id), group)
        if not job.last or job.cost > QUICK_COST:
            return None
        self._metrics.embeddings(hits=len(known), misses=0)
        try:
            made = await self._finish(job, call, begun, begun)
            return self._recognised.restored(made, asked, call, serving.recognise)
        except (GPOError, TooSlow) as e:
            return Failure.of(e)

    async def _finish(
        self, job: PredictionJob, call: Call, begun: float, embedded: float
    ) -> SlatePredictions:
        # requests that end in one turn do not wait for the same caller's long ones
        await self._turns.run(job, (call.caller, job.last), call.deadline)
        outcome = job.outcome
        if isinstance(outcome, GPOError):
            raise outcome
        self._metrics.predicted(
            queued=begun - call.sent,
            embedded=embedded - begun,
            predicted=time.time() - embedded,
            context=call.context.size,
        )
        return outcome

    def _turn(self, jobs: list[PredictionJob]) -> None:
        self._metrics.batch(len(jobs))
        self._predictor.turn(jobs)

    def _in_memory(self, asked: Sequence[Asked]) -> dict[str, EncodedSlate]:
        return self._cache.in_memory({k for a in asked for k in (a.key, a.spelled)})

    async def _embedded(
        self, asked: Sequence[Asked], known: dict[str, EncodedSlate], call: Call
    ) -> dict[str, EncodedSlate]:
        """Fetch the questions that are not in memory from the embedding store or the language model.

        Each chunk is kept as soon as it is embedded, so that a repeated request takes less time.
        """
        left = [a for a in asked if a.encoded(known) is None]
        wanted = {k for a in left for k in (a.key, a.spelled)}
        found = await asyncio.to_thread(self._cache.get_many, wanted)
        missing = [*{a.spelled: a.texts for a in left if a.encoded(found) is None}.values()]
        self._metrics.embeddings(hits=len(known) + len(found), misses=len(missing))
        if not missing:
            return found
        tokens = await ask(partial(self._measure, missing, call))
        todo = chunks(missing, tokens, TURN_TOKENS)
        for start in range(0, len(todo), self._encoders):
            some = [ask(partial(self._encode, *c, call)) for c in todo[start : start + self._encoders]]
            problems: list[BaseException] = []
            for made in await asyncio.gather(*some, return_exceptions=True):
                if isinstance(made, BaseException):
                    problems.append(made)
                    continue
                good = [e for e in made if isinstance(e, EncodedSlate)]
                self._cache.put(good)
                found |= {e.key: e for e in good}
                problems += [e.error for e in made if isinstance(e, Failure)]
            if problems:
                raise problems[0]
        return found

    async def _measure(self, questions: list[SlateTexts], call: Call) -> list[int] | Failure:
        found: list[int] | Failure = await answer(
            self._encoder.measure.remote(questions, call.caller, call.deadline)
        )
        return found

    async def _encode(
        self, questions: list[SlateTexts], tokens: int, call: Call
    ) -> list[EncodedSlate | Failure] | Failure:
        found: list[EncodedSlate | Failure] | Failure = await answer(
            self._encoder.encode.remote(questions, tokens, call.caller, call.deadline)
        )
        return found


def _in_words(error: BaseException) -> str:
    """Say in words why a bundle was refused; errors of other packages are named by their class, too."""
    words = str(error) if isinstance(error, GPOError) else f"{type(error).__name__}: {error}"
    return f"the bundle was not taken: {one_line(words)[:500]}"


@serve.ingress()
class Ingress:
    """A replica that speaks HTTP, knows the registered groups and checks API keys.

    Args:
        settings: settings of the service.
        behind: handle of the predictor, or of the encoder if the predictor is in this process.
    """

    def __init__(self, settings: ServeSettings, behind: DeploymentHandle) -> None:
        self._settings = settings
        self._predictor = Predictor(settings, behind) if settings.one_process else None
        predictor = behind if self._predictor is None else InProcess(self._predictor)
        self._backend = ServeBackend(predictor, settings)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Change to another bundle, see :meth:`Predictor.reconfigure`."""
        if self._predictor is not None:
            await self._predictor.reconfigure(user_config)

    async def check_health(self) -> None:
        """Report on the bundle, see :meth:`Predictor.check_health`."""
        if self._predictor is not None:
            await self._predictor.check_health()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Make the HTTP application; this happens in the replica, since the application holds connections."""
        from gpo_ray.serving.api.http import create_api
        from gpo_ray.serving.log import log_requests
        from gpo_ray.serving.registry.database import open_database
        from gpo_ray.serving.registry.groups import Registry
        from gpo_ray.serving.registry.keys import KeyRing

        log_requests(self._settings.log_level)
        engine = open_database(self._settings.database)
        parts = (
            self._settings,
            self._backend,
            Registry(engine, self._settings.limits.stored_bytes),
            KeyRing(engine),
        )
        api = create_api(*parts, on_refusal=IngressMetrics().refused)
        if self._settings.page:
            from gpo_ray.serving.page.mount import mount_page

            mount_page(api, *parts)
        return api
