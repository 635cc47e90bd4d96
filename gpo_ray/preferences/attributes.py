"""The attributes that ids of groups name: ``SEX=Female``, or the crossing ``AGE=18-29 & SEX=Female``."""

from __future__ import annotations

from collections.abc import Iterable

CROSSED = " & "
"""Separator of the levels of a crossing in a group's id."""
OVERLAP = (
    "groups of several attributes of the same people overlap; --protocol new-attribute tests on attributes "
    "that training has not seen"
)
"""Advice for surveys whose groups are levels of several attributes."""


def attributes_of(group_id: str) -> tuple[str, ...]:
    """Return the attributes that a group's id names: several for a crossing, none for any other id.

    A part of the id without ``=`` belongs to the level before it, so that a level's name may hold the
    separator.
    """
    parts = group_id.split(CROSSED)
    if "=" not in parts[0]:
        return ()
    return tuple(part.partition("=")[0] for part in parts if "=" in part)


def overlap(group_ids: Iterable[str]) -> bool:
    """Return whether groups are levels of more than one attribute, and so divide the same people anew."""
    named = [attributes_of(g) for g in group_ids]
    return bool(named) and all(named) and len({a for each in named for a in each}) > 1
