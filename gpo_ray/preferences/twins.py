"""Twins: groups that gave nearly the same answers, which no split divides between training and test.

They are one group under two names: an attribute that a publisher ships twice, a file that was copied, or a
survey that was imported twice and merged. A method that learnt from one of them knows the answers of the
other, so that a test on the other shows nothing. Groups that are alike by nature are no twins: among the
groups of OpinionQA, GlobalOpinionQA and the General Social Survey, which overlap and some of which are parts
of others, the closest two are 0.0125 or more apart, two and a half times :data:`ROUNDED`.

Shapes: G groups, Q questions, N responses of all questions, P pairs of groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpo_ray.errors import DataError
from gpo_ray.preferences.attributes import OVERLAP, overlap
from gpo_ray.preferences.dataset import KIND, PreferenceDataset
from gpo_ray.preferences.labels import response_labels
from gpo_ray.preferences.slates import spans
from gpo_ray.preferences.tables import NOTES, PREFERENCES, answer_files, log_table, read_stored
from gpo_ray.runtime.storage import Folder

MIN_QUESTIONS = 5
"""Fewest questions that two groups must both have answered; on fewer, groups may agree by chance."""
MIN_OVERLAP = 0.8
"""Least part of the smaller group's questions that the other one answered too."""
SAME = 1e-3
"""Largest distance of twins (:func:`find_twins`): what rounding to a tenth of a percent makes."""
MANY_QUESTIONS = 20
"""Number of common questions from which on :data:`ROUNDED` replaces :data:`SAME`, since groups do not agree
on so many by chance."""
ROUNDED = 5e-3
"""Largest distance of twins with many common questions: what rounding to whole percents makes."""
ERROR = 1e-5
"""Error of single precision by which a distance may exceed these limits."""
BLOCK = 256
"""Number of groups whose distances from others are computed at the same time, which limits memory."""
COLUMNS = 16
"""Number of responses whose differences are added at the same time; most pairs of groups are told apart by
the first of them."""

WHERE = "groups"
"""The place that a note on groups names."""
Twins = tuple[tuple[str, ...], ...]
"""Sets of twins, each as two or more ids of groups."""


def find_twins(dataset: PreferenceDataset) -> Twins:
    """Return the sets of groups with nearly the same answers; ids and sets are sorted.

    Two groups are twins if they both answered enough of the same questions (:data:`MIN_QUESTIONS`,
    :data:`MIN_OVERLAP`) and their distance is at most :data:`SAME` or, with many common questions,
    :data:`ROUNDED`. The distance is the total variation distance of their shares (half the sum of the
    absolute differences: the part of a group that would have to answer otherwise), averaged over the common
    questions. Twins of twins are in one set.

    Single people are never twins, and neither are other groups whose every answer is one response: with few
    options, it is normal that two people answer alike.
    """
    answers = _Answers.of(dataset)
    if answers is None:
        return ()
    sets = {i: [i] for i in range(len(answers.ids))}
    for start in range(0, len(answers.ids), BLOCK):
        for first, second in answers.twins_of_block(start).T.tolist():
            if sets[first] is not sets[second]:
                sets[first] += sets[second]
                sets |= dict.fromkeys(sets[second], sets[first])
    found = {tuple(sorted(answers.ids[i] for i in members)) for members in sets.values()}
    return tuple(sorted(members for members in found if len(members) > 1))


def note_twins(dataset: PreferenceDataset) -> PreferenceDataset:
    """Return the data set with a note on each set of twins that is not noted yet."""
    noted = set(dataset.notes["note"].to_pylist())
    notes = [(WHERE, note) for note in map(twin_note, find_twins(dataset)) if note not in noted]
    if not notes:
        return dataset
    return replace(dataset, notes=pa.concat_tables([dataset.notes, log_table(notes, NOTES)]))


def twin_note(twins: tuple[str, ...]) -> str:
    """Return the note on one set of twins; where they are of several attributes, with advice on these."""
    note = (
        f"{', '.join(map(repr, twins))} gave nearly the same answers; no split divides them between training "
        "and test"
    )
    return f"{note}; {OVERLAP}" if overlap(twins) else note


def group_answers(survey: str, dataset: PreferenceDataset) -> PreferenceDataset:
    """Return a data set that was loaded without answers, with the answers of its groups of people.

    Answers of single people, which make up a survey that is too large for memory, are not kept.

    Args:
        survey: folder of the survey.
        dataset: its questions and groups.

    Raises:
        DataError: if a file of the survey is missing or damaged.
    """
    of_people = pc.not_equal(dataset.groups["kind"], "individual")
    groups = dataset.groups["group_id"].filter(of_people).combine_chunks()
    if not len(groups):
        return dataset
    folder, tables = Folder(survey, DataError), [PREFERENCES.empty_table()]
    manifest = folder.read_manifest(KIND)
    for file in answer_files(manifest):
        table = read_stored(folder, manifest, file, PREFERENCES)
        tables.append(table.filter(pc.is_in(table["group_id"], value_set=groups)))
    found = replace(dataset, preferences=pa.concat_tables(tables))
    found.check_answers(survey)
    return found


