"""Collecting the rows of a table into questions and groups' shares."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.readers.amounts import Unit, require_counts, rounding_note
from gpo_ray.preferences.readers.answers import FEW_RESPONDENTS
from gpo_ray.preferences.readers.common import EMPTY_PAIR, Collector
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.slate_order import Scale
from gpo_ray.preferences.readers.spellings import note_some
from gpo_ray.preferences.readers.totals import leave_out_totals

ONE_RESPONSE = "question has only one response"
ANSWERED_AGAIN = "answered again in a later row, which is used"


@lru_cache(maxsize=1024)
def _id_of(prompt: str) -> str:
    """Return the id of the question with a prompt."""
    return "q-" + hashlib.sha256(prompt.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a long table: how much of a group gave a response to a question."""

    where: str
    """Words that locate the row in error messages."""
    group: str
    prompt: str
    response: str
    raw: tuple[str, ...]
    """Group, prompt and response as they are written in the file."""
    amount: float
    kind: str
    topic: str | None = None
    question_id: str | None = None
    n: float | None = None
    source: str | None = None
    """The source of the group's answers, if the table says."""


@dataclass
class _Question:
    """What the rows read so far say of one question."""

    prompt: str
    topic: str | None
    responses: dict[str, None] = field(default_factory=dict)
    """The responses, in the order in which they first appear."""
    scale: Scale = field(default_factory=Scale)
    by_group: dict[str, dict[str, float]] = field(default_factory=dict)
    """The numbers of each group's responses."""
    n: dict[str, float | None] = field(default_factory=dict)
    source: dict[str, str | None] = field(default_factory=dict)
    answer: dict[str, tuple[str, str]] = field(default_factory=dict)
    """For individuals: the response, and where its row is."""
    raws: dict[tuple[str, str], list[tuple[str, ...]]] = field(default_factory=dict)
    """The ways in which each group and response is written."""
    totals: set[str] = field(default_factory=set)
    """Responses that are left out as totals of the others."""

    def offered_to(self, group: str) -> set[str]:
        """Return the responses of all groups of a group's source, if the table names its source."""
        source = self.source[group]
        same = [g for g, s in self.source.items() if s == source and source is not None]
        return {response for g in same for response in self.by_group[g]}


