"""The HTTP API: failures, probes, headers of answers, and lines of the log."""

import dataclasses
import json
import subprocess
import sys

import pytest
from http_caller import ENDPOINTS, GROUP, Caller, check_problem
from serving_backend import BUNDLE, answer, question

from gpo_ray.errors import DataError
from gpo_ray.serving.api.http import create_api
from gpo_ray.serving.inference.backend import Overloaded, Unavailable
from gpo_ray.serving.registry.database import RegistryUnavailable
from gpo_ray.serving.settings import ServeSettings

FAILURES = {
    "overloaded": (Overloaded(), 429),
    "unavailable": (Unavailable("secret place"), 503),
    "refused": (DataError("what was asked cannot be predicted"), 422),
    "registry": (RegistryUnavailable("secret place"), 503),
    "bug": (RuntimeError("Question number 9? secret place"), 500),
    "recursion": (RecursionError(), 500),
}


@pytest.mark.parametrize(("error", "status"), FAILURES.values(), ids=FAILURES)
def test_failures_behind_the_api(service, log, error, status):
    service.backend.fails = error
    body = {"context": [answer()], "questions": [question()]}
    response = Caller(service)("POST", "/v1/predict", body, headers={"X-Request-ID": "my-id.1"})
    problem = check_problem(response, status)
    assert problem["request_id"] == "my-id.1"
    assert "secret place" not in response.text + "".join(log.text)
    if status in {429, 503}:
        assert int(response.headers["retry-after"]) >= 1
    if status == 422:
        assert problem["detail"] == "what was asked cannot be predicted"
    assert ("fault" in [json.loads(t)["event"] for t in log.text]) == (status == 500)
    assert log.requests()[-1]["request_id"] == "my-id.1"


def test_refusals_are_told(tmp_path, service, backend, monkeypatch):
    told = []
    api = create_api(
        ServeSettings(bundle="tiny", require_keys=False),
        backend,
        service.registry,
        service.keys,
        on_refusal=told.append,
    )
    call = Caller(dataclasses.replace(service, api=api), None)
    question_of = {"questions": [question()]}
    for method, path, body in (
        ("GET", "/v1/groups/none", None),
        ("DELETE", "/v1/groups/none", None),
        ("POST", "/v1/groups/none/predict", question_of),
    ):
        check_problem(call(method, path, body), 404)
    check_problem(call("GET", "/v1/nothing"), 404)
    call("PUT", "/v1/groups/g", GROUP)
    for backend.fails in (Overloaded(), Unavailable()):
        call("POST", "/v1/groups/g/predict", question_of)

    def away(*_):
        raise RegistryUnavailable("away")

    monkeypatch.setattr(service.registry, "version", away)
    call("GET", "/v1/groups/g")
    assert told == ["unknown_group"] * 3 + ["overloaded", "unavailable", "registry"]


def test_a_database_that_is_away(service, monkeypatch):
    def away(*_):
        raise RegistryUnavailable("away")

    call = Caller(service)
    call("PUT", "/v1/groups/g", GROUP)
    for name in ("version", "get", "put", "delete", "list"):
        monkeypatch.setattr(service.registry, name, away)
    for method, path, body, _ in ENDPOINTS.values():
        response = call(method, path.format("g"), body)
        if path != "/v1/predict":
            check_problem(response, 503)
    monkeypatch.setattr(service.keys, "find", away)
    check_problem(Caller(service, "reader")("GET", "/v1/groups"), 503)


def test_probes(service):
    call = Caller(service, None)
    assert call("GET", "/healthz").json() == {"status": "ok"}
    assert call("GET", "/readyz").json() == {"ready": True, "bundle": BUNDLE, "problem": None}
    service.backend.problem = "no language model"
    body = check_problem(call("GET", "/readyz"), 503)
    assert (body["ready"], body["bundle"], body["problem"]) == (False, BUNDLE, "no language model")


def test_headers_of_every_answer(service):
    for path in ("/v1/groups", "/v1/groups/none", "/healthz", "/none", "/openapi.json"):
        headers = Caller(service)("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert (headers.get("cache-control") == "no-store") == path.startswith("/v1")


def test_a_page_may_have_another_policy(service, backend):
    from gpo_ray.serving.api.http import create_api
    from gpo_ray.serving.settings import ServeSettings

    policy = "default-src 'self'"
    service.api = create_api(ServeSettings(bundle="x"), backend, service.registry, service.keys, policy)
    assert Caller(service)("GET", "/healthz").headers["content-security-policy"] == policy
    assert "'none'" in Caller(service)("GET", "/v1/groups").headers["content-security-policy"]


@pytest.mark.parametrize("given", ["x" * 129, "a b", "", "\n", "é", "<script>"])
def test_request_ids_that_are_not_taken(service, given):
    response = Caller(service, None)("GET", "/healthz", headers={"X-Request-ID": given.encode()})
    assert response.headers["x-request-id"] != given
    assert len(response.headers["x-request-id"]) == 32


def test_log_lines_hold_no_secret_and_no_answer(service, log):
    hidden = "Never to be logged"
    body = {"context": [answer(0, prompt=hidden, responses=[hidden + "1", hidden + "2", "c"])]}
    bad = {"context": [answer(0, prompt=hidden, choice=9)], hidden: 1}
    for value in (body, bad, {"context": hidden}):
        Caller(service)("PUT", "/v1/groups/hidden-id", value)
    Caller(service)("PUT", "/v1/groups/hidden-id", content=b"{" + hidden.encode())
    service.backend.fails = ValueError(hidden)
    ask = {"questions": [question(0, prompt=hidden)]}
    Caller(service)("POST", "/v1/groups/hidden-id/predict", ask)
    Caller(service, None)("GET", f"/{hidden}", headers={"Authorization": f"Bearer {hidden}"})
    everything = "\n".join(log.text)
    assert hidden not in everything
    assert "hidden-id" not in everything
    assert not [s for s in service.secrets.values() if s in everything or s[20:] in everything]
    first = log.requests()[0]
    assert {k: first[k] for k in ("method", "route", "status", "tenant")} == {
        "method": "PUT",
        "route": "/v1/groups/{group_id}",
        "status": 201,
        "tenant": "north",
    }
    assert first["key"] == service.keys.find(service.secrets["admin"]).key_id
    assert first["milliseconds"] > 0
    assert [r["status"] for r in log.requests()] == [201, 422, 422, 415, 500, 404]


def test_under_a_prefix(service, log):
    call = Caller(service, root_path="/gpo")
    made = call("PUT", "/gpo/v1/groups/g", GROUP)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    assert log.requests()[-1]["route"] == "/v1/groups/{group_id}"
    assert call("PATCH", "/gpo/v1/groups/g").headers["allow"] == "DELETE, GET, PUT"
    check_problem(call("GET", "/gpo/none"), 404)


def test_log_lines_reach_standard_error(tmp_path):
    module = "gpo_ray.serving.log"
    code = f"import sys; from {module} import *; log_requests(sys.argv[1]); LOG.info('line')"
    for level, lines in (("INFO", "line\n"), ("WARNING", "")):
        done = subprocess.run([sys.executable, "-c", code, level], capture_output=True, text=True, check=True)
        assert done.stderr == lines
