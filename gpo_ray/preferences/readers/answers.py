"""Single people's answers, and the data sets made of them: shares of groups, or choices of individuals.

Several readers of this package share these functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.readers.common import (
    EMPTY_PAIR,
    NO_PREFERENCE_LEFT,
    REPEATED_QUESTION,
    UNKNOWN_QUESTION,
    Collector,
    Drops,
    Notes,
    build_dataset,
    finite_number,
    require_folder,
)
from gpo_ray.preferences.readers.parquet import (
    INTEGER,
    NUMBERS,
    TEXT,
    TEXT_OR_INTEGER,
    TEXT_OR_NUMBER,
    TEXTS,
    read_parquet,
    require_values,
)

FEW_RESPONDENTS = "fewer respondents than min_respondents"
FEW_QUESTIONS = "group has answers to too few questions"
FEW_ANSWERS = "person answered too few questions"
NO_WEIGHT = "answers carry no survey weight"
BAD_CHOICE = "choice is not the index of an option"
REPEATED_ANSWER = "person answered the question before; the first answer is used"

MIN_QUESTIONS = 10
"""Fewest answered questions of a group or person, so that there is a context and there are targets."""

MIN_RESPONDENTS = 50
"""Fewest respondents behind a group's shares of a question, unless the options say another number."""

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """The A answers of R respondents to Q questions, coded by the numbers of respondents and questions."""

    respondents: Sequence[str]
    """R identifiers of the respondents."""
    questions: Sequence[Question]
    """The Q questions."""
    respondent: Codes
    """(A,) index into ``respondents``."""
    question: Codes
    """(A,) index into ``questions``."""
    choice: Codes
    """(A,) index into the question's responses."""
    weight: NDArray[np.float64]
    """(R,) survey weights, all 1 if the survey has none."""


def tally(answers: Answers, members: NDArray[np.bool_]) -> tuple[NDArray[np.float64], Codes, Codes]:
    """Count the answers of groups of respondents.

    Args:
        answers: the answers of R respondents.
        members: (G, R) whether each respondent belongs to each group.

    Returns:
        ``totals`` (G, S): the sum of weights of each of the S responses of all questions, end to end; ``n``
        (G, Q): the number of respondents, unweighted; ``start`` (Q + 1,): where each question's responses
        start in S.
    """
    sizes = [len(q.responses) for q in answers.questions]
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    slot = start[answers.question] + answers.choice
    weight = answers.weight[answers.respondent]
    totals = np.zeros((len(members), start[-1]))
    n = np.zeros((len(members), len(sizes)), np.int64)
    for g, member in enumerate(members):
        rows = member[answers.respondent]
        totals[g] = np.bincount(slot[rows], weight[rows], minlength=start[-1])
        n[g] = np.bincount(answers.question[rows], minlength=len(sizes))
    return totals, n, start


@dataclass(frozen=True)
class Counted:
    """The counted answers of G groups to Q questions with S responses in all."""

    totals: NDArray[np.float64]
    """(G, S) sum of the weights of each response, all questions' responses end to end."""
    people: Codes
    """(G, Q) respondents who answered."""
    n: NDArray[np.float64]
    """(G, Q) what is said of the number behind the shares: respondents, or their effective number."""
    size: Codes
    """(G,) respondents of each group."""
    start: Codes
    """(Q + 1,) where each question's responses start in S."""


