"""What a language model is asked: prompts for each question, order of its options, style and role.

Shapes: R responses of a question, K orders of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from pydantic import Field

from gpo_ray.config import StrictConfig
from gpo_ray.embedding.template import instruction, letter, response_text
from gpo_ray.guesses.roles import Role
from gpo_ray.guesses.table import Guess, Way
from gpo_ray.preferences.dataset import Question

Ask = Literal["logprobs", "distribution", "sequence"]
ASKS: tuple[Ask, ...] = ("logprobs", "distribution", "sequence")
LINE_TOKENS = 12
"""Tokens that a reply of percentages may have for each option."""


class AskSettings(StrictConfig):
    """What a language model is asked for, and how its replies are drawn."""

    ask: Ask = "logprobs"
    """``logprobs`` (of option letters), ``distribution`` (percentages) or ``sequence`` (people's answers)."""
    orders: int = Field(default=1, ge=1, le=100)
    """Number K of cyclic orders of the options over which a guess is the mean; at most one an option."""
    temperature: float = Field(default=0.0, ge=0, le=5)
    """Temperature of replies; 0 takes the most probable token each time."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of replies at another temperature than 0."""
    people: int = Field(default=30, ge=5, le=200)
    """Number of people whose answers a reply of ``sequence`` lists."""

    def replies(self) -> dict[str, float | str]:
        """Return the settings on which replies depend, besides the texts."""
        if self.ask == "logprobs":
            return {"ask": self.ask}
        sampled = {"temperature": self.temperature, "seed": self.seed} if self.temperature else {}
        return {"ask": self.ask, **sampled}

    def most_tokens(self, options: int) -> int:
        """Return the most tokens of a reply on a question of so many options."""
        if self.ask == "logprobs":
            return 1
        return 32 + (LINE_TOKENS * options if self.ask == "distribution" else 4 * self.people)


@dataclass(frozen=True)
class Asked:
    """A question as a language model is asked it: one way, one role, all orders."""

    way: Way
    group_id: str | None
    question: Question
    orders: tuple[tuple[int, ...], ...]
    """K orders: which of the R responses stands at each letter."""
    texts: tuple[str, ...]
    """K users' turns."""
    content: str
    """Hash of all that the answer depends on."""

    def guess(
        self, share: Sequence[float] | None, reason: str | None = None, reply: str | None = None
    ) -> Guess:
        """Return what came of it."""
        return Guess(self.way, self.group_id, self.question, share, reason, reply, self.content)

    def mean(self, by_order: Sequence[Sequence[float]]) -> list[float]:
        """Return the mean (R,) of the shares of each order, K times R in the order of the letters."""
        total = np.zeros(len(self.question.responses))
        for order, shares in zip(self.orders, by_order, strict=True):
            total[list(order)] += np.asarray(shares, np.float64)
        return [float(t) for t in total / total.sum()]


class Backend(Protocol):
    """What answers: a language model in this process, or a server."""

    def answer(self, asked: Sequence[Asked], settings: AskSettings) -> list[Guess]:
        """Return what came of each, in the order given."""
        ...


def cyclic_orders(size: int, count: int) -> tuple[tuple[int, ...], ...]:
    """Return up to ``count`` rotations of ``size`` options, the given order first, spread evenly."""
    starts = sorted({round(k * size / min(count, size)) for k in range(min(count, size))})
    return tuple(tuple((start + i) % size for i in range(size)) for start in starts)


def plan(
    questions: Iterable[Question],
    model: str,
    identity: str,
    styles: Sequence[str],
    roles: Mapping[str, Role],
    settings: AskSettings,
) -> Iterator[Asked]:
    """Yield everything to ask: each question in each style, and each role but for style ``none``.

    Args:
        questions: the questions; of those with the same key, the first one is asked.
        model: the model's name.
        identity: what identifies the model that answers, for the hash of the content.
        styles: some of :data:`gpo_ray.guesses.roles.STYLES`.
        roles: the roles by group id.
        settings: what is asked.
    """
    first: dict[str, Question] = {}
    for question in questions:
        first.setdefault(question.key, question)
    for style in styles:
        told = [(None, None)] if style == "none" else [*roles.items()]
        for group, role in told:
            for question in first.values():
                yield asked(question, Way(model, settings.ask, style), group, role, identity, settings)


def asked(
    question: Question, way: Way, group: str | None, role: Role | None, identity: str, settings: AskSettings
) -> Asked:
    """Return a question as it is asked in a way, in the role of a group or as nobody."""
    orders = cyclic_orders(len(question.responses), settings.orders)
    before = "" if role is None else f"{role.text(way.style)}\n\n"
    texts = tuple(
        before + _request(question.prompt, [question.responses[i] for i in order], way.style, settings)
        for order in orders
    )
    return Asked(way, group, question, orders, texts, content_of(identity, settings, texts, question))


def content_of(identity: str, settings: AskSettings, texts: Sequence[str], question: Question) -> str:
    """Return the hash of all that an answer depends on: the model, the settings, the texts, the slate."""
    depends = [identity, settings.replies(), texts, question.slate_key]
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]


def _request(prompt: str, responses: Sequence[str], style: str, settings: AskSettings) -> str:
    """Return what a model is asked to do with a question."""
    if settings.ask == "logprobs":
        return instruction(prompt, responses)
    whom = {"none": "people", "portray": "these people"}.get(style, "people like you")
    options = "\n".join(response_text(i, r) for i, r in enumerate(responses))
    question = f"{prompt}\n\nOptions:\n{options}"
    if settings.ask == "distribution":
        return (
            f"What percentage of {whom} would pick each option of the following question of a survey?\n\n"
            f"{question}\n\nReply with one line for each option: its letter, a colon and a percentage, such "
            f"as {letter(0)}: 40%. The percentages sum to 100. Write nothing else."
        )
    return (
        f"The following question of a survey is asked to {settings.people} {whom}, drawn at random. Which "
        f"option does each of them pick?\n\n{question}\n\n"
        f"Reply with the {settings.people} letters, separated by commas. Write nothing else."
    )
