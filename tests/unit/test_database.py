"""The database of the service: its tables are made and kept up to date, and it is refused with a reason."""

import os
import stat

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

import gpo_ray.serving.registry.database as database_module
from gpo_ray.errors import ConfigError
from gpo_ray.serving.registry.database import open_database
from gpo_ray.serving.registry.tables import VERSION_TABLE, metadata

TABLES = ["gpo_groups", "gpo_keys", VERSION_TABLE]


def test_tables_are_made_once(database, database_url):
    assert sorted(inspect(database).get_table_names()) == sorted(TABLES)
    with database.begin() as connection:
        connection.execute(
            text("INSERT INTO gpo_keys VALUES ('i', 'n', 't', 'read', 'd', '2020-01-01 00:00:00', NULL)")
        )
    again = open_database(database_url)
    with again.connect() as connection:
        assert connection.scalar(text("SELECT name FROM gpo_keys")) == "n"
    again.dispose()


def test_migrations_lead_to_the_tables_that_the_code_uses(database):
    with database.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []


def test_tables_of_the_first_revision_are_brought_up_to_date(database, database_url):
    with database.begin() as connection:
        connection.execute(text("DROP INDEX gpo_groups_that_exist"))
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0001'"))
        row = "('t', 'g', 1, 'e', 0, '2020-01-01 00:00:00', '2020-01-01 00:00:00', 'd', '[]')"
        connection.execute(text(f"INSERT INTO gpo_groups VALUES {row}"))
    again = open_database(database_url)
    assert [i["name"] for i in inspect(again).get_indexes("gpo_groups")] == ["gpo_groups_that_exist"]
    with again.connect() as connection:
        assert connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) == "0002"
        assert connection.scalar(text("SELECT group_id FROM gpo_groups")) == "g"
    again.dispose()


def test_several_processes_open_an_empty_database_at_once(database_url, workers):
    running = workers("migrate", database_url, 5)
    assert [w.wait(timeout=120) for w in running] == [0] * 5
    engine = open_database(database_url)
    assert sorted(inspect(engine).get_table_names()) == sorted(TABLES)
    engine.dispose()


def test_tables_of_a_newer_version_are_refused(database, database_url):
    with database.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="newer version"):
        open_database(database_url)
    with database.connect() as connection:
        assert connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) == "9999"


def test_a_failed_migration_leaves_nothing(database, database_url):
    with database.begin() as connection:
        for table in ("gpo_groups", VERSION_TABLE):
            connection.execute(text(f"DROP TABLE {table}"))
    with pytest.raises(ConfigError, match="already exists"):
        open_database(database_url)
    assert inspect(database).get_table_names() == ["gpo_keys"]


def test_sqlite_survives_a_loss_of_power(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path}/g.sqlite")
    with engine.connect() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def modes(folder):
    return {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.glob("g.sqlite*")}


@pytest.mark.parametrize("url", ["sqlite:///{}/g.sqlite", "sqlite:///file:{}/g.sqlite?uri=true"])
@pytest.mark.parametrize("made_before", [False, True])
def test_only_the_owner_reads_the_files_of_sqlite(tmp_path, url, made_before):
    mask = os.umask(0)
    try:
        if made_before:
            before = open_database(f"sqlite:///{tmp_path}/g.sqlite")
            for name in modes(tmp_path):
                (tmp_path / name).chmod(0o666)
            assert "g.sqlite-wal" in modes(tmp_path)
        engine = open_database(url.format(tmp_path))
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM gpo_keys"))
            found = modes(tmp_path)
        engine.dispose()
        if made_before:
            before.dispose()
    finally:
        os.umask(mask)
    assert set(found) == {"g.sqlite", "g.sqlite-wal", "g.sqlite-shm"}
    assert set(found.values()) == {0o600}


def test_a_database_is_private_before_sqlite_sees_it(tmp_path, monkeypatch):
    seen = []
    make = database_module.create_engine

    def note(*arguments, **options):
        seen.append(modes(tmp_path))
        return make(*arguments, **options)

    monkeypatch.setattr(database_module, "create_engine", note)
    open_database(f"sqlite:///{tmp_path}/g.sqlite").dispose()
    assert seen[0] == {"g.sqlite": 0o600}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "cannot be parsed"),
        ("groups.sqlite", "cannot be parsed"),
        ("postgresql://u:hush@h:port/d", "cannot be parsed"),
        ("mysql://u:hush@h/d", "'mysql' is not one of sqlite, postgresql"),
        ("postgresql+asyncpg://u:hush@h/d", "is not one of"),
        ("postgresql://u:hush@127.0.0.1:1/d", "refused"),
        ("postgresql://u@127.0.0.1:1/d?password=hush&hush=1", "invalid connection option"),
        ("postgresql://u:hush@" + "h" * 99 + "/d", "label"),
        ("sqlite://", "no file on a local disk"),
        ("sqlite:///:memory:", "no file on a local disk"),
        ("sqlite:///{}", "unable to open"),
        ("sqlite:///{}/none/g.sqlite", "unable to open"),
        ("sqlite:///{}/text", "not a database"),
        ("sqlite:///{}/g.sqlite?timeout=long", "long"),
        ("sqlite:///{}/g\0.sqlite", "null"),
    ],
)
def test_unfit_databases(tmp_path, url, words):
    (tmp_path / "text").write_text("no database at all" * 100)
    with pytest.raises(ConfigError, match=words) as caught:
        open_database(url.format(tmp_path))
    if "option" not in words:
        assert "hush" not in str(caught.value)


def test_a_file_that_cannot_be_written(tmp_path):
    open_database(f"sqlite:///{tmp_path}/g.sqlite").dispose()
    with pytest.raises(ConfigError, match="readonly"):
        open_database(f"sqlite:///file:{tmp_path}/g.sqlite?mode=ro&uri=true")


FOREIGN = {
    "trigger": ("CREATE TRIGGER more AFTER INSERT ON GPO_KEYS BEGIN SELECT 1; END",),
    "trigger on deletion": ("CREATE TRIGGER more BEFORE UPDATE ON gpo_groups BEGIN SELECT 1; END",),
    "version's trigger": (f"CREATE TRIGGER more AFTER DELETE ON {VERSION_TABLE} BEGIN SELECT 1; END",),
    "index": ("CREATE INDEX more ON gpo_groups (zeroblob(version))",),
    "view": ("ALTER TABLE gpo_keys RENAME TO kept", "CREATE VIEW gpo_keys AS SELECT * FROM kept"),
    "column": ("ALTER TABLE gpo_groups ADD COLUMN more BLOB DEFAULT (x'00')",),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_sqlite_file_that_others_changed_is_refused(tmp_path, kind):
    url = f"sqlite:///{tmp_path}/g.sqlite"
    engine = open_database(url)
    with engine.begin() as connection:
        for statement in FOREIGN[kind]:
            connection.exec_driver_sql(statement)
    engine.dispose()
    with pytest.raises(ConfigError, match="is not as gpo-ray makes it, and may come from others"):
        open_database(url)


def test_an_sqlite_file_may_hold_what_another_application_keeps_for_itself(tmp_path):
    url = f"sqlite:///{tmp_path}/g.sqlite"
    engine = open_database(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE theirs (name)")
        connection.exec_driver_sql("CREATE TRIGGER more AFTER INSERT ON theirs BEGIN SELECT 1; END")
    engine.dispose()
    open_database(url).dispose()
