"""Training examples: questions as a language model reads them, and batches of them as one tree of tokens.

A batch is one sequence in which the beginning that its prompts share occurs once
(:mod:`gpo_ray.lm.prefix_tree`), which is exact for a causal model, as in embedding. So the answers that a
few-shot prompt shows run once for all of its questions.

Shapes: n questions of a batch, L tokens of its tree, R responses of a question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch

from gpo_ray.embedding.template import instruction, response_text
from gpo_ray.errors import EmbeddingError, QuestionTooLongError
from gpo_ray.guesses.few_shot import Shown
from gpo_ray.lm.model import LanguageModel
from gpo_ray.lm.prefix_tree import Row, Text
from gpo_ray.preferences.dataset import Question
from gpo_ray.preferences.slates import Array


class Example(TypedDict):
    """Some questions that are read together, as plain lists, which TRL keeps in a table."""

    prompts: list[list[int]]
    """The users' turns of n questions as token ids."""
    responses: list[list[list[int]]]
    """The responses of each, as token ids."""
    shares: list[list[float]]
    """The group's shares of the responses of each."""


@dataclass(frozen=True)
class Asked:
    """A question as a language model is asked it: its options in one order, perhaps with a text before it."""

    question: Question
    order: tuple[int, ...]
    """Which of the R responses stands at each letter."""
    turn: str = ""
    """The whole user's turn; empty for the template of the embeddings."""

    @property
    def responses(self) -> list[str]:
        """The responses in this order."""
        return [self.question.responses[i] for i in self.order]

    @property
    def text(self) -> str:
        """The user's turn."""
        return self.turn or instruction(self.question.prompt, self.responses)


def texts_of(model: LanguageModel, asked: Sequence[Asked], letters: bool) -> list[Text]:
    """Return what the model reads: each user's turn in its chat template, and the responses with letters.

    Args:
        model: the language model.
        asked: the questions.
        letters: whether only the first token of each response is read, its letter.

    Raises:
        QuestionTooLongError: if a prompt and its longest response are longer than the model can read.
        EmbeddingError: if the model cannot read texts that share their beginning as one sequence.
    """
    prompts = model.chat_tokens([a.text for a in asked])
    texts = []
    for a, prompt in zip(asked, prompts, strict=True):
        responses = model.tokens([response_text(i, r) for i, r in enumerate(a.responses)])
        responses = [r[:1] for r in responses] if letters else responses
        longest = len(prompt) + max(map(len, responses))
        if model.max_tokens is not None and longest > model.max_tokens:
            reason = f"{longest} tokens with its prompt, the language model reads {model.max_tokens}"
            raise QuestionTooLongError(a.question.prompt, reason)
        texts.append(Text(prompt, responses))
    if model.reads_alone(texts):
        raise EmbeddingError(
            "fine-tuning needs a language model that reads such texts as one tree of tokens, but this one "
            "ignores masks, or its attention has a window; choose another --model"
        )
    return texts


def example(texts: Sequence[Text], shares: Sequence[Array]) -> Example:
    """Return an example of some questions that are read together.

    Args:
        texts: what is read of each question.
        shares: the shares (R,) of each one's responses, in the order of its options.
    """
    return Example(
        prompts=[t.prompt for t in texts],
        responses=[t.responses for t in texts],
        shares=[[float(v) for v in s] for s in shares],
    )


def rotation(size: int, start: int) -> tuple[int, ...]:
    """Return the cyclic order of options that begins with option ``start`` (modulo their number)."""
    return tuple((start + i) % size for i in range(size))


def question_examples(
    model: LanguageModel, answered: Sequence[Shown], starts: Sequence[int], letters: bool
) -> list[Example]:
    """Return an example for each answered question, with the cyclic order that begins at its start.

    ``letters`` is as for :func:`texts_of`.
    """
    asked = [
        Asked(question, rotation(len(question.responses), start))
        for (question, _), start in zip(answered, starts, strict=True)
    ]
    texts = texts_of(model, asked, letters)
    return [
        example([text], [np.asarray(share, np.float64)[list(a.order)]])
        for text, a, (_, share) in zip(texts, asked, answered, strict=True)
    ]


def passes(model: LanguageModel, answered: Sequence[Shown], count: int, letters: bool) -> list[Example]:
    """Return the examples of several passes, each with the options in another order, evenly spread.

    Args:
        model: the language model.
        answered: the questions, with the group's shares (R,).
        count: number of passes.
        letters: as for :func:`texts_of`.
    """
    return [
        made
        for k in range(count)
        for made in question_examples(
            model, answered, [k * len(q.responses) // count for q, _ in answered], letters
        )
    ]


class TreeCollator:
    """Makes a batch of tensors from examples, for the trainers of :mod:`gpo_ray.finetuning.trainers`.

    Args:
        dtype: data type in which the model computes.
        letters: whether what is scored is each prompt's next token, the option letter, rather than each whole
            response.

    The batch has ``example``, the numbers of its examples, whose count the trainer takes for its size,
    ``input_ids`` (1, L), ``attention_mask`` (1, 1, L, L), which is added to the logits of
    attention, ``position_ids`` (1, L), ``shares`` (n, R), 0 where a question has fewer responses than others,
    ``real`` (n, R), which is False there, and ``ends``, the positions of the last tokens of prompts (n,) or
    of responses (n, R). With ``letters``, ``options`` (n, R) are the letters' tokens.
    """

    def __init__(self, dtype: torch.dtype, letters: bool) -> None:
        self._dtype, self._letters = dtype, letters

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """Return the batch."""
        row, options, shares = Row(), [], []
        for e in examples:
            for prompt, responses, share in zip(e["prompts"], e["responses"], e["shares"], strict=True):
                row.add(len(row.texts), Text(prompt, [] if self._letters else responses), 0)
                options.append([r[0] for r in responses])
                shares.append(share)
        visible = torch.from_numpy(row.visible())
        mask = torch.zeros(visible.shape, dtype=self._dtype)
        mask.masked_fill_(~visible, torch.finfo(self._dtype).min)
        batch = {
            "example": torch.arange(len(examples)),
            "input_ids": torch.tensor([row.ids]),
            "attention_mask": mask[None, None],
            "position_ids": visible.sum(-1)[None] - 1,
            "shares": _padded(shares, torch.float32),
            "real": _padded([[True] * len(s) for s in shares], torch.bool),
        }
        if self._letters:
            return batch | {"ends": torch.tensor(row.prompt_end), "options": _padded(options, torch.int64)}
        return batch | {"ends": _padded(row.response_ends, torch.int64)}


def _padded(rows: Sequence[Sequence[Any]], dtype: torch.dtype) -> torch.Tensor:
    """Return rows of different lengths as one tensor, with zeros at their ends."""
    most = max(map(len, rows))
    return torch.tensor([[*r, *[0] * (most - len(r))] for r in rows], dtype=dtype)
