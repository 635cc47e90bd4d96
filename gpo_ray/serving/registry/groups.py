"""Registered groups of each tenant, with their answers, kept in the database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, and_, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from gpo_ray.errors import DataError, GPOError, UnknownGroupError
from gpo_ray.model.texts import AnsweredSlate
from gpo_ray.preferences.labels import HALF_CHARACTER
from gpo_ray.serving.registry.database import forget_deleted, single_statements, transaction
from gpo_ray.serving.registry.room import Room
from gpo_ray.serving.registry.tables import groups

MAX_NAME_CHARACTERS = 200
_LIVE = groups.c.context.is_not(None)
INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class VersionConflict(GPOError):  # noqa: N818
    """The group is not in the version that the caller has seen; the caller should read it again."""


@dataclass(frozen=True)
class StoredGroup:
    """A registered group."""

    group_id: str
    version: int
    """Number that starts at 1 and grows by 1 with each change; never reused, not even after a deletion."""
    etag: str
    """The version and a hash of the content."""
    description: str
    context: tuple[AnsweredSlate, ...]
    created_at: datetime
    """Time of the registration; aware, in UTC."""
    updated_at: datetime
    """Time of the last change of the content; aware, in UTC."""


@dataclass(frozen=True)
class StoredGroupSummary:
    """A registered group without its answers."""

    group_id: str
    version: int
    etag: str
    description: str
    answers: int
    """Number of answers in the context."""
    created_at: datetime
    updated_at: datetime


class Registry:
    """The groups in a database; each is visible to its tenant only, and any number of processes may share it.

    Args:
        engine: the database.
        stored_bytes: most bytes of the answers of one tenant's groups.

    Every method is one transaction, and every change is durable when it returns. All of them raise
    :class:`RegistryUnavailable` while the database does not answer, and :class:`DataError` for a text
    that not every database can store.
    """

    def __init__(self, engine: Engine, stored_bytes: int = 2**31) -> None:
        self._engine = engine
        self._reader = single_statements(engine)
        self._room = Room(engine, stored_bytes)

    def put(
        self,
        tenant: str,
        group_id: str,
        description: str,
        context: tuple[AnsweredSlate, ...],
        expected_version: int | str | None = None,
        must_be_new: bool = False,
    ) -> tuple[StoredGroup, bool]:
        """Register a group, or replace a registered one; the same content again changes nothing.

        Args:
            tenant: tenant that the group belongs to.
            group_id: id of the group, 1 to 200 characters.
            description: a free text about the group.
            context: the group's answers.
            expected_version: version or etag to replace; any other version is refused.
            must_be_new: whether to refuse if the group exists, whatever its content.

        Returns:
            The group as stored, and whether it is new.

        Raises:
            VersionConflict: if the group is not in the expected version, or exists although it must be new.
            DataError: if the id is too long or empty, or a text holds NUL or half a surrogate pair.
            NoRoom: if the tenant stores too much, or the disk is nearly full.
        """
        key = _key(tenant, group_id)
        content = _serialise(description, context)
        self._room.check(tenant, len(content))
        now = datetime.now(UTC)
        with transaction(self._engine) as connection:
            _reserve(connection, tenant, group_id, now)
            row = _lock(connection, key)
            exists = row.context is not None
            _check_may_replace(row if exists else None, group_id, expected_version, must_be_new)
            if exists and (row.description, row.context) == (description, content):
                return _stored(row), False
            values = _next_version(row, description, content, now)
            connection.execute(
                update(groups).where(key).values(**values, context=content, answers=len(context))
            )
        self._room.take(tenant, len(content))
        if exists:
            forget_deleted(self._engine)
        return StoredGroup(group_id=group_id, context=context, **values), not exists

    def get(self, tenant: str, group_id: str) -> StoredGroup:
        """Return a registered group.

        Raises:
            UnknownGroupError: if the tenant has no such group.
        """
        with transaction(self._reader) as connection:
            row = connection.execute(select(groups).where(_key(tenant, group_id), _LIVE)).one_or_none()
        if row is None:
            raise _unknown(group_id)
        return _stored(row)

    def version(self, tenant: str, group_id: str) -> str | None:
        """Return the etag of a group as it is now, None if the tenant has no such group."""
        with transaction(self._reader) as connection:
            return connection.scalar(select(groups.c.etag).where(_key(tenant, group_id), _LIVE))

    def versions(self, wanted: Sequence[tuple[str, str]]) -> list[str | None]:
        """Read the etags of several groups, each given as tenant and id, at once; see :meth:`version`.

        Raises:
            DataError: if a tenant or an id is not a valid name.
        """
        for tenant, group_id in wanted:
            _key(tenant, group_id)
        if len(wanted) == 1:  # the common case, which needs no list in its statement
            return [self.version(*wanted[0])]
        names = (groups.c.tenant, groups.c.group_id)
        some = select(*names, groups.c.etag).where(tuple_(*names).in_(sorted(set(wanted))), _LIVE)
        with transaction(self._reader) as connection:
            found = {(tenant, group_id): etag for tenant, group_id, etag in connection.execute(some)}
        return [found.get(each) for each in wanted]

    def delete(self, tenant: str, group_id: str, expected_version: int | str | None = None) -> None:
        """Forget a group's description and answers; only its id and its last version are kept.

        Args:
            tenant: tenant that the group belongs to.
            group_id: id of the group.
            expected_version: version or etag to delete; any other version is refused.

        Raises:
            UnknownGroupError: if the tenant has no such group.
            VersionConflict: if the group is in another version than expected.
        """
        key = _key(tenant, group_id)
        with transaction(self._engine) as connection:
            row = _lock(connection, key)
            if row is None or row.context is None:
                raise _unknown(group_id)
            if expected_version is not None:
                _expect(row, group_id, expected_version)
            connection.execute(
                update(groups).where(key).values(description="", context=None, etag="", answers=0)
            )
        self._room.forget(tenant)
        forget_deleted(self._engine)

    def tenants(self) -> dict[str, int]:
        """Count the groups of each tenant that has any."""
        found = select(groups.c.tenant, func.count()).where(_LIVE).group_by(groups.c.tenant)
        with transaction(self._reader) as connection:
            return {row.tenant: row[1] for row in connection.execute(found.order_by(groups.c.tenant))}

    def list(self, tenant: str, after: str | None = None, limit: int = 100) -> tuple[StoredGroupSummary, ...]:
        """List some of a tenant's groups, in the order of their ids.

        Args:
            tenant: tenant whose groups to list.
            after: the last id of the previous page; None for the first page.
            limit: most groups to list, at least 1.

        Raises:
            ValueError: if the limit is less than 1.
        """
        if limit < 1:
            raise ValueError(f"limit {limit} is less than 1")
        _check_name(tenant, "tenant")
        columns = (c for c in groups.c if c.name not in ("tenant", "context"))
        page = select(*columns).where(groups.c.tenant == tenant, _LIVE)
        if after is not None:
            _check_name(after, "group id")
            page = page.where(groups.c.group_id > after)
        with transaction(self._reader) as connection:
            rows = connection.execute(page.order_by(groups.c.group_id).limit(limit)).all()
        return tuple(StoredGroupSummary(**row._mapping) for row in rows)


def _check_text(text: str, what: str) -> None:
    """Refuse a text that PostgreSQL or UTF-8 cannot store."""
    if "\0" in text:
        raise DataError(f"{what}: holds a NUL character, which cannot be stored")
    if HALF_CHARACTER.search(text):
        raise DataError(f"{what}: holds half a surrogate pair, which is no character")


def _check_name(name: str, what: str) -> None:
    """Refuse a name of a tenant or group that is empty, too long or cannot be stored."""
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise DataError(f"{what}: has {len(name)} characters, not 1 to {MAX_NAME_CHARACTERS}")
    _check_text(name, what)


def _key(tenant: str, group_id: str) -> ColumnElement[bool]:
    """Build the condition that finds a group's row."""
    _check_name(tenant, "tenant")
    _check_name(group_id, "group id")
    return and_(groups.c.tenant == tenant, groups.c.group_id == group_id)


