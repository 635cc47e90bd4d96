"""The reader of files of respondents: one row a person, one column a question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.readers.answers import (
    MIN_QUESTIONS,
    MIN_RESPONDENTS,
    NO_WEIGHT,
    Answers,
    collect_counted,
    individual_dataset,
)
from gpo_ray.preferences.readers.common import Collector, build_dataset
from gpo_ray.preferences.readers.numerals import Signs, read_numbers
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.respondents.aside import is_aside
from gpo_ray.preferences.readers.respondents.codebook import Codebook, QuestionEntry
from gpo_ray.preferences.readers.respondents.groups import count, partitions
from gpo_ray.preferences.readers.respondents.loading import load_codebook
from gpo_ray.preferences.readers.respondents.proposal import Proposal, propose
from gpo_ray.preferences.readers.respondents.statistical import READERS as STATISTICAL
from gpo_ray.preferences.readers.respondents.statistical import read_statistical
from gpo_ray.preferences.readers.respondents.table import Column, RespondentTable, Value, shown_value
from gpo_ray.preferences.readers.respondents.tabular import read_tabular
from gpo_ray.preferences.readers.respondents.words import silence

SOURCE = "respondents"
"""Source of the questions."""
PROPOSED = "proposed as "
"""How the notes begin that say what a variable was proposed as."""
NOT_PROPOSED = "not proposed: "
"""How the reasons begin for which a variable was not proposed."""
NOT_LISTED = "value is in neither responses nor missing of its question"


def read_table_of(path: Path, options: ReadOptions) -> RespondentTable:
    """Read a file of respondents by the end of its name.

    Raises:
        ConfigError: if the package that reads such files is not installed.
        DataError: if the file cannot be read.
    """
    if path.suffix.lower() in STATISTICAL:
        return read_statistical(path, options.encoding, options.merge_case)
    return read_tabular(path, options)


def read_respondents(source: Path | None, options: ReadOptions) -> PreferenceDataset:
    """Read a file with one row a respondent, as SPSS, Stata, SAS, Excel, R and Python write it.

    The codebook says which variables are questions, demographics and the weight; without one it is proposed
    (:func:`~gpo_ray.preferences.readers.respondents.proposal.propose`), and the notes say what of. Groups are
    the levels of demographics and crossings of them. Shares are weighted; ``n`` is Kish's effective number of
    the respondents who answered. Whoever was not asked, refused or did not know has no answer; the notes
    say how many these are. With ``units="individuals"`` each respondent with at least ten answers (all, where
    there are fewer questions) is a group, unweighted; ``both`` gives groups and individuals.

    Raises:
        ConfigError: for a codebook that does not fit the file, and options that name no variables of it.
        DataError: if the file cannot be read, no question is found in it, or a weight is negative.
    """
    path = Path(source or "")
    table, into = read_table_of(path, options), Collector()
    into.drops += table.drops
    into.notes += table.notes
    if options.codebook is None:
        codebook = _noted(propose(table), table, into)
    else:
        codebook = load_codebook(options.codebook, table)
    survey = _Survey(table, codebook, options, into)
    survey.note_silence()
    if options.units == "individuals":
        return survey.individuals()
    shares = survey.shares()
    return shares if options.units == "groups" else _united(shares, survey.individuals(log=False), path)


def _noted(proposal: Proposal, table: RespondentTable, into: Collector) -> Codebook:
    """Log what was proposed, and return the codebook."""
    for f in proposal.findings:
        where = f"{table.path.name}: {f.name}"
        if f.role == "left out":
            into.drop(where, f"{NOT_PROPOSED}{f.why}")
        else:
            into.note(where, f"{PROPOSED}{f.role}" + (f": {f.why}" if f.why else ""))
    return proposal.codebook


@dataclass(frozen=True)
class _Survey:
    """A file of R respondents with its codebook of Q questions."""

    table: RespondentTable
    codebook: Codebook
    options: ReadOptions
    into: Collector

    @property
    def where(self) -> str:
        return self.table.path.name

    @cached_property
    def questions(self) -> list[Question]:
        """The Q questions."""
        return [
            Question(name, SOURCE, q.prompt, q.slate(), q.topic, q.ordinal())
            for name, q in self.codebook.questions.items()
        ]

    @cached_property
    def weight(self) -> NDArray[np.float64] | None:
        """(R,) weights, 0 for respondents who have none; None if the codebook names no weight."""
        name = self.codebook.weight
        if name is None:
            self.into.note(self.where, "no weight is used: all respondents count the same")
            return None
        column = self.table.columns[name]
        numbers = _weight_numbers(column, self.table, self.options)
        wrong = (numbers < 0) | np.isinf(numbers)
        if wrong.any():
            row = self.table.row(int(np.argmax(wrong)))
            raise DataError(
                f"{self.table.path}: row {row}: weight {name} is negative or not finite; correct it, or name "
                "another weight in a codebook"
            )
        usable = numbers > 0
        if not usable.any():
            raise DataError(
                f"{self.table.path}: weight {name} is above 0 for nobody; name another in a codebook"
            )
        for i in np.flatnonzero(~usable).tolist():
            self.into.drop(f"{self.where}: row {self.table.row(i)}", NO_WEIGHT)
        label = f" ({column.label})" if column.label else ""
        self.into.note(
            self.where, f"shares are weighted by {name}{label}; n is the effective number of respondents"
        )
        return np.where(usable, numbers, 0.0)

    def choices(self) -> Iterator[NDArray[np.int64]]:
        """Yield for each question the (R,) index of each respondent's response, -1 for none."""
        marked = {n: members for members in self.codebook.sets.values() for n in members}
        answered: dict[tuple[str, ...], NDArray[np.bool_]] = {}
        for name, entry in self.codebook.questions.items():
            column = self.table.columns[name]
            index = {label: i for i, label in enumerate(entry.slate())}
            known = [index[entry.responses[v]] if v in entry.responses else -1 for v in column.values]
            choice = np.array([*known, -1], np.int64)[column.code]
            if entry.blank is not None:
                members = marked[name]
                if members not in answered:
                    answered[members] = self._any_mark(members)
                choice[(column.code < 0) & answered[members]] = index[entry.blank]
            yield choice

    def _any_mark(self, members: tuple[str, ...]) -> NDArray[np.bool_]:
        """Return (R,) whether each respondent marked anything of a set."""
        found = np.zeros(self.table.respondents, bool)
        for name in members:
            column, entry = self.table.columns[name], self.codebook.questions[name]
            found |= np.array([*(v in entry.responses for v in column.values), False])[column.code]
        return found

    def note_silence(self) -> None:
        """Log for each question how many have no answer, and why; and what two codes became one response."""
        for name, entry in self.codebook.questions.items():
            column = self.table.columns[name]
            counts = dict(zip(column.values, column.counts().tolist(), strict=True))
            where = f"{self.where}: {name}"
            merged = defaultdict(list)
            for code, response in entry.responses.items():
                merged[response].append(shown_value(code))
            for response, codes in merged.items():
                if entry.blank is None and len(codes) > 1:
                    self.into.note(where, f"codes {', '.join(codes)} are one response, {response!r}")
            for value, number in counts.items():
                if value not in entry.responses and value not in entry.missing and number:
                    self.into.drop(f"{where}={shown_value(value)} ({number} respondents)", NOT_LISTED)
            note = _silent(entry, counts, int((column.code < 0).sum()))
            if note:
                self.into.note(where, note)

    def shares(self) -> PreferenceDataset:
        """Return the shares of groups."""
        found = partitions(self.table, self.codebook, self.options.groups, self.options.bins, self.into)
        sizes = [len(q.responses) for q in self.questions]
        groups, counted = count(found, self.choices(), sizes, self.weight)
        least = self.options.min_respondents or MIN_RESPONDENTS
        collect_counted(self.questions, groups, counted, self.into, self.where, least)
        return self.into.dataset(self.questions, self.where, self.table.path)

    def individuals(self, log: bool = True) -> PreferenceDataset:
        """Return each respondent's choices; with ``log`` also what was logged so far."""
        parts = [(np.flatnonzero(c >= 0), c) for c in self.choices()]
        answers = Answers(
            respondents=self._ids(),
            questions=self.questions,
            respondent=np.concatenate([rows for rows, _ in parts]),
            question=np.repeat(np.arange(len(parts)), [len(rows) for rows, _ in parts]),
            choice=np.concatenate([c[rows] for rows, c in parts]),
            weight=np.ones(self.table.respondents),
        )
        groups = [Group(f"respondent={r}", "individual", "A respondent") for r in answers.respondents]
        notes = [(self.where, "single respondents are not weighted")] if self.codebook.weight else []
        return individual_dataset(
            answers,
            groups,
            self.into.drops if log else [],
            self.where,
            self.table.path,
            min(MIN_QUESTIONS, len(self.questions)),
            [*(self.into.notes if log else []), *notes],
        )

    def _ids(self) -> list[str]:
        """Return an identifier of each respondent: that of the codebook if it is unique, else the row."""
        rows = [str(self.table.row(i)) for i in range(self.table.respondents)]
        if self.codebook.id is None:
            return rows
        column = self.table.columns[self.codebook.id]
        if len(column.values) < self.table.respondents or (column.code < 0).any():
            self.into.note(
                f"{self.where}: {column.name}", "the id is missing or the same for some: rows are numbered"
            )
            return rows
        values = [shown_value(v) for v in column.values]
        return [values[c] for c in column.code.tolist()]


