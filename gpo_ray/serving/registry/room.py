"""Room for groups: what a tenant may store, and what stays free on the disk, so that deletions have room."""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from pathlib import Path

from cachetools import TTLCache
from sqlalchemy import Engine, func, select

from gpo_ray.errors import GPOError
from gpo_ray.serving.registry.database import single_statements, transaction
from gpo_ray.serving.registry.tables import groups

COUNTED_SECONDS = 60.0
"""Seconds for which a count of a tenant's bytes holds."""
RESERVED_BYTES, RESERVED_SHARE = 64 << 20, 0.1
"""Bytes of the disk of an SQLite file that stay free, but at most this share of it: deleting and revoking
write, too."""


class NoRoom(GPOError):  # noqa: N818
    """A group cannot be stored; the message says whether the tenant stores too much or the disk is full."""


class Room:
    """The room that is left in a database, as one process knows it.

    Args:
        engine: the database.
        stored_bytes: most bytes of the answers of one tenant's groups.
    """

    def __init__(self, engine: Engine, stored_bytes: int) -> None:
        self._reader, self._most = single_statements(engine), stored_bytes
        database = engine.url.database if engine.dialect.name == "sqlite" else None
        self._folder = Path(database).parent if database not in (None, "", ":memory:") else None
        self._known: TTLCache[str, list[int]] = TTLCache(10_000, COUNTED_SECONDS)
        self._lock = threading.Lock()

    def check(self, tenant: str, size: int) -> None:
        """Check that there is room for ``size`` more bytes.

        Raises:
            NoRoom: if there is not.
            RegistryUnavailable: if the database cannot be reached.
        """
        if self._disk_is_full(size):
            raise NoRoom("the disk of the registry is nearly full; groups can be deleted, but not stored")
        with self._lock:
            known = self._known.get(tenant)
        if known is None:
            known = [self._count(tenant)]
            with self._lock:
                self._known[tenant] = known
        if known[0] + size > self._most:
            raise NoRoom(
                f"the groups that are stored have {known[0]:,} bytes, the limit is {self._most:,} "
                "(limits.stored_bytes); delete some"
            )

    def take(self, tenant: str, size: int) -> None:
        """Count bytes that were stored."""
        with self._lock:
            if (known := self._known.get(tenant)) is not None:
                known[0] += size  # in place, since a new value would hold for another minute

    def forget(self, tenant: str) -> None:
        """Count a tenant's bytes anew when they are needed, since something was deleted."""
        with self._lock:
            self._known.pop(tenant, None)

    def _count(self, tenant: str) -> int:
        stored = select(func.coalesce(func.sum(func.length(groups.c.context)), 0)).where(
            groups.c.tenant == tenant
        )
        with transaction(self._reader) as connection:
            return int(connection.scalar(stored) or 0)

    def _disk_is_full(self, size: int) -> bool:
        if self._folder is None:
            return False
        with suppress(OSError):
            disk = shutil.disk_usage(self._folder)
            return disk.free - size < min(RESERVED_BYTES, RESERVED_SHARE * disk.total)
        return False
