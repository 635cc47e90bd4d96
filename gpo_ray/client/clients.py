"""The two clients, whose methods are the same."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from gpo_ray.client import calls
from gpo_ray.client.calls import READY, AnyAnswer, AnyQuestion, Call, parse
from gpo_ray.errors import ConfigError
from gpo_ray.runtime.http_answers import Body, begun, too_slow
from gpo_ray.runtime.http_lines import Line, Lines
from gpo_ray.serving.api.schemas import Group, GroupPage, GroupSummary, Predictions, Ranking, Readiness
from gpo_ray.serving.bounds import MAX_BODY_BYTES

with contextlib.suppress(ModuleNotFoundError):  # without httpx, making a client raises an error that says so
    import httpx

MAX_ANSWER_BYTES = 2 * MAX_BODY_BYTES
"""Most bytes of an answer that a client takes; no answer of the service is as long, since answers repeat what
was sent, with some hundred bytes for each response."""
TIMEOUT = 30.0
"""Seconds that a call may take by default."""


def _options(url: str, key: str | None, timeout: float) -> dict[str, Any]:
    """Return what both of httpx's clients take; the transports that they take are of different types.

    Raises:
        ConfigError: if httpx is not installed, the URL cannot be parsed, or the timeout is no time.
    """
    if importlib.util.find_spec("httpx") is None:
        raise ConfigError("the client needs httpx; install it with: pip install 'gpo-ray[client]'")
    if not 0 < timeout < threading.TIMEOUT_MAX:
        raise ConfigError(f"timeout {timeout}: expected a number of seconds above 0")
    try:
        httpx.URL(url)
    except httpx.InvalidURL as e:
        raise ConfigError(f"URL of the service: {e}") from e
    headers = {"Accept-Encoding": "identity"}  # a compressed answer of a few bytes may fill the memory
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    return {"base_url": url, "headers": headers, "timeout": timeout}


class Client:
    """A client of the service for synchronous code; it is a context manager.

    Every call is tried once more after a lost connection and after statuses 429, 500, 502, 503 and 504,
    except a conditional put that may have been carried out. Answers of more than :data:`MAX_ANSWER_BYTES` and
    compressed ones are refused. All methods raise :class:`ServiceError` if
    the service refuses, and :class:`~gpo_ray.errors.DataError` for values that it would certainly refuse.
    Answers and questions may be of the classes in :mod:`gpo_ray` or in :mod:`gpo_ray.model.texts`.

    Args:
        url: URL of the service.
        key: API key, if the service needs one.
        timeout: seconds that a call may take in all, the second attempt included; each page of
            :meth:`list_groups` is a call.
        transport: httpx transport to use instead of the network, for tests.

    Raises:
        ConfigError: if httpx is not installed, the URL cannot be parsed, or the timeout is not above 0.

    Examples:
        >>> with Client("http://localhost:8000", key) as service:                       # doctest: +SKIP
        ...     service.put_group("farmers", [Answer("Should taxes rise?", ["Yes", "No"], choice=1)])
        ...     service.predict("farmers", [Question(...)]).predictions[0].share
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout: float = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        options = _options(url, key, timeout)  # says so if there is no httpx
        verify = httpx.create_ssl_context()  # once, since it takes long
        self._lines = Lines(lambda: httpx.Client(**options, transport=transport, verify=verify))
        self._timeout = timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._lines.close()

    def put_group(
        self,
        group_id: str,
        context: Sequence[AnyAnswer],
        description: str = "",
        if_match: str | None = None,
        must_be_new: bool = False,
    ) -> Group:
        """Register a group by its answers, or replace a registered group's answers.

        Args:
            group_id: id of the group.
            context: the group's answers, 1 to 500 of them.
            description: a free text about the group.
            if_match: ``etag`` of the group to replace; a group with another ``etag`` is refused.
            must_be_new: whether to refuse if the group is registered already.
        """
        return parse(Group, self._send(calls.put(group_id, context, description, if_match, must_be_new)))

    def get_group(self, group_id: str) -> Group:
        """Return a registered group with its answers."""
        return parse(Group, self._send(Call("GET", calls.group_path(group_id))))

    def delete_group(self, group_id: str, if_match: str | None = None) -> None:
        """Delete a group; with ``if_match``, only if the group has that ``etag``."""
        self._send(calls.delete(group_id, if_match))

    def list_groups(self) -> Iterator[GroupSummary]:
        """Yield all registered groups, sorted by id; they are fetched a page at a time."""
        after: str | None = None
        while True:
            page = parse(GroupPage, self._send(calls.page(after)))
            yield from page.groups
            after = calls.next_page(page, after)
            if after is None:
                return

    def predict(self, group_id: str, questions: Sequence[AnyQuestion]) -> Predictions:
        """Predict a registered group's preferences over the responses of 1 to 200 questions."""
        return parse(Predictions, self._send(calls.predict(group_id, questions)))

    def predict_inline(self, context: Sequence[AnyAnswer], questions: Sequence[AnyQuestion]) -> Predictions:
        """Predict the preferences of a group that is not registered, from its answers."""
        return parse(Predictions, self._send(calls.predict_inline(context, questions)))

    def rank(self, group_id: str, prompt: str, responses: Sequence[str]) -> Ranking:
        """Return responses sorted by a registered group's preference, the most preferred one first."""
        return parse(Ranking, self._send(calls.rank(group_id, prompt, responses)))

    def ready(self) -> Readiness:
        """Return whether the service can make predictions now."""
        return parse(Readiness, self._send(READY))

    def _send(self, call: Call) -> httpx.Response:
        end = time.monotonic() + self._timeout
        outcome = self._try(call, end)
        wait = call.wait(outcome)
        if again := wait is not None and time.monotonic() + wait < end:
            time.sleep(wait)
            outcome = self._try(call, end)
        return call.checked(outcome, again)

    def _try(self, call: Call, end: float) -> httpx.Response | httpx.RequestError:
        line = self._lines.take()
        fetching = begun(lambda: self._fetch(line, call, end))
        try:
            return fetching.result(max(end - time.monotonic(), 0))
        except TimeoutError:
            return too_slow(self._timeout)
        except httpx.RequestError as e:
            return e
        finally:
            self._lines.give_back(line, fetching)

    def _fetch(self, line: Line, call: Call, end: float) -> httpx.Response:
        request = call.request(line.http)
        request.extensions["trace"] = line.note
        response = line.http.send(request, stream=True)
        try:
            body = Body(response, MAX_ANSWER_BYTES)
            for part in response.iter_bytes():
                body.add(part)
                if time.monotonic() > end:  # nobody waits any more
                    raise too_slow(self._timeout)
        finally:
            response.close()
        return body.whole()