def _serialise(description: str, context: tuple[AnsweredSlate, ...]) -> str:
    """Write the answers as JSON, after checking that every text can be stored."""
    _check_text(description, "description")
    for i, answer in enumerate(context):
        for text in (answer.prompt, *answer.responses):
            _check_text(text, f"context: item {i}")
    answers = [a.model_dump(mode="json", exclude_none=True) for a in context]
    return json.dumps(answers, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _etag(version: int, description: str, content: str) -> str:
    """Make the etag of a group's version from its content."""
    digest = hashlib.sha256(json.dumps([description, content]).encode()).hexdigest()
    return f"{version}-{digest[:16]}"


def _next_version(row: Row[Any], description: str, content: str, now: datetime) -> dict[str, Any]:
    """Return the values of a group's next version, besides its answers."""
    version = row.version + 1
    return {
        "version": version,
        "etag": _etag(version, description, content),
        "description": description,
        "created_at": now if row.context is None else row.created_at,
        "updated_at": now,
    }


def _reserve(connection: Connection, tenant: str, group_id: str, now: datetime) -> None:
    """Make sure that there is a row to lock, so that two creators of the same group wait for each other."""
    row = {"tenant": tenant, "group_id": group_id, "version": 0, "etag": "", "answers": 0}
    row |= {"created_at": now, "updated_at": now, "description": ""}
    connection.execute(INSERT[connection.dialect.name](groups).values(row).on_conflict_do_nothing())


def _lock(connection: Connection, key: ColumnElement[bool]) -> Any:
    """Read a group's row, and keep others from changing it until the transaction ends."""
    return connection.execute(select(groups).where(key).with_for_update()).one_or_none()


def _check_may_replace(
    row: Row[Any] | None, group_id: str, expected_version: int | str | None, must_be_new: bool
) -> None:
    """Raise VersionConflict unless the group, None if there is none, is as the caller demands."""
    if row is not None and must_be_new:
        raise VersionConflict(f"group {group_id!r} exists already")
    if expected_version is not None:
        _expect(row, group_id, expected_version)


def _expect(row: Row[Any] | None, group_id: str, expected: int | str) -> None:
    """Raise VersionConflict unless the group has the expected version or etag."""
    if row is None:
        raise VersionConflict(f"group {group_id!r} does not exist, so not in version {expected}")
    if expected not in (row.version, row.etag):
        raise VersionConflict(f"group {group_id!r} is in version {row.version}, not {expected}")


def _unknown(group_id: str) -> UnknownGroupError:
    return UnknownGroupError(f"group {group_id!r} is not registered")


def _answer(stored: dict[str, Any]) -> AnsweredSlate:
    """Make an answer that was checked when it was stored, perhaps by a version with other rules."""
    share = stored.get("share")
    lists = {"responses": tuple(stored["responses"]), "share": None if share is None else tuple(share)}
    return AnsweredSlate.model_construct(**(stored | lists))


def _stored(row: Row[Any]) -> StoredGroup:
    """Make a group from its row."""
    return StoredGroup(
        group_id=row.group_id,
        version=row.version,
        etag=row.etag,
        description=row.description,
        context=tuple(_answer(a) for a in json.loads(row.context)),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
