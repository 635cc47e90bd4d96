"""Combining two surveys into one data set.

Surveys are joined in order to learn from one and be tested on the other, and merged in order to learn from
both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpo_ray.preferences.dataset import PreferenceDataset, Question
from gpo_ray.preferences.labels import prompt_key, response_labels, response_order
from gpo_ray.preferences.tables import DROPPED, NOTES, SCHEMAS, log_table

Notes = list[tuple[str, str]]

PREFIX = "other:"
"""Prefix of an id of the second survey that the first survey has too."""
ANSWERED_BEFORE = "group answered the question before under another id; the first answer is used"


@dataclass(frozen=True)
class OtherSurvey:
    """The second survey's part of a joined data set, by its ids in that data set."""

    groups: tuple[str, ...]
    questions: tuple[str, ...]
    new_questions: tuple[str, ...]
    """Questions that the first survey does not ask, in whatever order of their responses."""

    def within(self, dataset: PreferenceDataset) -> OtherSurvey:
        """Return the part that a part of the joined data set still has."""
        groups = set(dataset.groups["group_id"].to_pylist())
        asked = set(dataset.questions["question_id"].to_pylist())
        return OtherSurvey(
            tuple(g for g in self.groups if g in groups),
            tuple(q for q in self.questions if q in asked),
            tuple(q for q in self.new_questions if q in asked),
        )


def join_surveys(
    first: PreferenceDataset, second: PreferenceDataset
) -> tuple[PreferenceDataset, OtherSurvey]:
    """Return the union of two surveys' questions, groups and preferences.

    Nothing is merged: two groups of the same id stay two groups, since they answered different questions to
    different interviewers, and two questions of the same id stay two questions. Ids of ``first`` stay as
    they are; an id of ``second`` that ``first`` has too gets :data:`PREFIX`.

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
        notes=pa.concat_tables([first.notes, second.notes]),
    )
    joined.validate("joined surveys")
    asked = {q.key for q in first.iter_questions()}
    new = (questions[q.question_id] for q in second.iter_questions() if q.key not in asked)
    return joined, OtherSurvey(tuple(groups.values()), tuple(questions.values()), tuple(new))


def merge_surveys(first: PreferenceDataset, second: PreferenceDataset) -> PreferenceDataset:
    """Return the union of two surveys, in which a question that both ask occurs once.

    Two questions are the same if they have the same :func:`~gpo_ray.preferences.labels.question_key`: the
    same prompt and the same responses, in any order. ``first`` stays as it is, with its topics, sources and
    orders of responses; only a nominal question takes the scale that ``second`` gives it. Shares and choices
    of ``second`` follow the labels into the order of ``first``. A question of ``second`` that ``first`` asks
    too gets its id in ``first``; if ``first`` asks it under several ids, the one with the same texts and
    order, else the equal id, else the earliest. Two groups of the same id stay two groups. An id of
    ``second`` that ``first`` has for something else gets :data:`PREFIX`. Where two questions of ``second``
    become one, each group's first answer is kept and the other is logged in ``dropped``. Notes say which
    scales were taken or differ, which groups were kept apart, and which prompts have other responses.

    Returns:
        The merged data set: the rows of ``first``, then what ``second`` adds.

    Raises:
        DataError: if one of them is not valid.
    """
    # Merging would hide two errors: ids known only to the other survey, and pairs that occur twice.
    first.validate("first survey")
    second.validate("second survey")
    groups = _distinct(first.groups["group_id"].to_pylist(), second.groups["group_id"].to_pylist())
    questions = _same_or_distinct(first, second)
    orders = _orders(first, second, questions)
    aligned = _aligned(second, orders)
    asked = set(first.questions["question_id"].to_pylist())
    is_new = [questions[q] not in asked for q in second.questions["question_id"].to_pylist()]
    preferences = _renamed(_renamed(aligned, "group_id", groups), "question_id", questions)
    again = _occurred_before(preferences.select(["group_id", "question_id"]))
    left_out = second.preferences.filter(again).to_pylist()
    dropped = [(f"second survey: {p['group_id']}, {p['question_id']}", ANSWERED_BEFORE) for p in left_out]
    scaled, notes = _with_scales(first, second, questions, orders)
    notes += [*_kept_apart(groups), *_known_prompts(first, second)]
    merged = PreferenceDataset(
        questions=pa.concat_tables(
            [scaled, _renamed(second.questions, "question_id", questions).filter(is_new)]
        ),
        groups=pa.concat_tables([first.groups, _renamed(second.groups, "group_id", groups)]),
        preferences=pa.concat_tables([first.preferences, preferences.filter(pc.invert(again))]),
        dropped=pa.concat_tables([first.dropped, second.dropped, log_table(dropped, DROPPED)]),
        notes=pa.concat_tables([first.notes, second.notes, log_table(notes, NOTES)]),
    )
    merged.validate("merged surveys")
    return merged


def _same_or_distinct(first: PreferenceDataset, second: PreferenceDataset) -> dict[str, str]:
    """Map each question id of ``second`` to the same question's id in ``first``, else to a new id."""
    asked: dict[str, list[Question]] = defaultdict(list)
    for q in first.iter_questions():
        asked[q.key].append(q)
    names = _distinct(first.questions["question_id"].to_pylist(), second.questions["question_id"].to_pylist())
    for q in second.iter_questions():
        if same := asked.get(q.key):
            likest = max(same, key=lambda s: (s.slate_key == q.slate_key, s.question_id == q.question_id))
            names[q.question_id] = likest.question_id
    return names


