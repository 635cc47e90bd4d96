"""Define the prompt templates, which turn a question and a response into text for a language model."""

from __future__ import annotations

import string
from collections.abc import Sequence

TEMPLATE = "survey-v1"
SlateTexts = tuple[str, Sequence[str]]
"""A slate as plain texts: a prompt and its responses."""


def letter(index: int) -> str:
    """Return the option letter of a response: A to Z, then AA, AB, ..., then AAA and so on."""
    before, last = divmod(index, 26)
    return (letter(before - 1) if before else "") + string.ascii_uppercase[last]


def instruction(prompt: str, responses: Sequence[str]) -> str:
    """Return the user's turn of template ``survey-v1``, in the wording of the paper's appendix D."""
    options = "\n".join(response_text(i, r) for i, r in enumerate(responses))
    return (
        "Answer the following question by picking ONE of the given options\n\n"
        f"{prompt}\n\nOptions:\n{options}"
    )


def response_text(index: int, response: str) -> str:
    """Return a response as the model would give it: its letter and its text."""
    return f"{letter(index)}. {response}"


PROMPT_EOL = {
    "opinion": '" means in one word: "',
    "person": '" is held by a person who is, in one word: "',
}
"""Endings of the texts for the poolings ``opinion`` and ``person``, which ask for one word about an opinion.
The hidden state at a text's end sums it up (PromptEOL, arXiv 2307.16645). To embed these texts as well is
called the second readings."""


def opinion_stem(prompt: str) -> str:
    """Return the common beginning of a question's PromptEOL texts."""
    return f'The opinion "{prompt}'


def opinion_ending(response: str, pooling: str) -> str:
    """Return the rest of one response's PromptEOL text, for ``opinion`` or ``person``."""
    return f" {response}{PROMPT_EOL[pooling]}"
