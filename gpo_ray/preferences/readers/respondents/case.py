"""Texts of a variable that differ in case alone."""

from __future__ import annotations

from collections.abc import Sequence

from gpo_ray.preferences.labels import folded_label

MANY = 100
"""A column with more different texts holds no answers to a question, nor levels of a demographic."""


def one_case(
    given: Sequence[str], merge_case: bool, place: str, notes: list[tuple[str, str]]
) -> tuple[dict[str, str], str | None]:
    """Return the spelling that each text is read as, and what is wrong with the spellings.

    Columns of many different texts, such as names, are left as they are.

    Args:
        given: the different texts of a variable.
        merge_case: whether texts that differ in case alone are one, in the first of these spellings.
        place: the file and the variable, for notes.
        notes: where it is noted which texts became one.
    """
    first: dict[str, str] = {}
    chosen = {v: first.setdefault(folded_label(v), v) for v in given}
    if len(first) > MANY:
        return {v: v for v in given}, None
    for text, spelling in chosen.items():
        if text == spelling:
            continue
        if not merge_case:
            return {v: v for v in given}, (
                f"{spelling!r} and {text!r} differ in case alone; write them alike, or take them as one with "
                "--merge-case"
            )
        notes.append((place, f"{text!r} is taken as {spelling!r}"))
    return chosen, None
