"""What one request may ask for: bounds on its size and its time, the same for the API and the page."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gpo_ray.errors import DataError
from gpo_ray.model.texts import Answer, Slate
from gpo_ray.serving.inference.backend import Backend, Predicted, Readiness, TooSlow
from gpo_ray.serving.settings import Limits


def check_context(context: Sequence[Slate], limits: Limits) -> None:
    """Check that a group has no more answers than can be taken in.

    Raises:
        DataError: naming the number and the limit.
    """
    _check("the group's answers", context, limits.context_responses, "context_responses")


def check_questions(questions: Sequence[Slate], limits: Limits) -> None:
    """Check that no more is asked than can be predicted in one request.

    Raises:
        DataError: naming the number and the limit.
    """
    _check("the questions", questions, limits.question_responses, "question_responses")


def _check(what: str, slates: Sequence[Slate], most: int, name: str) -> None:
    count = sum(len(s.responses) for s in slates)
    if count > most:
        raise DataError(f"{what} have {count} responses together, the limit is {most} (limits.{name})")


class Bounded:
    """A backend that is asked for no more than the limits allow.

    Args:
        backend: what predicts.
        limits: of these the budgets and the time of a request count.
    """

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self._backend, self._limits = backend, limits

    async def predict(self, context: Sequence[Answer], questions: Sequence[Slate], caller: str) -> Predicted:
        """See :class:`~gpo_ray.serving.inference.backend.Backend`.

        Raises:
            DataError: if the answers or the questions are too many together.
            TooSlow: if it takes too long.
        """
        check_context(context, self._limits)
        check_questions(questions, self._limits)
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                return await self._backend.predict(context, questions, caller)
        except TimeoutError as e:
            raise TooSlow from e

    async def ready(self) -> Readiness:
        """See :class:`~gpo_ray.serving.inference.backend.Backend`."""
        return await self._backend.ready()
