"""Questions "mark all that apply": variables that say of one thing each whether it was marked."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpo_ray.preferences.readers.respondents.codebook import QuestionEntry
from gpo_ray.preferences.readers.respondents.levels import Labelled
from gpo_ray.preferences.readers.respondents.table import Column, DeclaredSet, RespondentTable, Value
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
    declared: DeclaredSet | None = None
    """The file's own declaration of the set."""


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
    for declared in table.sets:
        members = tuple(
            n for n in names if n in declared.names and (declared.counted is not None or _marks(values[n]))
        )
        if len(members) > 1 and not any(n in found for n in members):
            said = [_substance(values[n]) for n in members]
            counted = declared.counted
            blank = all(len(s) == 1 if counted is None else {*s} <= {counted} for s in said)
            found |= dict.fromkeys(members, Marks(members[0], members, blank, declared))
    stems: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if name not in found and table.columns[name].label and _marks(values[name]):
            stems[_stem(name, table.columns[name])].append(name)
    for each in stems.values():
        blank = all(len(values[n].answers) == 1 for n in each)
        words = [plain(t) for n in each for t in values[n].answers.values()]
        if len(each) >= MIN_OF_SET and (blank or not all(_PLAIN_YES.fullmatch(w) for w in words)):
            found |= dict.fromkeys(each, Marks(each[0], tuple(each), blank))
    return found


def _substance(values: Labelled) -> list[Value]:
    """Return the values that say something, with or without a label."""
    return [*values.answers, *values.unlabelled, *(v for v in values.between if v not in values.answers)]


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
    label = re.sub(r"^\s*\[[^\[\]]*\]|\[[^\[\]]*\]\s*$", "", column.label or "")
    text = re.split(r"[:;]| - |\? ", label)[0] if re.search(r"[:;]| - |\? ", label) else ""
    return f"{cut}|{plain(text)}"


def mark_prompt(column: Column, marks: Marks, label: str) -> str:
    """Return the prompt of one thing in a set, with the question that a declared set has of its own."""
    declared = marks.declared
    if declared is None or not declared.label or plain(declared.label) in plain(label):
        return label
    thing = label or column.labels.get(declared.counted if declared.counted is not None else "", column.name)
    return f"{declared.label}: {thing}"


def mark_question(values: Labelled, marks: Marks, prompt: str) -> QuestionEntry | None:
    """Return the yes/no question of one thing in a set; None if nobody can have marked it."""
    counted = None if marks.declared is None else marks.declared.counted
    responses: dict[Value, str] = {}
    for value in _substance(values):
        label = plain(values.answers.get(value, ""))
        unmarked = len(values.answers) == 2 and _UNMARKED.fullmatch(label) is not None
        if counted is not None:
            unmarked = value != counted
        responses[value] = "No" if unmarked else "Yes"
    blank = "No" if marks.blank else None
    if {*responses.values(), *([blank] if blank else [])} != {"Yes", "No"}:
        return None
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
