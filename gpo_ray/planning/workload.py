"""The sizes of the data that stages are planned for, and of the texts that the language model reads of it."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, model_validator

from gpo_ray.config import StrictConfig
from gpo_ray.embedding.template import READINGS
from gpo_ray.lm.model import ROW_TOKENS
from gpo_ray.planning.hardware import Positive
from gpo_ray.planning.language_model import Shape

FRAME_TOKENS = 44.0
"""By which a prompt without its options is longer than a stem of the readings; with SmolLM2's tokenizer and
chat template."""
ENDING_TOKENS = {"opinion": 5.0, "person": 12.0}
"""By which a response is longer in each of the readings; likewise."""


class Workload(StrictConfig):
    """Sizes of the data."""

    questions: int = Field(ge=2)
    """Q."""
    responses: int = Field(ge=2)
    """R, of all questions together."""
    groups: int = Field(default=100, ge=2)
    """G."""
    answers: int | None = Field(default=None, ge=2)
    """Questions that a group answered; by default all, at most 100 where there are over 10,000 groups."""
    prompt_tokens: float = Field(default=96, gt=0)
    """p; the default is OpinionQA's, with SmolLM2's tokenizer."""
    response_tokens: float = Field(default=6, gt=0)
    """a; likewise."""
    shared_tokens: float = Field(default=37, ge=0)
    """Of a prompt, those that all prompts begin with, which run once; likewise (at most half of a prompt)."""
    stem_tokens: float | None = Field(default=None, gt=0)
    """Of what the readings of a question begin with; by default what a prompt has beside the instruction,
    the chat template and the options, at least a quarter of it."""
    ending_tokens: tuple[Positive, Positive] | None = None
    """Of a response in each of the readings; by default 5 and 12 more than ``response_tokens``."""

    @model_validator(mode="after")
    def _slates(self) -> Workload:
        if self.responses < 2 * self.questions:
            raise ValueError(f"responses: at least two for each of {self.questions} questions")
        return self

    @property
    def slate(self) -> float:
        """Responses of a question."""
        return self.responses / self.questions

    @property
    def answered(self) -> int:
        """Questions that a group answered."""
        usual = self.questions if self.groups <= 10_000 else 100
        return min(self.answers or usual, self.questions)

    def texts(self, readings: bool) -> list[Texts]:
        """What the encoder reads: prompts and responses, then stems and endings."""
        p, a = self.prompt_tokens, self.response_tokens
        first = Texts(self.questions, self.responses, p - min(self.shared_tokens, p / 2), a)
        if not readings:
            return [first]
        stem = self.stem_tokens or max(p / 4, p - FRAME_TOKENS - self.slate * (a + 1))
        endings = self.ending_tokens or [a + ENDING_TOKENS[reading] for reading in READINGS]
        ending = (sum(endings) - a * (len(endings) - 1)) / len(endings)  # all begin with the response
        count = self.responses * len(endings)
        return [first, Texts(self.questions, count, stem, ending)]


@dataclass(frozen=True)
class Texts:
    """Beginnings, each of which is run once, and endings, which are run on top."""

    beginnings: int
    endings: int
    beginning: float
    """Tokens of one."""
    ending: float

    @property
    def tokens(self) -> float:
        """That the language model reads."""
        return self.beginnings * self.beginning + self.endings * self.ending

    def batch(self, batch_tokens: int) -> float:
        """Tokens of a batch, which holds at least one question."""
        return max(batch_tokens, self.tokens / self.beginnings)

    def flops(self, model: Shape) -> float:
        """Operations of the language model, and of its head for each beginning."""
        # the masks of rows keep attention from skipping what a token does not see
        row = max(ROW_TOKENS, self.tokens / self.beginnings)
        token = 2 * model.body + 4.0 * model.layers * model.width * row
        head = 2 * (model.parameters - model.body)
        return self.tokens * token + self.beginnings * head
