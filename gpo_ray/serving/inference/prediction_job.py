"""A request that is predicted piece by piece, in pieces of bounded cost.

A unit of cost is about a millisecond of one core, at the published sizes and a few thousand responses in the
bundle's memory.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gpo_ray.errors import DataError, GPOError
from gpo_ray.model.estimator import AdaptedGroup
from gpo_ray.model.prepared import PreparedQuestion
from gpo_ray.serving.inference.backend import SlatePrediction, SlatePredictions
from gpo_ray.serving.inference.encoding import EncodedSlate

NEW_COST = 3.0
"""Cost of preparing a response of a question that is not in memory."""
MAX_NEW = 32
"""Most such responses that a request prepares in one turn."""
TARGETS_COST = 100.0
"""Most cost of the questions that a request has predicted in one turn."""

PreparedByKey = dict[str, PreparedQuestion | GPOError]
"""Questions by key, as the model has prepared them; an error in place of each that it could not prepare."""
Answered = tuple[EncodedSlate, NDArray[np.float64]]
"""A question and the group's shares (R,) over its responses."""


def context_id(answers: Iterable[tuple[str, Sequence[float] | NDArray[np.float64]]]) -> str:
    """Return a hash of a group's answers: of the key of each question and its shares, in their order."""
    digest = hashlib.sha256()
    for key, share in answers:
        y = np.asarray(share, np.float64)
        digest.update(f"{len(key)}:{key}{y.shape}".encode() + y.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class EncodedRequest:
    """Questions to predict for a group with some answers."""

    context: Sequence[Answered]
    targets: Sequence[EncodedSlate]
    id: str | None = None
    """Id of the context, if it was computed before."""
    respondents: Sequence[float | None] | None = None
    """Number of people behind each answer of the context, as in :meth:`GroupPreferenceModel.adapt`."""

    @cached_property
    def context_id(self) -> str:
        """Return the id of the context, computed by :func:`context_id` unless it was given."""
        if self.id is not None:
            return self.id
        made = context_id((slate.key, share) for slate, share in self.context)
        return made if self.respondents is None else f"{made}{list(self.respondents)}"


class Server(Protocol):
    """A bundle that works on jobs."""

    @property
    def id(self) -> str:
        """Return a short hash of the bundle's contents."""

    @property
    def lacks_guesses(self) -> bool:
        """Return whether the bundle reads guesses that the service cannot make."""

    def turn(self, jobs: Sequence[PredictionJob]) -> None:
        """Do a bounded piece of each of some jobs, all of which belong to this bundle."""


class PredictionJob:
    """A running request: its questions are prepared, its group is adapted, its targets are predicted.

    The data of a question are dropped as soon as they are not needed any more, since they may be large.
    """

    def __init__(self, serving: Server, request: EncodedRequest, group: AdaptedGroup | None) -> None:
        self.serving, self.request, self.group = serving, request, group
        self.error: GPOError | None = None if request.targets else DataError("no question was asked")
        self._context = [] if group is not None else [slate for slate, _ in request.context]
        self._points = sum(len(share) for _, share in request.context) if group is None else group.size
        self._left = deque(request.targets)
        self._prepared: PreparedByKey = {}
        self._found: list[SlatePrediction] = []

    @property
    def outcome(self) -> SlatePredictions | GPOError:
        """Return the predictions, or the error if the request failed."""
        lacks = self.serving.lacks_guesses
        return self.error or SlatePredictions(self._found, self.serving.id, lacks_guesses=lacks)

    @property
    def cost(self) -> float:
        """Return the cost of the next turn, see :class:`~gpo_ray.serving.inference.turns.Job`."""
        if self.error is not None or not self._left:
            return 0.0
        new = self._size(self.unmet())
        adapting = self._points**2 / 2000 if self.group is None and new < MAX_NEW else 0.0
        return 1 + new * NEW_COST + adapting + self._size(self._next()) * self._cost_of_target

    @property
    def last(self) -> bool:
        """Return whether the next turn is the last, see :class:`~gpo_ray.serving.inference.turns.Job`."""
        new = sum(s.key not in self._prepared for s in {s.key: s for s in self._all()}.values())
        return new == len(self.unmet()) and len(self._next()) == len(self._left)

    @property
    def context_prepared(self) -> bool:
        """Return whether all answers of the context are prepared, so that the group can be adapted."""
        return all(s.key in self._prepared for s in self._context)

    def unmet(self) -> list[EncodedSlate]:
        """Return the questions to prepare next, those of the context first."""
        some: dict[str, EncodedSlate] = {}
        size = 0
        for slate in self._all():
            if slate.key not in self._prepared and slate.key not in some:
                size += len(slate.vectors)
                if some and size > MAX_NEW:
                    break
                some[slate.key] = slate
        return list(some.values())

    def take(self, prepared: PreparedByKey) -> None:
        """Keep some prepared questions."""
        self._prepared |= prepared

    def prepared(self, slate: EncodedSlate) -> PreparedQuestion:
        """Return a question as the model has prepared it.

        Raises:
            GPOError: if the question cannot be predicted.
        """
        found = self._prepared[slate.key]
        if isinstance(found, GPOError):
            raise found
        return found

    def adapt(self, group: AdaptedGroup) -> None:
        """Set the adapted group, and drop the questions of its context."""
        self.group, self._context = group, []
        targets = {s.key for s in self._left}
        self._prepared = {k: q for k, q in self._prepared.items() if k in targets}

    def chunk(self) -> list[EncodedSlate]:
        """Return the questions to predict now, as far as they are prepared.

        Raises:
            GPOError: if one of them cannot be predicted.
        """
        chunk = list(itertools.takewhile(lambda s: s.key in self._prepared, self._next()))
        for slate in chunk:
            self.prepared(slate)
        return chunk

    def add(self, predictions: list[SlatePrediction]) -> None:
        """Add the predictions of the last chunk."""
        self._found += predictions
        gone = {self._left.popleft().key for _ in predictions}
        for key in gone.difference(s.key for s in self._left):
            del self._prepared[key]

    def points(self, chunk: list[EncodedSlate]) -> int:
        """Return the number of responses in a forward pass with a chunk."""
        return self._points + self._size(chunk)

    def _all(self) -> Iterator[EncodedSlate]:
        return itertools.chain(self._context, self._left)

    def _next(self) -> list[EncodedSlate]:
        """Return as many of the remaining questions as one turn may predict."""
        some: list[EncodedSlate] = []
        cost = 0.0
        for slate in self._left:
            cost += len(slate.vectors) * self._cost_of_target
            if some and cost > TARGETS_COST:
                break
            some.append(slate)
        return some

    @property
    def _cost_of_target(self) -> float:
        return 0.2 + self._points / 1500

    @staticmethod
    def _size(slates: Iterable[EncodedSlate]) -> int:
        return sum(len(s.vectors) for s in slates)
