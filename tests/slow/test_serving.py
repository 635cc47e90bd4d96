"""The running service: processes killed under load, bundles swapped, strangers, overload, restarts."""

import json
import shutil
import signal
import socket
import time
from collections import Counter

import httpx
import numpy as np
import pytest
from command import Command
from serving_backend import answer, question, write_service_bundle
from serving_load import Load
from synthetic import flip_byte, survey

from gpo_ray.api import predict_file
from gpo_ray.client import Client
from gpo_ray.model.texts import AnsweredSlate, Slate

pytestmark = pytest.mark.slow
CONTEXT = [AnsweredSlate(**answer(i)) for i in range(4)]
QUESTIONS = [Slate(**question(i)) for i in range(9, 12)]
BODY = {"questions": [q.model_dump(mode="json") for q in QUESTIONS]}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, tiny_language_model):
    return write_service_bundle(tmp_path_factory.mktemp("bundles") / "tiny", tiny_language_model)


def start(command, folder, bundle, **settings):
    """``gpo serve`` with two copies of what may be killed; the command, and its address once it is ready."""
    port = free_port()
    config = folder / f"serve-{port}.yaml"
    defaults = {
        "bundle": str(bundle),
        "database": f"sqlite:///{folder}/groups.sqlite",
        "page": False,
        "ingress": {"min": 2, "max": 2, "cpus": 0.3},
        "predictor": {"min": 2, "max": 2, "cpus": 0.3},
        "encoder": {"cpus": 0.3},
        "limits": {"requests_per_minute": 1_000_000},
    }
    config.write_text(json.dumps(defaults | settings))
    run = command("serve", "--config", config, "--port", port)
    url = f"http://127.0.0.1:{port}"
    run.wait_until(lambda: ready(url), 120, "ready")
    return run, url


@pytest.fixture(scope="module")
def service(bundle, tmp_path_factory):
    """One service for all tests that it survives."""
    folder = tmp_path_factory.mktemp("service")
    started = []

    def command(*arguments):
        started.append(Command(*arguments, log=folder / "log.txt"))
        return started[0]

    yield start(command, folder, bundle)
    for run in started:
        run.kill_all()


def ready(url):
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def registered(url, group_id="g"):
    with Client(url) as client:
        client.put_group(group_id, CONTEXT)
    return f"{url}/v1/groups/{group_id}/predict"


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} after {seconds} s"
        time.sleep(0.2)


def test_predictions_over_http_are_those_of_the_command_line_under_load(service, bundle, tmp_path):
    _, url = service
    (tmp_path / "context.json").write_text(json.dumps([answer(i) for i in range(4)]))
    (tmp_path / "questions.json").write_text(json.dumps(BODY["questions"]))
    want = predict_file(str(bundle), str(tmp_path / "context.json"), str(tmp_path / "questions.json"))
    others = [registered(url, f"other-{i}") for i in range(3)]
    mine = registered(url)
    with Load(others[0], BODY, 3), Load(others[1], BODY, 3), Load(mine, BODY, 3) as load:
        time.sleep(6)
    assert len(load.answers) > 20
    for got in load.answers:
        for a, b in zip(got["predictions"], want["predictions"], strict=True):
            np.testing.assert_allclose(a["share"], b["share"], atol=1e-5)
            np.testing.assert_allclose(a["interval"], b["interval"], atol=1e-5)


def test_shares_follow_the_labels_of_seen_questions(service):
    _, url = service
    seen = [Slate(prompt=q.prompt, responses=q.responses) for q in survey(8, 12).iter_questions()]
    known = [AnsweredSlate(**q.model_dump(), choice=0) for q in seen[:3]]
    turned = [Slate(prompt=q.prompt, responses=q.responses[::-1]) for q in seen[3:6]]
    last = [
        AnsweredSlate(prompt=q.prompt, responses=q.responses[::-1], choice=len(q.responses) - 1)
        for q in known
    ]
    with Client(url) as client:
        plain = client.predict_inline(known, seen[3:6]).predictions
        client.put_group("turned", last)
        found = [client.predict("turned", turned).predictions for _ in range(3)]
    for reply in found:
        for a, b in zip(reply, plain, strict=True):
            assert a.seen
            np.testing.assert_allclose(a.share[::-1], b.share, atol=1e-9)
            np.testing.assert_allclose(a.interval[::-1], b.interval, atol=1e-9)
            np.testing.assert_allclose(a.language_model[::-1], b.language_model, atol=1e-5)


