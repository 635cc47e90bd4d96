"""The interface between HTTP and the model; Serve handles, or objects in this process, implement it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gpo_ray.model.texts import AnsweredSlate, Slate


@dataclass(frozen=True)
class SlatePrediction:
    """A group's predicted preferences over one question's R responses."""

    share: list[float]
    """Predicted shares of the responses, (R,); they sum to 1."""
    interval: list[tuple[float, float]] | None
    """Ends of the 90 % intervals of the shares, (R, 2); None if the model gives none."""
    language_model: list[float]
    """The language model's own distribution over the option letters, (R,)."""
    seen: bool | None = None
    """Whether meta-train groups answered the question; None for a model without a prior."""
    recognised: bool | None = None
    """As in :attr:`gpo_ray.prior.recognition.Recognition.recognised`."""

    def in_order(self, order: Sequence[int]) -> SlatePrediction:
        """Return the prediction with its responses in another order, given by their (R,) present indices."""
        ends = self.interval
        return replace(
            self,
            share=[self.share[i] for i in order],
            interval=None if ends is None else [ends[i] for i in order],
            language_model=[self.language_model[i] for i in order],
        )


@dataclass(frozen=True)
class SlatePredictions:
    """Predictions of all questions asked, with the id of the bundle that made them."""

    predictions: list[SlatePrediction]
    bundle: str
    notes: tuple[str, ...] = ()
    """What to know about the answers of the group, in words."""
    lacks_guesses: bool = False
    """Whether the bundle reads guesses that the service cannot make, so that unseen questions have none."""


@dataclass(frozen=True)
class BackendReadiness:
    """Whether predictions can be made now, and by which bundle."""

    ready: bool
    bundle: str | None
    """Id of the bundle that is serving."""
    problem: str | None = None
    """The reason why the service is not ready, or why another bundle could not be used."""


class Overloaded(Exception):  # noqa: N818
    """More requests wait than can be queued; the caller should come back later."""


class Unavailable(Exception):  # noqa: N818
    """Nothing can predict at the moment, since a replica has died; the same request may succeed later."""


class TooSlow(Exception):  # noqa: N818
    """The deadline passed; what was embedded and prepared until then is kept, so that asking again helps."""


class Backend(Protocol):
    """The model side of the service, which predicts."""

    async def predict(
        self, context: Sequence[AnsweredSlate], questions: Sequence[Slate], caller: str
    ) -> SlatePredictions:
        """Predict a group's preferences, given its answers.

        Args:
            context: the group's answers.
            questions: the questions to predict.
            caller: id of the caller; callers take turns.

        Raises:
            Overloaded: if too many requests wait already.
            Unavailable: if the predictor has died and is not running again yet.
            TooSlow: if the prediction takes too long.
            GPOError: if something in the request cannot be predicted; the message is for the caller.
        """

    async def ready(self) -> BackendReadiness:
        """Return whether predictions can be made now."""
