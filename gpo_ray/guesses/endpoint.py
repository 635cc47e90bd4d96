"""Guesses of a language model behind an OpenAI-compatible endpoint, within a budget.

Requests are sent by threads of this process: they wait for the network and need no cluster. The key comes
from the environment variable :data:`KEY` and is sent to the endpoint alone: it is in no file, log or error.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import numpy as np

from gpo_ray.embedding.template import letter
from gpo_ray.guesses.asking import Asked, AskSettings
from gpo_ray.guesses.chat import KEY as KEY
from gpo_ray.guesses.chat import Chat, Completion, EndpointConfig, Exhausted, Failed
from gpo_ray.guesses.letters import SINGLE
from gpo_ray.guesses.local import guess_of, reply_seed
from gpo_ray.guesses.store import GuessStore
from gpo_ray.guesses.table import Guess
from gpo_ray.lm.generate import Reply
from gpo_ray.runtime.terminal import Steps

TOP = 20
"""Number of most probable tokens whose log-probabilities an endpoint is asked for."""
UNLISTED = 0.01
"""Most of the options' probability that letters which are not among these may have for a guess."""
FLUSH = 50
"""Number of guesses of a shard."""
FAILURES = 5
"""Number of questions in a row that fail after all tries, at which a run stops."""

NO_LOGPROBS = "endpoint: no log-probabilities in its reply"
NOT_LISTED = f"endpoint: option letters that are not among the {TOP} most probable tokens"
MANY = f"endpoint: more than {SINGLE} options, whose letters are no single tokens"


class EndpointBackend:
    """An endpoint that answers, one question at a time.

    Args:
        chat: the connection.
    """

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    def answer(self, asked: Sequence[Asked], settings: AskSettings) -> list[Guess]:
        """Return what came of each, in the order given.

        Raises:
            EmbeddingError: if the endpoint refuses every request, such as for a wrong key.
            Failed: if it did not answer after all tries.
            Exhausted: if the budget is spent.
        """
        return [self._one(a, settings) for a in asked]

    def _one(self, asked: Asked, settings: AskSettings) -> Guess:
        if settings.ask == "logprobs" and len(asked.question.responses) > SINGLE:
            return asked.guess(None, MANY)
        said = [self._chat.complete(text, _options(asked, k, settings)) for k, text in enumerate(asked.texts)]
        refused = next((c.refused for c in said if c.refused is not None), None)
        if refused is not None:
            return asked.guess(None, refused, said[0].text)
        if settings.ask == "logprobs":
            return _letters(asked, said)
        return guess_of(asked, [Reply(c.text, c.whole, c.tokens) for c in said], settings)


def _options(asked: Asked, order: int, settings: AskSettings) -> dict[str, Any]:
    """Return the options of a request besides the text and the model."""
    found: dict[str, Any] = {
        "max_tokens": settings.most_tokens(len(asked.question.responses)),
        "temperature": settings.temperature,
    }
    if settings.ask == "logprobs":
        return found | {"temperature": 0.0, "logprobs": True, "top_logprobs": TOP}
    return found | ({"seed": reply_seed(asked, order, settings)} if settings.temperature else {})


def _letters(asked: Asked, said: Sequence[Completion]) -> Guess:
    """Return the guess that the log-probabilities of the first tokens make, one list for each order."""
    by_order = []
    for completion in said:
        if not completion.top:
            return asked.guess(None, NO_LOGPROBS, completion.text)
        shares = _letter_shares(completion.top, len(asked.question.responses))
        if shares is None:
            return asked.guess(None, NOT_LISTED, completion.text)
        by_order.append(shares)
    return asked.guess(asked.mean(by_order))


def _letter_shares(top: Sequence[tuple[str, float]], size: int) -> list[float] | None:
    """Return the shares (R,) of the letters; None if letters that are not listed may matter.

    A token that is not listed is at most as probable as the last one that is.
    """
    total: dict[str, float] = {}
    for token, logprob in top:
        total[token.strip()] = total.get(token.strip(), 0.0) + float(np.exp(logprob))
    listed = [total.get(letter(i), 0.0) for i in range(size)]
    unlisted = listed.count(0.0) * float(np.exp(min(logprob for _, logprob in top)))
    if not sum(listed) or unlisted > UNLISTED * sum(listed):
        return None
    return [share / sum(listed) for share in listed]


