"""What waits for a page's browser is bounded."""

import asyncio
import json

from nicegui import Client, ui

from gpo_ray.serving.page.places import Places
from gpo_ray.serving.page.unread import ASKING_BYTES, MAX_HISTORY_BYTES, MAX_UNREAD_BYTES, History
from gpo_ray.serving.refusal import TRY_AGAIN_LATER
from gpo_ray.serving.settings import Limits

SCOPE = {"type": "websocket", "path": "/_nicegui_ws/socket.io/", "client": ("127.0.0.1", 1), "headers": []}
PIECE = "42" + "x" * (ASKING_BYTES // 2)


class Browser:
    """A browser that reads and answers, or does not, while a page sends it messages."""

    def __init__(self, count, answers):
        self.count, self.answers = count, answers
        self.got, self.seen = [], []
        self.closed = None
        self.waiting = asyncio.Queue()
        self.waiting.put_nowait({"type": "websocket.connect"})

    async def page(self, scope, receive, send):
        await receive()
        for _ in range(self.count):
            await send({"type": "websocket.send", "text": PIECE})
            await asyncio.sleep(0)
        while (message := await receive())["type"] != "websocket.disconnect":
            self.seen.append(message["text"])

    async def send(self, message):
        if message["type"] == "websocket.close":
            self.closed = message["code"]
            return
        self.got.append(message["text"])
        if message["text"] != PIECE:
            kind, asked = json.loads(message["text"][2:])
            assert kind == "run_javascript"
            self.answer(asked["request_id"])

    def answer(self, number):
        answer = ["javascript_response", {"request_id": number, "client_id": "c", "result": 0}]
        if self.answers:
            self.says(f"42{json.dumps(answer)}")

    def says(self, text):
        self.waiting.put_nowait({"type": "websocket.receive", "text": text})

    async def run(self):
        places = Places(self.page, Limits())
        task = asyncio.create_task(places(SCOPE, self.waiting.get, self.send))
        for _ in range(4 * self.count + 20):
            await asyncio.sleep(0)
        self.held = places.taken.total()
        self.waiting.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await task
        assert places.taken.total() == 0


class Reader(Browser):
    """One whose page takes its answers between messages, as the real one does."""

    async def page(self, scope, receive, send):
        sending = asyncio.create_task(self.send_all(send))
        await receive()
        while (message := await receive())["type"] != "websocket.disconnect":
            self.seen.append(message["text"])
        sending.cancel()

    async def send_all(self, send):
        for _ in range(self.count):
            await send({"type": "websocket.send", "text": PIECE})
            await asyncio.sleep(0)


def run(kind, *arguments):
    async def main():
        browser = kind(*arguments)
        await browser.run()
        return browser

    return asyncio.run(main())


def test_a_browser_that_reads_nothing_is_disconnected():
    browser = run(Browser, 200, False)
    assert browser.closed == TRY_AGAIN_LATER
    assert sum(map(len, browser.got)) <= MAX_UNREAD_BYTES + 200
    assert len([g for g in browser.got if g != PIECE]) == 1
    assert browser.held == 1  # until the connection is gone, and with it what waited


def test_a_browser_that_reads_gets_as_much_as_there_is():
    browser = run(Reader, 200, True)
    assert browser.closed is None
    assert browser.got.count(PIECE) == 200
    assert browser.seen == []  # answers to these questions are not the page's


def test_what_was_read_cannot_be_guessed():
    async def main():
        browser = Reader(200, False)
        for number in ("", "0", "0" * 32, "f" * 32):
            browser.says(f'42["javascript_response",{{"request_id":"{number}","client_id":"c","result":0}}]')
        await browser.run()
        assert browser.closed == TRY_AGAIN_LATER

    asyncio.run(main())


def test_messages_for_a_page_that_may_come_back_are_bounded_in_bytes():
    history = History()
    for i in range(100):
        history.append((i, 0.0, ("client", "update", {"text": "é" * 20_000})))
    assert len(history) == MAX_HISTORY_BYTES // 40_011
    assert history[-1][0] == 99
    assert history.popleft()[0] == 100 - len(history) - 1
    assert history.pop()[0] == 99
    history.append((99, 0.0, ("client", "update", {"text": "x" * (MAX_HISTORY_BYTES + 1)})))
    assert not history
    history.append((1, 0.0, ("client", "update", {})))
    history.clear()
    history.append((2, 0.0, ("client", "update", {"text": "x" * (MAX_HISTORY_BYTES - 100)})))
    assert [entry[0] for entry in history] == [2]


def test_nicegui_keeps_its_history_as_expected():
    with Client(ui.page("/")) as client:
        assert type(client.outbox.message_history).__name__ == "deque"
        client.outbox.message_history = History()
        client.outbox.next_message_id = 3
        for i in range(3):
            client.outbox.message_history.append((i, 0.0, ("c", "update", {"_id": i})))
        client.outbox.try_rewind(1)
        assert [m[2]["_id"] for m in client.outbox.messages] == [1, 2]
        assert not client.outbox.message_history
    client.delete()
