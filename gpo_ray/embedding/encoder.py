"""Questions as vectors: a frozen language model encodes (prompt, response) pairs.

A prompt with all its responses, and a survey's questions with the chat template, are texts that begin alike,
which the language model reads once (:mod:`gpo_ray.lm.model`). Two more poolings, of each response after the
prompt alone, ask for a word on the opinion and on who holds it.

Shapes: R responses, L tokens of a row of texts, E width.
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
    """Whether a pooling, or one of several joined by ``+``, is not of the first reading."""
    return not READINGS.keys().isdisjoint(pooling.split("+"))


@dataclass(frozen=True)
class EncodedQuestion:
    """The vectors of one question's R responses; all arrays float32.

    ``mean`` averages the last hidden layer over prompt and response (paper appendix D),
    ``answer_mean`` over the response's tokens, ``last`` is the response's last token, ``opinion`` and
    ``person`` are the last tokens of their readings (None where not read): each (R, E).
    ``letter_logprob`` (R,): log-probability of each option letter as the first token of the answer,
    normalised over the question's letters. (Beyond Z, letters that a tokenizer splits share the
    probability of their first token.)
    """

    mean: NDArray[np.float32]
    answer_mean: NDArray[np.float32]
    last: NDArray[np.float32]
    letter_logprob: NDArray[np.float32]
    tokens: int
    """Tokens the language model processed for it; those shared with other questions count for one of them."""
    opinion: NDArray[np.float32] | None = None
    person: NDArray[np.float32] | None = None

    def pooled(self, pooling: str) -> NDArray[np.float32]:
        """(R, E) the vectors of one of ``POOLINGS``, or of several, joined by ``+``, end to end."""
        return np.concatenate([getattr(self, part) for part in pooling.split("+")], axis=1)


class Encoder:
    """Encodes questions with a frozen language model.

    Args:
        source: the model, from :func:`gpo_ray.lm.find.find_model`.
        dtype: what the model computes in; results are float32.
        device: ``cpu``, ``cuda`` or None to take a GPU when there is one.
        gpus: with more than one, the model's layers are spread over the visible GPUs.
        batch_tokens: as for :class:`~gpo_ray.lm.model.LanguageModel`.
        readings: whether to read everything again for the poolings ``opinion`` and ``person``; about as
            many tokens more.
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
        """E, of the vectors of a single pooling."""
        return self.language_model.width

    def prompt_tokens(self, slate: Slate) -> list[int]:
        """Token ids of a question in the model's own chat template, generation prompt added."""
        return self.language_model.chat_tokens(instruction(*slate))

    def response_tokens(self, slate: Slate) -> list[list[int]]:
        """Token ids of each response, letter included."""
        return self.language_model.tokens([response_text(i, r) for i, r in enumerate(slate[1])])

    def opinion_tokens(self, slate: Slate) -> Text:
        """Token ids of the question, and of what follows it, reading by reading."""
        endings = [opinion_ending(r, reading) for reading in READINGS for r in slate[1]]
        stem = self.language_model.opening_tokens(opinion_stem(slate[0]))
        return Text(stem, self.language_model.tokens(endings))

    def count_tokens(self, slate: Slate) -> int:
        """Tokens that the model reads for a question alone."""
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
        """As :meth:`encode`, with the error in the place of a question that is too long."""
        tokens = [self._tokens(s) for s in slates]
        able = [(s, t) for s, t in zip(slates, tokens, strict=True) if not isinstance(t, EmbeddingError)]
        encoded = iter(self._encode([s for s, _ in able], [t for _, t in able]))
        return [t if isinstance(t, EmbeddingError) else next(encoded) for t in tokens]

    def _encode(self, slates: Sequence[Slate], texts: Sequence[Text]) -> list[EncodedQuestion]:
        encoded = self._read(texts)
        if not self._readings:
            return encoded
        again = self._read([self.opinion_tokens(s) for s in slates])  # shorter than the first reading
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
        """The questions of a row that was read."""
        import torch

        row, seen, stem = read.row, read.seen, read.stem
        ends = np.concatenate(row.response_ends)
        text = seen[ends]  # (R, L) the tokens of each response's text
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
    """A question whose responses were read one by one."""
    vectors = {k: np.concatenate([getattr(p, k) for p in parts]) for k in ("mean", "answer_mean", "last")}
    return replace(parts[0], **vectors, tokens=sum(p.tokens for p in parts))
