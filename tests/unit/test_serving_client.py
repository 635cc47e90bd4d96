"""Clients, against the application in this process and against a real server that comes and goes."""

import asyncio
import contextlib
import socket
import threading
import time

import httpx
import pytest
import uvicorn
from serving_backend import BUNDLE, LocalBackend, answer, make_service, question

import gpo_ray
from gpo_ray.client import AsyncClient, Client, ServiceError
from gpo_ray.client import calls as calls_module
from gpo_ray.client import clients as client_module
from gpo_ray.errors import DataError, GPOError
from gpo_ray.model.texts import AnsweredSlate, Slate
from gpo_ray.serving.api.schemas import GroupAnswer

CONTEXT = [AnsweredSlate(**answer(0)), AnsweredSlate(**answer(1, choice=2))]
QUESTIONS = [Slate(**question(8)), Slate(**question(9))]


@pytest.fixture(scope="module")
def backend(tiny_language_model):
    return LocalBackend(tiny_language_model)


@pytest.fixture
def service(tmp_path, backend):
    backend.problem = None
    return make_service(tmp_path, backend)


class Server:
    """uvicorn in a thread, on a port that stays the same when it is started again."""

    def __init__(self, api):
        self.api = api
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self):
        config = uvicorn.Config(self.api, port=self.port, log_level="critical", ws="none")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + 20
        while not self.server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self):
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def server(service):
    made = Server(service.api)
    made.start()
    yield made
    made.stop()


class Blocking:
    """:class:`AsyncClient` called as if it were :class:`Client`."""

    def __init__(self, *args, **kwargs):
        self.loop = asyncio.new_event_loop()
        self.client = AsyncClient(*args, **kwargs)

    def __enter__(self):
        self.loop.run_until_complete(self.client.__aenter__())
        return self

    def __exit__(self, *error):
        self.loop.run_until_complete(self.client.__aexit__(*error))
        self.loop.close()

    def list_groups(self):
        async def collect():
            return [g async for g in self.client.list_groups()]

        return self.loop.run_until_complete(collect())

    def __getattr__(self, name):
        return lambda *a, **k: self.loop.run_until_complete(getattr(self.client, name)(*a, **k))


BOTH = pytest.mark.parametrize("kind", [Client, Blocking])


@BOTH
def test_every_method(server, service, kind, monkeypatch):
    monkeypatch.setattr(calls_module, "_PAGE", 2)
    with kind(server.url, service.secrets["admin"]) as client:
        made = client.put_group("g0", CONTEXT, "those who rarely agree", must_be_new=True)
        assert (made.group_id, made.version, made.description) == ("g0", 1, "those who rarely agree")
        assert made.context == tuple(GroupAnswer(**a.model_dump()) for a in CONTEXT)
        assert client.get_group("g0") == made
        changed = client.put_group("g0", made.context[:1], if_match=made.etag)
        assert changed.version == 2
        for i in range(1, 5):
            client.put_group(f"g{i}", CONTEXT)
        assert [g.group_id for g in client.list_groups()] == [f"g{i}" for i in range(5)]
        by_id, inline = client.predict("g1", QUESTIONS), client.predict_inline(CONTEXT, QUESTIONS)
        assert by_id.predictions == inline.predictions
        assert (by_id.group, by_id.version, inline.group) == ("g1", 1, None)
        best = client.rank("g1", QUESTIONS[0].prompt, QUESTIONS[0].responses).ranked[0]
        assert best.share == max(by_id.predictions[0].share)
        assert best.response == QUESTIONS[0].responses[best.index]
        client.delete_group("g0", if_match=changed.etag)
        with pytest.raises(ServiceError, match="404") as gone:
            client.get_group("g0")
        assert gone.value.status == gone.value.problem.status == 404
        assert client.ready().ready
        service.backend.problem = "no language model"
        assert (client.ready().ready, client.ready().problem) == (False, "no language model")
        assert client.ready().bundle == BUNDLE


