"""Conditional reads and writes of groups, for the routes of :mod:`gpo_ray.serving.api.http`."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from cachetools import LRUCache

from gpo_ray.errors import UnknownGroupError
from gpo_ray.serving.api.budget import check_context
from gpo_ray.serving.api.problems import Refused
from gpo_ray.serving.api.threads import Readers, Writers, read_in_time
from gpo_ray.serving.inference.backend import Backend
from gpo_ray.serving.inference.joined import Joined
from gpo_ray.serving.settings import Limits

if TYPE_CHECKING:
    from gpo_ray.serving.api.schemas import GroupPut
    from gpo_ray.serving.registry.groups import Registry, StoredGroup, StoredGroupSummary

_CACHED_BYTES = 256_000_000
"""Most bytes of memory for the kept groups."""
_READ_TOGETHER = 100
"""Most groups whose versions one statement reads."""
_TAGS = re.compile(r'\s*(?:W/)?"[\x21\x23-\x7e]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e]*"\s*)*')
_TAG = re.compile(r'(?:W/)?"[^"]*"')


class Service:
    """The backend that predicts, and the registry, with recently requested groups kept in memory."""

    def __init__(self, backend: Backend, registry: Registry, limits: Limits) -> None:
        self.backend = backend
        self.registry = registry
        self.limits = limits
        self._readers, self._writers = Readers(), Writers()
        self._groups: LRUCache[tuple[str, str], StoredGroup] = LRUCache(_CACHED_BYTES, _size)
        self._versions: Joined[tuple[str, str], str | None] = Joined(self._ask_versions, _READ_TOGETHER, 1)

    async def group(self, tenant: str, group_id: str) -> StoredGroup:
        """Return a group as it is now.

        Raises:
            UnknownGroupError: if the tenant has no such group.
            RegistryUnavailable: if the database cannot be reached.
        """
        etag = await self._versions.ask((tenant, group_id), tenant)
        if etag is None:
            raise UnknownGroupError(group_id)
        cached = self._groups.get((tenant, group_id))
        if cached is not None and cached.etag == etag:
            return cached
        group = await self._readers.run(tenant, partial(self.registry.get, tenant, group_id))
        with suppress(ValueError):  # raised for a group that is larger than the whole cache
            self._groups[tenant, group_id] = group
        return group

    async def list_groups(self, tenant: str, after: str | None, limit: int) -> tuple[StoredGroupSummary, ...]:
        """List some of a tenant's groups, see :meth:`Registry.list`.

        Raises:
            RegistryUnavailable: if the database cannot be reached.
        """
        return await self._readers.run(tenant, partial(self.registry.list, tenant, after, limit))

    async def put(
        self,
        tenant: str,
        caller: str,
        group_id: str,
        body: GroupPut,
        if_match: str | None,
        if_none_match: str | None,
    ) -> tuple[StoredGroup, bool]:
        """Register a group by its answers, or replace its answers, if the headers' conditions hold.

        Returns:
            The group as stored, and whether it is new.

        Raises:
            DataError: if the answers are too many.
            Refused: 400 if a header is malformed, 409 if a condition fails.
            VersionConflict: if the group changed meanwhile, so that a condition fails.
            RegistryUnavailable: if the database cannot be reached.
        """
        check_context(body.context, self.limits)
        if if_none_match is not None and if_none_match.strip() != "*":
            raise Refused(HTTPStatus.BAD_REQUEST, "If-None-Match must be *")
        expected = await self._expected_version(tenant, group_id, if_match)
        content = (body.description, body.context)
        must_be_new = if_none_match is not None
        change = partial(self.registry.put, tenant, group_id, *content, expected, must_be_new)
        return await self._writers.run(caller, change)

    async def delete(self, tenant: str, caller: str, group_id: str, if_match: str | None) -> None:
        """Forget a group, if the header's condition holds.

        Raises:
            Refused: 400 if the header is malformed, 409 if its condition fails.
            UnknownGroupError: if the tenant has no such group.
            VersionConflict: if the group changed meanwhile, so that the condition fails.
            RegistryUnavailable: if the database cannot be reached.
        """
        expected = await self._expected_version(tenant, group_id, if_match)
        await self._writers.run(caller, partial(self.registry.delete, tenant, group_id, expected))

    async def _ask_versions(self, wanted: list[tuple[str, str]]) -> list[str | None]:
        return await read_in_time(self.registry.versions, wanted)

    async def _expected_version(self, tenant: str, group_id: str, if_match: str | None) -> int | None:
        """Return the version that a group must have for ``If-Match`` to hold; None without that header.

        Raises:
            Refused: 400 if the header is malformed, 409 if it does not hold now.
            RegistryUnavailable: if the database cannot be reached.
        """
        if if_match is None:
            return None
        if if_match.strip() != "*" and not _TAGS.fullmatch(if_match):
            raise Refused(HTTPStatus.BAD_REQUEST, "If-Match must be * or a list of quoted ETags")
        try:
            group = await self.group(tenant, group_id)
        except UnknownGroupError:
            raise Refused(HTTPStatus.CONFLICT, "If-Match: there is no such group") from None
        if if_match.strip() != "*" and quoted(group.etag) not in _TAG.findall(if_match):
            raise Refused(HTTPStatus.CONFLICT, "If-Match: the group has another ETag")
        return group.version


def _size(group: StoredGroup) -> int:
    """Estimate the bytes of a group in memory, not too low: short texts take many times their length."""
    return sum(600 + len(a.prompt) + sum(100 + len(r) for r in a.responses) for a in group.context)


def quoted(etag: str) -> str:
    """Return an ETag in quotes, as headers have it."""
    return f'"{etag}"'
