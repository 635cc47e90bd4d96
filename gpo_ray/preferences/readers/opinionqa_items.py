"""OpinionQA's questions with the texts of their possible answers, and its groups; opinionqa.py reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpo_ray.preferences.dataset import Group, Question
from gpo_ray.preferences.readers.common import (
    NOT_A_GROUP,
    NOT_IN_PAPER,
    Collector,
    is_group_level,
    normal_text,
)
from gpo_ray.preferences.readers.options import ReadOptions

REFUSED = "refusal"
NO_SCALE_VALUE = "answer has no scale value"
UNKNOWN_ANSWER = "answer is none of the question's options"

PHRASES = {
    "AGE": "aged {}",
    "CREGION": "who live in the {}",
    "SEX": "whose sex is {}",
    "EDUCATION": "whose education is: {}",
    "INCOME": "with a family income of {}",
    "POLIDEOLOGY": "whose political views are {}",
    "POLPARTY": "whose party is: {}",
    "RACE": "whose race or ethnicity is {}",
    "RELIG": "whose religion is: {}",
    "RELIGATTEND": "who attend religious services: {}",
    "MARITAL": "whose marital status is: {}",
    "CITIZEN": "asked whether they are US citizens, and who say {}",
}

PAPER_GROUPS = frozenset(
    f"{attribute}={level}"
    for attribute, levels in {
        "CREGION": ("Northeast", "South"),
        "SEX": ("Female", "Male"),
        "EDUCATION": ("College graduate/some postgrad", "Less than high school"),
        "RELIG": ("Atheist", "Hindu", "Jewish", "Muslim", "Protestant"),
        "POLPARTY": ("Democrat", "Republican"),
        "INCOME": ("$100,000 or more", "Less than $30,000"),
        "POLIDEOLOGY": ("Conservative", "Liberal", "Moderate"),
        "RACE": ("Asian", "Black", "Hispanic", "White"),
    }.items()
    for level in levels
)
"""The 22 groups of the GPO paper."""


@dataclass(frozen=True)
class Item:
    """A question with the response that each possible text of an answer stands for."""

    question: Question
    index: Mapping[str, int]
    """Index of the response of each option, by the option's normalised text; -1 if it is not a response."""

    def match(self, answer: str) -> tuple[int, str | None]:
        """Return the response's index and None, or -1 and the reason why the answer is left out."""
        text = normal_text(answer)
        if text == "refused":
            return -1, REFUSED
        if text not in self.index:
            return -1, UNKNOWN_ANSWER
        return self.index[text], None if self.index[text] >= 0 else NO_SCALE_VALUE


class Groups:
    """The groups of a survey, which are levels of attributes; a level that is no group is logged once."""

    def __init__(self, options: ReadOptions, into: Collector) -> None:
        self._paper = options.groups == "paper"
        self._into = into
        self._seen: dict[tuple[str, str], Group | None] = {}

    def find(self, attribute: str, level: str, where: str) -> Group | None:
        """Return the group of a level, or None if the level is not a group."""
        key = (where, f"{attribute}={level}")
        if key not in self._seen:
            self._seen[key] = self._make(attribute, level, where)
        return self._seen[key]

    def _make(self, attribute: str, level: str, where: str) -> Group | None:
        group_id = f"{attribute}={level}"
        if not is_group_level(level):
            self._into.drop(f"{where}: {group_id}", NOT_A_GROUP)
            return None
        if self._paper and group_id not in PAPER_GROUPS:
            self._into.drop(f"{where}: {group_id}", NOT_IN_PAPER)
            return None
        phrase = PHRASES.get(attribute, f"whose {attribute} is: {{}}").format(level)
        return Group(group_id, "attribute", f"US adults {phrase}")
