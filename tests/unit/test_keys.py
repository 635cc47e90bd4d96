"""API keys, on SQLite and on PostgreSQL, and the commands that manage them."""

import json
import re
import subprocess
import sys
from datetime import timedelta

import pytest
from sqlalchemy import text

from gpo_ray import cli
from gpo_ray.errors import ConfigError
from gpo_ray.serving.registry.database import open_database
from gpo_ray.serving.registry.keys import SCOPES, ApiKey, KeyRing

SECRET = r"gpo_[0-9a-f]{16}_[A-Za-z0-9_-]{43}"


@pytest.fixture
def ring(database):
    return KeyRing(database)


def test_a_secret_finds_its_key(ring):
    assert not ring.any()
    assert ring.list() == ()
    made = [ring.create(f"key {i}", f"tenant-{i % 2}", ["write", "read"]) for i in range(3)]
    assert len({secret for _, secret in made}) == 3
    for i, (key, secret) in enumerate(made):
        assert re.fullmatch(SECRET, secret)
        assert key.key_id in secret
        assert ring.find(secret) == key
        assert (key.name, key.tenant, key.scopes) == (f"key {i}", f"tenant-{i % 2}", ("read", "write"))
        assert key.created_at.utcoffset() == timedelta(0)
    assert ring.list() == tuple(key for key, _ in made)
    assert ring.any()


def test_only_the_whole_secret_finds_a_key(ring):
    (key, secret), (_, other) = ring.create("a", "t", ["read"]), ring.create("b", "t", ["admin"])
    swapped = secret[:21] + other[21:]
    last = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    wrong = [
        "",
        "gpo_",
        secret[:-1],
        secret + "A",
        secret + "\n",
        f" {secret}",
        secret.upper(),
        swapped,
        last,
    ]
    wrong += [secret.replace("gpo", "gpx"), f"gpo_{key.key_id}_", "gpo_" + "0" * 16 + secret[20:]]
    wrong += [secret[:-1] + c for c in "\0é\ud800"]
    for guess in wrong:
        assert ring.find(guess) is None


def test_a_revoked_key_is_never_found(ring, database_url):
    (key, secret), (kept, kept_secret) = ring.create("a", "t", ["read"]), ring.create("a", "t", ["read"])
    engine = open_database(database_url)
    replica = KeyRing(engine)
    assert replica.find(secret) == key
    revoked = ring.revoke(key.key_id)
    assert revoked.revoked_at >= key.created_at
    assert ring.find(secret) is None
    assert replica.find(secret) is None
    engine.dispose()
    assert ring.find(kept_secret) == kept
    assert ring.revoke(key.key_id) == revoked
    assert ring.list() == (revoked, kept)
    assert ring.any()
    ring.revoke(kept.key_id)
    assert not ring.any()


@pytest.mark.parametrize("key_id", ["", "x", "0" * 16, "\0", "%", "\ud800"])
def test_an_unknown_key_cannot_be_revoked(ring, key_id):
    ring.create("a", "t", ["read"])
    with pytest.raises(ConfigError, match="does not exist"):
        ring.revoke(key_id)
    assert ring.any()


@pytest.mark.parametrize(
    ("name", "tenant", "scopes", "words"),
    [
        ("", "t", ["read"], "key name"),
        ("n" * 201, "t", ["read"], "key name"),
        ("n\0", "t", ["read"], "key name"),
        ("n\ud800", "t", ["read"], "key name"),
        ("n", "", ["read"], "tenant"),
        ("n", "t" * 64, ["read"], "tenant"),
        ("n", "a b", ["read"], "tenant"),
        ("n", "a/b", ["read"], "tenant"),
        ("n", "t\n", ["read"], "tenant"),
        ("n", ".t", ["read"], "tenant"),
        ("n", "t", [], "scopes"),
        ("n", "t", ["read", "Write"], "scopes"),
    ],
)
def test_unfit_keys(ring, name, tenant, scopes, words):
    with pytest.raises(ConfigError, match=words):
        ring.create(name, tenant, scopes)
    assert not ring.any()