class Tally:
    """The questions and groups of a table, while its rows are read.

    Args:
        path: the file.
        unit: what the rows' numbers are.
        options: the user's choices.
        into: where notes and rows left out are logged.
    """

    def __init__(self, path: Path, unit: Unit, options: ReadOptions, into: Collector) -> None:
        self._path, self._unit, self._options, self._into = path, unit, options, into
        self._questions: dict[str, _Question] = {}
        self._kinds: dict[str, str] = {}
        self._merged: list[str] = []
        self._has_n = False

    def take(self, row: Row) -> Scale:
        """Enter a row, after checking it against the rows before it.

        Returns:
            The scale of its question, for what the row says of it.

        Raises:
            DataError: if it contradicts another row, or says again what another row says.
        """
        if self._kinds.setdefault(row.group, row.kind) != row.kind:
            raise DataError(
                f"{row.where}: group {row.group!r} is of kind {self._kinds[row.group]!r} before and "
                f"{row.kind!r} here"
            )
        question = self._question(row)
        question.responses.setdefault(row.response)
        given = question.by_group.setdefault(row.group, {})
        self._take_group(question, row)
        if row.kind == "individual" and self._unit == "count" and row.amount > 0:
            self._take_answer(question, row)
        written = question.raws.setdefault((row.group, row.response), [])
        if row.response in given and row.raw in written:
            raise DataError(
                f"{row.where}: ({row.group!r}, {row.prompt[:60]!r}, {row.response!r}) occurs twice; add the "
                f"{self._unit}s up in one row"
            )
        if row.response in given:
            self._merged.append(
                f"{row.where.rpartition(': ')[2]}: added to a row of the same labels, written otherwise"
            )
        written.append(row.raw)
        given[row.response] = given.get(row.response, 0.0) + row.amount
        if not math.isfinite(sum(given.values())):
            raise DataError(
                f"{row.where}: the counts of {row.group!r} add up to infinity; give smaller numbers"
            )
        return question.scale

    def _question(self, row: Row) -> _Question:
        key = _id_of(row.prompt) if row.question_id is None else row.question_id
        question = self._questions.setdefault(key, _Question(row.prompt, row.topic))
        if question.prompt != row.prompt:
            raise DataError(
                f"{row.where}: question_id {key!r} has another prompt before; give each its own id"
            )
        if question.topic != row.topic:
            raise DataError(
                f"{row.where}: the prompt has topic {question.topic!r} before and {row.topic!r} here"
            )
        return question

    def _take_group(self, question: _Question, row: Row) -> None:
        for name, known, value in (("n", question.n, row.n), ("source", question.source, row.source)):
            if known.setdefault(row.group, value) != value:  # type: ignore[arg-type]
                raise DataError(
                    f"{row.where}: {name} of {row.group!r} for {row.prompt[:60]!r} is {known[row.group]} "
                    f"before and {value} here; give the same in all its rows"
                )
        self._has_n |= row.n is not None

    def _take_answer(self, question: _Question, row: Row) -> None:
        """Enter an individual's answer, in place of one before it if the options say so."""
        before = question.answer.get(row.group)
        question.answer[row.group] = (row.response, row.where)
        if before is None:
            return
        response, where = before
        if self._options.repeated == "refuse":
            raise DataError(
                f"{row.where}: {row.group!r} answers {row.prompt[:60]!r} again with {row.response!r}, after "
                f"{response!r} in {where.rpartition(': ')[2]}; remove one row, or keep the last with "
                "--repeated last"
            )
        self._into.drop(f"{self._path.name}: {where.rpartition(': ')[2]}", ANSWERED_AGAIN)
        del question.by_group[row.group][response]
        question.raws.pop((row.group, response), None)

    def dataset(
        self, levels: Sequence[str] = (), levels_of: Mapping[str, Sequence[str]] | None = None
    ) -> PreferenceDataset:
        """Build the data set of all rows.

        Args:
            levels: the levels of the ordered factor whose values all responses are, if they are one.
            levels_of: the levels of the factors that the responses of single questions are, by the prompt.

        Raises:
            DataError: if the numbers cannot be what their column says, the order of a scale is not certain,
                or no preference is left.
        """
        people = [group for group, kind in self._kinds.items() if kind == "individual"]
        leave_out_totals(self._path, self._unit, self._questions, people, self._into)
        self._require_counts()
        used = [{*q.responses} for q in self._questions.values()]
        common = bool(used) and all(responses == used[0] for responses in used)
        known: list[Question] = []
        zeros: list[str] = []
        rounded: list[str] = []
        for key, question in self._questions.items():
            own = (levels_of or {}).get(question.prompt)
            if own or levels:
                self._take_levels(question, own or levels, common or bool(own))
            if len(question.responses) < 2:
                for group in question.by_group:
                    self._into.drop(f"{self._path.name}: {group}, {key}", ONE_RESPONSE)
                continue
            slate, ordinal = question.scale.order(
                question.responses,
                map(list, question.by_group.values()),
                f"{self._path}: {question.prompt[:60]!r}",
            )
            if ordinal is not None:
                scale = ", ".join(f"{r} = {v:g}" for r, v in zip(slate, ordinal, strict=True))
                self._into.note(f"{self._path.name}: {key}", f"responses are on a scale: {scale}")
            known.append(Question(key, "table", question.prompt, slate, question.topic, ordinal))
            for group in question.by_group:
                self._add(key, question, group, slate, zeros, rounded)
        note_some(self._into, self._path.name, self._merged)
        note_some(self._into, f"{self._path.name}: taken as 0, without a row", zeros)
        note_some(self._into, f"{self._path.name}: column {self._unit!r}", rounded)
        return self._into.dataset(known, self._path.name, self._path)

    def _require_counts(self) -> None:
        """Check that counts are no shares, where nothing says how many people answered."""
        if self._unit != "count" or self._has_n:
            return
        pairs = {
            (group, key): [*given.values()]
            for key, question in self._questions.items()
            for group, given in question.by_group.items()
            if self._kinds[group] != "individual"
        }
        sums = require_counts(self._path, pairs)
        note_some(self._into, f"{self._path.name}: column 'count'", sums)

    def _take_levels(self, question: _Question, levels: Sequence[str], common: bool) -> None:
        """Order a question's responses by a factor's levels; unused levels of a common scale were offered."""
        levels = [level for level in levels if level not in question.totals]
        unused = [level for level in levels if level not in question.responses]
        kept = [level for level in levels if common or level in question.responses]
        if unused:
            said = "offered, and chosen by nobody" if common else "no responses of this question"
            self._into.note(
                f"{self._path.name}: {question.prompt[:60]}",
                f"levels of the factor without a row are taken as {said}: {', '.join(unused)}",
            )
        question.responses = dict.fromkeys(kept)
        if question.scale.ordered is None and not any(v is not None for v in question.scale.value.values()):
            question.scale = Scale(position={r: float(i) for i, r in enumerate(kept)}, ordered=True)

    def _add(
        self,
        key: str,
        question: _Question,
        group: str,
        slate: tuple[str, ...],
        zeros: list[str],
        rounded: list[str],
    ) -> None:
        """Add a group's shares of a question, or log why they are left out."""
        given = question.by_group[group]
        where, total = f"{self._path.name}: {group}, {key}", sum(given.values())
        if total == 0:
            self._into.drop(where, EMPTY_PAIR)
            return
        n = question.n[group]
        if self._unit == "count":
            n = total if n is None else n
        else:
            note = rounding_note(self._path, self._unit, group, question.prompt, total)
            rounded += [] if note is None else [note]
        least = self._options.min_respondents
        if least is not None and n is None:
            raise DataError(
                f"{self._path}: --min-respondents needs to know how many people answered; add a column 'n'"
            )
        if least is not None and n is not None and n < least:
            self._into.drop(where, FEW_RESPONDENTS)
            return
        if self._kinds[group] != "individual":
            offered = question.offered_to(group)
            absent = [r for r in slate if r not in given and r not in offered]
            zeros += [f"{group}: {question.prompt[:60]!r}, {response[:60]!r}" for response in absent]
        self._into.add(Group(group, self._kinds[group]), key, [given.get(r, 0.0) for r in slate], n)
