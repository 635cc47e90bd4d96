"""The sizes of the data that a plan is made for, and of the texts that the language model reads."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, model_validator

from gpo_ray.config import StrictConfig
from gpo_ray.embedding.template import PROMPT_EOL
from gpo_ray.lm.model import ROW_TOKENS
from gpo_ray.planning.hardware import Positive
from gpo_ray.planning.language_model import Shape

FRAME_TOKENS = 44.0
"""Number of tokens by which a prompt without its options is longer than a stem of the readings, with
SmolLM2's tokenizer and chat template."""
ENDING_TOKENS = {"opinion": 5.0, "person": 12.0}
"""Number of tokens by which a response is longer in each of the readings, with SmolLM2's tokenizer."""


class Workload(StrictConfig):
    """The sizes of the data; the default numbers of tokens are OpinionQA's with SmolLM2's tokenizer."""

    questions: int = Field(ge=2)
    """Number Q of questions."""
    responses: int = Field(ge=2)
    """Number R of responses of all questions together."""
    groups: int = Field(default=100, ge=2)
    """Number G of groups."""
    answers: int | None = Field(default=None, ge=2)
    """Number of questions that a group answered; by default all, or at most 100 with over 10,000 groups."""
    prompt_tokens: float = Field(default=96, gt=0)
    """Number p of tokens of a prompt."""
    response_tokens: float = Field(default=6, gt=0)
    """Number a of tokens of a response."""
    shared_tokens: float = Field(default=37, ge=0)
    """Number of tokens with which all prompts begin and which run once; at most half of a prompt counts."""
    stem_tokens: float | None = Field(default=None, gt=0)
    """Number of tokens with which the readings of a question begin; by default the prompt's tokens without
    the instruction, the chat template and the options, but at least a quarter of the prompt."""
    ending_tokens: tuple[Positive, Positive] | None = None
    """Number of tokens of a response in each of the readings; by default 5 and 12 more than
    ``response_tokens``."""

    @model_validator(mode="after")
    def _slates(self) -> Workload:
        if self.responses < 2 * self.questions:
            raise ValueError(f"responses: at least two for each of {self.questions} questions")
        return self

    @property
    def slate(self) -> float:
        """Mean number of responses of a question."""
        return self.responses / self.questions

    @property
    def answered(self) -> int:
        """Number of questions that a group answered."""
        usual = self.questions if self.groups <= 10_000 else 100
        return min(self.answers or usual, self.questions)

    def texts(self, readings: bool) -> list[Texts]:
        """Return the texts that the encoder reads: prompts and responses, then the readings if asked for."""
        p, a = self.prompt_tokens, self.response_tokens
        first = Texts(self.questions, self.responses, p - min(self.shared_tokens, p / 2), a)
        if not readings:
            return [first]
        stem = self.stem_tokens or max(p / 4, p - FRAME_TOKENS - self.slate * (a + 1))
        endings = self.ending_tokens or [a + ENDING_TOKENS[pooling] for pooling in PROMPT_EOL]
        ending = (sum(endings) - a * (len(endings) - 1)) / len(endings)  # they share the response's tokens
        count = self.responses * len(endings)
        return [first, Texts(self.questions, count, stem, ending)]


@dataclass(frozen=True)
class Texts:
    """The texts of one kind: beginnings, which run once each, and endings, which run after a beginning."""

    beginnings: int
    endings: int
    beginning: float
    """Number of tokens of a beginning."""
    ending: float
    """Number of tokens of an ending."""

    @property
    def tokens(self) -> float:
        """Number of tokens that the language model reads."""
        return self.beginnings * self.beginning + self.endings * self.ending

    def batch(self, batch_tokens: int) -> float:
        """Return the number of tokens of a batch, which holds at least one question."""
        return max(batch_tokens, self.tokens / self.beginnings)

    def flops(self, model: Shape) -> float:
        """Return the operations of the language model, and of its head for each beginning."""
        # Attention computes whole rows, also the part of a row that a token's mask hides.
        row = max(ROW_TOKENS, self.tokens / self.beginnings)
        token = 2 * model.body + 4.0 * model.layers * model.width * row
        head = 2 * (model.parameters - model.body)
        return self.tokens * token + self.beginnings * head
