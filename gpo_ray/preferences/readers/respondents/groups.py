"""Groups of respondents: the levels of demographics, numbers cut into levels, and crossings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.attributes import CROSSED
from gpo_ray.preferences.dataset import Group
from gpo_ray.preferences.readers.answers import Codes, Counted, effective_number
from gpo_ray.preferences.readers.common import NOT_A_GROUP, Collector, is_group_level
from gpo_ray.preferences.readers.respondents.case import two_cases
from gpo_ray.preferences.readers.respondents.codebook import Codebook, DemographicEntry
from gpo_ray.preferences.readers.respondents.levels import labelled
from gpo_ray.preferences.readers.respondents.table import Column, RespondentTable, shown_value
from gpo_ray.preferences.readers.respondents.words import silence

MAX_CROSSED_GROUPS = 10_000
"""Most groups of a survey; more come of crossings of many levels."""


@dataclass(frozen=True)
class Partition:
    """A division of R respondents into L groups, to which not all of them belong."""

    groups: tuple[Group, ...]
    """L groups."""
    code: NDArray[np.int64]
    """(R,) index into ``groups``, -1 for none."""


@dataclass(frozen=True)
class _Attribute:
    """A demographic with its levels."""

    name: str
    label: str
    levels: tuple[str, ...]
    code: NDArray[np.int64]


def partitions(
    table: RespondentTable, codebook: Codebook, groups: str, bins: Sequence[str], into: Collector
) -> list[Partition]:
    """Return the groups that options ask for.

    Args:
        table: the file of R respondents.
        codebook: its codebook.
        groups: ``all`` for the levels of each demographic, or names of variables, separated by commas;
            ``A*B`` crosses two.
        bins: ``NAME=18,30,50``: where to cut a number into levels.
        into: the collector of what is left out.

    Raises:
        ConfigError: for a name that is not a variable with levels, or bins that are none.
    """
    cuts = dict(_cut(each, table) for each in bins)
    named = [[part.strip() for part in each.split("*")] for each in groups.split(",") if each.strip()]
    if groups == "all":
        named = [[name] for name in dict.fromkeys((*codebook.demographics, *cuts))]
    if not named:
        raise ConfigError(
            f"{table.path}: no demographic is known whose levels are groups; name variables by --groups, cut "
            "a number by --bins, or take --units individuals"
        )
    made: dict[str, _Attribute] = {}
    found = []
    for names in named:
        attributes = []
        for name in names:
            column = table.find(name)
            if column is None:
                known = ", ".join(codebook.demographics) or "none"
                raise ConfigError(
                    f"--groups {name}: {table.path.name} has no such variable; demographics: {known}"
                )
            if column.name not in made:
                made[column.name] = _attribute(column, codebook, cuts, table, into)
            attributes.append(made[column.name])
        if len({a.name for a in attributes}) < len(attributes):
            raise ConfigError(f"--groups {'*'.join(names)}: a variable cannot be crossed with itself")
        found.append(_crossed(attributes))
    unused = [name for name in cuts if name not in made]
    if unused:
        raise ConfigError(f"--bins {unused[0]}: it is not among --groups {groups}; add it there")
    return found


def _cut(text: str, table: RespondentTable) -> tuple[str, tuple[float, ...]]:
    """Parse ``AGE=18,30,50,65``."""
    name, sign, numbers = text.partition("=")
    column = table.find(name.strip())
    if not sign or column is None:
        problem = "no variable of the file" if sign else "without ="
        raise ConfigError(f"--bins {text!r}: {problem}; write it as AGE=18,30,50,65")
    try:
        cuts = tuple(float(n) for n in numbers.split(","))
    except ValueError as e:
        raise ConfigError(f"--bins {text!r}: {numbers!r} are not numbers; write it as AGE=18,30,50,65") from e
    if not all(np.isfinite(cuts)) or any(b <= a for a, b in pairwise(cuts)):
        raise ConfigError(f"--bins {text!r}: the numbers must ascend")
    if not np.isfinite(column.numbers()).any():
        raise ConfigError(f"--bins {text!r}: {column.name} is not a number")
    return column.name, cuts


def _attribute(
    column: Column,
    codebook: Codebook,
    cuts: Mapping[str, tuple[float, ...]],
    table: RespondentTable,
    into: Collector,
) -> _Attribute:
    entry = codebook.demographics.get(column.name) or _unlisted(column, cuts)
    if column.problem is not None and (not column.labels or two_cases(entry.levels.values())):
        raise DataError(f"{table.path.name}: {column.name}: {column.problem}")
    where = f"{table.path.name}: {column.name}"
    bins = cuts.get(column.name, entry.bins)
    if bins:
        return _binned(column, entry.label, bins, into, where)
    levels = []
    for level in dict.fromkeys(entry.levels.values()):
        if is_group_level(level) and silence(level, (), apart=False) is None:
            levels.append(level)
        else:
            into.drop(f"{where}={level}", NOT_A_GROUP)
    index = {level: i for i, level in enumerate(levels)}
    known = [index.get(entry.levels.get(v, ""), -1) for v in column.values]
    for value, count in zip(column.values, column.counts().tolist(), strict=True):
        if value not in entry.levels and count:
            label = column.labels.get(value, shown_value(value))
            into.drop(f"{where}={label} ({count} respondents)", NOT_A_GROUP)
    return _Attribute(column.name, entry.label, tuple(levels), np.array([*known, -1])[column.code])


def _unlisted(column: Column, cuts: Mapping[str, tuple[float, ...]]) -> DemographicEntry:
    """Return the entry of a variable that is named as groups and is no demographic of the codebook."""
    label = column.label or column.name
    if column.name in cuts:
        return DemographicEntry(label=label, bins=cuts[column.name])
    levels = labelled(column).answers
    if not levels:
        raise ConfigError(
            f"--groups {column.name}: its values have no labels; give levels in a codebook, or cut a number "
            f"by --bins {column.name}=18,30,50,65"
        )
    return DemographicEntry(label=label, levels=levels)


def _binned(column: Column, label: str, cuts: tuple[float, ...], into: Collector, where: str) -> _Attribute:
    """Cut a number into levels; below the first cut there is one more level, if anybody is there."""
    refused = {v for v, text in column.labels.items() if silence(text)} | {*labelled(column).missing}
    numbers = column.numbers()
    lut = [v if isinstance(v, float) and v not in refused else np.nan for v in column.values]
    numbers = np.where(np.isfinite(numbers), np.array([*lut, np.nan])[column.code], np.nan)
    known = np.isfinite(numbers)
    code = np.where(known, np.searchsorted(cuts, np.where(known, numbers, 0), side="right"), -1).astype(
        np.int64
    )
    whole = all(c.is_integer() for c in cuts) and bool((numbers[known] % 1 == 0).all())
    names = [f"under {shown_value(cuts[0])}"]
    for low, high in pairwise(cuts):
        if whole:
            names.append(
                shown_value(low) if high == low + 1 else f"{shown_value(low)}-{shown_value(high - 1)}"
            )
        else:
            names.append(f"{shown_value(low)} to below {shown_value(high)}")
    names.append(f"{shown_value(cuts[-1])}+")
    into.note(where, f"cut into levels at {', '.join(map(shown_value, cuts))}")
    if (code == 0).any():
        return _Attribute(column.name, label, tuple(names), code)
    return _Attribute(column.name, label, tuple(names[1:]), np.where(code < 0, -1, code - 1))


def _crossed(attributes: Sequence[_Attribute]) -> Partition:
    """Return the groups of every combination of the attributes' levels."""
    groups = [Group("", "attribute", "")]
    code = np.zeros(len(attributes[0].code), np.int64)
    for a in attributes:
        if len(groups) * len(a.levels) > MAX_CROSSED_GROUPS:
            crossing = "*".join(each.name for each in attributes)
            raise ConfigError(
                f"--groups {crossing}: more than {MAX_CROSSED_GROUPS} groups; cross fewer levels"
            )
        groups = [
            Group(
                f"{g.group_id}{CROSSED}{a.name}={level}".removeprefix(CROSSED),
                "attribute",
                f"{g.description}; {a.label}: {level}".removeprefix("; "),
            )
            for g in groups
            for level in a.levels
        ]
        code = np.where((code < 0) | (a.code < 0), -1, code * len(a.levels) + a.code)
    return Partition(tuple(groups), code)


