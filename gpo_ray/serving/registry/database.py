"""Open the service's database: one SQLite file, or PostgreSQL for several replicas and nodes."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    delete,
    event,
    exc,
    false,
    func,
    make_url,
    select,
    text,
)

from gpo_ray.errors import ConfigError, GPOError
from gpo_ray.serving.registry.tables import VERSION_TABLE, groups, metadata

BUSY_SECONDS = 30
"""Seconds that one writer of an SQLite file waits for another."""
FORGET_SECONDS = 5
"""Seconds that a deletion waits for readers, until the files of SQLite hold nothing of what was deleted."""
_REWRITTEN = 1  # user_version of a file without leftovers of what earlier versions of gpo-ray deleted
MIGRATION_LOCK = 0x67706F  # an advisory lock belongs to one database, so only there the number must be unique
POSTGRES_DEFAULTS: dict[str, Any] = {
    "application_name": "gpo",
    "client_encoding": "utf8",
    "connect_timeout": 5,
    # milliseconds until a statement fails after a server vanished silently
    "tcp_user_timeout": 10_000,
}
LOCK_SECONDS, STATEMENT_SECONDS = 5, 10
"""Seconds that PostgreSQL waits for another client's lock, and that a statement may take in all."""


class RegistryUnavailable(GPOError):  # noqa: N818
    """The database does not answer now; the same request may succeed later."""


def open_database(url: str) -> Engine:
    """Connect to a database and bring its tables up to date; several processes may do so at once.

    A committed transaction outlives ``kill -9`` and a loss of power (on PostgreSQL, unless its
    ``synchronous_commit`` is off). The files of SQLite can be read by their owner only.

    Args:
        url: SQLAlchemy URL, ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/DATABASE``.

    Raises:
        ConfigError: if the URL is malformed or of another kind of database, the server does not answer
            or refuses, the file cannot be written, or a newer version of gpo-ray made the tables.
    """
    parsed = _parse(url)
    place = _place(parsed)
    with _explained(place):
        engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgres(parsed)
        try:
            with engine.connect() as connection:
                _check(connection, place)
            with engine.begin() as connection:
                _migrate(connection, place)
            if parsed.get_backend_name() == "sqlite":
                _rewrite(engine)
                forget_deleted(engine)  # what a process deleted just before it was killed
        except BaseException:
            engine.dispose()
            raise
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Open a transaction, which is committed at the end of the block and rolled back by an exception.

    Raises:
        RegistryUnavailable: if the database cannot be reached or is too busy.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as e:
        raise RegistryUnavailable("the database of groups and keys does not answer; try again later") from e


def forget_deleted(engine: Engine) -> None:
    """Remove everything that was deleted or replaced from the files of SQLite.

    SQLite overwrites deleted bytes in the database; this function empties the write-ahead log, which may
    still hold them. If a reader does not finish within ``FORGET_SECONDS``, the next deletion has to do it.
    """
    if engine.dialect.name != "sqlite":
        return
    with suppress(exc.OperationalError), single_statements(engine).connect() as connection:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={1000 * FORGET_SECONDS}")
        try:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={1000 * BUSY_SECONDS}")


