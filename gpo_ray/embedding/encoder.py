"""A frozen causal language model as encoder of (prompt, response) pairs.

What texts begin with alike, a prompt with all its responses and a survey's questions with the chat template,
runs once: exact for a causal model, and several times fewer tokens than one text per response. Two more
readings, of each response after the prompt alone, ask for a word on the opinion and on who holds it.

Shapes: R responses, L tokens of a row of texts, E width.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpo_ray.embedding.prefix_tree import Row, Text, common_prefix, plan_rows
from gpo_ray.embedding.template import READINGS, instruction, opinion_ending, opinion_stem, response_text
from gpo_ray.errors import EmbeddingError, QuestionTooLongError
from gpo_ray.lm.find import ModelSource
from gpo_ray.lm.load import load

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
V = TypeVar("V")
POOLINGS = ("mean", "answer_mean", "last", *READINGS)
Slate = tuple[str, Sequence[str]]  # a prompt and its responses
ROW_TOKENS = 256
"""More would let more questions share what they begin with, but tokens of unlike ones meet in vain."""
CPU_BATCH_TOKENS = 256
"""Of a forward pass on a CPU: what it makes of more falls out of the caches, and its pages come and go."""

logger = logging.getLogger(__name__)


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


class _Stem(NamedTuple):
    """What all texts begin with: its keys and values, the sum of its hidden states (E,), and its length."""

    cache: Any
    total: torch.Tensor
    length: int


class Encoder:
    """Encodes questions with a frozen language model.

    Args:
        source: the model, from :func:`gpo_ray.lm.find.find_model`.
        dtype: what the model computes in; results are float32.
        device: ``cpu``, ``cuda`` or None to take a GPU when there is one.
        gpus: with more than one, the model's layers are spread over the visible GPUs.
        batch_tokens: most padded tokens per forward pass, which bounds memory; on a CPU no more than
            ``CPU_BATCH_TOKENS``.
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
        on_cpu = self._device.type == "cpu"
        self._batch_tokens = min(batch_tokens, CPU_BATCH_TOKENS) if on_cpu else batch_tokens
        self._row_tokens = min(ROW_TOKENS, batch_tokens)
        self._readings = readings
        self.width = int(self._model.get_input_embeddings().weight.shape[1])
        self._alone = False  # whether each text is read by itself
        self._alone = not self._reads_trees()
        if self._alone:
            logger.warning("%s: it cannot share what texts begin with, so embedding is slower", source.name)

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

    def opinion_tokens(self, slate: Slate) -> Text:
        """Token ids of the question, and of what follows it, reading by reading."""
        stem = self._tokenizer(opinion_stem(slate[0]), add_special_tokens=True)["input_ids"]
        endings = [opinion_ending(r, reading) for reading in READINGS for r in slate[1]]
        return Text([int(i) for i in stem], self._plain_tokens(endings))

    def count_tokens(self, slate: Slate) -> int:
        """Tokens that the model reads for a question alone."""
        texts = [Text(self.prompt_tokens(slate), self.response_tokens(slate))]
        if self._readings:
            texts.append(self.opinion_tokens(slate))
        if self._alone:
            return sum(len(t.prompt) + len(r) for t in texts for r in t.responses)
        return sum(len(t.prompt) + sum(map(len, t.responses)) for t in texts)

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
        limit = getattr(self._model.config, "max_position_embeddings", None)
        longest = len(prompt) + max(len(ids) for ids in responses)
        if limit and longest > limit:
            return QuestionTooLongError(slate[0], f"{longest} tokens, the model reads at most {limit}")
        return Text(prompt, responses)

    def _read(self, texts: Sequence[Text]) -> list[EncodedQuestion]:
        import torch

        with torch.inference_mode():
            if self._alone or self._outgrows_window(texts):
                return self._each(self._read_alone, texts)
            return self._read_trees(texts)

    def _read_trees(self, texts: Sequence[Text]) -> list[EncodedQuestion]:
        results: dict[int, EncodedQuestion] = {}
        rows = plan_rows(texts, 0, self._row_tokens)
        stem: _Stem | None = None
        if len(rows) > 1 and (shared := common_prefix(texts)):
            stem = self._read_stem(texts[0].prompt[:shared])
            rows = plan_rows(texts, shared, self._row_tokens)
        for found in self._each(lambda batch: self._read_rows(texts, batch, stem), list(self._batches(rows))):
            results |= found
        encoded = [results[i] for i in range(len(texts))]
        if stem is not None:
            encoded[0] = replace(encoded[0], tokens=encoded[0].tokens + stem.length)
        return encoded

    def _each(self, read: Callable[[T], V], items: Sequence[T]) -> list[V]:
        """Several forward passes; on a CPU side by side, a thread each.

        A pass over one row of 256 tokens is many small products, at each of which threads that share it wait
        for one another.
        """
        import torch

        threads = torch.get_num_threads()
        side = min(threads, len(items)) if self._device.type == "cpu" else 1
        if side <= 1:
            return [read(i) for i in items]

        def read_inferring(item: T) -> V:
            with torch.inference_mode():  # which is a thread's own
                return read(item)

        try:
            with ThreadPoolExecutor(
                side, initializer=torch.set_num_threads, initargs=(threads // side,)
            ) as pool:
                return list(pool.map(read_inferring, items))
        finally:
            torch.set_num_threads(threads)  # some libraries have one number for all threads

    def _read_alone(self, text: Text) -> EncodedQuestion:
        """Each response with the whole prompt, as the plain recipe has it."""
        letters = [r[0] for r in text.responses]
        parts = []
        for response in text.responses:
            row = Row()
            row.add(0, Text(text.prompt, [response]), 0)
            ids = self._on_device([row.ids])
            hidden = self._model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            parts.append(self._pool(row, row.seen(), hidden[0], None, [letters])[0])
        joined = {k: np.concatenate([getattr(p, k) for p in parts]) for k in ("mean", "answer_mean", "last")}
        return replace(parts[0], **joined, tokens=sum(p.tokens for p in parts))

    def _read_stem(self, ids: list[int]) -> _Stem:
        out = self._model.base_model(input_ids=self._on_device([ids]), use_cache=True)
        return _Stem(out.past_key_values, out.last_hidden_state[0].float().sum(0), len(ids))

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Rows of similar length together, so that little is padded."""
        batch: list[Row] = []
        for row in sorted(rows, key=lambda row: -len(row.ids)):
            if batch and (len(batch) + 1) * len(batch[0].ids) > self._batch_tokens:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _read_rows(
        self, texts: Sequence[Text], rows: Sequence[Row], stem: _Stem | None
    ) -> dict[int, EncodedQuestion]:
        """The questions of some rows, by number, in one forward pass."""
        import torch

        before, longest = (stem.length if stem else 0), max(len(row.ids) for row in rows)
        ids = np.zeros((len(rows), longest), np.int64)
        seen = np.zeros((len(rows), longest, before + longest), bool)
        seen[:, :, : max(before, 1)] = True  # padding must see something
        for i, row in enumerate(rows):
            n = len(row.ids)
            ids[i, :n] = row.ids
            seen[i, :n, before : before + n] = row.seen()
        positions = np.maximum(seen.sum(-1) - 1, 0)
        mask = torch.zeros(seen.shape, dtype=self._model.dtype)
        mask.masked_fill_(torch.from_numpy(~seen), torch.finfo(self._model.dtype).min)
        arguments = {}
        if stem is not None:
            arguments["past_key_values"] = cache = copy.deepcopy(stem.cache)
            cache.batch_repeat_interleave(len(rows))
        hidden = self._model.base_model(
            input_ids=self._on_device(ids),
            attention_mask=mask[:, None].to(self._device),
            position_ids=self._on_device(positions),
            use_cache=stem is not None,
            **arguments,
        ).last_hidden_state
        results: dict[int, EncodedQuestion] = {}
        for row, states, sees in zip(rows, hidden, seen, strict=True):
            n, letters = len(row.ids), [[r[0] for r in texts[i].responses] for i in row.texts]
            pooled = self._pool(row, sees[:n, before : before + n], states[:n], stem, letters)
            results |= zip(row.texts, pooled, strict=True)
        return results

    def _pool(
        self,
        row: Row,
        seen: NDArray[np.bool_],
        hidden: torch.Tensor,
        stem: _Stem | None,
        letters: list[list[int]],
    ) -> list[EncodedQuestion]:
        """The questions of a row from its hidden states (L, E); ``seen`` as :meth:`Row.seen` gives it."""
        import torch

        ends = np.concatenate(row.response_ends)
        text = seen[ends]  # (R, L) the tokens of each response's text
        answer = text & ~seen[np.repeat(row.prompt_end, [len(e) for e in row.response_ends])]
        length, states = (stem.length if stem else 0), hidden.float()

        def total(which: NDArray[np.bool_]) -> torch.Tensor:
            return torch.from_numpy(which).to(states) @ states

        def count(which: NDArray[np.bool_]) -> torch.Tensor:
            return torch.from_numpy(which.sum(1, keepdims=True)).to(states)

        whole = (total(text) + (stem.total if stem else 0)) / (length + count(text))
        pooled = [p.cpu().numpy() for p in (whole, total(answer) / count(answer), states[ends])]
        cuts = np.cumsum([len(e) for e in row.response_ends])[:-1]
        parts = zip(*(np.split(p, cuts) for p in pooled), strict=True)
        logits = [self._logits(hidden[end], some) for end, some in zip(row.prompt_end, letters, strict=True)]
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

    def _reads_trees(self) -> bool:
        """Whether the model gives in trees what it gives for each text alone.

        Not all architectures take such masks, and some ignore them.
        """
        texts = [Text([5, 6, 7, 8], [[9, 10], [11]]), Text([5, 6, 9], [[10], [12, 7]])]
        whole, near = self._row_tokens, 1e-4 if self._model.dtype.itemsize == 4 else 0.1
        try:
            self._row_tokens = 1  # so that there are two rows, and what they begin with
            found = self._read(texts)
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
            return False
        finally:
            self._row_tokens, self._alone = whole, True
        pairs = zip(found, self._read(texts), strict=True)
        return all(np.abs(f.mean - w.mean).max() <= near * np.abs(w.mean).max() for f, w in pairs)

    def _on_device(self, ids: Any) -> torch.Tensor:
        import torch

        return torch.as_tensor(ids).to(self._device)

    def _outgrows_window(self, texts: Sequence[Text]) -> bool:
        config = self._model.config
        window = getattr(config, "sliding_window", None)
        if window is None or not getattr(config, "use_sliding_window", True):
            return False
        return any(len(t.prompt) + max(map(len, t.responses)) > window for t in texts)

    def _logits(self, hidden: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        """Of some tokens (R,), after a hidden state (E,)."""
        import torch

        head = self._head
        hidden = hidden.to(head.weight.device)
        if type(head) is torch.nn.Linear:  # the whole vocabulary would take as long as many tokens of text
            some = torch.tensor(tokens, device=hidden.device)
            bias = None if head.bias is None else head.bias[some]
            logits = torch.nn.functional.linear(hidden, head.weight[some], bias).float()
        else:
            logits = head(hidden)[tokens].float()
        if self._softcap:
            logits = self._softcap * (logits / self._softcap).tanh()
        return logits
