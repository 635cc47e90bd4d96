"""What one caller sends holds up nobody else, and what one tenant stores leaves room for the others."""

import asyncio
import time

import httpx
from asgi_lifespan import LifespanManager
from http_caller import GROUP, Caller, check_problem
from serving_backend import answer, make_service, question

from gpo_ray.serving.registry import room

LARGE = {
    "context": [
        {"prompt": f"Q{i}?", "responses": ["Yes", "No", "Other", "None"], "share": [0.1, 0.2, 0.3, 0.4]}
        for i in range(500)
    ]
}


def test_a_tenant_stores_so_much_and_then_has_to_delete(tmp_path, backend):
    service = make_service(tmp_path, backend, limits={"stored_bytes": 1000})
    call = Caller(service)
    for i in range(5):
        assert call("PUT", f"/v1/groups/g{i}", {"context": [answer(i), answer(9)]}).status_code == 201
    told = check_problem(call("PUT", "/v1/groups/g5", GROUP), 507)["detail"]
    assert "limits.stored_bytes" in told
    assert Caller(service, "stranger")("PUT", "/v1/groups/theirs", GROUP).status_code == 201
    assert call("DELETE", "/v1/groups/g0").status_code == 204
    assert call("PUT", "/v1/groups/g5", {"context": [answer(3)]}).status_code == 201


def test_replacing_a_group_again_and_again_is_no_growth(tmp_path, backend, monkeypatch):
    monkeypatch.setattr(room, "COUNTED_SECONDS", 0.2)
    call = Caller(make_service(tmp_path, backend, limits={"stored_bytes": 1000}))
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert (
            call("PUT", "/v1/groups/g", {"context": [answer(int(time.monotonic() * 100))]}).status_code < 300
        )
        time.sleep(0.1)


def test_a_disk_that_is_nearly_full_takes_deletions_and_keys_only(tmp_path, backend, monkeypatch):
    service = make_service(tmp_path, backend)
    call = Caller(service)
    assert call("PUT", "/v1/groups/g", GROUP).status_code == 201
    monkeypatch.setattr(room, "RESERVED_BYTES", 1 << 60)  # more than this disk has free
    monkeypatch.setattr(room, "RESERVED_SHARE", 1.0)
    assert "nearly full" in check_problem(call("PUT", "/v1/groups/h", GROUP), 507)["detail"]
    assert call("POST", "/v1/groups/g/predict", {"questions": [question()]}).status_code == 200
    assert call("DELETE", "/v1/groups/g").status_code == 204
    service.keys.create("another", "north", ["read"])


async def answered_and_longest_wait(service, sent):
    """The statuses of some requests at the same time, and how long the event loop kept others waiting."""
    waits, done = [], asyncio.Event()

    async def watch():
        while not done.is_set():
            before = time.monotonic()
            await asyncio.sleep(0.005)
            waits.append(time.monotonic() - before)

    async with LifespanManager(service.api) as running:
        transport = httpx.ASGITransport(running.app)
        headers = service.headers("admin")
        base = "http://localhost"
        async with httpx.AsyncClient(transport=transport, base_url=base, headers=headers) as client:
            watching = asyncio.create_task(watch())
            found = await asyncio.gather(*(client.request(m, path, json=body) for m, path, body in sent))
            done.set()
            await watching
    return {r.status_code for r in found}, max(waits)


def test_large_requests_of_one_caller_leave_the_event_loop_to_others(service):
    """Thirty of them take seconds to check; others wait for a small part of it, not until all are checked."""
    sent = [("PUT", f"/v1/groups/g{i % 3}", LARGE | {"description": str(i)}) for i in range(30)]
    started = time.monotonic()
    codes, longest = asyncio.run(answered_and_longest_wait(service, sent))
    took = time.monotonic() - started
    assert codes <= {200, 201}
    assert longest < took / 3
