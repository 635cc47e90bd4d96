"""A request on its way to its prediction, in pieces of bounded cost.

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
from gpo_ray.model.estimator import AdaptedGroup, PreparedQuestion
from gpo_ray.serving.inference.backend import Predicted, SlatePrediction
from gpo_ray.serving.inference.encoding import EncodedSlate

NEW_COST = 3.0
"""Of a response of a question that was not met lately."""
MAX_NEW = 32
"""Such responses that a request prepares in one turn."""
TARGETS_COST = 100.0
"""Of the questions that a request has predicted in one turn."""

Prepared = dict[str, PreparedQuestion | GPOError]
"""Questions by key, as the model has prepared them, or why it could not."""
Answered = tuple[EncodedSlate, NDArray[np.float64]]
"""A question and the group's shares (R,) over its responses."""


def context_id(answers: Iterable[tuple[str, Sequence[float] | NDArray[np.float64]]]) -> str:
    """Content hash of a group's answers: of each the question's key and the shares, in their order."""
    digest = hashlib.sha256()
    for key, share in answers:
        y = np.asarray(share, np.float64)
        digest.update(f"{len(key)}:{key}{y.shape}".encode() + y.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class PredictRequest:
    """Questions to a group that gave some answers."""

    context: Sequence[Answered]
    targets: Sequence[EncodedSlate]
    id: str | None = None
    """Of the context, if its hash is known already."""

    @cached_property
    def context_id(self) -> str:
        """As in :func:`context_id`, unless another was given."""
        return self.id or context_id((slate.key, share) for slate, share in self.context)


class Server(Protocol):
    """A bundle that does jobs."""

    @property
    def id(self) -> str:
        """Short hash of its contents."""

    def turn(self, jobs: Sequence[PredictionJob]) -> None:
        """Do a bounded piece of each of some jobs, all of which are this bundle's."""


class PredictionJob:
    """A request on its way: its questions are prepared, its group is adapted, its targets are predicted.

    What it holds of a question goes when it is not needed any more, since that may be large.
    """

    def __init__(self, serving: Server, request: PredictRequest, group: AdaptedGroup | None) -> None:
        self.serving, self.request, self.group = serving, request, group
        self.error: GPOError | None = None if request.targets else DataError("no question was asked")
        self._context = [] if group is not None else [slate for slate, _ in request.context]
        self._points = sum(len(share) for _, share in request.context) if group is None else group.size
        self._left = deque(request.targets)
        self._prepared: Prepared = {}
        self._found: list[SlatePrediction] = []

    @property
    def outcome(self) -> Predicted | GPOError:
        """What came of it."""
        return self.error or Predicted(self._found, self.serving.id)

    @property
    def cost(self) -> float:
        """See :class:`~gpo_ray.serving.inference.turns.Job`."""
        if self.error is not None or not self._left:
            return 0.0
        new = self._size(self.unmet())
        adapting = self._points**2 / 2000 if self.group is None and new < MAX_NEW else 0.0
        return 1 + new * NEW_COST + adapting + self._size(self._next()) * self._cost_of_target

    @property
    def last(self) -> bool:
        """See :class:`~gpo_ray.serving.inference.turns.Job`."""
        new = sum(s.key not in self._prepared for s in {s.key: s for s in self._all()}.values())
        return new == len(self.unmet()) and len(self._next()) == len(self._left)

    @property
    def context_prepared(self) -> bool:
        """Whether the group can be adapted."""
        return all(s.key in self._prepared for s in self._context)

    def unmet(self) -> list[EncodedSlate]:
        """Questions to prepare next, those of the context first."""
        some: dict[str, EncodedSlate] = {}
        size = 0
        for slate in self._all():
            if slate.key not in self._prepared and slate.key not in some:
                size += len(slate.vectors)
                if some and size > MAX_NEW:
                    break
                some[slate.key] = slate
        return list(some.values())

    def take(self, prepared: Prepared) -> None:
        """Keep what was prepared."""
        self._prepared |= prepared

    def prepared(self, slate: EncodedSlate) -> PreparedQuestion:
        """A question as the model has prepared it.

        Raises:
            GPOError: if it cannot be predicted.
        """
        found = self._prepared[slate.key]
        if isinstance(found, GPOError):
            raise found
        return found

    def adapt(self, group: AdaptedGroup) -> None:
        """Go on with the group."""
        self.group, self._context = group, []
        targets = {s.key for s in self._left}
        self._prepared = {k: q for k, q in self._prepared.items() if k in targets}

    def chunk(self) -> list[EncodedSlate]:
        """Questions to predict now, if they are prepared.

        Raises:
            GPOError: if one of them cannot be predicted.
        """
        chunk = list(itertools.takewhile(lambda s: s.key in self._prepared, self._next()))
        for slate in chunk:
            self.prepared(slate)
        return chunk

    def add(self, predictions: list[SlatePrediction]) -> None:
        """The predictions of the last chunk."""
        self._found += predictions
        gone = {self._left.popleft().key for _ in predictions}
        for key in gone.difference(s.key for s in self._left):
            del self._prepared[key]

    def points(self, chunk: list[EncodedSlate]) -> int:
        """Responses that are in a pass with a chunk."""
        return self._points + self._size(chunk)

    def _all(self) -> Iterator[EncodedSlate]:
        return itertools.chain(self._context, self._left)

    def _next(self) -> list[EncodedSlate]:
        """As many of the questions left as one turn may predict."""
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
