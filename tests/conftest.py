"""Settings and fixtures of all tests."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tiny_model import save_tiny_model

from gpo_ray.lm.cache import cache_folder

settings.register_profile("unit", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("unit")
torch.set_num_threads(1)

_cache = tempfile.TemporaryDirectory(prefix="gpo_ray-tests-")
"""What tests keep; the language models that were converted before, by the installation, serve them too."""
if cache_folder().is_dir():
    Path(_cache.name, "models").symlink_to(cache_folder())
os.environ["GPO_CACHE"] = _cache.name


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes each")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        skip = pytest.mark.skip(reason="takes minutes; runs with --slow")
        for item in items:
            if "minutes" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory):
    """Folder of a tiny chat model; do not change it, copy it."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny-chat")


@pytest.fixture(scope="session")
def tiny_base_model(tmp_path_factory):
    """Folder of the same model without a chat template."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny-base", chat_template=None)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server; a test that stops it must start it again."""
    import postgres_server

    reason = postgres_server.why_not()
    if reason is not None:
        pytest.skip(reason)
    server = postgres_server.PostgresServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def s3_server():
    """An S3 server, on which every test takes a bucket of its own; its address is not in the environment."""
    import s3_server

    reason = s3_server.why_not()
    if reason is not None:
        pytest.skip(reason)
    server = s3_server.S3Server()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """That server as the environment's, as a cluster's processes would find theirs."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database_url(request, tmp_path):
    """URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/groups.sqlite"
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture
def database(database_url):
    """An empty database with its tables, of each kind."""
    from gpo_ray.serving.registry.database import open_database

    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def workers():
    """Start ``registry_worker`` processes together; whatever is left of them is killed at the end."""
    started = []

    def start(action, url, count):
        mine = [
            subprocess.Popen(
                [sys.executable, "-W", "error", registry_worker, action, url],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        started.extend(mine)
        for process in mine:
            assert process.stdout.readline() == "ready\n"
        for process in mine:
            process.stdin.write("go\n")
            process.stdin.flush()
        return mine

    registry_worker = Path(__file__).with_name("registry_worker.py")
    yield start
    for process in started:
        process.kill()
        process.communicate()
