"""The tokenizer of the frozen language model, which can be read without the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpo_ray.lm.find import ModelSource
from gpo_ray.lm.load import load_tokenizer

SPACE_MARKS = ("\u0120", "\u2581")
"""The signs by which byte-level tokenizers and SentencePiece write a space before a word."""


class Tokenizer:
    """A tokenizer, with the length of the texts that its model can read.

    Args:
        tokenizer: the tokenizer of transformers.
        max_tokens: number of tokens of the longest text that the model can read; None if this is not
            configured.
    """

    def __init__(self, tokenizer: Any, max_tokens: int | None) -> None:
        self._tokenizer = tokenizer
        self.max_tokens = max_tokens
        """Number of tokens of the longest text that the model can read; None if this is not configured."""

    @classmethod
    def of(cls, source: ModelSource) -> Tokenizer:
        """Read a model's tokenizer and configuration, but not its weights.

        Raises:
            EmbeddingError: if files are missing or damaged.
        """
        tokenizer, config = load_tokenizer(source)
        return Tokenizer(tokenizer, longest_text(config))

    def chat_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids of users' turns in the model's chat template, with the generation prompt."""
        if not getattr(self._tokenizer, "chat_template", None):
            # a base model reads plain text, and answers on the next line
            return self.opening_tokens([text + "\n" for text in texts])
        turns = [[{"role": "user", "content": text}] for text in texts]
        template = self._tokenizer.apply_chat_template
        return self.tokens([template(turn, tokenize=False, add_generation_prompt=True) for turn in turns])

    def opening_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids of texts that nothing precedes, with the special tokens at their beginning."""
        return self._tokenized(texts, special=True)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids of texts that follow other texts, without special tokens."""
        return self._tokenized(texts, special=False)

    def spellings(self, word: str) -> list[list[int]]:
        """Return the distinct token sequences that spell a word at the beginning of an answer.

        They are the word itself, the word after a space, and the tokens of the vocabulary that are the word
        with or without the mark by which tokenizers write a space.
        """
        found = self.tokens([word, f" {word}"])
        whole = [word, *(f"{mark}{word}" for mark in SPACE_MARKS)]
        known = zip(whole, self._tokenizer.convert_tokens_to_ids(whole), strict=True)
        found += [
            [i] for token, i in known if i is not None and self._tokenizer.convert_ids_to_tokens(i) == token
        ]
        return [list(ids) for ids in dict.fromkeys(tuple(ids) for ids in found if ids)]

    def end_tokens(self) -> set[int]:
        """Return the tokens that end a text or a turn of a chat, by the tokenizer alone."""
        names = ["<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>"]
        known = zip(names, self._tokenizer.convert_tokens_to_ids(names), strict=True)
        found = {i for name, i in known if i is not None and self._tokenizer.convert_ids_to_tokens(i) == name}
        end = self._tokenizer.eos_token_id
        return found | ({int(end)} if end is not None else set())

    def text_of(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def _tokenized(self, texts: Sequence[str], special: bool) -> list[list[int]]:
        if not texts:
            return []
        every = self._tokenizer(list(texts), add_special_tokens=special)["input_ids"]
        return [[int(i) for i in ids] for ids in every]


def longest_text(config: Any) -> int | None:
    """Return the number of tokens of the longest text that a model of a configuration can read."""
    found: int | None = getattr(config, "max_position_embeddings", None)
    return found
