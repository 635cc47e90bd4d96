"""Caches that are bounded by number and by memory."""

from __future__ import annotations

from typing import Protocol, TypeVar

from cachetools import LRUCache

CACHED_BYTES = 1 << 30
"""Most bytes of memory of one cache, by default."""


class Sized(Protocol):
    """An object that knows how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """Return the object's size in bytes, except for small parts."""


S = TypeVar("S", bound=Sized)
Cache = LRUCache[str, S]


def bounded(count: int, size: int = CACHED_BYTES) -> Cache[S]:
    """Make a cache of at most ``count`` values and ``size`` bytes; the least recently used ones go first."""
    each = size / count * (1 - 1e-9)  # a little less, so that rounding does not exclude the last value
    return LRUCache(size, lambda value: max(value.nbytes, each))


def keep(cache: Cache[S], key: str, value: S) -> None:
    """Put a value into a cache, unless it is larger than the whole cache."""
    if value.nbytes <= cache.maxsize:
        cache[key] = value


def has_room(cache: Cache[S], value: S) -> bool:
    """Return whether a value can be put into a cache without removing another one."""
    return bool(cache.currsize + cache.getsizeof(value) <= cache.maxsize)
