"""The probabilities that a language model gives to option letters.

Shapes: R responses of a question, S spellings of a letter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpo_ray.embedding.template import letter
from gpo_ray.guesses.asking import Asked
from gpo_ray.guesses.table import Guess
from gpo_ray.lm.model import LanguageModel
from gpo_ray.lm.prefix_tree import Text
from gpo_ray.lm.score import score_responses
from gpo_ray.lm.tokenizer import Tokenizer

TOO_LONG = "prompt: longer than the model can read"
SINGLE = 26
"""Number of options up to which a letter cannot be the beginning of another one, such as A of AA."""


def letter_guesses(model: LanguageModel, asked: Sequence[Asked]) -> list[Guess]:
    """Return the probabilities of the option letters as guesses: the mean over the orders of the options.

    A letter's probability is the sum over its spellings in tokens ("A", " A", ...); it is normalised over the
    letters. A prompt that is longer than the model can read brings no guess.

    Args:
        model: the language model.
        asked: what is asked; they are read together, so that what they begin with runs once.
    """
    prompts = model.chat_tokens([text for a in asked for text in a.texts])
    sizes = [len(a.question.responses) for a in asked for _ in a.texts]
    spelled = {size: [option_spellings(model, i, size) for i in range(size)] for size in set(sizes)}
    texts = [
        Text(prompt, [ids for spellings in spelled[size] for ids in spellings])
        for prompt, size in zip(prompts, sizes, strict=True)
    ]
    limit = model.max_tokens
    fits = [limit is None or len(t.prompt) + max(map(len, t.responses)) <= limit for t in texts]
    scores = iter(score_responses(model, [t for t, fit in zip(texts, fits, strict=True) if fit]))
    shares = iter(
        _summed(next(scores).whole, spelled[size]) if fit else None
        for size, fit in zip(sizes, fits, strict=True)
    )
    found = []
    for a in asked:
        by_order = [next(shares) for _ in a.texts]
        whole = [s for s in by_order if s is not None]
        found.append(a.guess(a.mean(whole)) if len(whole) == len(by_order) else a.guess(None, TOO_LONG))
    return found


def option_spellings(tokenizer: Tokenizer, index: int, size: int) -> list[list[int]]:
    """Return the S token sequences that spell the letter of an option, none of which begins another one.

    With more than :data:`SINGLE` options a full stop is a part of the spelling: "A." does not begin "AA.".
    """
    found = tokenizer.spellings(letter(index) + ("." if size > SINGLE else ""))
    return [ids for ids in found if not any(ids != other and ids[: len(other)] == other for other in found)]


def _summed(logprobs: NDArray[np.float32], spelled: Sequence[Sequence[Sequence[int]]]) -> list[float]:
    """Return the shares (R,) of the letters, from the log-probabilities of all of their spellings."""
    ends = np.cumsum([len(spellings) for spellings in spelled])
    total = np.array([np.logaddexp.reduce(each) for each in np.split(np.float64(logprobs), ends[:-1])])
    shares = np.exp(total - total.max())
    return [float(s) for s in shares / shares.sum()]
