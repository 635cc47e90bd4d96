"""Constant clients for the tests of the running service."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx


@dataclass
class Load:
    """``clients`` threads that each send one request after another until stopped."""

    url: str
    body: dict
    clients: int = 8
    headers: dict = field(default_factory=dict)

    def __post_init__(self):
        self.results = []  # (start, end, status); 0 where the connection broke
        self.answers = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self.clients)]

    def _run(self):
        with httpx.Client(timeout=30, headers=self.headers) as client:
            while not self._stop.is_set():
                start = time.time()
                try:
                    reply = client.post(self.url, json=self.body)
                    status = reply.status_code
                    if status == 200:
                        self.answers.append(reply.json())
                    elif status == 429:
                        time.sleep(0.05)
                except httpx.TransportError:
                    status = 0
                self.results.append((start, time.time(), status))

    def __enter__(self):
        for t in self._threads:
            t.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for t in self._threads:
            t.join(timeout=40)

    @property
    def statuses(self):
        return Counter(status for _, _, status in self.results)

    def failed(self, after=0.0):
        """Requests begun after a moment that got no answer, or one other than 200."""
        return [r for r in self.results if r[0] > after and r[2] != 200]
