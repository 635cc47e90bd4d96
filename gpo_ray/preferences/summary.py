"""What a researcher looks for in a survey, as numbers: what ``gpo survey show`` tells.

Shapes: G groups, Q questions, A answers (one group's preference on one question), N responses of all answers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.metrics import alignment
from gpo_ray.preferences.slates import Array, Ints, spans

PEOPLE = "individual"
"""The kind of groups that are single people."""


@dataclass(frozen=True)
class GroupSummary:
    """How much is known of a group."""

    group_id: str
    kind: str
    answered: int
    """Number of questions that it answered."""
    coverage: float
    """Their part of all questions of the survey."""
    median_n: float | None
    """Median number of respondents behind its answers, over those that have one; None if none has."""


@dataclass(frozen=True)
class TopicSummary:
    """The questions of one topic."""

    topic: str | None
    """None for questions that have no topic, or an empty one."""
    questions: int
    answers: int
    """Number of answers to them, of all groups together."""


@dataclass(frozen=True)
class DivisiveQuestion:
    """A question, and how far the groups are apart on it."""

    row: int
    """Its row in the survey's table of questions."""
    question_id: str
    prompt: str
    scale: bool
    """Whether its responses have values on a scale."""
    groups: int
    """Number of groups that answered it, of those that are compared."""
    distance: float
    """Mean distance of these groups' shares to their mean, see :attr:`SurveySummary.divisive`."""


@dataclass(frozen=True)
class MissingAnswers:
    """A question that some groups did not answer."""

    row: int
    """Its row in the survey's table of questions."""
    question_id: str
    groups: int
    """Number of groups without an answer to it."""


@dataclass(frozen=True)
class LogEntry:
    """The entries of a log, of dropped rows or of notes, that say the same."""

    text: str
    """The reason, or the note."""
    rows: int
    example: str
    """Where the first of them was."""


@dataclass(frozen=True)
class SurveySummary:
    """What a survey holds; :func:`summarise` makes it."""

    dataset: PreferenceDataset
    questions: int
    groups: int
    answers: int
    scale: int
    """Number of questions whose responses have values on a scale; the others are nominal."""
    by_group: tuple[GroupSummary, ...]
    """All groups, in the survey's order."""
    by_topic: tuple[TopicSummary, ...]
    """All topics, those with the most questions first."""
    compared: str
    """Whose shares :attr:`divisive` compares: ``groups``, or ``people`` where the survey has only these."""
    divisive: tuple[DivisiveQuestion, ...]
    """The questions that at least two groups answered, the most divisive first.

    How divisive a question is: the mean, over the groups that answered it, of the distance between a group's
    shares and the mean of all these groups' shares. Each group counts the same, whatever its size. The
    distance is that of the project's metric (:func:`~gpo_ray.preferences.metrics.alignment`): W1/W1max on
    the values of a scale, the Jensen-Shannon distance with natural logarithm for nominal responses; 0 where
    all groups agree. Single people are left out where the survey has other groups, since every person is
    far from every mean. A question whose scale values are all the same has no distance and is not listed."""
    missing: tuple[MissingAnswers, ...]
    """The questions that not all groups answered, those that most groups left out first."""
    dropped: tuple[LogEntry, ...]
    """The rows that the reader left out, by reason."""
    notes: tuple[LogEntry, ...]
    """What the reader took in a way to know of, by note."""

    @property
    def missing_pairs(self) -> int:
        """Return the number of pairs of a group and a question without an answer."""
        return self.groups * self.questions - self.answers

    def answers_to(self, question: int) -> tuple[Ints, Ints]:
        """Return the groups that answered the question in this row, and their answers, as rows of the tables.

        They are in the order of the answers.
        """
        starts, answers = self._answered
        found = answers[starts[question] : starts[question + 1]]
        return self._group[found], found

    def groups_without(self, question: int) -> list[str]:
        """Return the ids of the groups without an answer to the question in this row, in table order."""
        without = np.delete(np.arange(self.groups), self.answers_to(question)[0])
        return self.dataset.groups["group_id"].take(pa.array(without)).to_pylist()

    def shares_at(self, answers: Ints) -> tuple[list[Array], list[float | None]]:
        """Return the shares (R,) of each of the answers in these rows, and the respondents behind it."""
        few = replace(self.dataset, preferences=self.dataset.preferences.take(pa.array(answers)))
        values, offsets = few.shares()
        parts = np.split(values, offsets[1:-1]) if len(answers) else []
        return parts, few.preferences["n"].to_pylist()

    @cached_property
    def _group(self) -> Ints:
        """The row of each answer's group, (A,)."""
        return self.dataset.group_codes()

    @cached_property
    def _answered(self) -> tuple[Ints, Ints]:
        """Where each question's answers start, (Q + 1,), and the rows of the answers by question, (A,)."""
        question = self.dataset.question_codes()
        order = np.argsort(question, kind="stable")
        return np.searchsorted(question[order], np.arange(self.questions + 1)), order


