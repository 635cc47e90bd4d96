"""The values of a variable: answers with their labels, and what is no answer."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers.respondents.aside import is_aside
from gpo_ray.preferences.readers.respondents.scales import is_ordered
from gpo_ray.preferences.readers.respondents.table import Column, Value, shown_value
from gpo_ray.preferences.readers.respondents.words import plain, silence, telling, without_codes

MAX_SUBSTANTIVE = 12
MOST_LABELS = 1000
"""Most values that are looked at; more are those of places, names and free texts, no answers to choose."""


@dataclass
class Labelled:
    """The values of a variable: answers with their labels, and what is no answer."""

    answers: dict[Value, str] = field(default_factory=dict)
    missing: dict[Value, str] = field(default_factory=dict)
    unlabelled: list[Value] = field(default_factory=list)
    """Values that occur without a label and lie beyond those that have one."""
    between: list[Value] = field(default_factory=list)
    """Those without a label that lie between labelled ones, and are no points of a scale."""
    guessed: list[Value] = field(default_factory=list)
    """Values taken for no answer because their codes are negative."""
    aside: list[Value] = field(default_factory=list)
    """Values that are taken for no answer because they lie beside a scale with labelled ends."""
    numbered: bool = False
    """Whether values without a label lie between labelled ones: a scale with labelled ends."""


def labelled(column: Column) -> Labelled:
    """Divide the values of a variable into answers, what is no answer, and values that nothing is said of."""
    found = Labelled()
    texts = _texts(column)
    if len(texts) > MOST_LABELS:
        found.answers = {v: normal_label(t) or t for v, t in texts.items() if v not in column.missing}
        found.missing = {v: texts.get(v, shown_value(v)) for v in column.missing}
        found.unlabelled = [v for v in column.values if v not in texts and v not in column.missing]
        return found
    labels = {v: normal_label(t) or texts[v] for v, t in without_codes(texts).items()}
    loose = [v for v in column.values if v not in labels and v not in column.missing]
    silent = _silent(column, texts, labels)
    answers = [v for v in labels if v not in silent and v not in column.missing]
    codes = _codes(answers)
    restored = [v for v in silent if v not in column.missing and not _is_apart(v, codes)]
    if len(answers) == 1 and not loose:  # "Agreed" and "Refused"
        silent -= {v for v in restored if isinstance(v, float) or silence(labels[v], (), apart=False) is None}
    found.guessed = _negative(labels, [v for v in labels if v not in silent and v not in column.missing])
    guessed = {*found.guessed}
    for value in sorted({*labels, *column.missing}, key=column.order):
        label = labels.get(value, shown_value(value))
        if value in column.missing or value in silent or value in guessed:
            found.missing[value] = label
        else:
            found.answers[value] = label
    _place_loose(found, loose)
    return found


def _texts(column: Column) -> dict[Value, str]:
    """Return the labels of the values, without those that only keep a place, such as ".." and "-"."""
    texts = dict(column.labels)
    if column.kind == "text" and not texts:
        texts = {v: str(v) for v in column.values}
    if any(re.fullmatch(r"\++", t) for t in texts.values()):  # then "-" is a minus
        return texts
    return {v: t for v, t in texts.items() if not _PLACEHOLDER.fullmatch(t)}


_PLACEHOLDER = re.compile(r"[.…·_\-–—\s]+")


def _silent(column: Column, texts: Mapping[Value, str], labels: Mapping[Value, str]) -> set[Value]:
    """Return the values whose labels say that there is no answer."""
    among = telling([*labels.values()])
    answers = [v for v, t in labels.items() if silence(t, among) is None and v not in column.missing]
    sure = [v for v, t in labels.items() if isinstance(v, float) and silence(t, among, apart=False)]
    codes, first_sure = _codes(answers), min(sure, default=None)
    most = max(codes, default=0.0)
    # Texts have no codes; short ones in capitals are no answers among others.
    long = all(len(labels[v]) > SHORT or not labels[v].isupper() for v in answers)
    found = set()
    for value, label in labels.items():
        apart = _is_apart(value, codes)
        if isinstance(value, float) and first_sure is not None:  # "NR" after "DK", both after all answers
            apart |= value > max(most, first_sure)
        if column.kind == "text":
            apart = long and len(label) <= SHORT and label.isupper()
        if silence(texts[value], among, apart) or silence(label, among, apart):
            found.add(value)
    return found


SHORT = 4
"""Most letters of short forms such as "NR"."""


def _codes(answers: Sequence[Value]) -> list[float]:
    """Return the numbers among the codes of answers, ascending."""
    return sorted(v for v in answers if isinstance(v, float))


def _is_apart(value: Value, codes: Sequence[float]) -> bool:
    """Return whether a code is apart from those of answers: negative, special, or such as 8, 99 and 997.

    Args:
        value: the code.
        codes: the numbers among the codes of answers, ascending; there may be many of both.
    """
    if isinstance(value, str):
        return value.startswith(".")
    if value < 0 or (value == 0 and (not codes or codes[0] > 0)):
        return True
    beyond = value > (codes[-1] if codes else 0.0)
    near = bisect_left(codes, value - GAP)
    alone = bool(codes) and (near == len(codes) or codes[near] > value + GAP)
    return (beyond or alone) and _APART.fullmatch(shown_value(value)) is not None


GAP = 10
"""Codes are apart also below others, such as those of countries, that are farther away than this."""
_APART = re.compile(r"9*[6-9]|6+|7+|8+")


def _negative(labels: Mapping[Value, str], answers: Sequence[Value]) -> list[Value]:
    """Return the negative codes that stand beside answers from 0 on, if they are not half of a scale.

    A scale as -2, -1, 0, 1, 2 has its negative codes again as positive ones. Of -1, 0, 1 that say no and
    yes by 0 and 1, the first is no answer.
    """
    numbers = [v for v in answers if isinstance(v, float)]
    negative = [v for v in numbers if v < 0]
    rest = [v for v in numbers if v >= 0]
    if not negative or not rest:
        return []
    if {-v for v in negative} == {v for v in rest if v}:
        no = {*rest} == {0.0, 1.0} and _NO.match(plain(labels[0.0]))
        if not no or is_ordered([labels[v] for v in sorted(numbers)]):
            return []
    return list(negative)


_NO = re.compile(r"(?:no|not|did not|non|nein|nicht|nao|nee|nej|nei|nie|ej|ikke|false|un\w+)\b")


def _place_loose(found: Labelled, loose: Sequence[Value]) -> None:
    """Decide what values without a label are: points of a scale with labelled ends, or nothing known."""
    points = [v for v in found.answers if isinstance(v, float)]
    inner = [v for v in loose if isinstance(v, float) and v.is_integer()]
    bare = [v for v, t in found.answers.items() if _is_own_number(t, v)]
    if not points or len(points) < len(found.answers):
        found.unlabelled += loose
        return
    beside = {v for v in points if is_aside(found.answers[v], apart=True)}
    ends = [v for v in points if v not in beside] if inner else points
    if not ends:
        found.unlabelled += loose
        return
    low, high = min(ends), max(ends)
    if len(ends) == 1:  # a scale of which one end is labelled
        low, high = min([low, *inner]), max([high, *inner])
    between = [v for v in inner if low <= v <= high]
    placed = {*between}
    found.unlabelled += [v for v in loose if v not in placed]
    whole = all(v.is_integer() for v in points)
    found.between = [v for v in loose if isinstance(v, float) and low <= v <= high]
    if not between and not bare:
        return
    if not whole or high - low + 1 > MAX_SUBSTANTIVE:
        found.unlabelled += between
        return
    found.between = [v for v in found.between if v not in placed]
    found.numbered = True
    found.aside = [v for v in points if not low <= v <= high]
    found.missing |= {v: found.answers[v] for v in found.aside}
    scale = [float(v) for v in range(int(low), int(high) + 1) if float(v) not in found.missing]
    found.answers = {v: _point(found.answers.get(v), v) for v in scale}


def _is_own_number(label: str, value: Value) -> bool:
    return label.strip() == shown_value(value)


def _point(label: str | None, value: float) -> str:
    """Return the response of a point on a numbered scale: "1: Not at all", or "2"."""
    number = shown_value(value)
    if label is None or _is_own_number(label, value):
        return number
    return label if re.match(rf"{re.escape(number)}\b", label) else f"{number}: {label}"
