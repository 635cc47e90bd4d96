"""The work of the encoder, in turns: counting the tokens of requests' questions, and embedding them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gpo_ray.embedding.template import SlateTexts
from gpo_ray.model.texts import Slate
from gpo_ray.serving.inference.calls import Failure
from gpo_ray.serving.inference.encoding import EncodedSlate
from gpo_ray.serving.settings import Limits

TURN_CHARACTERS = 20_000
"""Most characters whose tokens are counted in one turn, unless one question has more."""


@dataclass(frozen=True)
class EncodeJob:
    """A chunk of questions that is embedded in one turn."""

    slates: Sequence[Slate]
    tokens: int
    found: list[EncodedSlate | Failure]

    @property
    def cost(self) -> float:
        """Return the tokens still to read, see :class:`~gpo_ray.serving.inference.turns.Job`."""
        return 0 if self.found else self.tokens

    @property
    def last(self) -> bool:
        """Return whether the next turn is the last one, see :class:`~gpo_ray.serving.inference.turns.Job`."""
        return True


@dataclass(frozen=True)
class CountJob:
    """The questions of a request whose tokens are counted, some of them in each turn."""

    questions: Sequence[SlateTexts]
    limits: Limits
    counts: list[int] = field(default_factory=list)

    @property
    def cost(self) -> float:
        """Return the characters of the next turn, see :class:`~gpo_ray.serving.inference.turns.Job`."""
        return sum(_characters(q) for q in self.next())

    @property
    def last(self) -> bool:
        """Return whether the next turn is the last one, see :class:`~gpo_ray.serving.inference.turns.Job`."""
        return len(self.counts) + len(self.next()) == len(self.questions)

    def next(self) -> Sequence[SlateTexts]:
        """Return the questions of the next turn: of :data:`TURN_CHARACTERS`, unless one has more."""
        start, characters = len(self.counts), 0
        for end in range(start, len(self.questions)):
            characters += _characters(self.questions[end])
            if characters > TURN_CHARACTERS and end > start:
                return self.questions[start:end]
        return self.questions[start:]


def slates_of(questions: Sequence[SlateTexts]) -> list[Slate]:
    """Return questions, which were checked before, as slates."""
    return [Slate.model_construct(prompt=p, responses=r) for p, r in questions]


def _characters(question: SlateTexts) -> int:
    prompt, responses = question
    return 1 + len(prompt) + sum(map(len, responses))
