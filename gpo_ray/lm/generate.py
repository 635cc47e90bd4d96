"""Generate replies with the frozen language model: greedily, or sampled with a seed of their own.

Shapes: B prompts of a batch, L tokens of the longest, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpo_ray.lm.model import LanguageModel

if TYPE_CHECKING:
    import torch

BATCH = 16
"""Most prompts that are answered at the same time."""


@dataclass(frozen=True)
class Reply:
    """What a language model said."""

    text: str
    whole: bool
    """Whether the model ended it, rather than the limit of tokens."""
    tokens: int
    """Number of tokens of the prompt and the reply."""


def generate(
    model: LanguageModel,
    prompts: Sequence[list[int]],
    most_tokens: Sequence[int],
    temperature: float = 0.0,
    seeds: Sequence[int] | None = None,
) -> list[Reply]:
    """Return the model's reply to each prompt.

    A reply depends on its prompt, limit, temperature and seed alone, and not on which others are generated
    beside it (up to rounding).

    Args:
        model: the language model.
        prompts: prompts as token ids.
        most_tokens: the most tokens of each reply.
        temperature: 0 takes the most probable token each time.
        seeds: a seed for each prompt, needed at another temperature.
    """
    import torch

    given = list(seeds) if seeds is not None else [0] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: dict[int, Reply] = {}
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            batch = _Batch(
                model, [prompts[i] for i in some], [most_tokens[i] for i in some], [given[i] for i in some]
            )
            found |= zip(some, batch.run(temperature), strict=True)
    return [found[i] for i in range(len(prompts))]


class _Batch:
    """Prompts that are answered together, padded on the left."""

    def __init__(
        self, model: LanguageModel, prompts: list[list[int]], limits: list[int], seeds: list[int]
    ) -> None:
        import torch

        self._model, self._prompts, self._limits = model, prompts, limits
        self._replies: list[list[int]] = [[] for _ in prompts]
        self._ended = [False] * len(prompts)
        self._stops = _stops(model)
        # on the CPU, so that a seed gives the same reply on every device
        self._random = [torch.Generator().manual_seed(seed) for seed in seeds]

    def run(self, temperature: float) -> Iterator[Reply]:
        """Generate until every reply has ended, and yield the replies in the order of the prompts."""
        import torch

        longest = max(map(len, self._prompts))
        pads = [longest - len(p) for p in self._prompts]
        device = self._model.model.get_input_embeddings().weight.device
        ids = torch.tensor([[0] * n + p for n, p in zip(pads, self._prompts, strict=True)], device=device)
        mask = torch.tensor([[0] * n + [1] * (longest - n) for n in pads], device=device)
        cache: Any = None
        for _ in range(max(self._limits)):
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            out = self._model.model.base_model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
            cache = out.past_key_values
            chosen = self._take(self._model.logits(out.last_hidden_state[:, -1]), temperature)
            if all(map(self._done, range(len(self._prompts)))):
                break
            ids = torch.tensor(chosen, device=device)[:, None]
            mask = torch.cat([mask, mask.new_ones((len(chosen), 1))], 1)
        for prompt, reply, ended in zip(self._prompts, self._replies, self._ended, strict=True):
            yield Reply(self._model.text_of(reply), ended, len(prompt) + len(reply))

    def _done(self, i: int) -> bool:
        return self._ended[i] or len(self._replies[i]) >= self._limits[i]

    def _take(self, logits: torch.Tensor, temperature: float) -> list[int]:
        """Choose the next token of each reply from logits (B, V), and add it to those that go on."""
        import torch

        if temperature == 0:
            chosen = [int(i) for i in logits.argmax(-1)]
        else:
            shares = (logits.float() / temperature).softmax(-1).cpu()
            drawn = zip(shares, self._random, strict=True)
            chosen = [int(torch.multinomial(p, 1, generator=random)) for p, random in drawn]
        for i, token in enumerate(chosen):
            if not self._done(i):
                if token in self._stops:
                    self._ended[i] = True
                else:
                    self._replies[i].append(token)
        return chosen


def _stops(model: LanguageModel) -> set[int]:
    """Return the tokens that end a reply."""
    configs = (getattr(model.model, "generation_config", None), model.model.config)
    found: set[int] = set()
    for config in configs:
        stop = getattr(config, "eos_token_id", None)
        found |= {stop} if isinstance(stop, int) else set(stop or ())
    return found | model.end_tokens()