def ask_endpoint(
    asked: Sequence[Asked], out: str, settings: AskSettings, config: EndpointConfig, progress: bool = False
) -> dict[str, Any]:
    """Ask an endpoint all that the folder at ``out`` does not hold yet, as far as the budget goes.

    Args:
        asked: everything to ask, from :func:`gpo_ray.guesses.asking.plan`.
        out: the folder.
        settings: what is asked for.
        config: the endpoint, the model there and the budget.
        progress: whether to show progress.

    Returns:
        The keys of :func:`gpo_ray.guesses.job.ask_model`, and ``left`` (number of questions that were not
        answered), ``failed`` (these by reason, where requests failed), ``stopped`` (why the run ended before
        its end; None if it did not), ``requests``, ``tokens`` and ``cached`` (replies of earlier runs).

    Raises:
        ConfigError: if the key cannot be sent.
        EmbeddingError: if the endpoint refuses every request.
        DataError: as for :func:`gpo_ray.guesses.job.ask_model`.
    """
    started = time.monotonic()
    store = GuessStore(out)
    with store.folder.writing(), Chat(config) as chat:
        missing = store.missing(asked)
        run = _Run(EndpointBackend(chat), store, settings)
        try:
            with Steps("guess", 1, progress).step(f"ask {config.model}", len(missing), "questions") as step:
                for _ in run.answers(missing, config.parallel, chat.stop):
                    step.advance()
                    step.note = f"{chat.requests} requests, {chat.tokens} tokens"
        finally:  # what was answered is kept even where an error ends the run
            run.flush()
        table = store.finish(config.model, config.identity)
    counts = table.counts()
    return {
        "asked": run.done,
        "reused": len(asked) - len(missing),
        "guesses": counts["guesses"],
        "without": counts["without"],
        "seconds": round(time.monotonic() - started, 3),
        "out": out,
        "left": len(missing) - run.done,
        "failed": dict(run.failed),
        "stopped": run.stopped,
        "requests": chat.requests,
        "tokens": chat.tokens,
        "cached": chat.cached,
    }


class _Run:
    """Questions that are asked side by side, and what came of them so far."""

    def __init__(self, backend: EndpointBackend, store: GuessStore, settings: AskSettings) -> None:
        self._backend, self._store, self._settings = backend, store, settings
        self._written: list[Guess] = []
        self.done = 0
        self.failed: Counter[str] = Counter()
        self.stopped: str | None = None

    def answers(self, asked: Sequence[Asked], parallel: int, stop: threading.Event) -> Iterator[None]:
        """Ask, and yield after each question, until all are asked or the run has to stop."""
        waiting, in_a_row = iter(asked), 0
        with _pool(parallel, stop) as pool:
            running: set[Future[list[Guess]]] = set()
            while True:
                while self.stopped is None and len(running) < parallel:
                    following = next(waiting, None)
                    if following is None:
                        break
                    running.add(pool.submit(self._backend.answer, [following], self._settings))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    in_a_row = self._take(future, in_a_row)
                    yield
                if in_a_row >= FAILURES and self.stopped is None:
                    self.stopped = f"{in_a_row} questions in a row failed"
                if self.stopped is not None:
                    stop.set()  # no further tries; what is on its way is waited for

    def _take(self, future: Future[list[Guess]], in_a_row: int) -> int:
        """Take what came of a question, and return how many have failed in a row."""
        try:
            self._written += future.result()
        except Exhausted as e:
            self.stopped = self.stopped or str(e)
            return in_a_row
        except Failed as e:
            self.failed[str(e)] += 1
            return in_a_row + 1
        self.done += 1
        if len(self._written) >= FLUSH:
            self.flush()
        return 0

    def flush(self) -> None:
        """Write the guesses that are not in a shard yet."""
        if self._written:
            self._store.add(*self._store.write(self._written))
            self._written = []


@contextmanager
def _pool(parallel: int, stop: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """Yield threads that end soon when the block is left, whatever they wait for."""
    pool = ThreadPoolExecutor(parallel, thread_name_prefix="gpo-guess")
    try:
        yield pool
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
