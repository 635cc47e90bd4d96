"""Texts of a variable that differ in case or typography alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from gpo_ray.preferences.labels import folded_label, plain_label
from gpo_ray.preferences.readers.respondents.table import Column
from gpo_ray.preferences.readers.respondents.words import silence

MANY = 100
"""A column with more different texts holds no answers to a question, nor levels of a demographic."""


def two_cases(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Return the labels that differ from an earlier one in case or signs alone, each with the earlier one."""
    return [(label, known) for label, known in _first_spellings(labels).items() if label != known]


def _differ_in_case(label: str, known: str) -> bool:
    """Return whether a label differs from its first spelling in more than quotes, dashes and dots."""
    return plain_label(label) != plain_label(known)


def _first_spellings(labels: Iterable[str]) -> dict[str, str]:
    """Map each label to the first one that is the same but for its case and its typography."""
    first: dict[str, str] = {}
    return {label: first.setdefault(folded_label(label), label) for label in labels}


def one_case(
    given: Sequence[str], merge_case: bool, place: str, notes: list[tuple[str, str]]
) -> tuple[dict[str, str], str | None]:
    """Return the spelling that each text is read as, and what is wrong with the spellings.

    What differs in the kinds of quotes, dashes and dots alone is one text, with a note. Columns of many
    different texts, such as names, are left as they are.

    Args:
        given: the different texts of a variable.
        merge_case: whether texts that differ in case alone are one, in the first of these spellings.
        place: the file and the variable, for notes.
        notes: where it is noted which texts became one.
    """
    chosen = _first_spellings(given)
    if len(set(chosen.values())) > MANY:
        return {v: v for v in given}, None
    for text, spelling in chosen.items():
        if text == spelling:
            continue
        if not merge_case and _differ_in_case(text, spelling):
            return {v: v for v in given}, (
                f"{spelling!r} and {text!r} differ in case alone; write them alike, or take them as one with "
                "--merge-case"
            )
        notes.append((place, f"{text!r} is taken as {spelling!r}"))
    return chosen, None


def in_one_case(column: Column, merge_case: bool, place: str, notes: list[tuple[str, str]]) -> Column:
    """Return a variable of SPSS, Stata or SAS in which no two answers differ in case alone.

    Answers are the labels of values, or texts of a variable without labels. If some differ in case alone,
    and ``merge_case`` is not set, this is the problem of the variable.

    Args:
        column: the variable.
        merge_case: whether such answers are one, in the first of their spellings.
        place: the file and the variable, for notes.
        notes: where it is noted which answers became one.
    """
    if column.kind == "date" or (column.kind == "number" and not column.labels):
        return column
    labelled = {v: t for v, t in column.labels.items() if v not in column.missing and silence(t) is None}
    texts = list(dict.fromkeys(labelled.values() if column.labels else map(str, column.values)))
    spelt, problem = one_case(texts, merge_case, place, notes)
    if problem is not None:
        return replace(column, problem=problem)
    if all(text == spelling for text, spelling in spelt.items()):
        return column
    if column.labels:
        return replace(column, labels={**column.labels, **{v: spelt[t] for v, t in labelled.items()}})
    distinct = list(dict.fromkeys(spelt[str(v)] for v in column.values))
    place_of = {text: i for i, text in enumerate(distinct)}
    recode = np.array([*(place_of[spelt[str(v)]] for v in column.values), -1], np.int32)
    return replace(column, values=tuple(distinct), code=recode[column.code])
