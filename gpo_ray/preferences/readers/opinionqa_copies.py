"""Leave out attributes of OpinionQA that are copies of another attribute under another name."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pyarrow as pa

from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.readers.opinionqa_items import PHRASES
from gpo_ray.preferences.tables import DROPPED, log_table

Answers = dict[str, tuple[tuple[float, ...], float | None]]
"""A group's shares and number of respondents, by question id."""


def without_copied_attributes(dataset: PreferenceDataset) -> PreferenceDataset:
    """Leave out each attribute whose groups all have the same answers as groups of another attribute.

    The answers to all questions that such an attribute's groups answered must be equal, with the same numbers
    of respondents; levels may have other names. Of two attributes that are copies of each other, the one that
    the publisher describes is kept, or else the one that comes first in the alphabet. Every group that is
    left out is logged.
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


def _answers(dataset: PreferenceDataset) -> dict[str, list[Answers]]:
    """Return the answers of each attribute's groups."""
    by_group: dict[str, Answers] = defaultdict(dict)
    columns = (dataset.preferences[c].to_pylist() for c in ("group_id", "question_id", "share", "n"))
    for group, question, share, n in zip(*columns, strict=True):
        by_group[group][question] = (tuple(share), n)
    attributes: dict[str, list[Answers]] = defaultdict(list)
    for group, answers in by_group.items():
        attributes[group.partition("=")[0]].append(answers)
    return attributes


def _copied(groups: list[Answers], others: list[Answers]) -> bool:
    """Return whether each group has the same answers as one of the others, to all that it answered."""
    return all(any(group.items() <= other.items() for other in others) for group in groups)
