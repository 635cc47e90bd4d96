"""Bounds on the size and the time of one request, the same for the API and the page."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gpo_ray.errors import DataError
from gpo_ray.model.texts import AnsweredSlate, Slate
from gpo_ray.serving.inference.backend import Backend, BackendReadiness, SlatePredictions, TooSlow
from gpo_ray.serving.settings import Limits


def check_context(context: Sequence[Slate], limits: Limits) -> None:
    """Check that a group has no more answers than the limits allow.

    Raises:
        DataError: if it has; the message names the number and the limit.
    """
    _check("the group's answers", context, limits.context_responses, "context_responses")


def check_questions(questions: Sequence[Slate], limits: Limits) -> None:
    """Check that a request asks for no more questions than the limits allow.

    Raises:
        DataError: if it does; the message names the number and the limit.
    """
    _check("the questions", questions, limits.question_responses, "question_responses")


def _check(what: str, slates: Sequence[Slate], most: int, name: str) -> None:
    count = sum(len(s.responses) for s in slates)
    if count > most:
        raise DataError(f"{what} have {count} responses together, the limit is {most} (limits.{name})")


class Bounded:
    """A backend that takes requests only within the limits.

    Args:
        backend: the backend that predicts.
        limits: limits, of which those of a request's size and time are used.
    """

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self._backend, self._limits = backend, limits

    async def predict(
        self, context: Sequence[AnsweredSlate], questions: Sequence[Slate], caller: str
    ) -> SlatePredictions:
        """Predict within the limits, see :meth:`gpo_ray.serving.inference.backend.Backend.predict`.

        Raises:
            DataError: if the answers or the questions have too many responses together.
            TooSlow: if the prediction takes too long.
        """
        check_context(context, self._limits)
        check_questions(questions, self._limits)
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                return await self._backend.predict(context, questions, caller)
        except TimeoutError as e:
            raise TooSlow from e

    async def ready(self) -> BackendReadiness:
        """Return whether predictions can be made now."""
        return await self._backend.ready()
