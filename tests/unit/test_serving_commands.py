"""Keys made after groups were registered without any."""

import asyncio
import json
import shlex
import socket
from pathlib import Path

import httpx
import pytest
from serving_backend import answer
from typer.testing import CliRunner

import gpo_ray
from gpo_ray.cli import app
from gpo_ray.errors import ConfigError
from gpo_ray.model.texts import AnsweredSlate
from gpo_ray.serving import run as service
from gpo_ray.serving.api.http import create_api
from gpo_ray.serving.registry.database import open_database
from gpo_ray.serving.registry.groups import Registry
from gpo_ray.serving.registry.keys import KeyRing
from gpo_ray.serving.settings import ServeSettings


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/groups.sqlite"


@pytest.fixture
def engine(url):
    engine = open_database(url)
    yield engine
    engine.dispose()


README = Path(gpo_ray.__file__).parents[1] / "README.md"


def create(url, tenant, *options):
    arguments = ["serve", "key", "create", "--name", "phone", "--scope", "write", "--tenant", tenant]
    return run(url, *arguments, *options)


def run(url, *arguments):
    done = CliRunner().invoke(app, [*arguments, "--database", url])
    assert done.exit_code == 0, done.output
    return done.output


def registered(engine, tenant="public", group_id="oslo"):
    Registry(engine).put(tenant, group_id, "", (AnsweredSlate(**answer()),))


def asked(engine, secret):
    """Status of a question for the group, at a service that needs keys."""
    service = create_api(ServeSettings(bundle="b"), None, Registry(engine), KeyRing(engine))

    async def send():
        transport = httpx.ASGITransport(service)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/v1/groups/oslo", headers={"Authorization": f"Bearer {secret}"})

    return asyncio.run(send()).status_code


def test_a_key_that_reaches_no_groups_says_which_would(url, engine):
    registered(engine)
    told = create(url, "oslo").splitlines()
    assert asked(engine, told[1]) == 404
    assert "tenant oslo has no groups; there are groups of: public (1)" in told[2]
    assert "--tenant public" in told[2]
    made = json.loads(create(url, "oslo", "--json"))
    assert made["groups"] == {"public": 1}


def test_the_key_that_is_named_reaches_them(url, engine):
    registered(engine)
    told = create(url, "public").splitlines()
    assert len(told) == 2
    assert asked(engine, told[1]) == 200


def test_the_readme_works_in_its_order(url, engine):
    registered(engine)
    lines = [line for line in README.read_text().splitlines() if line.startswith("gpo serve key create")]
    assert len(lines) == 1
    told = run(url, *shlex.split(lines[0], comments=True)[1:]).splitlines()
    assert asked(engine, told[1]) == 200


def test_nothing_is_said_where_nothing_is_to_be_known(url, engine):
    assert len(create(url, "oslo").splitlines()) == 2
    registered(engine, "oslo")
    registered(engine)
    assert len(create(url, "oslo").splitlines()) == 2


def test_many_tenants_are_counted(url, engine):
    for i in range(12):
        registered(engine, f"t{i:02}")
    Registry(engine).delete("t00", "oslo")
    told = create(url, "new")
    assert "t01 (1), t02 (1)" in told
    assert "t00" not in told
    assert "1 more" in told


def test_a_port_that_is_taken_makes_no_database(tmp_path, monkeypatch):
    monkeypatch.setattr(service.Stop, "listen", lambda self: None)
    settings = ServeSettings(bundle="none", database=f"sqlite:///{tmp_path}/groups.sqlite")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="cannot listen"):
            service.run(settings, "127.0.0.1", port, None, print)
    assert list(tmp_path.iterdir()) == []
