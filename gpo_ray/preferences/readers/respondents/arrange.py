"""The order of responses that are a scale, of which some codes are out of order or beside the scale.

Codes need not be in the order of a scale: 1 Better, 2 Worse, 3 About the same; or 0 Never, 1 Daily, 2 Weekly.
Others hold what is no point of it: 1 to 4 for "agree strongly" to "disagree strongly", and 5 for "Depends".
A response moves or is set aside only where all others are then in order by their words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gpo_ray.preferences.readers.respondents.aside import is_aside, is_undecided, said
from gpo_ray.preferences.readers.respondents.grades import is_middle
from gpo_ray.preferences.readers.respondents.scales import is_neither, is_ordered, on_ladder, order_of
from gpo_ray.preferences.readers.respondents.words import LONG, plain

MIN_POINTS = 3
"""Fewest points of a scale beside which responses are set aside: of two answers and "Depends" none is."""


@dataclass(frozen=True)
class Arrangement:
    """Responses that make a scale."""

    scale: tuple[str, ...]
    """Labels of the scale, in its order."""
    aside: tuple[str, ...] = ()
    """Labels beside it."""
    moved: bool = False
    """Whether the order is not that of the codes."""


def arrange(
    labels: Sequence[str], apart: Collection[str] = (), coded: bool = True, ordinal: bool = False
) -> Arrangement | None:
    """Return the order of labels that make a scale by their words; None if they make none.

    Args:
        labels: at least 2 labels, in the order of their codes.
        apart: those whose codes are apart from the others.
        coded: whether the labels have an order; in a spreadsheet they are texts that have none.
        ordinal: whether the file says that the codes are in order.
    """
    if any(len(t) > LONG for t in labels):
        return None
    ends = (
        _ends(labels, apart) if coded else [t for t in labels if is_aside(t, False) and not is_undecided(t)]
    )
    rest = [t for t in labels if t not in ends]
    whole = _whole(labels, coded)
    if not ends or len(rest) < MIN_POINTS or (whole is not None and not _leaves(labels, ends, coded)):
        return whole
    found = _whole(rest, coded)
    if found is None and ordinal:
        found = Arrangement(tuple(rest))
    return whole if found is None else Arrangement(found.scale, tuple(ends), found.moved)


def _leaves(labels: Sequence[str], ends: Sequence[str], coded: bool) -> bool:
    """Return whether labels that may be points of a scale are rather beside it.

    "None" with a code apart is the end of amounts, and no point of other scales; where there are no codes,
    "Depends" is no middle.
    """
    if not coded:
        return True
    return any(not is_aside(t, False) for t in ends) and not on_ladder([said(t) for t in labels])


def _ends(labels: Sequence[str], apart: Collection[str]) -> list[str]:
    """Return the labels before and after all others that may stand beside a scale."""
    before = after = 0
    while before < len(labels) and is_aside(labels[before], labels[before] in apart):
        before += 1
    while after < len(labels) - before and is_aside(labels[-1 - after], labels[-1 - after] in apart):
        after += 1
    return [*labels[:before], *labels[len(labels) - after :]]


def _whole(labels: Sequence[str], coded: bool) -> Arrangement | None:
    """Return the order in which all labels make a scale."""
    forms = [said(t) for t in labels]
    bare = [_REMARK.sub(" ", form) for form in forms]
    differ = bare != forms and all(map(plain, bare)) and len({*bare}) == len(bare)
    for each in (forms, bare) if differ else (forms,):
        if coded and is_ordered(each):
            return Arrangement(tuple(labels))
        for order in _orders(each, coded):
            return Arrangement(tuple(labels[i] for i in order), (), order != sorted(order))
    return None


_REMARK = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
"""What a label adds in brackets: "So so (neither good nor bad)"."""


def _orders(forms: Sequence[str], coded: bool) -> list[list[int]]:
    """Return orders in which labels are a scale, the surest first: with one moved, or as their ranks say."""
    places = range(len(forms))
    moved = []
    middles = [
        i for i in places if (is_neither(forms[i]) or is_middle(forms[i])) and not is_aside(forms[i], False)
    ]
    if len(middles) == 1:
        others = [i for i in places if i not in middles]
        moved += _ordered([[*others[:k], *middles, *others[k:]] for k in range(1, len(others))], forms)
    if coded and len(forms) > MIN_POINTS:
        moved += _ordered([[*places[1:], 0], [places[-1], *places[:-1]]], forms)
    known = None if coded and any(is_aside(f, False) for f in forms) else order_of(forms, not coded)
    ranked = [] if known is None else [known]
    if coded:
        return moved + ranked
    # The rows of a spreadsheet must not say which end is the first.
    return ranked + [o if forms[o[0]] < forms[o[-1]] else o[::-1] for o in moved]


def _ordered(orders: list[list[int]], forms: Sequence[str]) -> list[list[int]]:
    """Return the one order in which labels are a scale; none if there are several."""
    found = [o for o in orders if is_ordered([forms[i] for i in o])]
    return found if len(found) == 1 else []