def effective_number(weight: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Kish's (1965) effective number of respondents, 0 where nobody answered.

    That many respondents of equal weight would give shares of the same variance: (sum of weights)^2 / sum of
    squared weights. For equal weights it is their number.

    Args:
        weight: sums of the respondents' weights.
        squares: sums of the squares of their weights, of the same shape.
    """
    return np.divide(weight**2, squares, out=np.zeros_like(weight), where=squares > 0)


def collect_groups(
    answers: Answers,
    groups: Sequence[tuple[Group, NDArray[np.bool_]]],
    into: Collector,
    where: str,
    min_respondents: float = 1,
    min_questions: int = 1,
) -> None:
    """Add the weighted shares of groups of respondents, and log those that are left out.

    Args:
        answers: the answers of R respondents.
        groups: each group with its members, (R,).
        into: the collector of preferences and drops.
        where: name of the file or table, for the log.
        min_respondents: fewest respondents of a group, and fewest behind its shares on a question.
        min_questions: fewest questions with shares; a group with fewer is left out.

    Raises:
        DataError: if the weights are too large to add up.
    """
    if not groups:
        return
    if not math.isfinite(sum(answers.weight.tolist())):
        raise DataError(f"{where}: the survey weights add up to infinity; correct them in the source")
    members = np.stack([m for _, m in groups])
    totals, n, start = tally(answers, members)
    counted = Counted(totals, n, n.astype(np.float64), members.sum(1), start)
    collect_counted(
        answers.questions, [g for g, _ in groups], counted, into, where, min_respondents, min_questions
    )


def collect_counted(
    questions: Sequence[Question],
    groups: Sequence[Group],
    counted: Counted,
    into: Collector,
    where: str,
    min_respondents: float = 1,
    min_questions: int = 1,
) -> None:
    """Add the shares of groups whose answers are counted, and log those that are left out.

    Args:
        questions: Q questions.
        groups: G groups.
        counted: their answers.
        into: the collector of preferences and drops.
        where: name of the file or table, for the log.
        min_respondents: fewest respondents of a group, and fewest behind its shares on a question.
        min_questions: fewest questions with shares; a group with fewer is left out.
    """
    for g, group in enumerate(groups):
        if counted.size[g] < min_respondents:
            into.drop(f"{where}: {group.group_id}", FEW_RESPONDENTS)
            continue
        kept = []
        for q, question in enumerate(questions):
            counts = counted.totals[g, counted.start[q] : counted.start[q + 1]]
            reason = None
            if counted.people[g, q] == 0:
                reason = EMPTY_PAIR
            elif counted.people[g, q] < min_respondents:
                reason = FEW_RESPONDENTS
            elif counts.sum() <= 0:
                reason = NO_WEIGHT
            if reason is None:
                kept.append((question.question_id, counts, float(counted.n[g, q])))
            else:
                into.drop(f"{where}: {group.group_id}, {question.question_id}", reason)
        if len(kept) < min_questions:
            into.drop(f"{where}: {group.group_id} ({len(kept)} questions)", FEW_QUESTIONS)
            continue
        for question_id, counts, respondents in kept:
            into.add(group, question_id, counts, respondents)


def individual_dataset(
    answers: Answers,
    groups: Sequence[Group],
    drops: Drops,
    where: str,
    source: Path | str,
    min_answers: int = 1,
    notes: Notes = (),
) -> PreferenceDataset:
    """Build a data set with one group per respondent and one choice per answer.

    Args:
        answers: the answers of R respondents.
        groups: R groups, in the order of the respondents.
        drops: the log of the rows left out so far.
        where: name of the file or table, for the log.
        source: name of the source, for error messages.
        min_answers: fewest answers; a respondent with fewer is left out.
        notes: what was read in a way that the user should know of.
    """
    answered = np.bincount(answers.respondent, minlength=len(groups))
    enough = answered >= min_answers
    log = [
        *drops,
        *((f"{where}: {groups[i].group_id}", FEW_ANSWERS) for i in np.flatnonzero(~enough).tolist()),
    ]
    rows = enough[answers.respondent]
    asked = np.bincount(answers.question[rows], minlength=len(answers.questions)) > 0
    log += [
        (f"{where}: {answers.questions[i].question_id}", NO_PREFERENCE_LEFT)
        for i in np.flatnonzero(~asked).tolist()
    ]
    group_ids = pa.array([g.group_id for g in groups], pa.string())
    question_ids = pa.array([q.question_id for q in answers.questions], pa.string())
    table = pa.table(
        {
            "group_id": group_ids.take(pa.array(answers.respondent[rows])),
            "question_id": question_ids.take(pa.array(answers.question[rows])),
            "choice": pa.array(answers.choice[rows].astype(np.int32)),
            "n": pa.array(np.ones(int(rows.sum()))),
        }
    )
    return build_dataset(
        source,
        (q for q, known in zip(answers.questions, asked, strict=True) if known),
        (g for g, known in zip(groups, enough, strict=True) if known),
        table,
        log,
        notes,
    )


def read_questions(path: Path, source: str, drops: Drops) -> list[Question]:
    """Read the questions of a Parquet file.

    Its columns are ``question_id, question, options`` and perhaps ``topic, ordinal, wave``. A question may be
    listed once per wave if its text and options are the same each time.

    Raises:
        DataError: if the file cannot be used or a question is listed with two texts.
    """
    table = read_parquet(
        path,
        {"question_id": TEXT, "question": TEXT, "options": TEXTS},
        {"topic": TEXT, "ordinal": NUMBERS, "wave": TEXT_OR_NUMBER},
    )
    require_values(path, table, ("question_id", "question", "options"))
    found: dict[str, Question] = {}
    for i, row in enumerate(table.to_pylist()):
        where = f"{path}: row {i}, {row['question_id']}"
        if None in row["options"]:
            raise DataError(f"{where}: options: one is missing; fill it in or remove it")
        question = Question(
            question_id=row["question_id"],
            source=source,
            topic=row.get("topic"),
            prompt=row["question"],
            responses=tuple(row["options"]),
            ordinal=_ordinal(row, where),
        )
        first = found.setdefault(question.question_id, question)
        if first != question:
            raise DataError(f"{where} is listed with two texts; give each its own id")
        if first is not question and row.get("wave") is None:
            drops.append((f"{path.name}: row {i}, {question.question_id}", REPEATED_QUESTION))
    return list(found.values())


def _ordinal(row: Mapping[str, Any], where: str) -> tuple[float, ...] | None:
    """Return the scale values of a row's options, or None if it has none."""
    values = row.get("ordinal")
    if values is None:
        return None
    if len(values) != len(row["options"]):
        raise DataError(
            f"{where}: ordinal: {len(values)} values for {len(row['options'])} options; give each one"
        )
    return tuple(finite_number(v, f"{where}: ordinal: value {j}") for j, v in enumerate(values))


def read_answers(folder: Path, respondent_column: str, source: str, drops: Drops) -> Answers:
    """Read ``questions.parquet`` and ``answers.parquet`` of a folder, with all weights 1.

    The columns of ``answers.parquet`` are ``respondent_column, question_id, choice``. Answers to unlisted
    questions, answers with an impossible choice and repeated answers are logged and left out.

    Raises:
        DataError: if a file is missing, empty or malformed.
    """
    require_folder(folder, "give the folder that holds answers.parquet")
    questions = read_questions(folder / "questions.parquet", source, drops)
    path = folder / "answers.parquet"
    table = read_parquet(path, {respondent_column: TEXT_OR_INTEGER, "question_id": TEXT, "choice": INTEGER})
    require_values(path, table, table.column_names)
    who = table[respondent_column].combine_chunks()
    ids = pc.unique(who)
    respondent = pc.index_in(who, value_set=ids).to_numpy().astype(np.int64)
    known = pa.array([q.question_id for q in questions], pa.string())
    asked = table["question_id"]
    question = pc.fill_null(pc.index_in(asked, value_set=known), -1).to_numpy().astype(np.int64)
    choice = table["choice"].to_numpy()
    sizes = np.array([len(q.responses) for q in questions])
    unknown = question < 0
    impossible = ~unknown & ((choice < 0) | (choice >= sizes[question]))
    usable = np.flatnonzero(~unknown & ~impossible)
    pair = respondent[usable] * len(questions) + question[usable]
    _, first = np.unique(pair, return_index=True)
    again = np.setdiff1d(usable, usable[first])
    for rows, reason in (
        (np.flatnonzero(unknown), UNKNOWN_QUESTION),
        (np.flatnonzero(impossible), BAD_CHOICE),
        (again, REPEATED_ANSWER),
    ):
        drops += [(f"{path.name}: row {i}, {who[i]}, {asked[i]}", reason) for i in rows.tolist()]
    kept = np.sort(usable[first])
    return Answers(
        respondents=ids.to_pylist(),
        questions=questions,
        respondent=respondent[kept],
        question=question[kept],
        choice=choice[kept],
        weight=np.ones(len(ids)),
    )
