"""Recognise a question that a prior has seen, whatever the order and the spelling of its responses.

A bundle holds no texts of its questions, only hashes: of each prompt and of each response
(:mod:`gpo_ray.preferences.labels`). The hashes in a bundle may be of texts with their typographic quotes and
dashes, which later ones do not tell apart; questions are looked for in both ways. Bundles of still earlier
versions hold one hash of the prompt and all responses in their order; there, orders are tried one after
the other.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gpo_ray.preferences.labels import (
    earlier_folded_label,
    folded_label,
    label_hashes,
    normal_label,
    prompt_key,
    response_labels,
    response_order,
    slate_key,
)
from gpo_ray.preferences.slates import Array, Floats

MAX_PERMUTED = 5
"""Most responses whose orders are tried where only the hash of a whole question is known; 120 orders take
half a millisecond."""

EARLIER_BUNDLE = (
    "the bundle is of an earlier version: it recognises questions as they were spelled in training, and "
    f"those of up to {MAX_PERMUTED} responses in every order; a bundle trained now recognises all"
)
"""What is said of a bundle of an earlier version where a question is not recognised."""
OTHER_RESPONSES = "its prompt is known to the bundle, with other responses: taken as an unseen question"
"""What is said of a question whose prompt the meta-train groups were asked, but not with these responses."""

_FOLDED = (folded_label, earlier_folded_label)
"""The forms of texts whose hashes a bundle may hold."""

Hash = Annotated[str, Field(max_length=64)]


def answer_notes(answers: Iterable[tuple[str, Recognition]]) -> list[str]:
    """Return what to say of the answers whose question is not recognised though its prompt is known.

    Args:
        answers: the prompt of each answer, and what the prior knows of its question.
    """
    return [
        f"answer {i} ({prompt[:60]!r}): {OTHER_RESPONSES}"
        for i, (prompt, found) in enumerate(answers)
        if found.other_responses
    ]


class QuestionHashes(BaseModel):
    """The hashes by which a question is recognised."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Hash
    """The :func:`~gpo_ray.preferences.labels.prompt_key`."""
    responses: tuple[Hash, ...]
    """The :func:`~gpo_ray.preferences.labels.label_hashes` of the R responses, in the prior's order."""

    @classmethod
    def of(cls, prompt: str, responses: Sequence[str]) -> QuestionHashes:
        """Hash a question."""
        return cls(prompt=prompt_key(prompt), responses=label_hashes(responses))


@dataclass(frozen=True)
class Recognition:
    """What a prior knows of a question with R responses."""

    key: str | None
    """Key of the question in the prior; None if it is unseen."""
    order: tuple[int, ...]
    """Index in the prior's order of each of the R responses; 0 to R - 1 for an unseen question."""
    other_responses: bool = False
    """Whether the question is unseen although meta-train groups were asked its prompt: its responses are
    others."""
    in_context: bool = False
    """Whether the question is unseen, but one of those that the group answered; the order is then that of the
    answer."""

    @classmethod
    def of_answer(cls, responses: Sequence[str], answered: Sequence[str]) -> Recognition:
        """Recognise an unseen question as one that the group answered.

        Args:
            responses: the question's R responses.
            answered: the same responses as the group was asked; both questions have one
                :func:`~gpo_ray.preferences.labels.question_key`.
        """
        place = {label: i for i, label in enumerate(response_labels(answered))}
        return cls(None, tuple(place[label] for label in response_labels(responses)), in_context=True)

    @property
    def recognised(self) -> bool | None:
        """True if the question is seen or answered, False if only its prompt is known, else None."""
        if self.key is not None or self.in_context:
            return True
        return False if self.other_responses else None

    def to_prior(self, values: Sequence[float] | Floats) -> Array:
        """Return values (R,) of the responses, in the prior's order."""
        found = np.empty(len(self.order))
        found[list(self.order)] = values
        return found

    def in_prior_order(self, responses: Sequence[str]) -> tuple[str, ...]:
        """Return the R responses in the prior's order."""
        place = dict(zip(self.order, responses, strict=True))
        return tuple(place[i] for i in range(len(place)))


@dataclass(frozen=True)
class Recognizer:
    """The questions that a prior has seen, found by their texts."""

    sizes: Mapping[str, int]
    """Number of responses of each question, by its key in the prior: the
    :func:`~gpo_ray.preferences.labels.slate_key` of the question as the meta-train groups were asked it."""
    hashes: Mapping[str, QuestionHashes]
    """The hashes of each question, by its key; empty for a bundle of an earlier version."""

    @property
    def knows_texts(self) -> bool:
        """Whether questions are recognised in every spelling, which a bundle of an earlier version cannot."""
        return bool(self.hashes)

    @cached_property
    def _by_prompt(self) -> Mapping[str, list[str]]:
        found = defaultdict(list)
        for key, hashes in self.hashes.items():
            found[hashes.prompt].append(key)
        return dict(found)

    def recognise(self, prompt: str, responses: Sequence[str]) -> Recognition:
        """Find a question among the seen ones."""
        same = tuple(range(len(responses)))
        key = slate_key(prompt, responses)
        if self.sizes.get(key) == len(responses):
            return Recognition(key, same)
        if not self.hashes:
            return self._tried(prompt, responses) or Recognition(None, same)
        prompts = [prompt_key(prompt, form) for form in _FOLDED]
        asked = [*dict.fromkeys(key for p in prompts for key in self._by_prompt.get(p, ()))]
        slates = [*dict.fromkeys(label_hashes(responses, form) for form in _FOLDED)] if asked else []
        for mine, key in itertools.product(slates, asked):
            order = response_order(mine, self.hashes[key].responses)
            if order is not None:
                return Recognition(key, order)
        return Recognition(None, same, bool(asked))

    def _tried(self, prompt: str, responses: Sequence[str]) -> Recognition | None:
        """Look for a question by trying orders and normal forms of its texts."""
        for text, labels in _spellings(prompt, responses):
            orders: Iterator[tuple[int, ...]] = itertools.permutations(range(len(labels)))
            for order in orders if len(labels) <= MAX_PERMUTED else itertools.islice(orders, 1):
                key = slate_key(text, [labels[i] for i in order])
                if self.sizes.get(key) == len(labels):
                    place = {i: p for p, i in enumerate(order)}
                    return Recognition(key, tuple(place[i] for i in range(len(labels))))
        return None


def _spellings(prompt: str, responses: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    yield prompt, list(responses)
    normal = normal_label(prompt), [normal_label(r) for r in responses]
    if normal != (prompt, list(responses)):
        yield normal
