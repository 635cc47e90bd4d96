"""A frozen causal language model as encoder of (prompt, response) pairs.

The prompt runs once per question and its keys and values serve all responses: exact for a causal
model, and several times fewer tokens than one text per response. Two more readings, of each response
after the prompt alone, ask for a word on the opinion and on who holds it.

Shapes: Q questions, R responses of all of them, P prompt tokens, A response tokens, E width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpo_ray.embedding.language_model import ModelSource, load
from gpo_ray.embedding.template import READINGS, instruction, opinion_ending, opinion_stem, response_text
from gpo_ray.errors import EmbeddingError, QuestionTooLongError

if TYPE_CHECKING:
    import torch

POOLINGS = ("mean", "answer_mean", "last", *READINGS)
Slate = tuple[str, Sequence[str]]  # a prompt and its responses
_Tokens = tuple[list[int], list[list[int]]]  # of a prompt and of its responses


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
    """Tokens the language model processed for it."""
    opinion: NDArray[np.float32] | None = None
    person: NDArray[np.float32] | None = None

    def pooled(self, pooling: str) -> NDArray[np.float32]:
        """(R, E) the vectors of one of ``POOLINGS``, or of several, joined by ``+``, end to end."""
        return np.concatenate([getattr(self, part) for part in pooling.split("+")], axis=1)


class Encoder:
    """Encodes questions with a frozen language model.

    Args:
        source: the model, from :func:`gpo_ray.embedding.language_model.find_model`.
        dtype: what the model computes in; results are float32.
        device: ``cpu``, ``cuda`` or None to take a GPU when there is one.
        gpus: with more than one, the model's layers are spread over the visible GPUs.
        batch_tokens: padded tokens per forward pass, which bounds memory.
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
        import torch

        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer, self._model = load(source, dtype, device, gpus)
        self._device = self._model.get_input_embeddings().weight.device
        self._head = self._model.get_output_embeddings()
        self._softcap = getattr(self._model.config, "final_logit_softcapping", None)
        self._batch_tokens = batch_tokens
        self._readings = readings
        self.width = int(self._model.get_input_embeddings().weight.shape[1])

    def prompt_tokens(self, slate: Slate) -> list[int]:
        """Token ids of a question in the model's own chat template, generation prompt added."""
        text = instruction(*slate)
        if getattr(self._tokenizer, "chat_template", None):
            turn = [{"role": "user", "content": text}]
            text = self._tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
            ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        else:  # a base model: plain text, answer on the next line
            ids = self._tokenizer(text + "\n", add_special_tokens=True)["input_ids"]
        return [int(i) for i in ids]

    def response_tokens(self, slate: Slate) -> list[list[int]]:
        """Token ids of each response, letter included."""
        return self._plain_tokens([response_text(i, r) for i, r in enumerate(slate[1])])

    def opinion_tokens(self, slate: Slate) -> _Tokens:
        """Token ids of the question, and of what follows it, reading by reading."""
        stem = self._tokenizer(opinion_stem(slate[0]), add_special_tokens=True)["input_ids"]
        endings = [opinion_ending(r, reading) for reading in READINGS for r in slate[1]]
        return [int(i) for i in stem], self._plain_tokens(endings)

    def _plain_tokens(self, texts: list[str]) -> list[list[int]]:
        return [
            [int(i) for i in ids] for ids in self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        ]

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

    def _encode(self, slates: Sequence[Slate], tokens: Sequence[_Tokens]) -> list[EncodedQuestion]:
        encoded = self._run(tokens)
        if not self._readings:
            return encoded
        again = self._run([self.opinion_tokens(s) for s in slates])  # shorter than the first reading
        both = []
        for e, o in zip(encoded, again, strict=True):
            parts = np.split(o.last, len(READINGS))
            both.append(replace(e, tokens=e.tokens + o.tokens, **dict(zip(READINGS, parts, strict=True))))
        return both

    def _tokens(self, slate: Slate) -> _Tokens | EmbeddingError:
        prompt, responses = self.prompt_tokens(slate), self.response_tokens(slate)
        limit = getattr(self._model.config, "max_position_embeddings", None)
        longest = len(prompt) + max(len(ids) for ids in responses)
        if limit and longest > limit:
            return QuestionTooLongError(slate[0], f"{longest} tokens, the model reads at most {limit}")
        return prompt, responses

    def _run(self, tokens: Sequence[_Tokens]) -> list[EncodedQuestion]:
        import torch

        prompts, responses = [p for p, _ in tokens], [r for _, r in tokens]
        results: list[EncodedQuestion | None] = [None] * len(tokens)
        with torch.inference_mode():
            for batch in self._batches(prompts, responses):
                encoded = self._encode_batch([prompts[i] for i in batch], [responses[i] for i in batch])
                for i, e in zip(batch, encoded, strict=True):
                    results[i] = e
        return [r for r in results if r is not None]

    def _batches(self, prompts: list[list[int]], responses: list[list[list[int]]]) -> Iterator[list[int]]:
        """Questions of similar length together, so that little is padded."""
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        if self._outgrows_window(prompts, responses):  # padding would count towards the window
            yield from ([i] for i in order)
            return
        batch: list[int] = []
        rows = longest = 0
        for i in order:
            rows_after = rows + len(responses[i])
            width = max(longest, len(prompts[i]) + max(len(r) for r in responses[i]))
            if batch and rows_after * width > self._batch_tokens:
                yield batch
                batch, rows_after = [], len(responses[i])
                width = len(prompts[i]) + max(len(r) for r in responses[i])
            batch.append(i)
            rows, longest = rows_after, width
        if batch:
            yield batch

    def _outgrows_window(self, prompts: list[list[int]], responses: list[list[list[int]]]) -> bool:
        config = self._model.config
        window = getattr(config, "sliding_window", None)
        if window is None or not getattr(config, "use_sliding_window", True):
            return False
        texts = zip(prompts, responses, strict=True)
        return any(len(p) + max(len(ids) for ids in r) > window for p, r in texts)

    def _encode_batch(
        self, prompts: list[list[int]], responses: list[list[list[int]]]
    ) -> list[EncodedQuestion]:
        import torch

        ids, mask = _pad(prompts, self._device)
        out = self._model.base_model(input_ids=ids, attention_mask=mask, use_cache=True)
        hidden = out.last_hidden_state  # (Q, P, E)
        at_end = hidden[torch.arange(len(prompts), device=hidden.device), mask.sum(1) - 1]
        prompt_sum = (hidden.float() * mask[..., None]).sum(1)  # (Q, E)
        logits = self._logits(at_end)
        sizes = [len(r) for r in responses]
        pooled = self._encode_responses(out.past_key_values, mask, prompt_sum, responses)
        encoded, start = [], 0
        for q, size in enumerate(sizes):
            rows = slice(start, start + size)
            letters = torch.tensor([r[0] for r in responses[q]], device=logits.device)
            encoded.append(
                EncodedQuestion(
                    mean=pooled[0][rows],
                    answer_mean=pooled[1][rows],
                    last=pooled[2][rows],
                    letter_logprob=logits[q, letters].log_softmax(0).cpu().numpy(),
                    tokens=len(prompts[q]) + sum(len(r) for r in responses[q]),
                )
            )
            start += size
        return encoded

    def _encode_responses(
        self,
        cache: Any,
        prompt_mask: torch.Tensor,
        prompt_sum: torch.Tensor,
        responses: list[list[list[int]]],
    ) -> list[NDArray[np.float32]]:
        """Mean, answer mean and last hidden state of all responses, each (R, E)."""
        import torch

        owner = torch.tensor([q for q, r in enumerate(responses) for _ in r], device=self._device)
        ids, mask = _pad([r for rs in responses for r in rs], self._device)
        prompt_length = prompt_mask.sum(1)[owner]
        cache.batch_select_indices(owner)
        hidden = self._model.base_model(
            input_ids=ids,
            attention_mask=torch.cat([prompt_mask[owner], mask], 1),
            position_ids=prompt_length[:, None] + torch.arange(ids.shape[1], device=self._device),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state.float()  # (R, A, E)
        length = mask.sum(1, keepdim=True)  # (R, 1)
        answer_sum = (hidden * mask[..., None]).sum(1)
        pooled = [
            (prompt_sum[owner] + answer_sum) / (prompt_length[:, None] + length),
            answer_sum / length,
            hidden[torch.arange(len(owner), device=hidden.device), length[:, 0] - 1],
        ]
        return [p.cpu().numpy() for p in pooled]

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = self._head(hidden.to(self._head.weight.device)).float()
        if self._softcap:
            logits = self._softcap * (logits / self._softcap).tanh()
        return logits


def _pad(rows: list[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded token ids and the mask of real ones, each (rows, longest)."""
    import torch

    longest = max(len(r) for r in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids.to(device), mask.to(device)
