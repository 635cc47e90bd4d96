"""Questions "mark all that apply": variables that say of one thing each whether it was marked."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpo_ray.preferences.readers.respondents.codebook import QuestionEntry
from gpo_ray.preferences.readers.respondents.levels import Labelled
from gpo_ray.preferences.readers.respondents.table import Column, RespondentTable, Value
from gpo_ray.preferences.readers.respondents.words import plain

MIN_OF_SET = 3
"""Fewest variables of a common stem that are taken for a question "mark all that apply"."""


@dataclass(frozen=True)
class Marks:
    """A set of variables, each of which says whether one thing was marked."""

    stem: str
    members: tuple[str, ...]
    blank: bool
    """Whether the file holds nothing for what was not marked."""


_MARKED = re.compile(
    r"(?:yes|selected|mentioned|marked|checked|chosen|ticked|quoted|named|genannt|ja|oui|cite|citee|"
    r"mencionado|mencionada|menciona|si|sim|"
    r"citato|menzionato|genoemd|ja|namnd|nevnt|wskazano|tak|true|1|x)"
)
_UNMARKED = re.compile(
    r"(?:no|not selected|not mentioned|unselected|not marked|not checked|not chosen|unchecked|not ticked|"
    r"nicht genannt|nein|non|non cite|non citee|"
    r"no mencionado|no mencionada|no menciona|nao|non citato|niet genoemd|nee|ej namnd|ikke nevnt|"
    r"nie wskazano|nie|false|0)"
)
_PLAIN_YES = re.compile(r"(?:yes|ja|oui|si|sim|tak|true|1|no|nein|non|nao|nee|nie|false|0)")


def mark_sets(
    table: RespondentTable, values: Mapping[str, Labelled], names: Sequence[str]
) -> dict[str, Marks]:
    """Return the sets "mark all that apply" of variables, by their names.

    They are those that the file declares, and labelled variables of a common stem that say of each thing
    whether it was mentioned or selected. Of variables with "yes" and "no" those are sets whose items are
    many, with marks alone: questions that are asked one after the other have answers of both kinds.
    """
    found: dict[str, Marks] = {}
    stems: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if table.columns[name].label and _marks(values[name]):
            stems[_stem(name, table.columns[name])].append(name)
    groups = [*({*each} & {*names} for each in table.sets), *(set(g) for g in stems.values())]
    for i, group in enumerate(groups):
        members = tuple(n for n in names if n in group and _marks(values[n]))
        declared = i < len(table.sets)
        if len(members) < (2 if declared else MIN_OF_SET) or any(n in found for n in members):
            continue
        blank = all(len(values[n].answers) == 1 for n in members)
        words = [plain(t) for n in members for t in values[n].answers.values()]
        if not declared and not blank and all(_PLAIN_YES.fullmatch(w) for w in words):
            continue
        found |= dict.fromkeys(members, Marks(members[0], members, blank))
    return found


def _marks(values: Labelled) -> bool:
    """Return whether the answers say whether something is marked."""
    words = [plain(t) for t in values.answers.values()]
    if len(words) == 1:
        return not values.unlabelled
    return (
        len(words) == 2
        and any(_MARKED.fullmatch(w) for w in words)
        and any(_UNMARKED.fullmatch(w) for w in words)
    )


def _stem(name: str, column: Column) -> str:
    """Return what the names and labels of a set's variables have in common, as those of Q5_1 and Q5_2."""
    cut = re.sub(r"(?:[_.\-]?\d+|[_.\-]?[A-Za-z])$", "", re.sub(r"_W\d+$", "", name))
    label = column.label or ""
    text = re.split(r"[:;]| - |\? ", label)[0] if re.search(r"[:;]| - |\? ", label) else ""
    return f"{cut}|{plain(text)}"


def mark_question(values: Labelled, marks: Marks, prompt: str) -> QuestionEntry:
    """Return the yes/no question of one thing in a set."""
    responses: dict[Value, str] = {}
    for value, label in values.answers.items():
        unmarked = len(values.answers) == 2 and _UNMARKED.fullmatch(plain(label))
        responses[value] = "No" if unmarked else "Yes"
    blank = "No" if marks.blank else None
    return QuestionEntry(prompt=prompt, responses=responses, missing=values.missing, blank=blank)


def blank_sets(
    questions: Mapping[str, QuestionEntry], sets: Mapping[str, Marks]
) -> dict[str, tuple[str, ...]]:
    """Return the sets of which the file holds the marks alone, by the name of their first question."""
    return {
        marks.stem: tuple(n for n in marks.members if n in questions)
        for marks in sets.values()
        if marks.blank and any(n in questions for n in marks.members)
    }
