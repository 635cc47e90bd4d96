"""Questions that are longer than the language model can read, found with its tokenizer alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpo_ray.embedding.encoder import longest_text_of, question_texts
from gpo_ray.errors import EmbeddingError
from gpo_ray.lm.find import ModelSource
from gpo_ray.lm.tokenizer import Tokenizer
from gpo_ray.preferences.dataset import Question

CHUNK = 1_000
"""Number of questions that are tokenised at the same time."""


def too_long(source: ModelSource, questions: Sequence[Question]) -> dict[str, int]:
    """Return the number of tokens of each question that is too long for the model, by question id.

    Raises:
        EmbeddingError: if the model's tokenizer cannot be read.
    """
    if not questions:
        return {}
    tokenizer = Tokenizer.of(source)
    limit = tokenizer.max_tokens
    found: dict[str, int] = {}
    for start in range(0, len(questions) if limit else 0, CHUNK):
        some = questions[start : start + CHUNK]
        texts = question_texts(tokenizer, [(q.prompt, q.responses) for q in some])
        lengths = zip(some, map(longest_text_of, texts), strict=True)
        found |= {q.question_id: n for q, n in lengths if n > (limit or n)}
    return found


def refuse_too_long(
    source: ModelSource, long: Mapping[str, int], all_of: Sequence[Question] | None = None
) -> None:
    """Refuse questions that are too long for the model.

    Args:
        source: the model.
        long: the result of :func:`too_long`.
        all_of: questions that are refused only if all of them are too long; None refuses any.

    Raises:
        EmbeddingError: naming every question that is too long.
    """
    if long and (all_of is None or len(long) == len(all_of)):
        named = ", ".join(f"{q!r} ({n} tokens)" for q, n in long.items())
        raise EmbeddingError(
            f"model {source.name}: {len(long)} questions are longer than it can read: {named}; shorten them, "
            "or leave them out with --too-long drop"
        )