def single_statements(engine: Engine) -> Engine:
    """Return the same engine without BEGIN and COMMIT around, for reads of one statement."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def _explained(place: str) -> Iterator[None]:
    try:
        yield
    except ImportError as e:
        raise ConfigError(f"{place}: {e}; install it with: pip install 'gpo-ray[serve]'") from e
    except exc.DBAPIError as e:
        reason = next(iter(str(e.orig).splitlines()), type(e.orig).__name__)
        raise ConfigError(f"{place}: {reason}") from e
    except (exc.SQLAlchemyError, TypeError, ValueError) as e:  # drivers raise these for unfit parts of a URL
        raise ConfigError(f"{place}: {e}") from e


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (exc.SQLAlchemyError, ValueError):  # the message may hold a part of the password
        raise ConfigError(
            "database URL: cannot be parsed; expected sqlite:///FILE or "
            "postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise ConfigError(f"database URL: {parsed.drivername!r} is not one of sqlite, postgresql")
    return parsed


def _place(url: URL) -> str:
    """Describe the database in words, without credentials (which may also be in the URL's query)."""
    if url.get_backend_name() == "sqlite":
        return f"database {url.database or ':memory:'}"
    return f"database {url.database} on {url.host or url.query.get('host', 'localhost')}:{url.port or 5432}"


def _sqlite(url: URL) -> Engine:
    patience = _unless_given({"timeout": BUSY_SECONDS}, url)
    if (file := _file(url)) is not None:
        _keep_private(file, _place(url))
    engine = create_engine(url, connect_args=patience, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # a transaction that reads first and writes later could not wait for another writer
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _file(url: URL) -> Path | None:
    """Return the file of a database, or None if there is none that may be written."""
    name = url.database or ""
    if name.startswith("file:"):  # a URI in SQLite's own format
        written = url.query.get("mode", "rwc") == "rwc" and url.query.get("vfs") is None
        name = unquote(urlsplit(name).path) if written else ""
    return None if name in ("", ":memory:") or "\0" in name else Path(name)


def _keep_private(file: Path, place: str) -> None:
    """Let only the owner read the database from its first byte on; SQLite copies the mode to its other files.

    Existing files are not opened here, since closing one again would drop SQLite's locks on it.
    """
    with suppress(OSError):  # the file exists, or SQLite itself will report the error
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    for part in (file, *(file.with_name(file.name + end) for end in ("-wal", "-shm", "-journal"))):
        with suppress(FileNotFoundError, NotADirectoryError):
            mode = part.stat().st_mode
            if stat.S_ISDIR(mode) or not mode & 0o077:
                continue
            if not stat.S_ISREG(mode):
                raise ConfigError(f"{place}: {part} is no regular file")
            with suppress(PermissionError):  # another user's file, which is checked below
                part.chmod(0o600)
            if part.stat().st_mode & 0o077:
                raise ConfigError(
                    f"{place}: others may read {part}, and its mode cannot be changed to 600 here"
                )


def _rewrite(engine: Engine) -> None:
    """Remove, once for each file, the data that earlier versions deleted without overwriting them.

    A database that is busy is rewritten when it is opened the next time.
    """
    with suppress(exc.OperationalError), single_statements(engine).connect() as connection:
        if connection.exec_driver_sql("PRAGMA user_version").scalar() == 0:
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql(f"PRAGMA user_version={_REWRITTEN}")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()


def _postgres(url: URL) -> Engine:
    engine = create_engine(
        url,
        connect_args=_unless_given(POSTGRES_DEFAULTS, url),
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=5,
        pool_timeout=5,
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        # not as options of the connection, which poolers between here and the server refuse
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
            cursor.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
        connection.commit()

    return engine


def _unless_given(defaults: dict[str, Any], url: URL) -> dict[str, Any]:
    return {k: v for k, v in defaults.items() if k not in url.query}


def _check(connection: Connection, place: str) -> None:
    if connection.dialect.name == "sqlite":
        if _write_ahead(connection) != "wal":
            raise ConfigError(f"{place}: is no file on a local disk; groups there would not last")
    elif (encoding := connection.scalar(text("SHOW server_encoding"))) != "UTF8":
        raise ConfigError(f"{place}: its encoding is {encoding}; create it with ENCODING 'UTF8'")


def _write_ahead(connection: Connection) -> Any:
    """Let readers and a writer work at once by write-ahead logging; the file remembers the setting."""
    connection = connection.execution_options(isolation_level="AUTOCOMMIT")
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar()
        except exc.OperationalError as e:
            # SQLite itself does not wait here if another process makes the same change
            if "locked" not in str(e.orig) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _migrate(connection: Connection, place: str) -> None:
    """Make all migration steps in the transaction of ``connection``; only one process at a time does so."""
    if connection.dialect.name == "postgresql":
        for name in ("lock_timeout", "statement_timeout"):  # another process may be migrating a large table
            connection.exec_driver_sql(f"SET LOCAL {name} = 0")
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    else:
        _check_layout(connection, place)
    _upgrade(connection, place)
    # deletes nothing, but fails at once if writing is not allowed
    connection.execute(delete(groups).where(false()))


def _config(connection: Connection) -> tuple[Config, list[str]]:
    """Return the configuration of the migrations, and their revisions, the first one first."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "gpo_ray.serving.registry:migrations")
    steps = ScriptDirectory.from_config(config).walk_revisions()
    return config, [step.revision for step in steps][::-1]


def _upgrade(connection: Connection, place: str) -> None:
    config, known = _config(connection)
    at = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads()
    if not set(at).issubset(known):
        raise ConfigError(f"{place}: a newer version of gpo-ray made its tables; upgrade this one")
    command.upgrade(config, "head")


Part = tuple[str, str, str, str]
"""Something that an SQLite file defines: its type, its name, its table and its statement."""


def _check_layout(connection: Connection, place: str) -> None:
    """Refuse an SQLite file in which something else belongs to the service's tables, such as a trigger.

    It would run with each change, and may come from others. Tables of other applications may stand beside.

    Raises:
        ConfigError: if there is something else.
    """
    for part in _parts(connection):
        if part not in _made():
            kind, name, table, _ = part
            raise ConfigError(
                f"{place}: {kind} {name!r} of {table!r} is not as gpo-ray makes it, and may come from "
                "others; remove it, restore the file, or name another one"
            )


@cache
def _made() -> frozenset[Part]:
    """Return all that the migration steps make in an empty file, one after the other."""
    engine = create_engine("sqlite://")
    made: set[Part] = set()
    with engine.begin() as connection:
        config, revisions = _config(connection)
        for revision in revisions:
            command.upgrade(config, revision)
            made.update(_parts(connection))
    engine.dispose()
    return frozenset(made)


def _parts(connection: Connection) -> list[Part]:
    """Return what an SQLite file defines under the names of the service's tables and for them."""
    ours = {VERSION_TABLE, *metadata.tables}
    found = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master")
    parts = [(kind, name, table, " ".join((sql or "").split())) for kind, name, table, sql in found]
    return [p for p in parts if not ours.isdisjoint((p[1].lower(), p[2].lower()))]
