"""Joining two surveys into one data set, to learn from the one and be tested on the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from gpo_ray.preferences.dataset import SCHEMAS, PreferenceDataset

PREFIX = "other:"
"""Set before an id of the second survey that the first one has too."""


@dataclass(frozen=True)
class OtherSurvey:
    """The second survey's part of a joined data set, by the ids that it has there."""

    groups: tuple[str, ...]
    questions: tuple[str, ...]
    new_questions: tuple[str, ...]
    """Those that the first survey does not ask in the same words with the same responses."""


def join_surveys(
    first: PreferenceDataset, second: PreferenceDataset
) -> tuple[PreferenceDataset, OtherSurvey]:
    """The union of two surveys' questions, groups and preferences.

    Nothing is merged: groups of the same id stay two groups, since they answered other questions to
    other interviewers, and so do questions. Ids of ``first`` stay as they are; an id of ``second``
    that ``first`` has too gets :data:`PREFIX`.

    Returns:
        The joined data set, and which part of it is ``second``.

    Raises:
        DataError: if one of them is not valid.
    """
    groups, questions = (
        _distinct(getattr(first, table)[key].to_pylist(), getattr(second, table)[key].to_pylist())
        for table, key in (("groups", "group_id"), ("questions", "question_id"))
    )
    renamed = {
        "questions": _renamed(second.questions, "question_id", questions),
        "groups": _renamed(second.groups, "group_id", groups),
        "preferences": _renamed(_renamed(second.preferences, "group_id", groups), "question_id", questions),
    }
    joined = PreferenceDataset(
        **{name: pa.concat_tables([getattr(first, name), renamed[name]]) for name in SCHEMAS},
        dropped=pa.concat_tables([first.dropped, second.dropped]),
    )
    joined.validate("joined surveys")
    asked = {q.key for q in first.iter_questions()}
    new = (questions[q.question_id] for q in second.iter_questions() if q.key not in asked)
    return joined, OtherSurvey(tuple(groups.values()), tuple(questions.values()), tuple(new))


def _distinct(first: Iterable[str], second: Iterable[str]) -> dict[str, str]:
    """For each id of ``second`` one that neither survey has, itself if ``first`` has it not."""
    ids = list(second)
    taken = set(first)
    theirs = set(ids) - taken
    names = {}
    for i in ids:
        name = i
        while name in taken or (name != i and name in theirs):
            name = PREFIX + name
        taken.add(name)
        names[i] = name
    return names


def _renamed(table: pa.Table, column: str, names: dict[str, str]) -> pa.Table:
    field = table.schema.field(column)
    values = pa.array([names[i] for i in table[column].to_pylist()], field.type)
    return table.set_column(table.column_names.index(column), field, values)