@dataclass(frozen=True)
class _Answers:
    """The answers of the groups that may be twins.

    ``share`` (G, N) are the shares, 0 where a group did not answer, and ``square`` their squares; ``given``
    (G, N) is 1 for the responses, and ``answered`` (G, Q) for the questions, that a group answered.
    """

    ids: list[str]
    share: NDArray[np.float32]
    square: NDArray[np.float32]
    given: NDArray[np.float32]
    answered: NDArray[np.float32]

    @classmethod
    def of(cls, dataset: PreferenceDataset) -> _Answers | None:
        """Collect the answers; None if fewer than two groups may be twins."""
        group, question = dataset.group_codes(), dataset.question_codes()
        able = _able(dataset, group)
        if able.sum() < 2:
            return None
        number = np.cumsum(able) - 1
        values, offsets = dataset.shares()
        same, column = _identities(dataset)
        rows = np.flatnonzero(able[group])
        cells = spans(offsets, rows)
        at = spans(np.concatenate([[0], np.cumsum(dataset.slate_sizes())]), question[rows])
        place = (np.repeat(number[group[rows]], np.diff(offsets)[rows]), column[at])
        share = np.zeros((int(able.sum()), int(column.max()) + 1), np.float32)
        given, answered = np.zeros_like(share), np.zeros((len(share), int(same.max()) + 1), np.float32)
        share[place], given[place] = values[cells], 1
        answered[number[group[rows]], same[question[rows]]] = 1
        ids = np.asarray(dataset.groups["group_id"].to_pylist())[able].tolist()
        return cls(ids, share, share**2, given, answered)

    def twins_of_block(self, start: int) -> NDArray[np.int64]:
        """Return the pairs (2, P) of twins whose first group is in the block of groups from ``start`` on."""
        block, rest = slice(start, start + BLOCK), slice(start, None)
        count = self.answered.sum(1)
        common = self.answered[block] @ self.answered[rest].T
        enough = (common >= MIN_QUESTIONS) & (
            common >= MIN_OVERLAP * np.minimum(count[block, None], count[rest]) - ERROR
        )
        limit = 2 * (np.where(common >= MANY_QUESTIONS, ROUNDED, SAME) + ERROR) * common
        # No difference is above 1, so that the sum of their squares is at most the sum of their sizes.
        squares = self.square[block] @ self.given[rest].T + self.given[block] @ self.square[rest].T
        squares -= 2 * self.share[block] @ self.share[rest].T
        first, second = np.nonzero(np.triu(enough & (squares <= limit + ERROR * common), 1))
        return self._within(np.stack([first, second]) + start, limit[first, second])

    def _within(self, pairs: NDArray[np.int64], limit: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return those of the pairs (2, P) whose absolute differences sum to at most their limit (P,)."""
        total = np.zeros(pairs.shape[1])
        for columns in np.array_split(np.arange(self.share.shape[1]), -(-self.share.shape[1] // COLUMNS)):
            share, given = self.share[:, columns], self.given[:, columns]
            first, second = pairs
            total += (np.abs(share[first] - share[second]) * given[first] * given[second]).sum(1)
            close = total <= limit
            pairs, limit, total = pairs[:, close], limit[close], total[close]
        return pairs


def _able(dataset: PreferenceDataset, group: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which groups may be twins: not single people, nor groups that answer like single people."""
    values, offsets = dataset.shares()
    count = np.bincount(group, minlength=dataset.groups.num_rows)
    if not len(group):
        return np.zeros(len(count), bool)
    divided = np.maximum.reduceat(values, offsets[:-1]) < 1 - ERROR
    shared = np.bincount(group, divided, len(count)) > 0
    people = np.asarray(dataset.groups["kind"].to_pylist(), object) == "individual"
    return (count >= MIN_QUESTIONS) & shared & ~people


def _identities(dataset: PreferenceDataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number (Q,) of each question and the column (N,) of each response.

    A question that occurs under several ids has the same number, and its responses have the same columns,
    whatever their order.
    """
    number: dict[str, int] = {}
    column: dict[tuple[int, str], int] = {}
    numbers, columns = [], []
    for q in dataset.iter_questions():
        n = number.setdefault(q.key, len(number))
        numbers.append(n)
        columns += [column.setdefault((n, r), len(column)) for r in response_labels(q.responses)]
    return np.asarray(numbers, np.int64), np.asarray(columns, np.int64)
