"""Tables of the service's database; the steps in ``migrations`` make them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Dialect, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.types import DateTime, TypeDecorator

VERSION_TABLE = "gpo_schema_version"
"""Name of Alembic's table; its default name may be used by another application in the same database."""

metadata = MetaData()


class Moment(TypeDecorator[datetime]):
    """A column type for aware times in UTC, since SQLite keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Convert a time to UTC for the database."""
        return value and value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Convert a time of the database to UTC; one without a time zone is in UTC already."""
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


# ordered by code point, as in SQLite and Python, whatever the locale of the PostgreSQL server
Name = String(200).with_variant(String(200, collation="C"), "postgresql")

groups = Table(
    "gpo_groups",
    metadata,
    Column("tenant", Name, primary_key=True),
    Column("group_id", Name, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("etag", String(40), nullable=False),
    Column("answers", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("description", Text, nullable=False),
    # JSON, null once the group is deleted: the row stays, so that no version is ever reused.
    # This is the last column since SQLite reads rows from the start, and most reads need only the others.
    Column("context", Text),
)

_EXISTS = groups.c.context.is_not(None)
Index(
    "gpo_groups_that_exist",
    groups.c.tenant,
    groups.c.group_id,
    sqlite_where=_EXISTS,
    postgresql_where=_EXISTS,
)

keys = Table(
    "gpo_keys",
    metadata,
    Column("key_id", String(16), primary_key=True),
    Column("name", Text, nullable=False),
    Column("tenant", Name, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("revoked_at", Moment),
)
