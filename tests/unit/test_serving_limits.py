"""What one request, one key and one client may take of the service; more is refused, with numbers."""

import asyncio
import contextlib
import time

import httpx
import pytest
from asgi_lifespan import LifespanManager
from serving_backend import LocalBackend, answer, make_service, question
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from gpo_ray.errors import DataError, QuestionTooLongError
from gpo_ray.serving.inference.encoder_jobs import CountJob
from gpo_ray.serving.inference.encoding import check_tokens, chunks
from gpo_ray.serving.page.places import Places
from gpo_ray.serving.registry.groups import Registry
from gpo_ray.serving.settings import Limits

ASK = {"questions": [question()]}
INLINE = {"context": [answer(0)], "questions": [question()]}


class SlowBackend(LocalBackend):
    """One that takes its time."""

    seconds = 0.0

    async def predict(self, context, questions, caller=""):
        await asyncio.sleep(self.seconds)
        return await super().predict(context, questions, caller)


@pytest.fixture(scope="module")
def backend(tiny_language_model):
    return SlowBackend(tiny_language_model)


@pytest.fixture
def start(tmp_path, backend):
    """A service with some limits, and how slow it predicts."""

    def make(seconds=0.0, **limits):
        backend.seconds = seconds
        return make_service(tmp_path, backend, limits=limits)

    yield make
    backend.seconds = 0.0


def together(service, *requests, stagger=0.05):
    """Send requests (key, method, path, body) at the same time; their responses."""

    async def send(client, i, key, method, path, body):
        await asyncio.sleep(i * stagger)
        return await client.request(method, path, json=body, headers=service.headers(key), timeout=30)

    async def main():
        async with LifespanManager(service.api) as running:
            transport = httpx.ASGITransport(running.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await asyncio.gather(*(send(client, i, *r) for i, r in enumerate(requests)))

    return asyncio.run(main())


def refused(response, status, *words):
    assert response.status_code == status, response.text
    for word in words:
        assert word in response.json()["detail"]


def test_too_many_responses_are_refused_with_their_number_and_the_limit(start):
    service = start(context_responses=9, question_responses=6)
    four, three = [answer(i) for i in range(4)], [answer(i) for i in range(3)]
    put, put_less = together(
        service,
        ("admin", "PUT", "/v1/groups/g", {"context": four}),
        ("admin", "PUT", "/v1/groups/g", {"context": three}),
    )
    inline, asked, ranked = together(
        service,
        ("admin", "POST", "/v1/predict", {"context": four, "questions": [question()]}),
        ("admin", "POST", "/v1/groups/g/predict", {"questions": [question(i) for i in range(3)]}),
        ("admin", "POST", "/v1/groups/g/rank", question(0, responses=[str(i) for i in range(7)])),
    )
    assert put_less.status_code == 201
    refused(
        put, 422, "the group's answers have 12 responses together, the limit is 9 (limits.context_responses)"
    )
    refused(inline, 422, "12 responses", "9")
    refused(asked, 422, "the questions have 9 responses together, the limit is 6 (limits.question_responses)")
    refused(ranked, 422, "7 responses", "6")


def test_a_prediction_that_takes_too_long_is_given_up(start):
    service = start(seconds=20, request_seconds=0.2)
    began = time.monotonic()
    (response,) = together(service, ("admin", "POST", "/v1/predict", INLINE))
    refused(response, 504, "ask again")
    assert response.headers["retry-after"] == "1"
    assert time.monotonic() - began < 10


def test_a_key_has_so_many_requests_under_way_and_others_have_theirs(start):
    service = start(seconds=1.0, requests_at_once=2)
    busy = [("admin", "POST", "/v1/predict", INLINE)] * 3
    first, second, third, other = together(service, *busy, ("stranger", "POST", "/v1/predict", INLINE))
    assert [r.status_code for r in (first, second, other)] == [200, 200, 200]
    refused(third, 429, "2 requests under way")
    assert third.headers["retry-after"] == "1"
    again = together(service, *busy[:2])  # places are given back
    assert [r.status_code for r in again] == [200, 200]


@pytest.mark.parametrize("sent", [b"", b'{"questions": ['])
def test_a_body_that_does_not_arrive_is_not_waited_for(start, sent):
    service = start(body_seconds=0.3)
    messages, replies = [{"type": "http.request", "body": sent, "more_body": True}], []

    async def receive():
        if messages:
            return messages.pop()
        return await asyncio.Event().wait()

    async def send(message):
        replies.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/predict",
        "query_string": b"",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"authorization", service.headers("admin")["Authorization"].encode()),
        ],
    }
    asyncio.run(asyncio.wait_for(service.api(scope, receive, send), 20))
    assert replies[0]["status"] == 408
    assert b"0.3 seconds" in replies[1]["body"]
    assert (b"connection", b"close") in replies[0]["headers"]


