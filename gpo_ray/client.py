"""Clients of the service, one for synchronous and one for asynchronous code.

Neither needs Ray; both need httpx (``pip install 'gpo-ray[client]'``).
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib.util
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from gpo_ray.api import Answer, Question
from gpo_ray.errors import ConfigError, DataError, GPOError
from gpo_ray.model.texts import AnsweredSlate, Slate
from gpo_ray.serving.api.schemas import (
    GROUP_ID_PATTERN,
    Group,
    GroupPage,
    GroupPut,
    GroupSummary,
    InlinePredictRequest,
    Predictions,
    PredictRequest,
    Problem,
    Ranking,
    RankRequest,
    Readiness,
)

with contextlib.suppress(ModuleNotFoundError):  # without httpx, making a client raises an error that says so
    import httpx

AnyAnswer: TypeAlias = Answer | AnsweredSlate
"""An answer that was made by a caller of the public API, or one that was checked."""
AnyQuestion: TypeAlias = Question | Slate
"""A question that was made by a caller of the public API, or one that was checked."""
Reply = TypeVar("Reply", bound=BaseModel)
R = TypeVar("R")
TIMEOUT = 30.0
MAX_ANSWER_BYTES = 2 * MAX_BODY_BYTES
"""Most bytes of an answer that a client takes; no answer of the service is as long, since an answer repeats what
was sent with some hundred bytes for each response."""
MAX_WAIT_SECONDS = 5.0
"""The longest time in seconds that a client waits before it tries again."""
_PAUSE = 0.2
_PASSING = {500, 502, 503, 504}
_PAGE = 100
_MAX_REASON_CHARACTERS = 1_000


class ServiceError(GPOError):
    """The service refused a request, failed, or could not be reached."""

    def __init__(self, status: int | None, problem: Problem | None, message: str) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status; None if no answer came."""
        self.problem = problem
        """The description of the error that the service sent, if it could be parsed."""


@dataclass(frozen=True)
class _Call:
    """A request, with what is needed to decide whether it may be sent twice."""

    method: str
    path: str
    body: BaseModel | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str | int] = field(default_factory=dict)
    accepted: tuple[int, ...] = ()
    """HTTP statuses besides 2xx that do not count as errors."""

    @property
    def repeatable(self) -> bool:
        """Return whether sending it twice does no harm; a conditional PUT may succeed only the first time."""
        return self.method != "PUT" or not self.headers

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        content = None if self.body is None else self.body.model_dump_json(exclude_none=True)
        kind = {} if content is None else {"Content-Type": "application/json"}
        return client.build_request(
            self.method, self.path, content=content, headers={**kind, **self.headers}, params=self.params
        )

    def wait(self, outcome: httpx.Response | httpx.RequestError) -> float | None:
        """Return the seconds after which to try again, or None if that would not help."""
        if isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout):  # the request was not sent
            return _PAUSE
        if isinstance(outcome, httpx.TransportError):
            return _PAUSE if self.repeatable else None
        if isinstance(outcome, httpx.RequestError):  # an answer that would be the same again
            return None
        if outcome.status_code in self.accepted:
            return None
        if outcome.status_code == 429 or (outcome.status_code in _PASSING and self.repeatable):
            asked = outcome.headers.get("retry-after", "")
            seconds = float(asked) if asked.isascii() and asked.isdigit() else _PAUSE
            return seconds if seconds <= MAX_WAIT_SECONDS else None
        return None

    def checked(self, outcome: httpx.Response | httpx.RequestError, repeated: bool) -> httpx.Response:
        """Return the response if it is a success.

        Raises:
            ServiceError: if it is not.
        """
        if isinstance(outcome, httpx.RequestError):
            reason = shortened(str(outcome) or type(outcome).__name__, _MAX_REASON_CHARACTERS)
            raise ServiceError(None, None, f"no answer from the service: {reason}") from outcome
        if outcome.is_success or outcome.status_code in self.accepted:
            return outcome
        if self.method == "DELETE" and repeated and outcome.status_code == 404:  # already deleted
            return outcome
        try:
            problem = Problem.model_validate_json(outcome.content)
        except ValidationError:
            said = shortened(outcome.reason_phrase)
            raise ServiceError(outcome.status_code, None, f"{outcome.status_code}: {said}") from None
        fields = "".join(f"; {e.field}: {e.message}" for e in problem.errors or ())
        reason = shortened(f"{problem.detail}{fields}", _MAX_REASON_CHARACTERS)
        raise ServiceError(outcome.status_code, problem, f"{problem.status}: {reason}")


