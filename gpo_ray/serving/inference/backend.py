"""What the HTTP side needs of the model side; Serve handles, or objects in this process, provide it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gpo_ray.model.texts import Answer, Slate


@dataclass(frozen=True)
class SlatePrediction:
    """A group's predicted preferences over one question's R responses."""

    share: list[float]
    """(R,), summing to 1."""
    interval: list[tuple[float, float]] | None
    """(R,) ends of 90 % intervals; None where the model gives none."""
    language_model: list[float]
    """(R,) the language model's own distribution over the option letters."""


@dataclass(frozen=True)
class Predicted:
    """Predictions of all questions asked, and the id of the bundle that made them."""

    predictions: list[SlatePrediction]
    bundle: str


@dataclass(frozen=True)
class Readiness:
    """Whether predictions can be made now."""

    ready: bool
    bundle: str | None
    """Id of the bundle that is serving."""
    problem: str | None = None
    """Why it is not ready, or why another bundle was not taken."""


class Overloaded(Exception):  # noqa: N818
    """More requests than can be queued; the caller should come back later."""


class Unavailable(Exception):  # noqa: N818
    """Nothing predicts at the moment, as what did has died; the same request may succeed later."""


class TooSlow(Exception):  # noqa: N818
    """The deadline passed; what was embedded and prepared until then is kept, so that asking again helps."""


class Backend(Protocol):
    """The model side."""

    async def predict(self, context: Sequence[Answer], questions: Sequence[Slate], caller: str) -> Predicted:
        """A group's preferences, given its answers.

        Args:
            context: the group's answers.
            questions: what to predict.
            caller: who asks; callers take turns.

        Raises:
            Overloaded: if too many requests wait already.
            Unavailable: if what predicts has died and is not back yet.
            TooSlow: if it takes too long.
            GPOError: if something in the request cannot be predicted; the message is for the caller.
        """

    async def ready(self) -> Readiness:
        """Whether predictions can be made now."""
