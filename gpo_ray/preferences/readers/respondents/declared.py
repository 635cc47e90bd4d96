"""Multiple-response sets that a file of SPSS declares.

In a set of dichotomies each variable says by a counted value whether one thing was marked. In a set of
categories each variable holds one of the things that a respondent named ("first mention", "second mention"):
for each thing a variable is added that says whether it is among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers.respondents.levels import labelled
from gpo_ray.preferences.readers.respondents.table import Column, DeclaredSet, Value, shown_value

MOST_THINGS = 100
"""Most things of a set of categories; of more, such as places, each is named by few."""
MARKED, UNMARKED = 1.0, 0.0


def declared_sets(meta: Any, columns: Mapping[str, Column]) -> tuple[list[Column], tuple[DeclaredSet, ...]]:
    """Return the variables that are added for sets of categories, and all sets.

    Args:
        meta: the metadata of pyreadstat.
        columns: the file's variables.
    """
    added: list[Column] = []
    found = []
    for name, each in (getattr(meta, "mr_sets", None) or {}).items():
        names = tuple(dict.fromkeys(n for n in each.get("variable_list", ()) if n in columns))
        label = normal_label(each.get("label") or "") or None
        if len(names) < 2:
            continue
        if each.get("is_dichotomy"):
            counted = each.get("counted_value")
            found.append(DeclaredSet(name, names, label, None if counted is None else float(counted)))
            continue
        things = _things(name, label or name, [columns[n] for n in names])
        if things and not any(t.name in columns for t in things):
            added += things
            found.append(DeclaredSet(name, tuple(t.name for t in things), label, MARKED, names))
    return added, tuple(found)


def _things(name: str, label: str, columns: Sequence[Column]) -> list[Column]:
    """Return a variable for each thing of a set of categories: whether any of V variables holds it.

    There are none if the things are too few or too many.
    """
    values = [labelled(c) for c in columns]
    things: dict[Value, str] = {}
    for each in values:
        things |= {v: t for v, t in each.answers.items() if v not in things}
    if not 2 <= len(things) <= MOST_THINGS:
        return []
    asked = np.zeros(len(columns[0].code), bool)
    for column, each in zip(columns, values, strict=True):
        asked |= _holds(column, {*each.answers, *each.unlabelled, *each.between})
    made = []
    for value, thing in sorted(things.items(), key=lambda item: columns[0].order(item[0])):
        named = np.any([_holds(c, {value}) for c in columns], axis=0)
        code = np.where(asked, named.astype(np.int32), np.int32(-1))
        made.append(
            Column(
                f"{name}={shown_value(value)}",
                (UNMARKED, MARKED),
                code,
                f"{label}: {thing}",
                {UNMARKED: "Not named", MARKED: "Named"},
            )
        )
    return made


def _holds(column: Column, some: set[Value]) -> Any:
    """Return (R,) whether each respondent has one of some values."""
    return np.array([*(v in some for v in column.values), False])[column.code]