def _orders(
    first: PreferenceDataset, second: PreferenceDataset, names: dict[str, str]
) -> dict[str, tuple[int, ...]]:
    """Map each question of ``second`` that ``first`` asks too to its responses' places in ``first``."""
    mine = {q.question_id: response_labels(q.responses) for q in first.iter_questions()}
    theirs = {q.question_id: response_labels(q.responses) for q in second.iter_questions()}
    found = {i: response_order(labels, mine.get(names[i], ())) for i, labels in theirs.items()}
    return {i: order for i, order in found.items() if order is not None}


def _with_scales(
    first: PreferenceDataset,
    second: PreferenceDataset,
    names: dict[str, str],
    orders: dict[str, tuple[int, ...]],
) -> tuple[pa.Table, Notes]:
    """Return the questions of ``first`` with scales that only ``second`` has, and notes on scales."""
    scales, notes = {q.question_id: q.ordinal for q in first.iter_questions()}, []
    for q in second.iter_questions():
        if q.ordinal is None or q.question_id not in orders:
            continue
        theirs = tuple(q.ordinal[i] for i in np.argsort(orders[q.question_id]))
        same, where = names[q.question_id], f"second survey: {q.question_id}"
        if scales[same] is None:
            scales[same] = theirs
            notes.append((where, "the question has no scale in the first survey: the second's is taken"))
        elif theirs != scales[same]:
            notes.append((where, "the question has another scale in the first survey, which is kept"))
    field = first.questions.schema.field("ordinal")
    column = pa.array([scales[i] for i in first.questions["question_id"].to_pylist()], field.type)
    return first.questions.set_column(first.questions.column_names.index("ordinal"), field, column), notes


def _kept_apart(groups: dict[str, str]) -> Notes:
    """Return a note on each group of the second survey whose id the first has too, given its new id."""
    return [
        (f"second survey: {old}, now {new}", "the first survey has a group of this id: they are kept apart")
        for old, new in groups.items()
        if old != new
    ]


def _known_prompts(first: PreferenceDataset, second: PreferenceDataset) -> Notes:
    """Return a note on each question of ``second`` whose prompt ``first`` has with other responses."""
    keys = {q.key for q in first.iter_questions()}
    prompts = {prompt_key(q.prompt): q.question_id for q in first.iter_questions()}
    return [
        (
            f"second survey: {q.question_id}, first survey: {prompts[prompt_key(q.prompt)]}",
            "both have the prompt, with other responses: they are two questions",
        )
        for q in second.iter_questions()
        if q.key not in keys and prompt_key(q.prompt) in prompts
    ]


def _aligned(second: PreferenceDataset, orders: dict[str, tuple[int, ...]]) -> pa.Table:
    """Return the preferences of ``second``, in the order that ``first`` gives its questions' responses."""
    orders = {i: order for i, order in orders.items() if order != tuple(range(len(order)))}
    preferences = second.preferences
    if not orders:
        return preferences
    asked = preferences["question_id"].to_pylist()
    columns: dict[str, list[Any]] = {c: preferences[c].to_pylist() for c in ("share", "choice")}
    for i, question in enumerate(asked):
        if (order := orders.get(question)) is None:
            continue
        share, choice = columns["share"][i], columns["choice"][i]
        if share is not None:
            columns["share"][i] = [share[j] for j in np.argsort(order)]
        if choice is not None:
            columns["choice"][i] = order[choice]
    for name, values in columns.items():
        field = preferences.schema.field(name)
        index = preferences.column_names.index(name)
        preferences = preferences.set_column(index, field, pa.array(values, field.type))
    return preferences


def _occurred_before(table: pa.Table) -> pa.Array:
    """Return for each row whether an earlier row is equal."""
    row = np.arange(table.num_rows)
    rows = table.append_column("row", pa.array(row)).group_by(table.column_names)
    return pa.array(~np.isin(row, rows.aggregate([("row", "min")])["row_min"].to_numpy()))


def _distinct(first: Iterable[str], second: Iterable[str]) -> dict[str, str]:
    """Map each id of ``second`` to itself, or, if ``first`` has it too, to an id that neither survey has."""
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
