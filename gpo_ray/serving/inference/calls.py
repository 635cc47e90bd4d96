"""What goes between the deployments, and how one asks another."""

from __future__ import annotations

import asyncio
import hashlib
import pickle
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar

from cachetools import LRUCache
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentResponse

from gpo_ray.errors import DataError, GPOError, QuestionTooLongError
from gpo_ray.model.texts import Answer, Slate
from gpo_ray.serving.inference.backend import Overloaded, TooSlow, Unavailable

R = TypeVar("R")

ATTEMPTS = 3
"""Times a replica is asked when replicas die: nothing here changes anything, so that asking again is safe."""
_PACKED_BYTES = 64_000_000

Text = tuple[str, tuple[str, ...]]
"""A prompt and its responses."""


@dataclass(frozen=True)
class Failure:
    """What went wrong, as a value.

    Ray would wrap an exception in its own and log its traceback, and takes a replica that passes on
    another one's death for dead itself.
    """

    error: GPOError | Overloaded | Unavailable | TooSlow

    @classmethod
    def of(cls, error: GPOError | Overloaded | Unavailable | TooSlow) -> Failure:
        """Without its cause, and of a class, which every process knows."""
        if not isinstance(error, GPOError):
            return cls(type(error)())
        return cls(error if isinstance(error, QuestionTooLongError) else DataError(str(error)))


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


async def answer(response: DeploymentResponse | Awaitable[Any]) -> Any:
    """What a replica answers; it is told to stop when nobody waits for it any more."""
    try:
        return await response
    except asyncio.CancelledError:
        if isinstance(response, DeploymentResponse):
            response.cancel()
        raise


class InProcess:
    """An object's methods as a deployment's handle gives them, ``.NAME.remote(...)``, without a hop."""

    def __init__(self, target: object) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self._target, name))


@dataclass(frozen=True)
class Context:
    """A group's answers, packed: what receives them needs them only if it has not adapted the group."""

    id: str
    packed: bytes
    size: int
    """Number of answers."""

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Context:
        """Of a group's answers."""
        plain = [(a.prompt, a.responses, a.share, a.choice) for a in answers]
        packed = pickle.dumps(plain, protocol=5)
        return cls(hashlib.sha256(repr(plain).encode()).hexdigest(), packed, len(plain))

    @property
    def answers(self) -> list[Answer]:
        """The answers, which were checked before they were packed."""
        names = ("prompt", "responses", "share", "choice")
        return [
            Answer.model_construct(**dict(zip(names, values, strict=True)))
            for values in pickle.loads(self.packed)  # noqa: S301 -- from this service's ingress
        ]


@dataclass(frozen=True)
class Call:
    """A request to the predictor."""

    context: Context
    questions: tuple[Text, ...]
    caller: str
    deadline: float
    """Time at which it is given up, in seconds since the epoch."""
    sent: float = field(default_factory=time.time)


class Packer:
    """Packs the contexts used last once only."""

    def __init__(self) -> None:
        # by identity, as comparing contexts would take as long as packing them; the context kept beside it
        # sees to it that no other has the same
        self._known: LRUCache[int, tuple[Sequence[Answer], Context]] = LRUCache(
            _PACKED_BYTES, lambda pair: len(pair[1].packed) + 1000
        )

    def pack(self, answers: Sequence[Answer]) -> Context:
        """A group's answers, packed."""
        found = self._known.get(id(answers))
        if found is not None and found[0] is answers:
            return found[1]
        context = Context.of(answers)
        if len(context.packed) + 1000 <= self._known.maxsize:
            self._known[id(answers)] = answers, context
        return context


def texts(slates: Sequence[Slate]) -> tuple[Text, ...]:
    """What is read of some questions."""
    return tuple((s.prompt, s.responses) for s in slates)