@BOTH
def test_answers_and_questions_of_the_public_api(server, service, kind):
    context = [gpo_ray.Answer(**answer(0)), gpo_ray.Answer(**answer(1, choice=2))]
    questions = [gpo_ray.Question(**question(8)), gpo_ray.Question(**question(9))]
    with kind(server.url, service.secrets["admin"]) as client:
        assert client.put_group("g0", context).context == tuple(
            GroupAnswer(**a.model_dump()) for a in CONTEXT
        )
        found = client.predict_inline(context, questions)
        assert found.predictions == client.predict_inline(CONTEXT, QUESTIONS).predictions
        assert found.predictions == client.predict("g0", questions).predictions


@BOTH
def test_what_is_refused(server, service, kind):
    with kind(server.url, service.secrets["reader"]) as client:
        with pytest.raises(ServiceError, match="403: the key may not write") as refused:
            client.put_group("g", CONTEXT)
        assert isinstance(refused.value, GPOError)
        assert refused.value.problem.request_id
        for call in (
            lambda: client.get_group("../g"),
            lambda: client.put_group("g", []),
            lambda: client.predict("g", []),
            lambda: client.rank("g", "?", ["one"]),
            lambda: client.predict_inline([QUESTIONS[0]], QUESTIONS),
        ):
            with pytest.raises(DataError):
                call()
    with kind(server.url, "wrong") as client, pytest.raises(ServiceError, match="401"):
        client.get_group("g")


@BOTH
def test_a_server_that_was_started_again(server, service, kind):
    with kind(server.url, service.secrets["admin"]) as client:
        client.put_group("g", CONTEXT)
        before = client.predict("g", QUESTIONS)
        server.stop()
        server.start()
        assert client.predict("g", QUESTIONS) == before


@BOTH
def test_a_server_that_comes_back_while_the_client_waits(server, service, kind, monkeypatch):
    monkeypatch.setattr(calls_module, "_PAUSE", 3.0)
    with kind(server.url, service.secrets["admin"]) as client:
        client.put_group("g", CONTEXT)
        server.stop()
        later = threading.Timer(0.3, server.start)
        later.start()
        assert client.get_group("g").version == 1
        later.join()


@BOTH
def test_a_server_that_is_away(kind):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with kind(url) as client, pytest.raises(ServiceError, match="no answer") as error:
            client.ready()
    assert (error.value.status, error.value.problem) == (None, None)


def test_a_chunked_body_over_the_limit(server, service):
    def chunks():
        for _ in range(400):
            yield b" " * 100_000

    headers = service.headers("admin") | {"Content-Type": "application/json"}
    # the server closes the connection, perhaps while the client still writes
    with contextlib.suppress(httpx.WriteError, httpx.ReadError):
        response = httpx.put(f"{server.url}/v1/groups/g", content=chunks(), headers=headers)
        assert response.status_code == 413
    declared = httpx.put(f"{server.url}/v1/groups/g", content=b" " * 1_000_001, headers=headers)
    assert declared.status_code == 413
    assert declared.json()["status"] == 413
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_raw_requests_that_are_no_http(server):
    for sent in (
        b"\0\0\0\r\n\r\n",
        b"GET /v1/groups HTTP/9.9\r\n\r\n",
        b"GET /v1/groups HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /v1/groups HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 1_000_000 + b"\r\n\r\n",
        b"PUT /v1/groups/%00\xff HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{",
    ):
        with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
            answered = b""
            with contextlib.suppress(OSError):
                answered = connection.recv(100)
        assert answered[9:10] in {b"", b"4"}
    assert httpx.get(f"{server.url}/healthz").status_code == 200


class Script:
    """A transport that answers as told and notes what it was asked."""

    def __init__(self, *outcomes):
        self.outcomes, self.calls = list(outcomes), []

    def __call__(self, request):
        self.calls.append(request)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