def test_tokens_are_counted_before_the_language_model_reads(backend):
    encoder = backend.encoder
    slates = [("Why?", ("yes", "no")), ("word " * 50, ("yes", "no", "perhaps"))]
    counts = encoder.count_tokens(slates)
    assert counts[1] > counts[0] + 50
    for slate, count in zip(slates, counts, strict=True):
        assert encoder.encode([slate])[0].tokens == count


def test_too_many_tokens_are_refused_with_their_number_and_the_limit():
    questions = [("a", ("b", "c")), ("d", ("e", "f"))]
    limits = Limits(question_tokens=10, request_tokens=15)
    check_tokens(questions, [10, 5], limits)
    with pytest.raises(
        QuestionTooLongError, match=r"11 tokens .* the limit is 10 \(limits.question_tokens\)"
    ):
        check_tokens(questions, [5, 11], limits)
    with pytest.raises(DataError, match=r"16 tokens .* the limit is 15 \(limits.request_tokens\)"):
        check_tokens(questions, [8, 8], limits)


def test_a_request_is_refused_as_soon_as_it_is_known_to_have_too_many_tokens():
    limits = Limits(question_tokens=10, request_tokens=15)
    with pytest.raises(DataError, match="at least 16 tokens"):
        check_tokens([("a", ("b", "c"))] * 9, [8, 8], limits)
    job = CountJob([("x" * 9_000, ("a", "b"))] * 5, limits)
    seen = []
    while not job.last:
        seen.append(len(job.next()))
        job.counts.extend([1] * len(job.next()))
    assert (*seen, len(job.next())) == (2, 2, 1)
    assert job.cost > 9_000
    job.counts.append(1)
    assert job.cost == 0
    assert len(CountJob([("x" * 50_000, ("a", "b"))] * 2, limits).next()) == 1


def test_questions_go_to_the_language_model_in_chunks():
    assert chunks("abcde", [3, 3, 9, 2, 4], 6) == [(["a", "b"], 6), (["c"], 9), (["d", "e"], 6)]
    assert chunks("", [], 6) == []


async def held(websocket):
    """Keep a connection until the other side ends it."""
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        await websocket.receive_text()


