"""Chat completions of an OpenAI-compatible endpoint: retries, a budget, and a cache of replies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from gpo_ray.config import StrictConfig
from gpo_ray.errors import ConfigError, EmbeddingError
from gpo_ray.guesses.answer_cache import UNREADABLE, AnswerCache
from gpo_ray.guesses.parsing import REFUSAL
from gpo_ray.runtime.http_answers import Body, begun, too_slow
from gpo_ray.runtime.http_lines import Line, Lines

if TYPE_CHECKING:
    import httpx

KEY = "GPO_ENDPOINT_KEY"
"""Environment variable with the endpoint's key."""
MAX_BODY = 2**24
"""Most bytes of a reply that are read."""
CHARACTERS_PER_TOKEN = 3
"""Of a text whose tokens the endpoint has not counted yet; few, so that the budget is kept."""

ANSWERS = AnswerCache("answers")
"""Replies of endpoints."""


class EndpointConfig(StrictConfig):
    """An endpoint, the model there, and what may be spent."""

    endpoint: str
    """URL of the API, such as ``https://api.example.com/v1``; ``/chat/completions`` is added."""
    model: str = Field(min_length=1)
    """The model's name at the endpoint."""
    parallel: int = Field(default=4, ge=1, le=256)
    """Number of requests at the same time."""
    retries: int = Field(default=6, ge=0, le=20)
    """Number of further tries after 429, 5xx and broken connections."""
    first_wait: float = Field(default=1.0, gt=0, le=60)
    """Seconds before the first further try; each one later waits twice as long."""
    longest_wait: float = Field(default=120.0, gt=0, le=3600)
    """Seconds of the longest wait; an endpoint that asks for more (Retry-After) has failed."""
    timeout: float = Field(default=120.0, gt=0, le=3600)
    """Seconds in which a reply must be there."""
    max_requests: int | None = Field(default=None, ge=1)
    """Budget of requests, further tries included; None for no bound."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Budget of tokens of prompts and replies; None for no bound."""

    @field_validator("endpoint")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("not a URL such as https://api.example.com/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(f"give the URL alone; a key belongs into the environment variable {KEY}")
        return value.rstrip("/").removesuffix("/chat/completions")

    @property
    def identity(self) -> str:
        """Text that identifies the model that answers."""
        return f"{self.model}@{self.endpoint}"


@dataclass(frozen=True)
class Completion:
    """What an endpoint said."""

    text: str
    whole: bool
    """Whether the model ended it, rather than the limit of tokens."""
    tokens: int
    """Number of tokens of prompt and reply."""
    top: list[tuple[str, float]] | None = None
    """The most probable first tokens and their log-probabilities; None if the endpoint does not say."""
    refused: str | None = None
    """Why there is no reply, if the model or the endpoint's filter refused to give one."""


class Failed(Exception):  # noqa: N818 - no error of the user, but a result of one question
    """A question was not answered, after all tries; the message says why."""


class Exhausted(Exception):  # noqa: N818
    """A budget is spent, or the run has to stop; the message says which."""


class _Again(Exception):  # noqa: N818
    """A request that may succeed later, after ``wait`` seconds if the endpoint said so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Chat:
    """A connection to an endpoint, used by several threads; a context manager.

    Args:
        config: the endpoint.

    Raises:
        ConfigError: if the environment's key cannot be sent.
    """

    def __init__(self, config: EndpointConfig) -> None:
        import httpx

        self._config, self._key = config, _key()
        headers = {"Accept-Encoding": "identity"}  # a compressed reply of a few bytes may fill the memory
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        verify = httpx.create_ssl_context()  # once, since it takes long
        self._lines = Lines(lambda: httpx.Client(headers=headers, timeout=config.timeout, verify=verify))
        self._lock, self._random = threading.Lock(), random.Random()
        self._reserved = 0
        self._limit_name = "max_tokens"
        self.stop = threading.Event()
        """Set to have no further requests sent."""
        self.requests = self.tokens = self.cached = 0

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def complete(self, text: str, options: Mapping[str, Any]) -> Completion:
        """Return the reply to a user's turn, from the cache if the same was asked before.

        Args:
            text: the user's turn.
            options: options of the request, with ``max_tokens``.

        Raises:
            Failed: if there was no reply after all tries.
            Exhausted: if the budget does not allow the request, or the run stops.
            EmbeddingError: if the endpoint refuses every request.
        """
        body = {
            "model": self._config.model,
            "messages": [{"role": "user", "content": text}],
            **options,
        }
        name = hashlib.sha256(json.dumps([self._config.endpoint, body], sort_keys=True).encode()).hexdigest()
        found = _from_cache(name)
        if found is not None:
            with self._lock:
                self.cached += 1
            return found
        found = self._tried(body)
        ANSWERS.put(name, asdict(found))
        return found

    def _tried(self, body: Mapping[str, Any]) -> Completion:
        waited = self._config.first_wait
        for tried in range(self._config.retries + 1):
            try:
                return self._request(body)
            except _Again as e:
                pause = e.wait if e.wait is not None else waited * self._random.uniform(0.75, 1.25)
                if tried == self._config.retries or (e.wait or 0) > self._config.longest_wait:
                    raise Failed(f"endpoint: {e}") from None  # the cause may hold the request's headers
            waited = min(2 * waited, self._config.longest_wait)
            if self.stop.wait(pause):
                raise Exhausted("stopped")
        raise AssertionError("the last try returns or raises")

    def _request(self, body: Mapping[str, Any]) -> Completion:
        """Send one request and read its reply."""
        import httpx

        prompt, most = str(body["messages"][0]["content"]), int(body["max_tokens"])
        estimate = len(prompt) // CHARACTERS_PER_TOKEN + 16 + most
        self._reserve(estimate)
        spent = 0
        try:
            sent = {self._limit_name if k == "max_tokens" else k: v for k, v in body.items()}
            response = self._post(sent)
            if response.status_code == 200:
                spent = estimate
                found = self._completion(response, estimate)
                spent = found.tokens
                return found
            raise self._refusal(response)
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise _Again(f"connection broken ({type(e).__name__})") from None
        finally:
            with self._lock:
                self._reserved -= estimate
                self.tokens += spent

    def _post(self, sent: Mapping[str, Any]) -> httpx.Response:
        """Send a request, and return its answer if all of it arrives in time and within bounds."""
        line, end = self._lines.take(), time.monotonic() + self._config.timeout
        fetching = begun(lambda: self._fetch(line, sent, end))
        try:
            return fetching.result(self._config.timeout)
        except TimeoutError:
            raise too_slow(self._config.timeout) from None
        finally:
            self._lines.give_back(line, fetching)

    def _fetch(self, line: Line, sent: Mapping[str, Any], end: float) -> httpx.Response:
        url, watched = f"{self._config.endpoint}/chat/completions", {"trace": line.note}
        with line.http.stream("POST", url, json=sent, extensions=watched) as response:
            body = Body(response, MAX_BODY)
            for part in response.iter_bytes():
                body.add(part)
                if time.monotonic() > end:  # nobody waits any more
                    raise too_slow(self._config.timeout)
        return body.whole()

    def _reserve(self, tokens: int) -> None:
        """Count a request, if the budget allows it with all that are on their way."""
        config = self._config
        with self._lock:
            if self.stop.is_set():
                raise Exhausted("stopped")
            if config.max_requests is not None and self.requests >= config.max_requests:
                raise Exhausted(f"the budget of {config.max_requests} requests is spent")
            planned = self.tokens + self._reserved + tokens
            if config.max_tokens is not None and planned > config.max_tokens:
                raise Exhausted(f"the budget of {config.max_tokens} tokens does not allow another request")
            self.requests += 1
            self._reserved += tokens

    def _completion(self, response: httpx.Response, estimate: int) -> Completion:
        """Read a reply."""
        try:
            found = json.loads(self._shown(response.text))
            choice = found["choices"][0]
            message = choice["message"]
            text, refusal = message.get("content") or "", message.get("refusal")
            used = (found.get("usage") or {}).get("total_tokens")
            tokens = used if isinstance(used, int) and 0 < used < 2**31 else estimate
            refused = REFUSAL if refusal or choice.get("finish_reason") == "content_filter" else None
            whole = choice.get("finish_reason") != "length"
            return Completion(str(refusal or text), whole, tokens, _top(choice), refused)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise _Again("a reply that is no chat completion") from None

    def _refusal(self, response: httpx.Response) -> Exception:
        """Return what a status other than 200 means for the question, or for the run."""
        status = response.status_code
        if status in (408, 409, 425, 429) or status >= 500:
            return _Again(f"HTTP {status}", _retry_after(response.headers.get("Retry-After")))
        said = " ".join(self._shown(response.text[:2000]).split())[:200]
        if status == 400 and "max_completion_tokens" in said and self._limit_name == "max_tokens":
            self._limit_name = "max_completion_tokens"
            return _Again("HTTP 400", 0.0)
        if status in (400, 413, 422):
            return Failed(f"endpoint: HTTP {status} ({said})")
        advice = f"set {KEY} to a valid key" if status in (401, 403) else "check --endpoint and --model"
        return EmbeddingError(f"{self._config.endpoint}: HTTP {status} ({said}); {advice}")

    def _shown(self, text: str) -> str:
        """Return what an endpoint said without the key, which it may repeat."""
        return text.replace(self._key, "***") if self._key else text


def _key() -> str:
    """Return the environment's key, empty if there is none.

    Raises:
        ConfigError: if it has characters that no header may have; it is not shown.
    """
    key = os.environ.get(KEY, "").strip()
    if not all("!" <= c <= "~" for c in key):
        raise ConfigError(f"{KEY}: the key has spaces or characters that are not ASCII; set it again")
    return key


def _top(choice: Mapping[str, Any]) -> list[tuple[str, float]] | None:
    """Return the most probable first tokens of a reply."""
    content = (choice.get("logprobs") or {}).get("content") or []
    if not content:
        return None
    return [(str(t["token"]), float(t["logprob"])) for t in content[0].get("top_logprobs") or []] or None


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a header Retry-After, which may be a date; None if it says nothing."""
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return seconds if 0 <= seconds < float("inf") else None
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _from_cache(name: str) -> Completion | None:
    """Return a reply that was given before; None if there is none that can be read."""
    with contextlib.suppress(*UNREADABLE):
        found = ANSWERS.get(name)
        if found is not None:
            top = found.pop("top")
            return Completion(**found, top=None if top is None else [(str(t), float(p)) for t, p in top])
    return None
