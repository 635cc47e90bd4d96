"""The reason why a trial or a final failed, in one line."""

from __future__ import annotations

import ray

from gpo_ray.runtime.ray_session import user_error

MAX_LETTERS = 500
_LOST = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError)
_MEMORY = ("MemoryError", "OutOfMemoryError", "out of memory", "can't allocate memory")


def reason(error: BaseException) -> str:
    """Return the most likely cause of one of Ray's errors."""
    known = user_error(error)
    if known is not None:
        return one_line(str(known))
    if isinstance(error, ray.exceptions.RayTaskError):
        error = error.cause
    text = f"{type(error).__name__}: {error}"
    if any(sign in text for sign in _MEMORY):
        return one_line(f"out of memory: {text}")
    if isinstance(error, _LOST):
        return one_line(f"its process was killed, as happens where memory runs out: {text}")
    return one_line(text)


def was_lost(error: BaseException) -> bool:
    """Return whether the error means that a process was killed, alone or with its host."""
    if isinstance(error, ray.exceptions.RayTaskError):
        error = error.cause
    failures = getattr(error, "worker_failures", {}).values()  # present for a trial on several workers
    return any(isinstance(e, _LOST) for e in (error, *failures))


def one_line(text: str) -> str:
    """Remove line breaks from a text, and cut it to :data:`MAX_LETTERS`."""
    return " ".join(text.split())[:MAX_LETTERS]