class Visitor:
    """Somebody at an address who opens sockets and pages."""

    def __init__(self, app, address):
        self.app, self.address, self.open = app, address, []

    async def connect(self):
        """Whether a socket was accepted; it stays open."""
        inbox, replies = asyncio.Queue(), asyncio.Queue()
        inbox.put_nowait({"type": "websocket.connect"})
        scope = {"type": "websocket", "path": "/_nicegui_ws/socket.io/", "client": (self.address, 1)}
        task = asyncio.create_task(self.app(scope | {"headers": []}, inbox.get, replies.put))
        accepted = (await replies.get())["type"] == "websocket.accept"
        if accepted:
            self.open.append((task, inbox))
        else:
            await task
        return accepted

    async def leave(self):
        task, inbox = self.open.pop()
        inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await task

    async def get(self, path):
        transport = httpx.ASGITransport(self.app, client=(self.address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)


def page(**limits):
    answer = Route("/{path:path}", lambda _: PlainTextResponse("here"))
    return Places(Starlette(routes=[WebSocketRoute("/{path:path}", held), answer]), Limits(**limits))


def test_pages_hold_so_many_sockets_in_all_and_of_each_address():
    async def main():
        app = page(page_sockets=5, page_sockets_each=2)
        a, b, c = (Visitor(app, name) for name in "abc")
        assert [await v.connect() for v in (a, a, a, b, c, c, b)] == [
            True,
            True,
            False,
            True,
            True,
            True,
            False,
        ]
        await a.leave()
        assert [await b.connect(), await a.connect()] == [True, False]
        for v in (a, b, b, c, c):
            await v.leave()
        assert not app.taken

    asyncio.run(main())


def test_an_address_may_ask_for_so_many_pages_a_minute():
    async def main():
        app = page(page_requests_per_minute=50)
        visitor, other = Visitor(app, "a"), Visitor(app, "b")
        statuses = [(await visitor.get("/")).status_code for _ in range(4)]
        assert statuses == [200, 200, 429, 429]
        assert [(await visitor.get("/x.js")).status_code for _ in range(11)].count(200) == 10
        refusal = await visitor.get("/")
        assert refusal.headers["retry-after"] == "60"
        assert (await other.get("/")).status_code == 200
        assert not await visitor.connect()

    asyncio.run(main())


async def listening(websocket):
    """Take whatever comes."""
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            HEARD.append(await websocket.receive_text())
            await websocket.send_text("heard")


HEARD = []


@pytest.mark.parametrize(("length", "heard"), [(1, 28), (10_000, 2), (250_000, 0)])
def test_an_open_page_may_send_so_much_a_minute(length, heard):
    """What it sent waits in queues without bounds for the ingress, which was eaten up by it."""
    HEARD.clear()

    async def main():
        app = Places(
            Starlette(routes=[WebSocketRoute("/{path:path}", listening)]), Limits(page_requests_per_minute=10)
        )
        visitor, other = Visitor(app, "a"), Visitor(app, "b")
        assert await visitor.connect()
        task, inbox = visitor.open[0]
        for _ in range(250):
            text = "42[" + "x" * (length - 3) if length > 3 else "3"
            inbox.put_nowait({"type": "websocket.receive", "text": text})
        await asyncio.wait_for(task, 10)
        assert abs(len(HEARD) - heard) <= 1
        assert not app.taken
        if length == 1:
            assert not await visitor.connect()
        assert await other.connect()
        await other.leave()

    asyncio.run(main())


def test_versions_asked_at_the_same_time_are_read_together(start, monkeypatch):
    service = start()
    together(service, ("admin", "PUT", "/v1/groups/g", {"context": [answer(0)]}))
    reads = []
    versions = service.registry.versions

    def slowly(wanted):
        reads.append(len(wanted))
        time.sleep(0.3)
        return versions(wanted)

    monkeypatch.setattr(service.registry, "versions", slowly)
    answers = together(service, *[("admin", "POST", "/v1/groups/g/predict", ASK)] * 6, stagger=0)
    assert [r.status_code for r in answers] == [200] * 6
    assert sum(reads) == 6
    assert len(reads) < 6


def test_changes_take_no_reader_s_thread_and_callers_take_turns(start, monkeypatch):
    """Sixty changes of one key kept another one's prediction waiting for sixteen seconds."""
    service, put, made = start(), Registry.put, []

    def slowly(registry, tenant, *arguments):
        time.sleep(0.1)
        made.append(tenant)
        return put(registry, tenant, *arguments)

    monkeypatch.setattr(Registry, "put", slowly)
    group = {"context": [answer(0)]}
    many = [("admin", "PUT", f"/v1/groups/g{i}", group) for i in range(50)]
    took = {}

    async def main():
        async with LifespanManager(service.api) as running:
            transport = httpx.ASGITransport(running.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:

                async def send(key, method, path, body=None):
                    began = time.monotonic()
                    headers = service.headers(key)
                    response = await client.request(method, path, json=body, headers=headers, timeout=60)
                    took[key] = time.monotonic() - began
                    return response.status_code

                under_way = [asyncio.create_task(send(*one)) for one in many]
                await asyncio.sleep(0.5)
                assert await send("stranger", "GET", "/v1/groups") == 200
                assert took["stranger"] < 1
                assert await send("stranger", "PUT", "/v1/groups/mine", group) == 201
                assert not all(task.done() for task in under_way)
                assert await asyncio.gather(*under_way) == [201] * len(many)

    asyncio.run(main())
    assert made.index("south") < 30
