"""Check who may do what, and how often."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from cachetools import TTLCache
from fastapi import Request

from gpo_ray.serving.api.problems import Refused, trace_of
from gpo_ray.serving.api.threads import read_in_time
from gpo_ray.serving.bearer import bearer_secret
from gpo_ray.serving.pace import RateLimit
from gpo_ray.serving.settings import PUBLIC

if TYPE_CHECKING:
    from gpo_ray.serving.registry.keys import ApiKey, KeyRing, Scope
    from gpo_ray.serving.settings import ServeSettings

KEY_SECONDS = 5.0
"""Seconds for which a revoked key may still be accepted."""
_KEYS = 10_000
_WRITING = {"PUT", "DELETE"}


class Guard:
    """A guard that admits requests; each replica has one, which counts for itself.

    Args:
        settings: settings, which say whether keys are needed and how many requests each may send.
        keys: the API keys.
    """

    def __init__(self, settings: ServeSettings, keys: KeyRing) -> None:
        self._required = settings.require_keys
        self._keys = keys
        self._known: TTLCache[bytes, ApiKey | None] = TTLCache(_KEYS, KEY_SECONDS)
        self._limit = RateLimit(settings.limits.requests_per_minute)
        self._most_at_once = settings.limits.requests_at_once
        self._at_once: Counter[str] = Counter()

    @contextmanager
    def place(self, request: Request) -> Iterator[None]:
        """Hold one of the places of a request's key while the request is answered.

        Raises:
            Refused: 429 if the key has none left.
        """
        who = caller_of(request)
        if self._at_once[who] >= self._most_at_once:
            raise Refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"the key has {self._most_at_once} requests under way already",
                headers={"Retry-After": "1"},
            )
        self._at_once[who] += 1
        try:
            yield
        finally:
            self._at_once[who] -= 1
            if not self._at_once[who]:
                del self._at_once[who]

    async def admit(self, request: Request) -> None:
        """Admit a request, and note its tenant and key.

        Raises:
            Refused: 401 without a known key, 403 if the key may not do that, 429 after too many requests.
            RegistryUnavailable: if keys cannot be looked up.
        """
        trace = trace_of(request.scope)
        key: ApiKey | None = None
        if self._required:
            key = await self._find(_secret(request))
            if key is None:
                raise _unauthorized()
        trace.tenant, trace.key_id = (key.tenant, key.key_id) if key else (PUBLIC, None)
        self._count(caller_of(request))
        trace.counted = True
        scope: Scope = "write" if request.method in _WRITING else "read"
        if key is not None and not key.may(scope):
            challenge = f'Bearer realm="gpo", error="insufficient_scope", scope="{scope}"'
            raise Refused(
                HTTPStatus.FORBIDDEN, f"the key may not {scope}", headers={"WWW-Authenticate": challenge}
            )

    async def _find(self, secret: str) -> ApiKey | None:
        digest = hashlib.sha256(secret.encode()).digest()
        try:
            return self._known[digest]
        except KeyError:
            key = await read_in_time(self._keys.find, secret)
            self._known[digest] = key
            return key

    def _count(self, who: str) -> None:
        wait = self._limit.wait(who)
        if wait:
            raise Refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                "the key has sent too many requests",
                headers={"Retry-After": str(wait)},
            )


def caller_of(request: Request) -> str:
    """Return who sent an admitted request: the id of the key, or :data:`PUBLIC`."""
    return trace_of(request.scope).key_id or PUBLIC


def _secret(request: Request) -> str:
    secret = bearer_secret(request.headers.getlist("authorization"))
    if secret is None:
        raise _unauthorized()
    return secret


def _unauthorized() -> Refused:
    return Refused(
        HTTPStatus.UNAUTHORIZED,
        "a known API key is needed: Authorization: Bearer KEY",
        headers={"WWW-Authenticate": 'Bearer realm="gpo"'},
    )
