"""The model side of the service as the ingress sees it, through handles of deployments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from gpo_ray.model.texts import AnsweredSlate, Slate
from gpo_ray.serving.inference.backend import BackendReadiness, SlatePredictions
from gpo_ray.serving.inference.calls import Call, Failure, InProcess, Packer, answer, ask, slate_texts
from gpo_ray.serving.inference.joined import Joined
from gpo_ray.serving.settings import ServeSettings

QUICK_RESPONSES = 256
"""Most responses of a request's questions for which it shares a call with others."""
READY_SECONDS = 5


class ServeBackend:
    """The model side of the service, called through handles."""

    def __init__(self, predictor: DeploymentHandle | InProcess, settings: ServeSettings) -> None:
        self._predictor = predictor
        self._seconds = settings.limits.request_seconds
        self._packer = Packer()
        replicas = settings.predictor.max
        self._quick: Joined[Call, SlatePredictions | Failure | None] = Joined(
            self._predict_quickly, settings.batch_size, 2 * replicas
        )
        self._readiness: Joined[None, BackendReadiness] = Joined(self._ready, 1000, 1)

    async def predict(
        self, context: Sequence[AnsweredSlate], questions: Sequence[Slate], caller: str
    ) -> SlatePredictions:
        """Predict a group's preferences, see :meth:`gpo_ray.serving.inference.backend.Backend.predict`."""
        deadline = time.time() + self._seconds
        call = Call(self._packer.pack(context), slate_texts(questions), caller, deadline)
        if sum(len(q.responses) for q in questions) <= QUICK_RESPONSES:
            found = await self._quick.ask(call, caller)
            if isinstance(found, Failure):
                raise found.error
            if found is not None:
                return found

        async def predict() -> SlatePredictions | Failure:
            made: SlatePredictions | Failure = await answer(self._predictor.predict.remote(call))
            return made

        return await ask(predict)

    async def _predict_quickly(self, calls: list[Call]) -> list[SlatePredictions | Failure | None]:
        # without the answers: quick predictions are only for groups that are adapted already
        light = [replace(c, context=replace(c.context, packed=b"")) for c in calls]

        async def predict() -> list[SlatePredictions | Failure | None]:
            made: list[SlatePredictions | Failure | None] = await answer(
                self._predictor.predict_quickly.remote(light)
            )
            return made

        return await ask(predict)

    async def ready(self) -> BackendReadiness:
        """Return whether predictions can be made now."""
        return await self._readiness.ask(None)

    async def _ready(self, asked: list[None]) -> list[BackendReadiness]:
        try:
            found = await asyncio.wait_for(answer(self._predictor.ready.remote()), READY_SECONDS)
        except (TimeoutError, RayActorError, BackPressureError, DeploymentUnavailableError) as e:
            problem = f"the predictor does not answer: {e!r}"[:300]
            found = BackendReadiness(ready=False, bundle=None, problem=problem)
        return [found] * len(asked)
