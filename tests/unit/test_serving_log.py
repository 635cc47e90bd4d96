"""How much the service's log holds, whoever asks."""

import asyncio
import json
import logging
import re
from pathlib import Path

import httpx
import pytest
from asgi_lifespan import LifespanManager
from serving_backend import LogLines, make_service

import gpo_ray
from gpo_ray.serving import log, pace
from gpo_ray.serving.bounds import ROTATION

DOCKERFILE = Path(gpo_ray.__file__).parents[1] / "cluster" / "docker" / "Dockerfile"


@pytest.fixture
def lines(monkeypatch):
    found = LogLines()
    monkeypatch.setattr(log.LOG, "handlers", [found])
    before = log.LOG.level
    log.LOG.setLevel(logging.INFO)
    yield found
    log.LOG.setLevel(before)


@pytest.fixture
def minute(monkeypatch):
    """The time of limits, which goes on only when it is told to."""
    now = [1000.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    return now


class NoModel:
    async def ready(self):
        raise KeyError("secret")


@pytest.fixture
def service(tmp_path):
    return make_service(tmp_path, NoModel(), limits={"requests_per_minute": 70})


def ask(service, *requests):
    """The statuses of requests, each a method, a path and the name of a key."""

    async def send():
        transport = httpx.ASGITransport(service.api, raise_app_exceptions=False)
        async with (
            LifespanManager(service.api),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            return [
                (await client.request(m, p, headers=service.headers(k) if k else {})).status_code
                for m, p, k in requests
            ]

    return asyncio.run(send())


def test_strangers_do_not_choose_how_much_is_logged(service, lines, minute):
    many = log.MAX_LINES + 40
    assert ask(service, *[("POST", "/v1/predict", None)] * many) == [401] * many
    assert len(lines.requests()) == log.MAX_LINES
    assert ask(service, *[("GET", "/healthz", None)] * many) == [200] * many
    assert ask(service, *[("GET", f"/{i}", None) for i in range(many)]) == [404] * many
    assert len(lines.requests()) == 3 * log.MAX_LINES
    minute[0] += 61
    assert ask(service, ("POST", "/v1/predict", None)) == [401]
    assert lines.requests()[-1]["dropped"] == 40


def test_what_keys_ask_is_logged_in_the_middle_of_strangers(service, lines, minute):
    ask(service, *[("GET", "/v1/groups", None)] * (log.MAX_LINES + 40))
    assert ask(service, *[("GET", "/v1/groups", "reader")] * 70) == [200] * 70
    found = lines.requests()[log.MAX_LINES :]
    assert [(r["status"], r.get("dropped")) for r in found] == [(200, 40)] + [(200, None)] * 69


def test_a_key_does_not_choose_how_much_is_logged_beyond_its_limit(service, lines, minute):
    many = log.MAX_LINES + 40
    assert ask(service, *[("PUT", "/v1/groups/g", "reader")] * 70) == [403] * 70
    assert ask(service, *[("GET", "/v1/groups", "reader")] * many) == [429] * many
    assert [r["status"] for r in lines.requests()] == [403] * 70 + [429] * log.MAX_LINES
    assert ask(service, ("GET", "/v1/groups", "admin")) == [200]
    assert lines.requests()[-1]["dropped"] == 40


def test_faults_that_strangers_cause_are_bounded_too(service, lines, minute):
    assert set(ask(service, *[("GET", "/readyz", None)] * 100)) == {500}
    events = [json.loads(line)["event"] for line in lines.text]
    assert events.count("fault") == events.count("request") == log.MAX_LINES


def test_rays_logs_are_rotated_unless_it_was_said_how(monkeypatch):
    mine = {"RAY_ROTATION_MAX_BYTES": "0"}
    log.rotate(mine)
    assert mine == ROTATION | {"RAY_ROTATION_MAX_BYTES": "0"}
    unset = {}
    log.rotate(unset)
    assert unset == ROTATION
    assert all(int(value) > 0 for value in unset.values())


def test_the_image_rotates_logs_in_both_variants():
    found = re.findall(r"^ENV (RAY_ROTATION.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found == [" ".join(f"{k}={v}" for k, v in ROTATION.items())] * 2