class _Body:
    """The body of an answer as it arrives, of bounded length."""

    def __init__(self, response: httpx.Response) -> None:
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":  # a few bytes may stand for gigabytes
            raise httpx.DecodingError("the answer is compressed, although that was not asked for")
        self._response, self._parts, self._left = response, [], MAX_ANSWER_BYTES

    _parts: list[bytes]

    def add(self, part: bytes) -> None:
        self._left -= len(part)
        if self._left < 0:
            raise httpx.DecodingError(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")
        self._parts.append(part)

    def whole(self) -> httpx.Response:
        """Return the response with its body."""
        old = self._response
        return httpx.Response(old.status_code, headers=old.headers, content=b"".join(self._parts))


def _within(seconds: float, work: Callable[[], R]) -> R:
    """Return the result of a function that runs in a thread; after ``seconds`` it is left to itself.

    The timeouts of sockets are for each read, so that a server that sends a byte at a time could hold the
    caller for ever.

    Raises:
        TimeoutError: if it takes longer.
    """
    found: Future[R] = Future()

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as e:  # noqa: BLE001 -- raised where the result is awaited
            found.set_exception(e)

    threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()
    return found.result(max(seconds, 0))


def _too_slow(seconds: float) -> httpx.RequestError:
    return httpx.ReadTimeout(f"not all of the answer arrived within {seconds:g} seconds")


def _next_page(page: GroupPage, after: str | None) -> str | None:
    """Return the value of ``after`` for the next page, None if there is none.

    Raises:
        ServiceError: if the list would not go on, so that it would never end.
    """
    if page.next is not None and not (page.groups and page.next > (after or "")):
        raise ServiceError(None, None, "the service's list of groups does not go on; is the URL right?")
    return page.next


def _parse(schema: type[Reply], response: httpx.Response) -> Reply:
    try:
        return schema.model_validate_json(response.content)
    except ValidationError:
        message = f"the service's answer is not the {schema.__name__} expected; is the URL right?"
        raise ServiceError(response.status_code, None, message) from None


def _build(schema: type[Reply], **values: Any) -> Reply:
    """Make a request from the caller's values; models of other classes are converted first."""
    plain = TypeAdapter[Any](Any).dump_python(values, exclude_none=True)
    try:
        return schema.model_validate(plain)
    except ValidationError as e:
        first = e.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{where}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")) from e


def _group_path(group_id: str, action: str = "") -> str:
    if not re.fullmatch(GROUP_ID_PATTERN, group_id):
        raise DataError(f"group id {group_id!r}: expected {GROUP_ID_PATTERN}")
    return f"/v1/groups/{group_id}{action}"


def _put(
    group_id: str, context: Sequence[AnyAnswer], description: str, if_match: str | None, new: bool
) -> _Call:
    headers = {} if if_match is None else {"If-Match": f'"{if_match}"'}
    headers |= {"If-None-Match": "*"} if new else {}
    return _Call(
        "PUT", _group_path(group_id), _build(GroupPut, description=description, context=context), headers
    )


def _delete(group_id: str, if_match: str | None) -> _Call:
    headers = {} if if_match is None else {"If-Match": f'"{if_match}"'}
    return _Call("DELETE", _group_path(group_id), headers=headers)


def _page(after: str | None) -> _Call:
    return _Call("GET", "/v1/groups", params={"limit": _PAGE} | ({"after": after} if after else {}))


def _predict(group_id: str, questions: Sequence[AnyQuestion]) -> _Call:
    return _Call("POST", _group_path(group_id, "/predict"), _build(PredictRequest, questions=questions))


def _inline(context: Sequence[AnyAnswer], questions: Sequence[AnyQuestion]) -> _Call:
    body = _build(InlinePredictRequest, context=context, questions=questions)
    return _Call("POST", "/v1/predict", body)


def _rank(group_id: str, prompt: str, responses: Sequence[str]) -> _Call:
    body = _build(RankRequest, prompt=prompt, responses=list(responses))
    return _Call("POST", _group_path(group_id, "/rank"), body)


_READY = _Call("GET", "/readyz", accepted=(503,))


def _options(url: str, key: str | None, timeout: float) -> dict[str, Any]:
    """Return what both of httpx's clients take; the transports that they take are of different types.

    Raises:
        ConfigError: if httpx is not installed, or the timeout is no time.
    """
    if importlib.util.find_spec("httpx") is None:
        raise ConfigError("the client needs httpx; install it with: pip install 'gpo-ray[client]'")
    if not 0 < timeout < threading.TIMEOUT_MAX:
        raise ConfigError(f"timeout {timeout}: expected a number of seconds above 0")
    headers = {"Accept-Encoding": "identity"}  # a compressed answer of a few bytes may fill the memory
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    return {"base_url": url, "headers": headers, "timeout": timeout}


class Client:
    """A client of the service for synchronous code; it is a context manager.

    Every call is tried once more after a lost connection and after statuses 429, 500, 502, 503 and 504,
    except a conditional put that may have been carried out. Answers of more than :data:`MAX_ANSWER_BYTES` and
    compressed ones are refused, as no service sends them. All methods raise :class:`ServiceError` if
    the service refuses, and :class:`~gpo_ray.errors.DataError` for values that it would certainly refuse.
    Answers and questions may be of the classes in :mod:`gpo_ray` or in :mod:`gpo_ray.model.texts`.

    Args:
        url: URL of the service.
        key: API key, if the service needs one.
        timeout: seconds that a call may take in all, the second attempt included; each page of
            :meth:`list_groups` is a call.
        transport: httpx transport to use instead of the network, for tests.

    Raises:
        ConfigError: if httpx is not installed, or the timeout is not above 0.

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
        self._http, self._timeout = httpx.Client(**options, transport=transport), timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

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
        return _parse(Group, self._send(_put(group_id, context, description, if_match, must_be_new)))

    def get_group(self, group_id: str) -> Group:
        """Return a registered group with its answers."""
        return _parse(Group, self._send(_Call("GET", _group_path(group_id))))

    def delete_group(self, group_id: str, if_match: str | None = None) -> None:
        """Delete a group; with ``if_match``, only if the group has that ``etag``."""
        self._send(_delete(group_id, if_match))

    def list_groups(self) -> Iterator[GroupSummary]:
        """Yield all registered groups, sorted by id; they are fetched a page at a time."""
        after: str | None = None
        while True:
            page = _parse(GroupPage, self._send(_page(after)))
            yield from page.groups
            after = _next_page(page, after)
            if after is None:
                return

    def predict(self, group_id: str, questions: Sequence[AnyQuestion]) -> Predictions:
        """Predict a registered group's preferences over the responses of 1 to 200 questions."""
        return _parse(Predictions, self._send(_predict(group_id, questions)))

    def predict_inline(self, context: Sequence[AnyAnswer], questions: Sequence[AnyQuestion]) -> Predictions:
        """Predict the preferences of a group that is not registered, from its answers."""
        return _parse(Predictions, self._send(_inline(context, questions)))

    def rank(self, group_id: str, prompt: str, responses: Sequence[str]) -> Ranking:
        """Return responses sorted by a registered group's preference, the most preferred one first."""
        return _parse(Ranking, self._send(_rank(group_id, prompt, responses)))

    def ready(self) -> Readiness:
        """Return whether the service can make predictions now."""
        return _parse(Readiness, self._send(_READY))

    def _send(self, call: _Call) -> httpx.Response:
        end = time.monotonic() + self._timeout
        outcome = self._try(call, end)
        wait = call.wait(outcome)
        if again := wait is not None and time.monotonic() + wait < end:
            time.sleep(wait)
            outcome = self._try(call, end)
        return call.checked(outcome, again)

    def _try(self, call: _Call, end: float) -> httpx.Response | httpx.RequestError:
        try:
            return _within(end - time.monotonic(), lambda: self._fetch(call, end))
        except TimeoutError:
            return _too_slow(self._timeout)
        except httpx.RequestError as e:
            return e

    def _fetch(self, call: _Call, end: float) -> httpx.Response:
        response = self._http.send(call.request(self._http), stream=True)
        try:
            body = _Body(response)
            for part in response.iter_bytes():
                body.add(part)
                if time.monotonic() > end:  # nobody waits any more
                    raise _too_slow(self._timeout)
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
        return _parse(Group, await self._send(_put(group_id, context, description, if_match, must_be_new)))

    async def get_group(self, group_id: str) -> Group:
        """Do the same as :meth:`Client.get_group`."""
        return _parse(Group, await self._send(_Call("GET", _group_path(group_id))))

    async def delete_group(self, group_id: str, if_match: str | None = None) -> None:
        """Do the same as :meth:`Client.delete_group`."""
        await self._send(_delete(group_id, if_match))

    async def list_groups(self) -> AsyncIterator[GroupSummary]:
        """Do the same as :meth:`Client.list_groups`."""
        after: str | None = None
        while True:
            page = _parse(GroupPage, await self._send(_page(after)))
            for group in page.groups:
                yield group
            after = _next_page(page, after)
            if after is None:
                return

    async def predict(self, group_id: str, questions: Sequence[AnyQuestion]) -> Predictions:
        """Do the same as :meth:`Client.predict`."""
        return _parse(Predictions, await self._send(_predict(group_id, questions)))

    async def predict_inline(
        self, context: Sequence[AnyAnswer], questions: Sequence[AnyQuestion]
    ) -> Predictions:
        """Do the same as :meth:`Client.predict_inline`."""
        return _parse(Predictions, await self._send(_inline(context, questions)))

    async def rank(self, group_id: str, prompt: str, responses: Sequence[str]) -> Ranking:
        """Do the same as :meth:`Client.rank`."""
        return _parse(Ranking, await self._send(_rank(group_id, prompt, responses)))

    async def ready(self) -> Readiness:
        """Do the same as :meth:`Client.ready`."""
        return _parse(Readiness, await self._send(_READY))

    async def _send(self, call: _Call) -> httpx.Response:
        end = time.monotonic() + self._timeout
        outcome = await self._try(call, end)
        wait = call.wait(outcome)
        if again := wait is not None and time.monotonic() + wait < end:
            await asyncio.sleep(wait)
            outcome = await self._try(call, end)
        return call.checked(outcome, again)

    async def _try(self, call: _Call, end: float) -> httpx.Response | httpx.RequestError:
        try:
            async with asyncio.timeout(end - time.monotonic()):
                return await self._fetch(call)
        except TimeoutError:
            return _too_slow(self._timeout)
        except httpx.RequestError as e:
            return e

    async def _fetch(self, call: _Call) -> httpx.Response:
        response = await self._http.send(call.request(self._http), stream=True)
        try:
            body = _Body(response)
            async for part in response.aiter_bytes():
                body.add(part)
        finally:
            await response.aclose()
        return body.whole()