GROUP = {
    "group_id": "g",
    "version": 1,
    "etag": "1-a",
    "description": "",
    "context": [answer()],
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
}


def good():
    return httpx.Response(200, json=GROUP)


def failing(status, **headers):
    return httpx.Response(status, text="<html>", headers=headers)


@pytest.fixture
def sleeps(monkeypatch):
    """How long clients waited; they do not in fact."""
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr(client_module.time, "sleep", waited.append)
    monkeypatch.setattr(client_module.asyncio, "sleep", sleep)
    return waited


def scripted(kind, script):
    return kind("http://gpo", "key", transport=httpx.MockTransport(script))


@BOTH
@pytest.mark.parametrize(
    "outcome",
    [
        *(500, 502, 503, 504, 429),
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("closed"),
        httpx.ReadTimeout("slow"),
    ],
    ids=str,
)
def test_passing_failures_are_tried_once_more(kind, sleeps, outcome):
    script = Script(failing(outcome) if isinstance(outcome, int) else outcome, good())
    with scripted(kind, script) as client:
        assert client.put_group("g", CONTEXT).version == 1
    assert len(script.calls) == 2
    assert script.calls[0].content == script.calls[1].content
    assert sleeps == [0.2]


@BOTH
def test_only_once_more(kind, sleeps):
    script = Script(failing(503), failing(503), good())
    with scripted(kind, script) as client, pytest.raises(ServiceError, match="503") as error:
        client.get_group("g")
    assert (error.value.status, error.value.problem) == (503, None)
    assert len(script.calls) == 2


@BOTH
@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 501])
def test_lasting_failures_are_not_tried_again(kind, sleeps, status):
    script = Script(failing(status), good())
    with scripted(kind, script) as client, pytest.raises(ServiceError, match=str(status)):
        client.get_group("g")
    assert sleeps == []


@BOTH
@pytest.mark.parametrize(("asked", "waits"), [("3", [3.0]), ("5", [5.0]), ("6", None), ("soon", [0.2])])
def test_retry_after(kind, sleeps, asked, waits):
    script = Script(failing(429, **{"Retry-After": asked}), good())
    with scripted(kind, script) as client:
        if waits is None:
            with pytest.raises(ServiceError, match="429"):
                client.get_group("g")
        else:
            assert client.get_group("g").version == 1
    assert sleeps == (waits or [])


@BOTH
@pytest.mark.parametrize("condition", [{"if_match": "1-a"}, {"must_be_new": True}])
def test_a_conditional_put_is_repeated_only_if_it_was_not_sent(kind, sleeps, condition):
    for outcome in (httpx.ReadError("reset"), failing(502)):
        with scripted(kind, Script(outcome, good())) as client, pytest.raises(ServiceError):
            client.put_group("g", CONTEXT, **condition)
    for outcome in (httpx.ConnectError("refused"), failing(429)):
        with scripted(kind, Script(outcome, good())) as client:
            assert client.put_group("g", CONTEXT, **condition).version == 1


@BOTH
def test_a_delete_that_was_lost_on_its_way_back(kind, sleeps):
    with scripted(kind, Script(httpx.ReadError("reset"), failing(404))) as client:
        client.delete_group("g")
    with scripted(kind, Script(failing(404))) as client, pytest.raises(ServiceError, match="404"):
        client.delete_group("g")


@BOTH
def test_an_answer_of_something_else(kind):
    script = Script(httpx.Response(200, text="<html>"))
    with scripted(kind, script) as client, pytest.raises(ServiceError, match="is the URL right"):
        client.get_group("g")


@BOTH
def test_fields_of_a_later_version_are_no_error(kind):
    with scripted(kind, Script(httpx.Response(200, json=GROUP | {"colour": "red"}))) as client:
        assert client.get_group("g").etag == "1-a"


def test_the_client_loads_no_ray():
    import subprocess
    import sys

    code = "import sys, gpo_ray.client; print([m for m in ('ray', 'fastapi') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