@pytest.mark.parametrize("i", range(3))
@pytest.mark.parametrize("j", range(3))
def test_a_scope_includes_the_ones_before(ring, i, j):
    key, _ = ring.create("k", "t", [SCOPES[i]])
    assert isinstance(key, ApiKey)
    assert key.may(SCOPES[j]) == (j <= i)


def test_secrets_are_not_in_the_database(ring, database, database_url, tmp_path):
    _, secret = ring.create("k", "t", ["read"])
    ring.find(secret)
    if database_url.startswith("sqlite"):
        held = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    else:
        with database.connect() as connection:
            held = str(connection.execute(text("SELECT * FROM gpo_keys")).all()).encode()
    assert secret[4:20].encode() in held
    assert secret[21:].encode() not in held


@pytest.fixture
def gpo(monkeypatch, capsys, tmp_path):
    """Run ``gpo serve key`` in this process and an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPO_DATABASE", raising=False)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["gpo", "serve", "key", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


CREATE = ("create", "--name", "ann's laptop", "--tenant", "a", "--scope", "write", "--scope", "read")


def test_keys_are_made_listed_and_revoked(gpo, tmp_path):
    code, out, err = gpo(*CREATE, "--json")
    assert (code, err) == (0, "")
    made = json.loads(out)
    secret = made.pop("secret")
    assert made.pop("groups") == {}  # by tenant
    assert made | {"id": "", "created_at": ""} == {
        "id": "",
        "name": "ann's laptop",
        "tenant": "a",
        "scopes": ["read", "write"],
        "created_at": "",
        "revoked_at": None,
    }
    engine = open_database(f"sqlite:///{tmp_path}/gpo-groups.sqlite")
    assert KeyRing(engine).find(secret).key_id == made["id"]
    code, out, _ = gpo(*CREATE)
    assert code == 0
    assert KeyRing(engine).find(out.splitlines()[-1]).tenant == "a"
    assert json.loads(gpo("list", "--json")[1])["keys"][0] == made
    code, out, _ = gpo("list")
    assert code == 0
    assert made["id"] in out
    assert secret[21:] not in out
    code, out, _ = gpo("revoke", made["id"])
    assert (code, out) == (0, f"key {made['id']} (ann's laptop) is revoked\n")
    assert KeyRing(engine).find(secret) is None
    engine.dispose()
    assert json.loads(gpo("revoke", made["id"], "--json")[1])["revoked_at"]
    assert [bool(k["revoked_at"]) for k in json.loads(gpo("list", "--json")[1])["keys"]] == [True, False]


def test_where_the_keys_are(gpo, monkeypatch, tmp_path):
    monkeypatch.setenv("GPO_DATABASE", "sqlite:///environment.sqlite")
    assert gpo(*CREATE)[0] == 0
    assert gpo(*CREATE, "--database", "sqlite:///option.sqlite")[0] == 0
    assert {p.name for p in tmp_path.iterdir()} == {"environment.sqlite", "option.sqlite"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (CREATE[:-4], "--scope"),
        ((*CREATE, "--scope", "all"), "all"),
        ((*CREATE, "--database", "mysql://u:hush@h/d"), "mysql"),
        ((*CREATE, "--database", "postgresql://u:hush@127.0.0.1:1/d"), "refused"),
        (("list", "--database", "sqlite:////nowhere/at/all"), "unable to open"),
        (("revoke", "0" * 16), "does not exist"),
        (("revoke",), "key_id"),
    ],
)
def test_errors_are_one_line(gpo, arguments, words):
    code, out, err = gpo(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert words in err
    assert "hush" not in err


def test_the_command_line_loads_no_database_before_it_needs_one():
    code = "import sys, gpo_ray.cli; print({'sqlalchemy', 'alembic', 'ray', 'fastapi'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
