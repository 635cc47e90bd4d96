"""Wide tables: a row per person, a column per question."""

from __future__ import annotations

import re
from collections import Counter

from gpo_ray.errors import DataError
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.labels import folded_label, normal_label
from gpo_ray.preferences.readers.cells import Cells, without_empty_columns
from gpo_ray.preferences.readers.common import Collector
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.spellings import Spellings, normal_levels
from gpo_ray.preferences.readers.tally import Row, Tally
from gpo_ray.preferences.readers.totals import names_total

PERSON = (
    "group",
    "person",
    "respondent",
    "respondent_id",
    "respondent id",
    "id",
    "caseid",
    "user",
    "user_id",
)
"""Names of the column that names the person; without one it is the first column."""
_NUMERAL = re.compile(r"[+-]?\d[\d.,' ]*%?", re.ASCII)
NO_ANSWER = frozenset(["", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "."])
"""Cells of people who did not answer, as programs write them."""
MAX_DIFFERENT_ANSWERS = 30
"""Number of different answers from which a column of single words is no question with a slate."""
ALL_DIFFERENT = 5
"""Number of answers from which a column in which no two are the same is no question with a slate."""
NO_SLATE = "column has too many different answers for a question with a slate"
NOT_ANSWERED = "cell says that there is no answer"
NO_ANSWERS = "row holds no answers"
TOTAL_ROW = "row is named as a total and holds numbers in place of answers"


def read_wide(cells: Cells, options: ReadOptions, into: Collector) -> PreferenceDataset:
    """Read a table with a row per person and a column per question, whose header is the prompt.

    The person is named by a column ``group``, ``person``, ``respondent``, ``id`` or the like, otherwise by
    the first column. An empty cell, or one such as ``NA``, is no answer. A column of more than 30 different
    answers, or of five and more that are all different, such as a comment or a time, is left out and listed.

    Raises:
        DataError: if a person or a question is there twice or has no name, or answers to a question differ in
            case alone.
    """
    cells = without_empty_columns(cells)
    names = [normal_label(name) for name in cells.header]
    person = next((i for p in PERSON for i, name in enumerate(names) if name.lower() == p), 0)
    questions = [i for i in range(len(names)) if i != person]
    _require_names(cells, names, person, questions)
    into.note(cells.path.name, f"column {names[person]!r} names the person; each other column is a question")
    people = _people(cells, names[person], person, options)
    tally, file = Tally(cells.path, "count", options, into), cells.path.name
    totals = _totals(cells, people, questions, into)
    answered: set[int] = {*totals}
    for i in questions:
        prompt = names[i]
        answers = cells.texts(i).to_pylist()
        labels = [normal_label(answer or "") for answer in answers]
        for row in totals:
            labels[row] = ""
        given = [label for label in labels if label not in NO_ANSWER]
        if _is_free_text(given):
            into.drop(f"{file}: column {prompt[:60]!r}", NO_SLATE)
            continue
        said = Counter(label for label in labels if label in NO_ANSWER and label)
        for label, n in said.items():
            into.drop(f"{file}: column {prompt[:60]!r}, {label!r} ({n} cells)", NOT_ANSWERED)
        spellings = Spellings(prompt[:60], cells.place, options.merge_case)
        for row, (who, answer, label) in enumerate(zip(people, answers, labels, strict=True)):
            if label not in NO_ANSWER:
                response = spellings.take(answer, row)
                raw = (who, prompt, answer)
                tally.take(Row(cells.place(row), who, prompt, response, raw, 1.0, "individual"))
                answered.add(row)
        spellings.note(into, file)
    for row in {*range(len(people))} - answered:
        into.drop(f"{file}: row {cells.rows[row]}, {people[row][:60]!r}", NO_ANSWERS)
    levels_of = {names[i]: normal_levels(levels) for i, levels in cells.levels.items()}
    return tally.dataset(levels_of=levels_of)


def _totals(cells: Cells, people: list[str], questions: list[int], into: Collector) -> set[int]:
    """Return the rows that are totals below the answers, and log them and others that are named so.

    Such a row holds a number in each column where nobody else does, or the number of answers in it.
    """
    named = [row for row, who in enumerate(people) if names_total(who)]
    columns = [[normal_label(t or "") for t in cells.texts(i).to_pylist()] for i in questions if named]
    found: set[int] = set()
    for row in named:
        where = f"{cells.path.name}: row {cells.rows[row]}, {people[row][:60]!r}"
        checks = [_counts_answers(column, row) for column in columns if column[row] not in NO_ANSWER]
        if checks and all(checks):
            found.add(row)
            into.drop(where, TOTAL_ROW)
            into.note(where, f"{TOTAL_ROW}: it is left out")
        else:
            into.note(where, "is read as a person; if it is a total, remove the row")
    return found


def _counts_answers(column: list[str], row: int) -> bool:
    """Return whether a cell is the number of the other answers, or a number where they are texts."""
    if not _NUMERAL.fullmatch(column[row]):
        return False
    others = [label for i, label in enumerate(column) if i != row and label not in NO_ANSWER]
    return column[row] == str(len(others)) or not any(map(_NUMERAL.fullmatch, others))


def _is_free_text(answers: list[str]) -> bool:
    """Return whether a column's answers are too different to be the responses of a slate."""
    different = len({*answers})
    return different > MAX_DIFFERENT_ANSWERS or ALL_DIFFERENT <= different == len(answers)


def _require_names(cells: Cells, names: list[str], person: int, questions: list[int]) -> None:
    """Check that there are questions, and that each column has its own name."""
    if not questions:
        raise DataError(
            f"{cells.path}: the table has the one column {names[person]!r}; a wide table has a column that "
            "names the person and a column per question"
        )
    seen: dict[str, int] = {}
    folded = [*map(folded_label, names)]
    for i, name in enumerate(names):
        if not name:
            raise DataError(
                f"{cells.path}: column {i + 1} has no name; write the question above it, or remove it"
            )
        before = seen.setdefault(folded[i], i)
        if before != i and names[before] == name:
            raise DataError(
                f"{cells.path}: columns {before + 1} and {i + 1} are both named {name[:60]!r}; rename or "
                "remove one"
            )
        if before != i:
            raise DataError(
                f"{cells.path}: columns {before + 1} and {i + 1} are one question, {names[before][:60]!r} "
                f"and {name[:60]!r}, but for case, quotes or dashes; rename or remove one"
            )


def _people(cells: Cells, name: str, column: int, options: ReadOptions) -> list[str]:
    """Return the name of each row's person."""
    spellings = Spellings(name, cells.place, options.merge_case)
    people = [spellings.take(cell, i) for i, cell in enumerate(cells.texts(column).to_pylist())]
    first: dict[str, int] = {}
    for i, who in enumerate(people):
        if who in first and options.repeated == "refuse":
            raise DataError(
                f"{cells.place(i)}: {name} {who[:60]!r} is in row {cells.rows[first[who]]} too; name each "
                "person once in a column 'respondent', or keep the last answers with --repeated last"
            )
        first[who] = i
    return people
