"""Prompt templates: how a question and one response become the text a language model reads."""

from __future__ import annotations

import string
from collections.abc import Sequence

TEMPLATE = "survey-v1"


def letter(index: int) -> str:
    """The option letter of a response: A to Z, then AA, AB, ..., then AAA and so on."""
    before, last = divmod(index, 26)
    return (letter(before - 1) if before else "") + string.ascii_uppercase[last]


def instruction(prompt: str, responses: Sequence[str]) -> str:
    """The user's turn of template ``survey-v1`` (paper appendix D wording)."""
    options = "\n".join(response_text(i, r) for i, r in enumerate(responses))
    return (
        "Answer the following question by picking ONE of the given options\n\n"
        f"{prompt}\n\nOptions:\n{options}"
    )


def response_text(index: int, response: str) -> str:
    """One response as the model would give it: its letter and its text."""
    return f"{letter(index)}. {response}"


READINGS = {
    "opinion": '" means in one word: "',
    "person": '" is held by a person who is, in one word: "',
}
"""How an opinion is asked about; the state at the end of a text sums it up (PromptEOL, arXiv 2307.16645)."""


def opinion_stem(prompt: str) -> str:
    """What all of a question's texts of :data:`READINGS` begin with."""
    return f'The opinion "{prompt}'


def opinion_ending(response: str, reading: str) -> str:
    """How the text of one response goes on."""
    return f" {response}{READINGS[reading]}"
