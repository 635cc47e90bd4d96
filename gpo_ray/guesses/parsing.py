"""Reading a distribution out of a language model's reply, strictly: what is none is named, never guessed."""

from __future__ import annotations

import json
import re
from collections import Counter

from gpo_ray.embedding.template import letter
from gpo_ray.preferences.labels import folded_label

TOLERANCE = 2.0
"""How far from 100 percentages may sum to; models round, and those within are scaled to 100."""
EMPTY = "reply: empty"
CUT = "reply: cut off at the limit of tokens"
REFUSAL = "reply: a refusal"
PROSE = "reply: prose without a percentage of each option"
MISSING = "reply: not all options have a percentage"
TWICE = "reply: an option has two different percentages"
UNKNOWN = "reply: a percentage of something that is no option"
RANGE = "reply: a percentage below 0 or above 100"
SUM = f"reply: percentages that do not sum to 100 within {TOLERANCE:g}"
NO_LETTERS = "reply: no list of option letters"
COUNT = "reply: a list of far more or fewer answers than asked for"

_REFUSED = re.compile(
    r"\b(i\s*(?:'m|am)\s+(?:sorry|unable|not\s+able)|i\s+(?:can\s?not|can't|won't|will\s+not|do\s+not|don't)\b"
    r"|as\s+an?\s+(?:ai|language\s+model)|not\s+appropriate|cannot\s+(?:provide|assist|help))",
    re.IGNORECASE,
)
_MARK = re.compile(r"[-*•]\s+")
_AMOUNT = re.compile(r"(?:\*\*)? ?([-+]?\d+(?:\.\d+)?) ?%?(?:\*\*)?[ ,;.]*")
_PERCENT = re.compile(r"\d ?%")
_BETWEEN = re.compile(r"[\s,;|.:]+")
_ANSWER = re.compile(r"\(?([A-Z]{1,3})\)?")
MAX_CHARACTERS = 100_000
"""Longest reply that is read; the limits of tokens allow much less."""
Parsed = tuple[list[float] | None, str | None]
"""Shares (R,) and None; or None and the reason why there are none."""


def parse_distribution(reply: str, responses: tuple[str, ...], whole: bool = True) -> Parsed:
    """Read percentages of all options: a line for each, or a JSON object.

    Options are named by their letter, their text or both. Lines without a percentage may stand before and
    after. Percentages that sum to 100 within :data:`TOLERANCE` are scaled to 1.

    Args:
        reply: what the model said.
        responses: the R options, in the order of their letters.
        whole: whether the model ended the reply, rather than the limit of tokens.
    """
    text = _plain(reply)
    if not text:
        return None, EMPTY
    pairs = _json_pairs(text)
    if pairs is None:
        lines = [" ".join(line.split()) for line in text.splitlines()]
        read = [_labelled(line) for line in lines]
        if any(_PERCENT.search(line) for line, found in zip(lines, read, strict=True) if found is None):
            return None, _without(text, whole, PROSE)
        pairs = [found for found in read if found is not None]
    if not pairs:
        return None, _without(text, whole, PROSE)
    shares, problem = _percentages(pairs, responses)
    return (shares, None) if problem is None else (None, _without(text, whole, problem))


def parse_sequence(reply: str, size: int, people: int, whole: bool = True) -> Parsed:
    """Read a list of option letters as people's answers; the shares are their parts.

    Args:
        reply: what the model said.
        size: number R of options.
        people: number of answers that were asked for; half of it to twice as many are taken.
        whole: whether the model ended the reply; a list that the limit of tokens ended is taken.
    """
    text = _plain(reply)
    if not text:
        return None, EMPTY
    answers = [part for part in _BETWEEN.split(text.strip("[] \n\t,;.")) if part]
    read = [_ANSWER.fullmatch(part) for part in answers]
    letters = [found[1] for found in read if found is not None] if all(read) else []
    counts = Counter(letters)
    known = [letter(i) for i in range(size)]
    if not letters or counts.keys() - set(known):
        return None, _without(text, whole, NO_LETTERS)
    if not people / 2 <= len(letters) <= people * 2:
        return None, COUNT
    return [counts[name] / len(letters) for name in known], None


def _plain(reply: str) -> str:
    """Return a reply without a fence around it and without what a model thought before it.

    All that reads replies takes a time that grows in proportion to their length, since a server may send any.
    """
    text = reply[-MAX_CHARACTERS:].rpartition("</think>")[2].strip()
    head, _, inner = text.partition("\n")
    if head.strip() in ("```", "```json") and inner.endswith("```"):
        text = inner.removesuffix("```")
    return text.strip()


def _labelled(line: str) -> tuple[str, float] | None:
    """Read a line of a label (a letter, a letter and the option, or the option) and a percentage.

    Args:
        line: the line, with single spaces alone.
    """
    end = min((i for i in (line.find(":"), line.find("=")) if i >= 0), default=-1)
    amount = _AMOUNT.fullmatch(line[end + 1 :].strip()) if end > 0 else None
    if amount is None:
        return None
    label = _MARK.sub("", line[:end], count=1) if _MARK.match(line) else line[:end]
    label = label.strip().removeprefix("**").removesuffix("**").strip()
    return (label, float(amount[1])) if label else None


def _without(text: str, whole: bool, otherwise: str) -> str:
    """Return the reason why a reply is no distribution."""
    if _REFUSED.search(" ".join(text.split())):
        return REFUSAL
    return otherwise if whole else CUT


def _json_pairs(text: str) -> list[tuple[str, float]] | None:
    """Return the members of a reply that is one JSON object of numbers; None if it is not."""
    if not text.startswith("{"):
        return None
    try:
        pairs = json.loads(text, object_pairs_hook=list)  # keeps a name that is there twice
    except (ValueError, RecursionError):
        return None
    found = []
    for name, value in pairs:
        number = str(value).strip().removesuffix("%") if not isinstance(value, bool) else ""
        if not re.fullmatch(r"[-+]?\d+(?:\.\d+)?", number):
            return None
        found.append((name, float(number)))
    return found


def _percentages(pairs: list[tuple[str, float]], responses: tuple[str, ...]) -> Parsed:
    found: dict[int, float] = {}
    for label, number in pairs:
        index = _option(label, responses)
        if index is None:
            return None, UNKNOWN
        if not 0 <= number <= 100:
            return None, RANGE
        if found.setdefault(index, number) != number:
            return None, TWICE
    if len(found) < len(responses):
        return None, MISSING
    total = sum(found.values())
    if abs(total - 100) > TOLERANCE:
        return None, SUM
    return [found[i] / total for i in range(len(responses))], None


def _option(label: str, responses: tuple[str, ...]) -> int | None:
    """Return the index of the option that a label names: "B", "(B)", "B. No" or "No"; None if it is none."""
    plain = label.strip().strip("*\"'` ")
    texts = [folded_label(r) for r in responses]
    if folded_label(plain) in texts:
        return texts.index(folded_label(plain))
    named = re.fullmatch(r"\(?([A-Za-z]{1,3})\)?(?:[.):]\s*(.*)|\s+(.*))?", plain)
    letters = [letter(i) for i in range(len(responses))]
    if named is None or named[1].upper() not in letters:
        return None
    index = letters.index(named[1].upper())
    rest = named[2] or named[3]
    return index if not rest or folded_label(rest) == texts[index] else None