def count(
    found: Sequence[Partition],
    choices: Iterable[NDArray[np.int64]],
    sizes: Sequence[int],
    weight: NDArray[np.float64] | None,
) -> tuple[list[Group], Counted]:
    """Count the answers of all groups, question by question.

    Args:
        found: the groups.
        choices: for each of Q questions the (R,) index of each respondent's response, -1 for none.
        sizes: the number of responses of each question.
        weight: (R,) weights, 0 for respondents that are left out; None if all count the same.

    Returns:
        The G groups and their counted answers; ``n`` is Kish's effective number of respondents.
    """
    groups = [g for p in found for g in p.groups]
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    totals = np.zeros((len(groups), start[-1]))
    people = np.zeros((len(groups), len(sizes)), np.int64)
    squares = np.zeros((len(groups), len(sizes)))
    used = None if weight is None else weight > 0
    for q, choice in enumerate(choices):
        rows = np.flatnonzero(choice >= 0 if used is None else (choice >= 0) & used)
        chosen, w = choice[rows], None if weight is None else weight[rows]
        first = 0
        for p in found:
            last, level = first + len(p.groups), p.code[rows] + 1  # level 0 is no group
            shape = (len(p.groups) + 1, sizes[q])
            counts = np.bincount(level * sizes[q] + chosen, w, minlength=shape[0] * shape[1]).reshape(shape)
            totals[first:last, start[q] : start[q + 1]] = counts[1:]
            people[first:last, q] = np.bincount(level, minlength=shape[0])[1:]
            if w is not None:
                squares[first:last, q] = np.bincount(level, w**2, minlength=shape[0])[1:]
            first = last
    n = people.astype(np.float64)
    if weight is not None:
        n = effective_number(np.add.reduceat(totals, start[:-1], axis=1), squares)
    return groups, Counted(totals, people, n, _sizes(found, used), start)


def _sizes(found: Sequence[Partition], used: NDArray[np.bool_] | None) -> Codes:
    """Return how many respondents each group has."""
    kept = [p.code if used is None else p.code[used] for p in found]
    return np.concatenate(
        [np.bincount(c[c >= 0], minlength=len(p.groups)) for c, p in zip(kept, found, strict=True)]
    )