def summarise(dataset: PreferenceDataset) -> SurveySummary:
    """Compute what is told of a survey; of millions of answers, it takes seconds.

    Args:
        dataset: a valid survey with its answers.
    """
    group, question = dataset.group_codes(), dataset.question_codes()
    people = people_of(dataset)
    answered = np.bincount(question, minlength=dataset.questions.num_rows)
    return SurveySummary(
        dataset=dataset,
        questions=dataset.questions.num_rows,
        groups=dataset.groups.num_rows,
        answers=dataset.preferences.num_rows,
        scale=dataset.questions.num_rows - dataset.questions["ordinal"].null_count,
        by_group=_by_group(dataset, group),
        by_topic=_by_topic(dataset, answered),
        compared="people" if people.all() else "groups",
        divisive=_divisive(dataset, np.ones_like(group, bool) if people.all() else ~people[group]),
        missing=_missing(dataset, dataset.groups.num_rows - answered),
        dropped=_grouped(dataset.dropped, "reason"),
        notes=_grouped(dataset.notes, "note"),
    )


@dataclass(frozen=True)
class AnswersByQuestion:
    """Some of a survey's answers, shares apart from single choices, of which there may be millions."""

    offsets: Ints
    """(Q + 1,) where each question's responses start in arrays of the responses of all questions."""
    question: Ints
    """The row of the question of each answer that is shares."""
    shares: Array
    """Their shares, end to end."""
    choices: Ints
    """How often each response of each question was chosen, end to end."""

    @classmethod
    def of(cls, dataset: PreferenceDataset, chosen: NDArray[np.bool_]) -> AnswersByQuestion:
        """Take those answers of a valid survey that are true in ``chosen`` (A,)."""
        offsets = np.concatenate([[0], np.cumsum(dataset.slate_sizes())]).astype(np.int64)
        question, column = dataset.question_codes(), dataset.preferences["choice"]
        single = pc.is_valid(column).to_numpy().astype(bool)
        choice = pc.fill_null(column, 0).to_numpy()
        place = (offsets[question] + choice)[single & chosen]
        kept = dataset.preferences["share"].filter(pa.array(chosen & ~single)).combine_chunks()
        return cls(
            offsets,
            question[chosen & ~single],
            kept.flatten().to_numpy(),
            np.bincount(place, minlength=offsets[-1]),
        )

    @cached_property
    def groups(self) -> Ints:
        """Return (Q,) how many groups answered each question."""
        single = np.add.reduceat(self.choices, self.offsets[:-1])
        return np.bincount(self.question, minlength=len(single)) + single

    @cached_property
    def mean(self) -> Array:
        """Return the mean of the groups' shares over all questions' responses; 0 where no group answered."""
        place = spans(self.offsets, self.question)
        total = np.bincount(place, self.shares, minlength=self.offsets[-1]) + self.choices
        return total / np.maximum(np.repeat(self.groups, np.diff(self.offsets)), 1)

    def mean_distance(self, scale: Array) -> Array:
        """Return (Q,) the mean distance of the groups' shares to their mean; NaN where none is defined.

        Args:
            scale: scale values of all questions' responses, end to end; NaN for nominal questions.
        """
        each = self._distance(self.question, self.shares, scale)
        of_shares = np.bincount(self.question, each, minlength=len(self.groups))
        # all who chose one response are as far from the mean
        sizes = np.diff(self.offsets)
        of_response = np.repeat(np.arange(len(sizes)), sizes)
        own = np.arange(len(of_response)) - self.offsets[of_response]
        lengths = sizes[of_response]
        one_hot = np.zeros(lengths.sum())
        one_hot[np.cumsum(lengths) - lengths + own] = 1.0
        each = self._distance(of_response, one_hot, scale)
        of_choices = np.add.reduceat(self.choices * each, self.offsets[:-1])
        return (of_shares + of_choices) / np.maximum(self.groups, 1)

    def _distance(self, question: Ints, shares: Array, scale: Array) -> Array:
        """Return the distance of each of some shares to the mean shares on its question."""
        if not len(question):
            return np.zeros(0)
        place = spans(self.offsets, question)
        offsets = np.concatenate([[0], np.cumsum(np.diff(self.offsets)[question])]).astype(np.int64)
        return 1 - alignment(self.mean[place], shares, offsets, scale[place])


