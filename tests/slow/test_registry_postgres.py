"""What only a server can do: be away, come back, refuse."""

import logging
import time

import pytest
from sqlalchemy import make_url, text

from gpo_ray.errors import ConfigError
from gpo_ray.model.texts import AnsweredSlate
from gpo_ray.serving.registry import database
from gpo_ray.serving.registry.database import RegistryUnavailable, open_database
from gpo_ray.serving.registry.groups import Registry
from gpo_ray.serving.registry.keys import KeyRing

pytestmark = pytest.mark.slow
TEA = AnsweredSlate(prompt="Tea?", responses=("yes", "no"), choice=0)


@pytest.fixture
def url(postgres):
    return postgres.new_database()


@pytest.fixture
def opened(url):
    """Open a database; all are closed at the end."""
    engines = []

    def run(at=url):
        engines.append(open_database(at))
        return engines[-1]

    yield run
    for engine in engines:
        engine.dispose()


def test_a_server_that_is_killed_loses_nothing_and_is_found_again(postgres, url, opened, caplog):
    caplog.set_level(logging.DEBUG)
    engine = opened()
    registry, ring = Registry(engine), KeyRing(engine)
    key, secret = ring.create("k", "t", ["write"])
    stored, _ = registry.put("t", "g", "d", (TEA,))
    postgres.kill()
    try:
        for call in (
            lambda: registry.put("t", "g", "unheard", (TEA,)),
            lambda: registry.get("t", "g"),
            lambda: registry.version("t", "g"),
            lambda: registry.list("t"),
            lambda: registry.delete("t", "g"),
            lambda: ring.find(secret),
            lambda: ring.create("k", "t", ["read"]),
        ):
            with pytest.raises(RegistryUnavailable, match="does not answer") as caught:
                call()
            assert "127.0.0.1" not in str(caught.value)
        with pytest.raises(ConfigError, match="refused") as caught:
            open_database(url)
        assert make_url(url).password not in str(caught.value)
    finally:
        postgres.start()
    assert registry.get("t", "g") == stored
    assert registry.version("t", "g") == stored.etag
    assert ring.find(secret) == key
    assert registry.put("t", "g", "e", (TEA,))[0].version == 2
    for hidden in (make_url(url).password, secret, "unheard"):
        assert hidden not in caplog.text


def test_wrong_password_and_absent_database(postgres, url):
    name = make_url(url).database
    with pytest.raises(ConfigError, match="password authentication failed") as caught:
        open_database(postgres.url(name, password="wr0ng"))
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(ConfigError, match="does not exist"):
        open_database(postgres.url("nowhere"))


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text(postgres, encoding):
    with pytest.raises(ConfigError, match=f"{encoding}; create it with ENCODING 'UTF8'"):
        open_database(postgres.new_database(encoding))


def test_the_driver_may_be_named(url, opened):
    registry = Registry(opened(url.replace("postgresql://", "postgresql+psycopg://")))
    assert registry.put("t", "g", "d", (TEA,))[1]


def test_a_role_that_may_not_make_tables(postgres, url, opened):
    admin = opened()
    role = f"reader_{make_url(url).database}"
    with admin.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'hush'"))
    empty = make_url(postgres.new_database()).set(username=role, password="hush")
    with pytest.raises(ConfigError, match="permission denied"):
        open_database(empty.render_as_string(hide_password=False))


def test_more_callers_than_connections(opened):
    engine = opened()
    registry = Registry(engine)
    held = [engine.connect() for _ in range(10)]
    try:
        with pytest.raises(RegistryUnavailable):
            registry.version("t", "g")
    finally:
        for connection in held:
            connection.close()
    assert registry.version("t", "g") is None


def test_another_clients_lock_is_not_waited_for_without_end(opened, monkeypatch):
    monkeypatch.setattr(database, "LOCK_SECONDS", 1)
    engine, other = opened(), opened()
    registry, ring = Registry(engine), KeyRing(engine)
    stored, _ = registry.put("t", "g", "d", (TEA,))
    _, secret = ring.create("k", "t", ["read"])
    with other.begin() as holding:
        holding.execute(text("LOCK TABLE gpo_groups, gpo_keys IN ACCESS EXCLUSIVE MODE"))
        for call in (
            lambda: registry.get("t", "g"),
            lambda: registry.put("t", "g", "e", (TEA,)),
            lambda: ring.find(secret),
        ):
            started = time.monotonic()
            with pytest.raises(RegistryUnavailable):
                call()
            assert time.monotonic() - started < 10
    assert registry.get("t", "g") == stored


def test_a_statement_that_takes_too_long_is_given_up(opened, monkeypatch):
    monkeypatch.setattr(database, "STATEMENT_SECONDS", 1)
    engine = opened()
    with pytest.raises(RegistryUnavailable), database.transaction(engine) as connection:
        connection.execute(text("SELECT pg_sleep(30)"))
    assert Registry(engine).list("t") == ()
