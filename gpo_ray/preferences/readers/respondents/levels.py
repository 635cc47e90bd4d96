"""The values of a variable: answers with their labels, and what is no answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers.respondents.table import Column, Value, shown_value
from gpo_ray.preferences.readers.respondents.words import silence, without_code

MAX_SUBSTANTIVE = 12


@dataclass
class Labelled:
    """The values of a variable: answers with their labels, and what is no answer."""

    answers: dict[Value, str] = field(default_factory=dict)
    missing: dict[Value, str] = field(default_factory=dict)
    unlabelled: list[Value] = field(default_factory=list)
    """Values that occur without a label and lie beyond those that have one."""
    numbered: bool = False
    """Whether values without a label lie between labelled ones: a scale with labelled ends."""


def labelled(column: Column) -> Labelled:
    """Divide the values of a variable into answers, what is no answer, and values that nothing is said of."""
    found = Labelled()
    texts = dict(column.labels)
    if column.kind == "text" and not texts:
        texts = {v: str(v) for v in column.values}
    labels = {v: normal_label(without_code(t, v)) or t for v, t in texts.items()}
    among = tuple(labels.values())
    for value in sorted({*labels, *column.missing}, key=column.order):
        label = labels.get(value, shown_value(value))
        if value in column.missing or silence(texts.get(value, ""), among) or silence(label, among):
            found.missing[value] = label
        else:
            found.answers[value] = label
    loose = [v for v in column.values if v not in labels and v not in column.missing]
    _place_loose(found, loose)
    return found


def _place_loose(found: Labelled, loose: Sequence[Value]) -> None:
    """Decide what values without a label are: points of a scale with labelled ends, or nothing known."""
    points = [v for v in found.answers if isinstance(v, float)]
    inner = [v for v in loose if isinstance(v, float) and v.is_integer()]
    bare = [v for v, t in found.answers.items() if _is_own_number(t, v)]
    if not points or len(points) < len(found.answers):
        found.unlabelled += loose
        return
    low, high = min(points), max(points)
    if len(points) == 1:  # a scale of which one end is labelled
        low, high = min([low, *inner]), max([high, *inner])
    between = [v for v in inner if low <= v <= high]
    found.unlabelled += [v for v in loose if v not in between]
    whole = all(v.is_integer() for v in points)
    if not between and not bare:
        return
    if not whole or high - low + 1 > MAX_SUBSTANTIVE:
        found.unlabelled += between
        return
    found.numbered = True
    scale = [float(v) for v in range(int(low), int(high) + 1)]
    found.answers = {v: _point(found.answers.get(v), v) for v in scale}


def _is_own_number(label: str, value: Value) -> bool:
    return label.strip() == shown_value(value)


def _point(label: str | None, value: float) -> str:
    """Return the response of a point on a numbered scale: "1: Not at all", or "2"."""
    number = shown_value(value)
    if label is None or _is_own_number(label, value):
        return number
    return label if re.match(rf"{re.escape(number)}\b", label) else f"{number}: {label}"
