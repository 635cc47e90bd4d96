"""Caches that are bounded by number and by memory."""

from __future__ import annotations

from typing import Protocol, TypeVar

from cachetools import LRUCache

CACHED_BYTES = 1 << 30
"""Memory of one cache at most, unless said otherwise."""


class Sized(Protocol):
    """What knows how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """Bytes, to within small change."""


S = TypeVar("S", bound=Sized)
Cache = LRUCache[str, S]


def bounded(count: int, size: int = CACHED_BYTES) -> Cache[S]:
    """A cache of at most ``count`` values and ``size`` bytes; what was not used for longest goes first."""
    each = size / count * (1 - 1e-9)  # a little less, so that rounding does not keep the last one out
    return LRUCache(size, lambda value: max(value.nbytes, each))


def keep(cache: Cache[S], key: str, value: S) -> None:
    """Put a value in, unless it is larger than the whole cache."""
    if value.nbytes <= cache.maxsize:
        cache[key] = value


def has_room(cache: Cache[S], value: S) -> bool:
    """Whether a value can be put in without another going."""
    return bool(cache.currsize + cache.getsizeof(value) <= cache.maxsize)
