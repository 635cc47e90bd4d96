"""The page's files: read and compressed once, and nothing else under their addresses."""

import asyncio
import gzip
import json
import logging

import httpx
import nicegui
import pytest
from asgi_lifespan import LifespanManager
from nicegui.dependencies import esm_modules
from serving_backend import LogLines, make_service
from starlette.responses import PlainTextResponse

from gpo_ray.serving.log import LOG
from gpo_ray.serving.page import files, mount
from gpo_ray.serving.page import log as page_log
from gpo_ray.serving.page.files import KeptFiles
from gpo_ray.serving.page.mount import mount_page
from gpo_ray.serving.settings import ServeSettings

ROOT = f"/_nicegui/{nicegui.__version__}"
QUASAR = f"{ROOT}/static/quasar.umd.prod.js"


def ask(app, *requests):
    async def send():
        async with LifespanManager(app) as running:
            transport = httpx.ASGITransport(running.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return [await client.request(method, path, headers=h) for method, path, h in requests]

    return asyncio.run(send())


@pytest.fixture
def page(tmp_path):
    service = make_service(tmp_path, None, require_keys=False)
    mount_page(service.api, ServeSettings(bundle="b", require_keys=False), None, service.registry, None)
    return service.api


def test_a_file_is_compressed_once(page, monkeypatch):
    done = []
    compress = gzip.compress
    monkeypatch.setattr(files.gzip, "compress", lambda *a, **k: done.append(a) or compress(*a, **k))
    plain = {"Accept-Encoding": "identity"}
    found = ask(page, *[("GET", QUASAR, {"Accept-Encoding": "br, gzip"})] * 5, ("GET", QUASAR, plain))
    assert len(done) == 1
    assert [r.status_code for r in found] == [200] * 6
    assert len({r.content for r in found}) == 1
    assert [r.headers.get("content-encoding") for r in found] == ["gzip"] * 5 + [None]
    assert int(found[0].headers["content-length"]) < int(found[5].headers["content-length"]) / 2
    assert "immutable" in found[0].headers["cache-control"]
    assert found[0].headers["vary"] == "Accept-Encoding"
    assert "content-security-policy" in found[0].headers


def test_a_file_that_the_browser_has_is_not_sent_again(page):
    for accepted in ("gzip", "gzip;q=0"):
        headers = {"Accept-Encoding": accepted}
        (first,) = ask(page, ("GET", QUASAR, headers))
        again = {**headers, "If-None-Match": f'"other", W/{first.headers["etag"]}'}
        (second,) = ask(page, ("GET", QUASAR, again))
        assert (second.status_code, second.content) == (304, b"")
        assert second.headers["etag"] == first.headers["etag"]


def test_all_that_the_page_loads_is_there(page):
    (html,) = ask(page, ("GET", "/", {}))
    paths = {p for p in html.text.replace("'", '"').split('"') if p.startswith(ROOT) and not p.endswith("/")}
    assert len(paths) > 10
    for reply in ask(page, *(("GET", p, {}) for p in sorted(paths)), ("HEAD", QUASAR, {})):
        assert reply.status_code == 200, reply.url
        assert reply.headers["content-type"]
    (icon,) = ask(page, ("GET", "/favicon.ico", {}))
    assert icon.status_code == 200
    assert "max-age=86400" in icon.headers["cache-control"]


def test_addresses_that_cannot_be_files_are_none(page, capfd):
    lines = LogLines()
    LOG.addHandler(lines)
    key = next(iter(esm_modules))
    paths = [
        f"{ROOT}/esm/{key}/CHOSEN{'a' * 290}",
        f"{ROOT}/esm/{key}/%00CHOSEN",
        f"{ROOT}/esm/{key}/CHOSEN%1b",
        f"{ROOT}/static/%2e%2e/CHOSEN",
        f"{ROOT}/static//vue.js",
        f"{ROOT}/static/./CHOSEN",
        f"{ROOT}/static/{'CHOSEN' * 43}",  # a name that no file system takes
        f"{ROOT}/esm/{key}/{'CHOSEN' * 43}"[:290],
    ]
    found = ask(page, *(("GET", p, {}) for p in paths), ("POST", QUASAR, {}))
    LOG.removeHandler(lines)
    assert {r.status_code for r in found} <= {404, 405, 500}
    assert [r.status_code for r in found][:6] == [404] * 6
    assert found[-1].status_code == 405
    for text in (*lines.text, *capfd.readouterr()):
        assert "CHOSEN" not in text
        assert len(text) < 5_000


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_what_the_page_raises_is_not_repeated(monkeypatch, when):
    lines = LogLines()
    monkeypatch.setattr(LOG, "level", logging.INFO)
    monkeypatch.setattr(page_log, "_BOUNDED_LOG", page_log.BoundedLog())
    LOG.addHandler(lines)

    async def fails(scope, receive, send):
        if when != "before":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": when == "during"})
        raise ValueError("CHOSEN")

    async def main():
        transport = httpx.ASGITransport(mount.Surroundings(fails, None))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/")

    if when == "during":
        with pytest.raises(RuntimeError, match="not finished"):
            asyncio.run(main())
    else:
        reply = asyncio.run(main())
        assert reply.status_code == (500 if when == "before" else 200)
        assert "CHOSEN" not in reply.text
    LOG.removeHandler(lines)
    assert [json.loads(line)["error"] for line in lines.text] == ["ValueError"]


def test_no_more_is_kept_than_there_is_room_for(monkeypatch):
    asked = []

    async def app(scope, receive, send):
        asked.append(scope["path"])
        await PlainTextResponse("x" * 1000)(scope, receive, send)

    monkeypatch.setattr(files, "MAX_KEPT_BYTES", 2_500)
    kept = KeptFiles(app)

    async def main():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(kept), base_url="http://localhost") as c:
            for i in (0, 0, 1, 2, 0):
                reply = await c.get(f"/_nicegui/1/static/{i}")
                assert reply.text == "x" * 1000

    asyncio.run(main())
    assert asked == [f"/_nicegui/1/static/{i}" for i in (0, 1, 2, 0)]