def people_of(dataset: PreferenceDataset) -> NDArray[np.bool_]:
    """Return (G,) which groups are single people."""
    return pc.equal(dataset.groups["kind"], PEOPLE).to_numpy().astype(bool)


def _by_group(dataset: PreferenceDataset, group: Ints) -> tuple[GroupSummary, ...]:
    count = np.bincount(group, minlength=dataset.groups.num_rows)
    coverage = count / dataset.questions.num_rows
    median = _medians(group, dataset.preferences["n"], len(count))
    return tuple(
        GroupSummary(name, kind, int(a), float(c), None if np.isnan(m) else float(m))
        for name, kind, a, c, m in zip(
            dataset.groups["group_id"].to_pylist(),
            dataset.groups["kind"].to_pylist(),
            count,
            coverage,
            median,
            strict=True,
        )
    )


def _medians(group: Ints, n: pa.ChunkedArray, groups: int) -> Array:
    """Return (G,) the median of each group's known ``n``; NaN for a group that has none."""
    known = pc.is_valid(n).to_numpy().astype(bool)
    group, values = group[known], n.drop_null().to_numpy()
    order = np.lexsort((values, group))
    count = np.bincount(group, minlength=groups)
    start = np.cumsum(count) - count
    median, some = np.full(groups, np.nan), count > 0
    ends = [values[order[(start + half)[some]]] for half in ((count - 1) // 2, count // 2)]
    median[some] = (ends[0] + ends[1]) / 2
    return median


def _by_topic(dataset: PreferenceDataset, answered: Ints) -> tuple[TopicSummary, ...]:
    found: dict[str | None, list[int]] = {}
    for topic, answers in zip(dataset.questions["topic"].to_pylist(), answered.tolist(), strict=True):
        entry = found.setdefault((topic or "").strip() or None, [0, 0])
        entry[0] += 1
        entry[1] += answers
    topics = (TopicSummary(topic, *counts) for topic, counts in found.items())
    return tuple(sorted(topics, key=lambda t: -t.questions))


def _divisive(dataset: PreferenceDataset, chosen: NDArray[np.bool_]) -> tuple[DivisiveQuestion, ...]:
    answers = AnswersByQuestion.of(dataset, chosen)
    distance = answers.mean_distance(scale_values(dataset))
    listed = np.flatnonzero((answers.groups > 1) & np.isfinite(distance))
    ids, prompts = dataset.questions["question_id"], dataset.questions["prompt"]
    nominal = pc.is_null(dataset.questions["ordinal"]).to_numpy()
    return tuple(
        DivisiveQuestion(
            int(i),
            ids[i].as_py(),
            prompts[i].as_py(),
            not nominal[i],
            int(answers.groups[i]),
            float(max(distance[i], 0.0)),  # rounding makes -1e-17 of what is 0
        )
        for i in listed[np.argsort(-distance[listed], kind="stable")].tolist()
    )


def scale_values(dataset: PreferenceDataset) -> Array:
    """Return the scale values of all questions' responses, end to end; NaN for nominal questions."""
    ordinal = dataset.questions["ordinal"].combine_chunks()
    sizes = dataset.slate_sizes()
    values = np.full(sizes.sum(), np.nan)
    values[np.repeat(pc.is_valid(ordinal).to_numpy(zero_copy_only=False), sizes)] = (
        ordinal.flatten().to_numpy()
    )
    return values


def _missing(dataset: PreferenceDataset, without: Ints) -> tuple[MissingAnswers, ...]:
    ids = dataset.questions["question_id"]
    some = np.flatnonzero(without)
    return tuple(
        MissingAnswers(i, ids[i].as_py(), int(without[i]))
        for i in some[np.argsort(-without[some], kind="stable")].tolist()
    )


def _grouped(log: pa.Table, column: str) -> tuple[LogEntry, ...]:
    """Count the entries of a log that say the same; the most frequent come first."""
    counts = log.group_by(column, use_threads=False).aggregate([("where", "count"), ("where", "first")])
    entries = (
        LogEntry(str(row[column]), row["where_count"], str(row["where_first"])) for row in counts.to_pylist()
    )
    return tuple(sorted(entries, key=lambda e: -e.rows))