@pytest.mark.parametrize("deployment", [pytest.param("Predictor", marks=pytest.mark.minutes), "Ingress"])
def test_killed_replica_costs_only_what_was_in_flight_on_it(service, deployment):
    run, url = service
    with Load(registered(url), BODY, 8) as load:
        time.sleep(4)
        victim = run.workers(f"ray::ServeReplica:gpo:{deployment}")[0]
        victim.send_signal(signal.SIGKILL)
        killed = time.time()
        time.sleep(10)
    assert load.statuses[200] > 50
    assert not load.failed(after=killed + 1)
    assert len(load.failed()) <= 8
    wait_for(lambda: len(run.workers(f"ray::ServeReplica:gpo:{deployment}")) == 2, 60, "second replica")


@pytest.mark.minutes
def test_new_questions_wait_for_a_killed_encoder(service):
    run, url = service
    target = registered(url)
    with Load(target, BODY, 2) as load:
        time.sleep(2)
        run.workers("ray::ServeReplica:gpo:Encoder")[0].send_signal(signal.SIGKILL)
        for i in range(100, 105):
            reply = httpx.post(target, json={"questions": [question(i)]}, timeout=60)
            assert reply.status_code == 200
        time.sleep(2)
    assert not load.failed()
    wait_for(lambda: len(run.workers("ray::ServeReplica:gpo:Predictor")) == 2, 1, "predictors")


def test_shipped_client_does_not_notice_a_killed_replica(service):
    run, url = service
    registered(url)
    count = 0
    with Client(url) as client:
        stop, kill_at = time.monotonic() + 12, time.monotonic() + 3
        while time.monotonic() < stop:
            client.predict("g", QUESTIONS)
            count += 1
            if kill_at and time.monotonic() > kill_at:
                run.workers("ray::ServeReplica:gpo:Ingress")[0].send_signal(signal.SIGKILL)
                kill_at = 0
    assert count > 50


@pytest.mark.minutes
@pytest.mark.parametrize("process", ["ray::ProxyActor", "ray::ServeController"])
def test_killed_proxy_or_controller_is_back_within_half_a_minute(service, process):
    run, url = service
    registered(url)
    victims = run.workers(process)
    assert victims
    victims[0].send_signal(signal.SIGKILL)
    time.sleep(1)

    def answers():
        try:
            return httpx.post(f"{url}/v1/groups/g/predict", json=BODY, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    wait_for(answers, 30, "answer")
    with Client(url) as client:
        assert "g" in [g.group_id for g in client.list_groups()]


@pytest.mark.minutes
def test_groups_survive_kill_9_of_everything_right_after_the_answer(gpo, bundle, tmp_path):
    run, url = start(gpo, tmp_path, bundle)
    with Client(url) as client:
        client.put_group("kept", CONTEXT, description="to be kept")
    run.kill_all()
    _, url = start(gpo, tmp_path, bundle)
    with Client(url) as client:
        assert client.get_group("kept").description == "to be kept"
        assert len(client.predict("kept", QUESTIONS).predictions) == 3


@pytest.mark.minutes
def test_overload_gives_200_or_429_and_nothing_else(gpo, bundle, tmp_path):
    _, url = start(
        gpo,
        tmp_path,
        bundle,
        ingress={"min": 1, "max": 1, "cpus": 0.3, "queue": 4},
        predictor={"min": 1, "max": 1, "cpus": 0.3, "queue": 4},
    )
    target = registered(url)
    with Load(target, BODY, 90) as load:
        time.sleep(15)
    assert set(load.statuses) == {200, 429}
    reply = Counter(status for _, _, status in load.results)
    assert reply[200] > 50


def test_damaged_bundle_is_refused_before_anything_starts(gpo, bundle, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    flip_byte(damaged / "model.safetensors")
    run = gpo(
        "serve", "--bundle", damaged, "--database", f"sqlite:///{tmp_path}/g.sqlite", "--port", free_port()
    )
    assert run.process.wait(timeout=120) == 2
    assert "model.safetensors: does not match its manifest" in run.log.read_text()


def test_strangers_are_refused_without_keys(gpo, bundle, tmp_path):
    run = gpo(
        "serve", "--bundle", bundle, "--database", f"sqlite:///{tmp_path}/g.sqlite", "--host", "0.0.0.0"
    )
    assert run.process.wait(timeout=60) == 2
    assert "gpo serve key create" in run.log.read_text()


def test_port_that_somebody_listens_on_is_named(gpo, bundle, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = gpo("serve", "--bundle", bundle, "--database", f"sqlite:///{tmp_path}/g.sqlite", "--port", port)
        assert run.process.wait(timeout=60) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in run.log.read_text()
