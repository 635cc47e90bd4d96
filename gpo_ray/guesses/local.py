"""Guesses of a language model in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpo_ray.guesses.asking import Asked, AskSettings
from gpo_ray.guesses.letters import TOO_LONG, letter_guesses
from gpo_ray.guesses.parsing import Parsed, parse_distribution, parse_sequence
from gpo_ray.guesses.table import Guess
from gpo_ray.lm.generate import Reply, generate
from gpo_ray.lm.model import LanguageModel


class LocalBackend:
    """A language model in this process, which answers.

    Args:
        model: the language model.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def answer(self, asked: Sequence[Asked], settings: AskSettings) -> list[Guess]:
        """Return what came of each, in the order given."""
        if settings.ask == "logprobs":
            return letter_guesses(self._model, asked)
        replies = self._replies(asked, settings)
        return [guess_of(a, [next(replies) for _ in a.texts], settings) for a in asked]

    def _replies(self, asked: Sequence[Asked], settings: AskSettings) -> Iterator[Reply | None]:
        """Yield the reply to each text; None where a prompt and its reply are too long for the model."""
        prompts = self._model.chat_tokens([text for a in asked for text in a.texts])
        most = [settings.most_tokens(len(a.question.responses)) for a in asked for _ in a.texts]
        seeds = [reply_seed(a, k, settings) for a in asked for k in range(len(a.texts))]
        limit = self._model.max_tokens
        fits = [i for i, p in enumerate(prompts) if limit is None or len(p) + most[i] <= limit]
        replies = generate(
            self._model,
            [prompts[i] for i in fits],
            [most[i] for i in fits],
            settings.temperature,
            [seeds[i] for i in fits],
        )
        found = dict(zip(fits, replies, strict=True))
        return (found.get(i) for i in range(len(prompts)))


def guess_of(asked: Asked, replies: Sequence[Reply | None], settings: AskSettings) -> Guess:
    """Return the guess that replies make, one for each order; the first one that is none says why.

    Args:
        asked: what was asked.
        replies: K replies; None where the prompt is longer than the model can read.
        settings: what was asked for.
    """
    by_order = []
    for order, reply in zip(asked.orders, replies, strict=True):
        if reply is None:
            return asked.guess(None, TOO_LONG)
        shares, reason = _parse(asked, order, reply, settings)
        if shares is None:
            return asked.guess(None, reason, reply.text)
        by_order.append(shares)
    return asked.guess(asked.mean(by_order))


def reply_seed(asked: Asked, order: int, settings: AskSettings) -> int:
    """Return the seed of a reply, which differs between questions, roles and orders."""
    return (int(asked.content[:8], 16) + 7919 * order + settings.seed) % 2**31


def _parse(asked: Asked, order: Sequence[int], reply: Reply, settings: AskSettings) -> Parsed:
    responses = tuple(asked.question.responses[i] for i in order)
    if settings.ask == "distribution":
        return parse_distribution(reply.text, responses, reply.whole)
    return parse_sequence(reply.text, len(responses), settings.people, reply.whole)
