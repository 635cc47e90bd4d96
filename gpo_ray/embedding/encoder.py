"""Encode questions as vectors: a frozen language model reads (prompt, response) pairs.

The texts of one prompt with each of its responses begin alike, and so do the texts of a survey's questions,
which start with the chat template. The language model reads such a common beginning once
(:mod:`gpo_ray.lm.model`). Two further poolings use a second reading of each response, without the list of
options, which asks for one word about the opinion and one about the person who holds it (``template.py``).

Shapes: R responses, L tokens of a row of texts, E width of a vector.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gpo_ray.embedding.template import (
    PROMPT_EOL,
    SlateTexts,
    instruction,
    opinion_ending,
    opinion_stem,
    response_text,
)
from gpo_ray.errors import EmbeddingError, QuestionTooLongError
from gpo_ray.lm.find import ModelSource
from gpo_ray.lm.model import LanguageModel, ReadRow
from gpo_ray.lm.prefix_tree import Text, plan_rows
from gpo_ray.lm.score import first_token_logprobs
from gpo_ray.lm.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

POOLINGS = ("mean", "answer_mean", "last", *PROMPT_EOL)


def needs_prompt_eol(pooling: str) -> bool:
    """Return whether a pooling, or one of several joined by ``+``, needs the PromptEOL texts."""
    return not PROMPT_EOL.keys().isdisjoint(pooling.split("+"))


@dataclass(frozen=True)
class EncodedQuestion:
    """The vectors of one question's R responses; all arrays are float32.

    The vectors, each (R, E), are made from the last hidden layer. ``mean`` is its average over prompt and
    response (paper appendix D), ``answer_mean`` its average over the response's tokens, and ``last`` its
    state at the response's last token. ``opinion`` and ``person`` are its states at the last tokens of the
    second readings, None if these were not read. ``letter_logprob`` (R,) is the log-probability of each
    option letter as the first token of the answer, normalised over the question's letters. (Beyond Z, letters
    that a tokenizer splits share the probability of their first token.)
    """

    mean: NDArray[np.float32]
    answer_mean: NDArray[np.float32]
    last: NDArray[np.float32]
    letter_logprob: NDArray[np.float32]
    tokens: int
    """Number of tokens that the language model read for the question; tokens that several questions share
    count for only one of them."""
    opinion: NDArray[np.float32] | None = None
    person: NDArray[np.float32] | None = None

    def pooled(self, pooling: str) -> NDArray[np.float32]:
        """Return the vectors (R, E) of one of ``POOLINGS``, or of several joined by ``+``, end to end."""
        return np.concatenate([getattr(self, part) for part in pooling.split("+")], axis=1)


class Encoder:
    """An encoder of questions with a frozen language model.

    Args:
        source: the model, from :func:`gpo_ray.lm.find.find_model`.
        dtype: data type in which the model computes; results are float32.
        device: ``cpu``, ``cuda`` or None to use a GPU if there is one.
        gpus: number of GPUs; with more than one, the model's layers are spread over the visible GPUs.
        batch_tokens: tokens of a forward pass; see :class:`~gpo_ray.lm.model.LanguageModel`.
        readings: whether to make the second readings for the poolings ``opinion`` and ``person``, which about
            doubles the number of tokens.
    """

    def __init__(
        self,
        source: ModelSource,
        dtype: str = "float32",
        device: str | None = None,
        gpus: float = 0,
        batch_tokens: int = 4096,
        readings: bool = True,
    ) -> None:
        self.language_model = LanguageModel(source, dtype, device, gpus, batch_tokens)
        self._readings = readings

    @property
    def width(self) -> int:
        """Width E of the vectors of a single pooling."""
        return self.language_model.width

    def texts(self, slates: Sequence[SlateTexts]) -> list[Text]:
        """Return each question as token ids: in the model's chat template, then responses with letters."""
        return question_texts(self.language_model, slates)

    def opinion_texts(self, slates: Sequence[SlateTexts]) -> list[Text]:
        """Return the token ids of each question's PromptEOL texts: common beginning, endings by pooling."""
        stems = self.language_model.opening_tokens([opinion_stem(prompt) for prompt, _ in slates])
        endings = [[opinion_ending(r, pooling) for pooling in PROMPT_EOL for r in s[1]] for s in slates]
        tokens = _tokens_of_each(self.language_model, endings)
        return [Text(*parts) for parts in zip(stems, tokens, strict=True)]

    def count_tokens(self, slates: Sequence[SlateTexts]) -> list[int]:
        """Return, for each question, the number of tokens that the model reads if it reads no other."""
        count = self._count_alone if self.language_model.alone else self._count_as_tree
        counts = [count(t) for t in self.texts(slates)]
        if not self._readings:
            return counts
        return [n + count(t) for n, t in zip(counts, self.opinion_texts(slates), strict=True)]

    @staticmethod
    def _count_alone(text: Text) -> int:
        return sum(len(text.prompt) + len(r) for r in text.responses)

    @staticmethod
    def _count_as_tree(text: Text) -> int:
        (row,) = plan_rows([text], 0, 0)
        return len(row.ids)

    def encode(self, slates: Sequence[SlateTexts]) -> list[EncodedQuestion]:
        """Encode questions, in the order given.

        Raises:
            EmbeddingError: if a question is longer than the model can read.
        """
        texts = self._short_enough(slates)
        for text in texts:
            if isinstance(text, EmbeddingError):
                raise text
        return self._encode(slates, [t for t in texts if not isinstance(t, EmbeddingError)])

    def encode_each(self, slates: Sequence[SlateTexts]) -> list[EncodedQuestion | EmbeddingError]:
        """Encode questions like :meth:`encode`, but return an error for each question that is too long."""
        texts = self._short_enough(slates)
        able = [(s, t) for s, t in zip(slates, texts, strict=True) if not isinstance(t, EmbeddingError)]
        encoded = iter(self._encode([s for s, _ in able], [t for _, t in able]))
        return [t if isinstance(t, EmbeddingError) else next(encoded) for t in texts]

    def _encode(self, slates: Sequence[SlateTexts], texts: Sequence[Text]) -> list[EncodedQuestion]:
        encoded = self._read(texts)
        if not self._readings:
            return encoded
        again = self._read(self.opinion_texts(slates))  # shorter texts, so no length check
        both = []
        for e, o in zip(encoded, again, strict=True):
            parts = np.split(o.last, len(PROMPT_EOL))
            both.append(replace(e, tokens=e.tokens + o.tokens, **dict(zip(PROMPT_EOL, parts, strict=True))))
        return both

    def _short_enough(self, slates: Sequence[SlateTexts]) -> list[Text | EmbeddingError]:
        """Return each question's :meth:`texts`, or an error if it is longer than the model can read."""
        limit = self.language_model.max_tokens
        found: list[Text | EmbeddingError] = []
        for slate, text in zip(slates, self.texts(slates), strict=True):
            longest = longest_text_of(text)
            if limit and longest > limit:
                problem = f"{longest} tokens, the model reads at most {limit}"
                found.append(QuestionTooLongError(slate[0], problem))
            else:
                found.append(text)
        return found

    def _read(self, texts: Sequence[Text]) -> list[EncodedQuestion]:
        if not texts:
            return []
        if self.language_model.reads_alone(texts):
            alone = self.language_model.read_alone(texts, self._pool)
            parts = iter(_fetched([p for pooled in alone for p in pooled]))
            return [_joined(list(itertools.islice(parts, len(pooled)))) for pooled in alone]
        pooled, shared = self.language_model.read(texts, self._pool)
        encoded = _fetched(pooled)
        encoded[0] = replace(encoded[0], tokens=encoded[0].tokens + shared)
        return encoded

    def _pool(self, read: ReadRow) -> list[_Pooled]:
        """Make the vectors of the questions in a row that was read, on the device that read it."""
        import torch

        row, visible, stem = read.row, read.visible, read.stem
        sizes = [len(e) for e in row.response_ends]
        ends, prompt_ends = (
            torch.tensor(each, device=visible.device)
            for each in ([e for some in row.response_ends for e in some], np.repeat(row.prompt_end, sizes))
        )
        text = visible[ends]  # (R, L) True for the tokens of each response's text
        answer = text & ~visible[prompt_ends]
        length, states = (stem.length if stem else 0), read.hidden.float()

        def total(which: torch.Tensor) -> torch.Tensor:
            return which.to(states) @ states

        def count(which: torch.Tensor) -> torch.Tensor:
            return which.sum(1, keepdim=True).to(states)

        whole = (total(text) + (stem.total if stem else 0)) / (length + count(text))
        vectors = (whole, total(answer) / count(answer), states[ends])
        parts = zip(*(torch.split(v, sizes) for v in vectors), strict=True)
        letters = first_token_logprobs(self.language_model, read)
        return [
            _Pooled(mean, answer_mean, last, letter, added)
            for (mean, answer_mean, last), letter, added in zip(parts, letters, row.added, strict=True)
        ]


