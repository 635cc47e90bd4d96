"""Score the responses to a prompt by the probability that a language model gives them.

Shapes: R responses of a prompt, E width, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gpo_ray.lm.model import LanguageModel, ReadRow
from gpo_ray.lm.prefix_tree import Text

if TYPE_CHECKING:
    import torch

ROWS_OF_LOGITS = 64
"""Number of hidden states whose logits over the whole vocabulary are in memory at the same time."""


@dataclass(frozen=True)
class ResponseScores:
    """The log-probabilities of a prompt's R responses, in nats."""

    first_token: NDArray[np.float32]
    """(R,) of each response's first token after the prompt, normalised over the R responses. Where responses
    begin with option letters, these are the letters' probabilities. Responses with the same first token share
    its probability."""
    whole: NDArray[np.float32]
    """(R,) of each whole response after the prompt: the sum over its tokens, over the whole vocabulary."""
    tokens: NDArray[np.int64]
    """(R,) number of tokens of each response."""


def score_responses(model: LanguageModel, texts: Sequence[Text]) -> list[ResponseScores]:
    """Score the responses of some prompts, which are read together so that common beginnings run once.

    Args:
        model: the language model.
        texts: prompts and responses as token ids; each response has at least one token.

    Returns:
        The scores of each prompt's responses, in the order given.
    """
    import torch

    if not texts:
        return []

    def pool(read: ReadRow) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(zip(first_token_logprobs(model, read), _whole_logprobs(model, read), strict=True))

    if model.reads_alone(texts):
        alone = model.read_alone(texts, pool)
        found = [(parts[0][0], torch.cat([whole for _, whole in parts])) for parts in alone]
    else:
        found, _ = model.read(texts, pool)
    return [
        ResponseScores(
            first.cpu().numpy(),
            whole.cpu().numpy(),
            np.array([len(r) for r in text.responses]),
        )
        for text, (first, whole) in zip(texts, found, strict=True)
    ]


def first_token_logprobs(model: LanguageModel, read: ReadRow) -> list[torch.Tensor]:
    """Return, for each text of a row, the log-probabilities (R,) of its responses' first tokens.

    They are normalised over the text's responses.
    """
    return [
        model.logits(read.hidden[end], [response[0] for response in text.responses]).log_softmax(0)
        for end, text in zip(read.row.prompt_end, read.texts, strict=True)
    ]


def _whole_logprobs(model: LanguageModel, read: ReadRow) -> list[torch.Tensor]:
    """Return, for each text of a row, the log-probability of each response that the row holds."""
    import torch

    row = read.row
    paths = [
        [row.path(start, end) for end in ends]
        for start, ends in zip(row.prompt_end, row.response_ends, strict=True)
    ]
    positions = [position for text in paths for path in text for position in path]
    before = read.hidden[torch.tensor([row.parent[p] for p in positions], device=read.hidden.device)]
    tokens = torch.tensor([row.ids[p] for p in positions], device=before.device)
    logprobs = []
    blocks = (torch.split(each, ROWS_OF_LOGITS) for each in (before, tokens))
    for states, some in zip(*blocks, strict=True):
        every = model.logits(states).log_softmax(-1)  # (at most ROWS_OF_LOGITS, V)
        logprobs.append(every.gather(1, some.to(every.device)[:, None])[:, 0])
    by_response = iter(torch.split(torch.cat(logprobs), [len(path) for text in paths for path in text]))
    return [torch.stack([next(by_response).sum() for _ in text]) for text in paths]
