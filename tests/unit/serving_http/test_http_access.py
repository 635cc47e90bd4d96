"""The HTTP API: who may do what, and how often."""

import asyncio
import itertools

import httpx
import pytest
from http_caller import ENDPOINTS, GROUP, Caller, check_problem, make_context
from serving_backend import KEYS, make_service

from gpo_ray.serving.api import access
from gpo_ray.serving.bearer import ACCEPTED


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "[", "", "127.0.0.1.evil.example", "10.0.0.1"]
)
def test_without_keys_only_names_of_this_machine_are_answered(tmp_path, backend, host):
    open_to_all = Caller(make_service(tmp_path, backend, require_keys=False), key=None)
    for path in ("/v1/groups", "/healthz"):
        check_problem(open_to_all("GET", path, headers={"Host": host}), 421)
    for name in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"):
        assert open_to_all("GET", "/v1/groups", headers={"Host": name}).status_code == 200


def test_with_keys_any_name_is_answered_but_pages_of_other_sites_are_not(call):
    assert call("GET", "/v1/groups", headers={"Host": "gpo.example"}).status_code == 200
    for origin in ("http://evil.example", "null", "http://localhost:1", "", "x"):
        check_problem(call("GET", "/v1/groups", headers={"Origin": origin}), 403)
    assert call("GET", "/v1/groups", headers={"Origin": "https://LOCALHOST"}).status_code == 200


MATRIX = list(itertools.product(ENDPOINTS, [*KEYS, "unknown", None], ["own", "foreign", "missing"]))


@pytest.mark.parametrize(("endpoint", "key", "group"), MATRIX)
def test_nobody_reads_or_changes_what_is_not_theirs(service, endpoint, key, group):
    service.secrets["unknown"] = "gpo_0123456789abcdef_" + "x" * 43
    tenant, scopes = KEYS.get(key, (None, ["none"]))
    theirs = "south" if tenant == "north" else "north"
    mark = "known to the other tenant only"
    service.registry.put(theirs, "foreign", mark, make_context(7))
    if tenant:
        service.registry.put(tenant, "own", "mine", make_context(8))
    before = service.registry.get(theirs, "foreign")
    method, path, body, scope = ENDPOINTS[endpoint]
    response = Caller(service, key)(method, path.format(group), body)
    assert mark not in response.text
    assert "number 7" not in response.text
    assert service.registry.get(theirs, "foreign") == before
    if tenant is None:
        assert check_problem(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")
    elif scope == "write" and scopes == ["read"]:
        check_problem(response, 403)
        assert 'scope="write"' in response.headers["www-authenticate"]
    elif endpoint in {"list", "inline", "put"}:
        assert response.is_success
        if endpoint == "list":
            assert [g["group_id"] for g in response.json()["groups"]] == ["own"]
    elif group == "own":
        assert response.is_success
    else:
        missing = Caller(service, key)(method, path.format("no-such-group"), body)
        ours, none = check_problem(response, 404), check_problem(missing, 404)
        assert {**ours, "request_id": 0} == {**none, "request_id": 0}
        names = [n for n in response.headers if n != "x-request-id"]
        assert [response.headers[n] for n in names] == [missing.headers[n] for n in names]


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Basic eDp5", "gpo", "Bearer a b", "Bearer " + "x" * 7_900, "\xff"]
)
def test_what_is_no_key(service, value):
    response = Caller(service, None)("GET", "/v1/groups", headers={"Authorization": value.encode("latin-1")})
    check_problem(response, 401)


def test_proxies_are_told_of_keys_that_were_accepted(service, tmp_path, backend):
    invented = {"Authorization": "Bearer invented"}

    def told(caller, path="/v1/groups", headers=None):
        return caller("GET", path, headers=headers).headers.get(ACCEPTED)

    assert told(Caller(service)) == "yes"
    assert told(Caller(service), "/v1/groups/none") == "yes"
    assert told(Caller(service, None)) is None
    assert told(Caller(service, None), headers=invented) is None
    assert told(Caller(service), "/healthz") is None
    (tmp_path / "open").mkdir()
    without_keys = make_service(tmp_path / "open", backend, require_keys=False)
    assert told(Caller(without_keys, None), headers=invented) is None


def test_two_authorizations_are_none(service):
    pairs = [("Authorization", v) for v in service.headers("admin").values()] * 2

    async def send():
        transport = httpx.ASGITransport(service.api)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=pairs
        ) as client:
            return await client.get("/v1/groups")

    check_problem(asyncio.run(send()), 401)


def test_without_keys_all_are_one_tenant(tmp_path, backend):
    service = make_service(tmp_path, backend, require_keys=False)
    assert Caller(service, None)("PUT", "/v1/groups/g", GROUP).status_code == 201
    assert Caller(service, "stranger")("GET", "/v1/groups/g").status_code == 200
    assert service.registry.get("public", "g").version == 1


def test_a_revoked_key_is_refused_after_seconds(tmp_path, backend, monkeypatch):
    monkeypatch.setattr(access, "KEY_SECONDS", 0.2)
    service = make_service(tmp_path, backend)
    call, finds, find = Caller(service), [], service.keys.find
    monkeypatch.setattr(service.keys, "find", lambda s: finds.append(s) or find(s))
    assert [call("GET", "/v1/groups").status_code for _ in range(3)] == [200] * 3
    assert len(finds) == 1
    service.keys.revoke(find(service.secrets["admin"]).key_id)
    assert call("GET", "/v1/groups").status_code == 200
    asyncio.run(asyncio.sleep(0.25))
    check_problem(call("GET", "/v1/groups"), 401)


def test_rate_limit_counts_each_key(tmp_path, backend):
    service = make_service(tmp_path, backend, limits={"requests_per_minute": 3})
    for _ in range(3):
        assert Caller(service)("GET", "/v1/groups").status_code == 200
    refused = Caller(service)("GET", "/v1/groups")
    check_problem(refused, 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert Caller(service, "reader")("GET", "/v1/groups").status_code == 200
    assert Caller(service)("GET", "/healthz").status_code == 200