def question_texts(tokenizer: Tokenizer, slates: Sequence[SlateTexts]) -> list[Text]:
    """Return each question as token ids: in the model's chat template, then responses with letters."""
    prompts = tokenizer.chat_tokens([instruction(*s) for s in slates])
    responses = [[response_text(i, r) for i, r in enumerate(s[1])] for s in slates]
    return [Text(*parts) for parts in zip(prompts, _tokens_of_each(tokenizer, responses), strict=True)]


def longest_text_of(text: Text) -> int:
    """Return the number of tokens of a question with its longest response, which the model reads at once."""
    return len(text.prompt) + max(len(ids) for ids in text.responses)


def _tokens_of_each(tokenizer: Tokenizer, texts: Sequence[Sequence[str]]) -> Iterator[list[list[int]]]:
    """Yield the token ids of each list of texts; all are tokenised together, which takes less time."""
    tokens = iter(tokenizer.tokens([text for some in texts for text in some]))
    for some in texts:
        yield list(itertools.islice(tokens, len(some)))


@dataclass(frozen=True)
class _Pooled:
    """The fields of an :class:`EncodedQuestion` that one reading gives, as tensors on the model's device."""

    mean: torch.Tensor
    answer_mean: torch.Tensor
    last: torch.Tensor
    letter_logprob: torch.Tensor
    tokens: int


def _fetched(pooled: Sequence[_Pooled]) -> list[EncodedQuestion]:
    """Copy the vectors of questions from the model's device.

    All are copied at once, because a copy waits until a GPU has done all that it was told to do before.
    """
    import torch

    def fetched(tensors: Sequence[torch.Tensor]) -> list[NDArray[np.float32]]:
        ends = np.cumsum([len(t) for t in tensors])
        return np.split(torch.cat(list(tensors)).cpu().numpy(), ends[:-1])

    # of a response that was read alone, the letters are those of all the question's responses
    fields = (
        fetched([p.mean for p in pooled]),
        fetched([p.answer_mean for p in pooled]),
        fetched([p.last for p in pooled]),
        fetched([p.letter_logprob for p in pooled]),
        [p.tokens for p in pooled],
    )
    return [EncodedQuestion(*values) for values in zip(*fields, strict=True)]


def _joined(parts: Sequence[EncodedQuestion]) -> EncodedQuestion:
    """Join the responses of a question that were read one by one."""
    vectors = {k: np.concatenate([getattr(p, k) for p in parts]) for k in ("mean", "answer_mean", "last")}
    return replace(parts[0], **vectors, tokens=sum(p.tokens for p in parts))