def _weight_numbers(column: Column, table: RespondentTable, options: ReadOptions) -> NDArray[np.float64]:
    """Return (R,) weights as numbers, NaN where there is none."""
    if column.kind != "text":
        return column.numbers()
    place = f"{table.path}: column {column.name}"
    read = read_numbers(
        [str(v) for v in column.values], lambda _: place, Signs(options.decimal, options.thousands)
    )
    return np.array([*read.values, np.nan])[column.code]


def _silent(entry: QuestionEntry, counts: dict[Value, int], blank: int) -> str:
    """Return how many respondents have no answer, and why, as a note."""
    refused = unasked = aside = 0
    for value, label in entry.missing.items():
        if silence(label) == "not asked":
            unasked += counts.get(value, 0)
        elif silence(label) is None and is_aside(label, apart=True):
            aside += counts.get(value, 0)
        else:
            refused += counts.get(value, 0)
    unasked += blank if entry.blank is None else 0
    said = []
    if refused:
        said.append(f"{refused} refused or did not know")
    if aside:
        said.append(f"{aside} gave an answer beside the responses")
    if unasked:
        said.append(f"{unasked} were not asked, or the file holds nothing")
    if entry.blank is not None and blank:
        said.append(f"{blank} blank: {entry.blank!r} if another of the set is marked, otherwise no answer")
    return "; ".join(said) + (": they are in no share" if said and entry.blank is None else "")


def _united(shares: PreferenceDataset, people: PreferenceDataset, path: Path) -> PreferenceDataset:
    """Return groups and individuals as one data set."""
    known = {q.question_id: q for q in (*shares.iter_questions(), *people.iter_questions())}
    groups = [
        Group(g["group_id"], g["kind"], g["description"])
        for t in (shares.groups, people.groups)
        for g in t.to_pylist()
    ]
    united = build_dataset(
        path, known.values(), groups, pa.concat_tables([shares.preferences, people.preferences]), []
    )
    return replace(
        united,
        dropped=pa.concat_tables([shares.dropped, people.dropped]),
        notes=pa.concat_tables([shares.notes, people.notes]),
    )
