"""Encode questions as vectors: a frozen language model reads (prompt, response) pairs.

The texts of one prompt with each of its responses begin alike, and so do the texts of a survey's questions,
which start with the chat template. The language model reads such a common beginning once
(:mod:`gpo_ray.lm.model`). Two further poolings use a second reading of each response, without the list of
options, which asks for one word about the opinion and one about the person who holds it (``template.py``).

Shapes: R responses, L tokens of a row of texts, E width of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gpo_ray.embedding.template import READINGS, instruction, opinion_ending, opinion_stem, response_text
from gpo_ray.errors import EmbeddingError, QuestionTooLongError
from gpo_ray.lm.find import ModelSource
from gpo_ray.lm.model import LanguageModel, ReadRow
from gpo_ray.lm.prefix_tree import Text

if TYPE_CHECKING:
    import torch

POOLINGS = ("mean", "answer_mean", "last", *READINGS)
Slate = tuple[str, Sequence[str]]  # a prompt and its responses


def needs_readings(pooling: str) -> bool:
    """Return whether a pooling, or one of several joined by ``+``, needs the second reading."""
    return not READINGS.keys().isdisjoint(pooling.split("+"))


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

    def prompt_tokens(self, slate: Slate) -> list[int]:
        """Return the token ids of a question in the model's chat template, with the generation prompt."""
        return self.language_model.chat_tokens(instruction(*slate))

    def response_tokens(self, slate: Slate) -> list[list[int]]:
        """Return the token ids of each response, including its letter."""
        return self.language_model.tokens([response_text(i, r) for i, r in enumerate(slate[1])])

    def opinion_tokens(self, slate: Slate) -> Text:
        """Return the token ids of the second readings: their common beginning and the endings by reading."""
        endings = [opinion_ending(r, reading) for reading in READINGS for r in slate[1]]
        stem = self.language_model.opening_tokens(opinion_stem(slate[0]))
        return Text(stem, self.language_model.tokens(endings))

    def count_tokens(self, slate: Slate) -> int:
        """Return the number of tokens that the model reads for a question if it reads no other."""
        texts = [Text(self.prompt_tokens(slate), self.response_tokens(slate))]
        if self._readings:
            texts.append(self.opinion_tokens(slate))
        if self.language_model.alone:
            return sum(len(t.prompt) + len(r) for t in texts for r in t.responses)
        return sum(len(t.prompt) + sum(map(len, t.responses)) for t in texts)

    def encode(self, slates: Sequence[Slate]) -> list[EncodedQuestion]:
        """Encode questions, in the order given.

        Raises:
            EmbeddingError: if a question is longer than the model can read.
        """
        tokens = [self._tokens(s) for s in slates]
        for t in tokens:
            if isinstance(t, EmbeddingError):
                raise t
        return self._encode(slates, [t for t in tokens if not isinstance(t, EmbeddingError)])

    def encode_each(self, slates: Sequence[Slate]) -> list[EncodedQuestion | EmbeddingError]:
        """Encode questions like :meth:`encode`, but return an error for each question that is too long."""
        tokens = [self._tokens(s) for s in slates]
        able = [(s, t) for s, t in zip(slates, tokens, strict=True) if not isinstance(t, EmbeddingError)]
        encoded = iter(self._encode([s for s, _ in able], [t for _, t in able]))
        return [t if isinstance(t, EmbeddingError) else next(encoded) for t in tokens]

    def _encode(self, slates: Sequence[Slate], texts: Sequence[Text]) -> list[EncodedQuestion]:
        encoded = self._read(texts)
        if not self._readings:
            return encoded
        again = self._read([self.opinion_tokens(s) for s in slates])  # shorter texts, so no length check
        both = []
        for e, o in zip(encoded, again, strict=True):
            parts = np.split(o.last, len(READINGS))
            both.append(replace(e, tokens=e.tokens + o.tokens, **dict(zip(READINGS, parts, strict=True))))
        return both

    def _tokens(self, slate: Slate) -> Text | EmbeddingError:
        prompt, responses = self.prompt_tokens(slate), self.response_tokens(slate)
        limit = self.language_model.max_tokens
        longest = len(prompt) + max(len(ids) for ids in responses)
        if limit and longest > limit:
            return QuestionTooLongError(slate[0], f"{longest} tokens, the model reads at most {limit}")
        return Text(prompt, responses)

    def _read(self, texts: Sequence[Text]) -> list[EncodedQuestion]:
        if self.language_model.reads_alone(texts):
            return [_joined(parts) for parts in self.language_model.read_alone(texts, self._pool)]
        encoded, shared = self.language_model.read(texts, self._pool)
        if shared:
            encoded[0] = replace(encoded[0], tokens=encoded[0].tokens + shared)
        return encoded

    def _pool(self, read: ReadRow) -> list[EncodedQuestion]:
        """Make the vectors of the questions in a row that was read."""
        import torch

        row, seen, stem = read.row, read.seen, read.stem
        ends = np.concatenate(row.response_ends)
        text = seen[ends]  # (R, L) True for the tokens of each response's text
        answer = text & ~seen[np.repeat(row.prompt_end, [len(e) for e in row.response_ends])]
        length, states = (stem.length if stem else 0), read.hidden.float()

        def total(which: NDArray[np.bool_]) -> torch.Tensor:
            return torch.from_numpy(which).to(states) @ states

        def count(which: NDArray[np.bool_]) -> torch.Tensor:
            return torch.from_numpy(which.sum(1, keepdims=True)).to(states)

        whole = (total(text) + (stem.total if stem else 0)) / (length + count(text))
        pooled = [p.cpu().numpy() for p in (whole, total(answer) / count(answer), states[ends])]
        cuts = np.cumsum([len(e) for e in row.response_ends])[:-1]
        parts = zip(*(np.split(p, cuts) for p in pooled), strict=True)
        logits = [
            self.language_model.logits(read.hidden[end], [r[0] for r in t.responses])
            for end, t in zip(row.prompt_end, read.texts, strict=True)
        ]
        return [
            EncodedQuestion(
                mean=mean,
                answer_mean=answer_mean,
                last=last,
                letter_logprob=logits[q].log_softmax(0).cpu().numpy(),
                tokens=row.added[q],
            )
            for q, (mean, answer_mean, last) in enumerate(parts)
        ]


def _joined(parts: Sequence[EncodedQuestion]) -> EncodedQuestion:
    """Join the responses of a question that were read one by one."""
    vectors = {k: np.concatenate([getattr(p, k) for p in parts]) for k in ("mean", "answer_mean", "last")}
    return replace(parts[0], **vectors, tokens=sum(p.tokens for p in parts))
