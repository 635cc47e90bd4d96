"""Requests between the deployments, and how one deployment asks another."""

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

from gpo_ray.embedding.template import SlateTexts
from gpo_ray.errors import DataError, GPOError, QuestionTooLongError
from gpo_ray.model.texts import AnsweredSlate, Slate
from gpo_ray.serving.inference.backend import Overloaded, TooSlow, Unavailable

R = TypeVar("R")

ATTEMPTS = 3
"""Times that a request is sent when replicas die; requests change nothing, so that repeating them is safe."""
_PACKED_BYTES = 64_000_000


@dataclass(frozen=True)
class Failure:
    """An error that a replica returns instead of raising it.

    Ray would wrap an exception in one of its own and log its traceback, and it takes a replica that passes
    on another replica's death for dead itself.
    """

    error: GPOError | Overloaded | Unavailable | TooSlow

    @classmethod
    def of(cls, error: GPOError | Overloaded | Unavailable | TooSlow) -> Failure:
        """Make a failure without the error's cause, and of a class that every process knows."""
        if not isinstance(error, GPOError):
            return cls(type(error)())
        return cls(error if isinstance(error, QuestionTooLongError) else DataError(str(error)))


async def ask(call: Callable[[], Awaitable[R | Failure]]) -> R:
    """Call a replica, and call again if it dies.

    Raises:
        Overloaded: if too many requests wait for a replica already.
        Unavailable: if one replica after another died, or none can be started.
        DataError: if the replica returned such a failure.
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
    """Wait for a replica's answer; if the wait is cancelled, cancel the replica's work, too."""
    try:
        return await response
    except asyncio.CancelledError:
        if isinstance(response, DeploymentResponse):
            response.cancel()
        raise


class InProcess:
    """An object in this process whose methods are called as ``.NAME.remote(...)``, like a deployment's."""

    def __init__(self, target: object) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self._target, name))


@dataclass(frozen=True)
class Context:
    """A group's answers, packed; the receiver unpacks them only if it has not adapted to the group yet."""

    id: str
    packed: bytes
    size: int
    """Number of answers."""

    @classmethod
    def of(cls, answers: Sequence[AnsweredSlate]) -> Context:
        """Pack a group's answers."""
        plain = [(a.prompt, a.responses, a.share, a.choice, a.n) for a in answers]
        packed = pickle.dumps(plain, protocol=5)
        return cls(hashlib.sha256(repr(plain).encode()).hexdigest(), packed, len(plain))

    @property
    def answers(self) -> list[AnsweredSlate]:
        """Return the answers, which were checked before they were packed."""
        names = ("prompt", "responses", "share", "choice", "n")
        return [
            AnsweredSlate.model_construct(**dict(zip(names, values, strict=True)))
            for values in pickle.loads(self.packed)  # noqa: S301 -- from this service's ingress
        ]


@dataclass(frozen=True)
class Call:
    """A request to the predictor."""

    context: Context
    questions: tuple[SlateTexts, ...]
    caller: str
    deadline: float
    """Time after which the answer is no longer wanted, in seconds since the epoch."""
    sent: float = field(default_factory=time.time)


class Packer:
    """A packer of contexts that packs a recently used one only once."""

    def __init__(self) -> None:
        # keyed by identity, since comparing contexts would take as long as packing them; keeping the context
        # keeps its identity from being reused
        self._known: LRUCache[int, tuple[Sequence[AnsweredSlate], Context]] = LRUCache(
            _PACKED_BYTES, lambda pair: len(pair[1].packed) + 1000
        )

    def pack(self, answers: Sequence[AnsweredSlate]) -> Context:
        """Return a group's answers, packed."""
        found = self._known.get(id(answers))
        if found is not None and found[0] is answers:
            return found[1]
        context = Context.of(answers)
        if len(context.packed) + 1000 <= self._known.maxsize:
            self._known[id(answers)] = answers, context
        return context


def slate_texts(slates: Sequence[Slate]) -> tuple[SlateTexts, ...]:
    """Return the prompts and responses of some questions."""
    return tuple((s.prompt, s.responses) for s in slates)
