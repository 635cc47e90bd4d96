"""Leave out attributes of OpinionQA that are copies of another attribute under another name."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pyarrow as pa

from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.readers.opinionqa_items import PHRASES
from gpo_ray.preferences.tables import DROPPED, log_table

MIN_RESPONDENTS = 30
"""Fewest respondents, over all answers, by which an attribute with other levels is known to be a copy."""
Answers = dict[str, tuple[tuple[float, ...], float]]
"""A group's shares and number of respondents, by question id."""
Levels = dict[str, Answers]
"""The answers of an attribute's groups, by level."""


def without_copied_attributes(dataset: PreferenceDataset) -> PreferenceDataset:
    """Leave out each attribute whose groups all have the same answers as groups of another attribute.

    The answers to all questions that such an attribute's groups answered must be equal, with the same numbers
    of respondents; levels may have other names if there are enough answers. Of two attributes that are copies
    of each other, the one that the publisher describes is kept, or else the one that comes first in the
    alphabet. Every group that is left out is logged.
    """
    attributes = _answers(dataset)
    copies: dict[str, str] = {}
    # the attributes that are most likely copies are looked at first, and a copy is no original
    for name in sorted(attributes, key=lambda a: (a not in PHRASES, a), reverse=True):
        for other in sorted(attributes, key=lambda a: (a not in PHRASES, a)):
            if other != name and other not in copies and _copied(attributes[name], attributes[other]):
                copies[name] = other
                break
    if not copies:
        return dataset
    groups = dataset.groups["group_id"].to_pylist()
    left_out = {g: a for g in groups if (a := g.partition("=")[0]) in copies}
    kept = dataset.select_groups(g for g in groups if g not in left_out)
    drops = [
        (g, f"attribute {a} has the same answers as {copies[a]} throughout") for g, a in left_out.items()
    ]
    return replace(kept, dropped=pa.concat_tables([kept.dropped, log_table(drops, DROPPED)]))


def _answers(dataset: PreferenceDataset) -> dict[str, Levels]:
    """Return the answers of each attribute's levels."""
    attributes: dict[str, Levels] = defaultdict(lambda: defaultdict(dict))
    columns = (dataset.preferences[c].to_pylist() for c in ("group_id", "question_id", "share", "n"))
    for group, question, share, n in zip(*columns, strict=True):
        attribute, _, level = group.partition("=")
        attributes[attribute][level][question] = (tuple(share), n)
    return attributes


def _copied(levels: Levels, others: Levels) -> bool:
    """Return whether each level has the same answers as one of the others, to all that it answered.

    If the levels have other names, few answers may be the same by chance.
    """
    if all(level in others and levels[level].items() <= others[level].items() for level in levels):
        return True
    behind = sum(n for answers in levels.values() for _, n in answers.values())
    return (
        len(levels) > 1
        and behind >= MIN_RESPONDENTS
        and all(any(own.items() <= other.items() for other in others.values()) for own in levels.values())
    )