class AsyncClient:
    """The same as :class:`Client`, for asynchronous code."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout: float = TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        options = _options(url, key, timeout)  # says so if there is no httpx
        self._http, self._timeout = httpx.AsyncClient(**options, transport=transport), timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def put_group(
        self,
        group_id: str,
        context: Sequence[AnyAnswer],
        description: str = "",
        if_match: str | None = None,
        must_be_new: bool = False,
    ) -> Group:
        """Do the same as :meth:`Client.put_group`."""
        return parse(
            Group, await self._send(calls.put(group_id, context, description, if_match, must_be_new))
        )

    async def get_group(self, group_id: str) -> Group:
        """Do the same as :meth:`Client.get_group`."""
        return parse(Group, await self._send(Call("GET", calls.group_path(group_id))))

    async def delete_group(self, group_id: str, if_match: str | None = None) -> None:
        """Do the same as :meth:`Client.delete_group`."""
        await self._send(calls.delete(group_id, if_match))

    async def list_groups(self) -> AsyncIterator[GroupSummary]:
        """Do the same as :meth:`Client.list_groups`."""
        after: str | None = None
        while True:
            page = parse(GroupPage, await self._send(calls.page(after)))
            for group in page.groups:
                yield group
            after = calls.next_page(page, after)
            if after is None:
                return

    async def predict(self, group_id: str, questions: Sequence[AnyQuestion]) -> Predictions:
        """Do the same as :meth:`Client.predict`."""
        return parse(Predictions, await self._send(calls.predict(group_id, questions)))

    async def predict_inline(
        self, context: Sequence[AnyAnswer], questions: Sequence[AnyQuestion]
    ) -> Predictions:
        """Do the same as :meth:`Client.predict_inline`."""
        return parse(Predictions, await self._send(calls.predict_inline(context, questions)))

    async def rank(self, group_id: str, prompt: str, responses: Sequence[str]) -> Ranking:
        """Do the same as :meth:`Client.rank`."""
        return parse(Ranking, await self._send(calls.rank(group_id, prompt, responses)))

    async def ready(self) -> Readiness:
        """Do the same as :meth:`Client.ready`."""
        return parse(Readiness, await self._send(READY))

    async def _send(self, call: Call) -> httpx.Response:
        end = time.monotonic() + self._timeout
        outcome = await self._try(call, end)
        wait = call.wait(outcome)
        if again := wait is not None and time.monotonic() + wait < end:
            await asyncio.sleep(wait)
            outcome = await self._try(call, end)
        return call.checked(outcome, again)

    async def _try(self, call: Call, end: float) -> httpx.Response | httpx.RequestError:
        try:
            async with asyncio.timeout(end - time.monotonic()):
                return await self._fetch(call)
        except TimeoutError:
            return too_slow(self._timeout)
        except httpx.RequestError as e:
            return e

    async def _fetch(self, call: Call) -> httpx.Response:
        response = await self._http.send(call.request(self._http), stream=True)
        try:
            body = Body(response, MAX_ANSWER_BYTES)
            async for part in response.aiter_bytes():
                body.add(part)
        finally:
            await response.aclose()
        return body.whole()
