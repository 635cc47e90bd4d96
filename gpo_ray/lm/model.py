"""Read texts with the frozen language model, which gives hidden states and logits.

A common beginning of several texts runs through the model once (:mod:`gpo_ray.lm.prefix_tree`). For a causal
model this is exact, and it takes several times fewer tokens than reading each text separately.

Shapes: L tokens of a row of texts, E width.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpo_ray.lm.find import ModelSource
from gpo_ray.lm.load import load
from gpo_ray.lm.prefix_tree import Row, Text, common_prefix, plan_rows
from gpo_ray.lm.tokenizer import Tokenizer, longest_text
from gpo_ray.runtime.resources import device_of

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
V = TypeVar("V")
ROW_TOKENS = 256
"""Maximum number of tokens of a row. In longer rows more texts would share their beginning, but attention is
computed between all tokens of a row, and between tokens of different texts this is wasted."""
CPU_BATCH_TOKENS = 256
"""Maximum number of tokens of a forward pass on a CPU; the activations of more tokens do not fit into its
caches."""

logger = logging.getLogger(__name__)


class Stem(NamedTuple):
    """The common beginning of all texts: its keys and values, its summed hidden states (E,), its length."""

    cache: Any
    total: torch.Tensor
    length: int


@dataclass(frozen=True)
class ReadRow:
    """A row of texts that was read.

    ``hidden`` (L, E) are the states of the last layer, after the final norm. ``visible`` (L, L), on the same
    device, is the result of :meth:`Row.visible`. ``texts`` are the row's texts, in its order, each with all
    of its responses. ``stem`` is the common beginning that precedes the row, None if there is none.
    """

    row: Row
    texts: list[Text]
    visible: torch.Tensor
    hidden: torch.Tensor
    stem: Stem | None


class LanguageModel(Tokenizer):
    """A frozen causal language model and its tokenizer.

    Args:
        source: the model, from :func:`gpo_ray.lm.find.find_model`.
        dtype: data type in which the model computes.
        device: ``cpu``, ``cuda`` or None to use a GPU if there is one.
        gpus: number of GPUs; with more than one, the model's layers are spread over the visible GPUs.
        batch_tokens: maximum number of padded tokens of a forward pass, which limits memory; on a CPU at most
            ``CPU_BATCH_TOKENS``.

    Raises:
        EmbeddingError: if the model cannot be loaded; see :func:`gpo_ray.lm.load.load`.
    """

    def __init__(
        self,
        source: ModelSource,
        dtype: str = "float32",
        device: str | None = None,
        gpus: float = 0,
        batch_tokens: int = 4096,
    ) -> None:
        import torch

        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        tokenizer, self.model = load(source, dtype, device, gpus)
        """The model itself, of transformers."""
        super().__init__(tokenizer, longest_text(self.model.config))
        self._device = self.model.get_input_embeddings().weight.device
        self._head = self.model.get_output_embeddings()
        self._softcap = getattr(self.model.config, "final_logit_softcapping", None)
        on_cpu = self._device.type == "cpu"
        self._batch_tokens = min(batch_tokens, CPU_BATCH_TOKENS) if on_cpu else batch_tokens
        self._row_tokens = min(ROW_TOKENS, batch_tokens)
        self.width = int(self.model.get_input_embeddings().weight.shape[1])
        """Width E of the hidden states."""
        self.alone = False
        """Whether each text is read separately, because the model cannot share a common beginning of
        texts."""
        self.alone = not self._reads_trees()
        if self.alone:
            logger.warning("%s: it cannot share what texts begin with, so embedding is slower", source.name)

    def read(self, texts: Sequence[Text], pool: Callable[[ReadRow], Sequence[V]]) -> tuple[list[V], int]:
        """Read texts.

        Args:
            texts: the texts to read.
            pool: function that returns, for a row that was read, the value to keep for each of its texts, in
                the row's order.

        Returns:
            The value for each text, in the order given, and the number of tokens of the common beginning of
            all texts that was read once.
        """
        import torch

        with torch.inference_mode():
            return self._read_trees(texts, pool)

    def plan(self, texts: Sequence[Text]) -> tuple[int, list[list[Row]]]:
        """Plan how :meth:`read` reads texts.

        Returns:
            The number of tokens of the common beginning of all texts that is read once, and the rows of each
            forward pass after it.
        """
        rows = plan_rows(texts, 0, self._row_tokens)
        shared = common_prefix(texts) if len(rows) > 1 else 0
        if shared:
            rows = plan_rows(texts, shared, self._row_tokens)
        return shared, list(self._batches(rows))

    def reads_alone(self, texts: Sequence[Text]) -> bool:
        """Return whether these texts have to be read by :meth:`read_alone`."""
        return self.alone or self._outgrows_window(texts)

    def read_alone(self, texts: Sequence[Text], pool: Callable[[ReadRow], Sequence[V]]) -> list[list[V]]:
        """Read each response separately, with its whole prompt.

        Args:
            texts: the texts to read.
            pool: as for :meth:`read`; each row holds one text with one of its responses.

        Returns:
            For each text, the values for each of its responses.
        """
        import torch

        def read(text: Text) -> list[V]:
            return [pool(self._read_response(text, response))[0] for response in text.responses]

        with torch.inference_mode():
            return self._each(read, texts)

    def _read_response(self, text: Text, response: list[int]) -> ReadRow:
        import torch

        row = Row()
        row.add(0, Text(text.prompt, [response]), 0)
        ids = self._on_device([row.ids])
        hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return ReadRow(row, [text], torch.from_numpy(row.visible()).to(hidden.device), hidden[0], None)

    def _read_trees(
        self, texts: Sequence[Text], pool: Callable[[ReadRow], Sequence[V]]
    ) -> tuple[list[V], int]:
        shared, batches = self.plan(texts)
        stem = self._read_stem(texts[0].prompt[:shared]) if shared else None

        def read(batch: list[Row]) -> dict[int, V]:
            found: dict[int, V] = {}
            for done in self._read_rows(texts, batch, stem):
                found |= zip(done.row.texts, pool(done), strict=True)
            return found

        results: dict[int, V] = {}
        for found in self._each(read, batches):
            results |= found
        return [results[i] for i in range(len(texts))], stem.length if stem else 0

    def _each(self, read: Callable[[T], V], items: Sequence[T]) -> list[V]:
        """Do several forward passes; on a CPU, do them at the same time with a thread or more for each.

        A pass over one row of 256 tokens consists of many small products, and threads that share a product
        wait for one another each time.
        """
        import torch

        threads = torch.get_num_threads()
        side = min(threads, len(items)) if self._device.type == "cpu" else 1
        if side <= 1:
            return [read(i) for i in items]

        def read_inferring(item: T) -> V:
            with torch.inference_mode():  # this mode is set for each thread separately
                return read(item)

        try:
            with ThreadPoolExecutor(
                side, initializer=torch.set_num_threads, initargs=(threads // side,)
            ) as pool:
                return list(pool.map(read_inferring, items))
        finally:
            torch.set_num_threads(threads)  # some libraries have one setting for all threads

    def _read_stem(self, ids: list[int]) -> Stem:
        out = self.model.base_model(input_ids=self._on_device([ids]), use_cache=True)
        return Stem(out.past_key_values, out.last_hidden_state[0].float().sum(0), len(ids))

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Yield batches of rows of similar length, so that little padding is needed."""
        batch: list[Row] = []
        for row in sorted(rows, key=lambda row: -len(row.ids)):
            if batch and (len(batch) + 1) * len(batch[0].ids) > self._batch_tokens:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _read_rows(self, texts: Sequence[Text], rows: Sequence[Row], stem: Stem | None) -> Iterator[ReadRow]:
        """Read some rows in one forward pass."""
        import torch

        before, longest = (stem.length if stem else 0), max(len(row.ids) for row in rows)
        ids = np.zeros((len(rows), longest), np.int64)
        sees = np.zeros((len(rows), longest, before + longest), bool)
        sees[:, :, : max(before, 1)] = True  # padding tokens must see at least one token
        for i, row in enumerate(rows):
            n = len(row.ids)
            ids[i, :n] = row.ids
            sees[i, :n, before : before + n] = row.visible()
        visible = self._on_device(sees)
        positions = (visible.sum(-1) - 1).clamp(min=0)
        mask = torch.zeros(visible.shape, dtype=self.model.dtype, device=self._device)
        mask.masked_fill_(~visible, torch.finfo(self.model.dtype).min)
        arguments = {}
        if stem is not None:
            arguments["past_key_values"] = cache = copy.deepcopy(stem.cache)
            cache.batch_repeat_interleave(len(rows))
        hidden = self.model.base_model(
            input_ids=self._on_device(ids),
            attention_mask=mask[:, None],
            position_ids=positions,
            use_cache=stem is not None,
            **arguments,
        ).last_hidden_state
        for row, states, own in zip(rows, hidden, visible.to(hidden.device), strict=True):
            n = len(row.ids)
            yield ReadRow(row, [texts[i] for i in row.texts], own[:n, before : before + n], states[:n], stem)

    def _reads_trees(self) -> bool:
        """Return whether the model gives the same states for texts in a tree as for each text separately.

        Not all architectures accept such masks, and some ignore them.
        """
        texts = [Text([5, 6, 7, 8], [[9, 10], [11]]), Text([5, 6, 9], [[10], [12, 7]])]
        whole, near = self._row_tokens, 1e-4 if self.model.dtype.itemsize == 4 else 0.1
        try:
            self._row_tokens = 1  # makes two rows with a common beginning
            found, _ = self.read(texts, last_states)
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
            return False
        finally:
            self._row_tokens = whole
        alone = [np.concatenate(each) for each in self.read_alone(texts, last_states)]
        pairs = zip(found, alone, strict=True)
        return all(np.abs(f - w).max() <= near * np.abs(w).max() for f, w in pairs)

    def _on_device(self, ids: Any) -> torch.Tensor:
        import torch

        return torch.as_tensor(ids).to(self._device)

    def _outgrows_window(self, texts: Sequence[Text]) -> bool:
        window = self.window
        return window is not None and any(len(t.prompt) + max(map(len, t.responses)) > window for t in texts)

    @property
    def window(self) -> int | None:
        """Number of tokens that attention reaches back; None if it has no such limit."""
        config = self.model.config
        window: int | None = getattr(config, "sliding_window", None)
        return window if getattr(config, "use_sliding_window", True) else None

    def logits(self, hidden: torch.Tensor, tokens: list[int] | None = None) -> torch.Tensor:
        """Return the logits of the next token after hidden states.

        Args:
            hidden: hidden states (..., E).
            tokens: the tokens whose logits are returned, by default the whole vocabulary.

        Returns:
            float32 logits (..., number of tokens), on the device of the model's output layer.
        """
        import torch

        head = self._head
        hidden = hidden.to(head.weight.device)
        if type(head) is torch.nn.Linear and tokens is not None:
            # the whole vocabulary would take as long as reading many tokens
            some = torch.tensor(tokens, device=hidden.device)
            bias = None if head.bias is None else head.bias[some]
            logits = torch.nn.functional.linear(hidden, head.weight[some], bias).float()
        else:
            logits = head(hidden).float()
            logits = logits if tokens is None else logits[..., tokens]
        if self._softcap:
            logits = self._softcap * (logits / self._softcap).tanh()
        return logits


_shared: dict[tuple[ModelSource, str, float], LanguageModel] = {}
"""The model that :func:`shared_model` returned last, by its arguments."""


def shared_model(source: ModelSource, dtype: str = "float32", gpus: float = 0) -> LanguageModel:
    """Return a model that this process keeps for later calls, until another model is asked for.

    Args:
        source: the model, from :func:`gpo_ray.lm.find.find_model`.
        dtype: data type in which the model computes.
        gpus: number of GPUs, as for :class:`LanguageModel`; the model is on the CPU if it is 0.

    Raises:
        EmbeddingError: if the model cannot be loaded.
    """
    key = (source, dtype, gpus)
    if key not in _shared:
        _shared.clear()  # before loading, since two models may not fit into memory
        _shared[key] = LanguageModel(source, dtype, device_of(gpus), gpus)
    return _shared[key]


def last_states(read: ReadRow) -> list[NDArray[np.float32]]:
    """Return, for each text of a row, the states (R, E) at the ends of its responses."""
    states = read.hidden.float().cpu().numpy()
    return [states[ends] for ends in read.row.response_ends]
