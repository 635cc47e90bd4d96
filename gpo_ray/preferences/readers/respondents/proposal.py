"""Propose the codebook of a file of respondents from its labels, for people to correct."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gpo_ray.errors import DataError
from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers.respondents.codebook import Codebook, DemographicEntry, QuestionEntry
from gpo_ray.preferences.readers.respondents.demographics import (
    bare_label,
    is_possession,
    kind_of,
)
from gpo_ray.preferences.readers.respondents.scales import is_ordered, order_of
from gpo_ray.preferences.readers.respondents.table import Column, RespondentTable, Value, shown_value
from gpo_ray.preferences.readers.respondents.words import plain, silence, without_code

MOST_RESPONSES = 12
MOST_LEVELS = 12
AGE_BINS = (18.0, 30.0, 50.0, 65.0)
"""Where ages are cut by default."""
LEAST_OF_SET = 3
"""Fewest variables of a common stem that are taken for a question "mark all that apply"."""


@dataclass(frozen=True)
class Finding:
    """What a variable was found to be, and why."""

    name: str
    role: str
    """question, demographic, weight, id, or left out."""
    why: str
    """What of it rests on a guess, or why it is left out."""


@dataclass(frozen=True)
class Proposal:
    """A proposed codebook, and what every variable was found to be."""

    codebook: Codebook
    findings: tuple[Finding, ...]
    weights: tuple[str, ...]
    """Candidates for the weight, the chosen one first."""
    guesses: Mapping[str, str] = field(default_factory=dict)
    """What rests on a guess, by the names of questions."""


@dataclass
class Labelled:
    """The values of a variable: answers with their labels, and what is no answer."""

    answers: dict[Value, str] = field(default_factory=dict)
    missing: dict[Value, str] = field(default_factory=dict)
    unlabelled: list[Value] = field(default_factory=list)
    """Values that occur without a label and lie beyond those that have one."""
    numbered: bool = False
    """Whether values without a label lie between labelled ones: a scale with labelled ends."""


def labelled(column: Column) -> Labelled:
    """Divide the values of a variable into answers, what is no answer, and values that nothing is said of."""
    found = Labelled()
    texts = dict(column.labels)
    if column.kind == "text" and not texts:
        texts = {v: str(v) for v in column.values}
    labels = {v: normal_label(without_code(t, v)) or t for v, t in texts.items()}
    among = tuple(labels.values())
    for value in sorted({*labels, *column.missing}, key=column.order):
        label = labels.get(value, shown_value(value))
        if value in column.missing or silence(texts.get(value, ""), among) or silence(label, among):
            found.missing[value] = label
        else:
            found.answers[value] = label
    loose = [v for v in column.values if v not in labels and v not in column.missing]
    _place_loose(found, loose)
    return found


def _place_loose(found: Labelled, loose: Sequence[Value]) -> None:
    """Decide what values without a label are: points of a scale with labelled ends, or nothing known."""
    points = [v for v in found.answers if isinstance(v, float)]
    inner = [v for v in loose if isinstance(v, float) and v.is_integer()]
    bare = [v for v, t in found.answers.items() if _is_own_number(t, v)]
    if not points or len(points) < len(found.answers):
        found.unlabelled += loose
        return
    low, high = min(points), max(points)
    if len(points) == 1:  # a scale of which one end is labelled
        low, high = min([low, *inner]), max([high, *inner])
    between = [v for v in inner if low <= v <= high]
    found.unlabelled += [v for v in loose if v not in between]
    whole = all(v.is_integer() for v in points)
    if not between and not bare:
        return
    if not whole or high - low + 1 > MOST_RESPONSES:
        found.unlabelled += between
        return
    found.numbered = True
    scale = [float(v) for v in range(int(low), int(high) + 1)]
    found.answers = {v: _point(found.answers.get(v), v) for v in scale}


def _is_own_number(label: str, value: Value) -> bool:
    return label.strip() == shown_value(value)


def _point(label: str | None, value: float) -> str:
    """Return the response of a point on a numbered scale: "1: Not at all", or "2"."""
    number = shown_value(value)
    if label is None or _is_own_number(label, value):
        return number
    return label if re.match(rf"{re.escape(number)}\b", label) else f"{number}: {label}"


def propose(table: RespondentTable) -> Proposal:
    """Propose the codebook of a file of respondents.

    Raises:
        DataError: if no variable looks like a question.
    """
    values = {name: labelled(column) for name, column in table.columns.items()}
    kinds = {name: _kind(column, values[name], table) for name, column in table.columns.items()}
    weights = _weights(table, [n for n, k in kinds.items() if k == "weight"])
    ids = [n for n, k in kinds.items() if k == "id" and _identifies(table.columns[n], table)]
    sets = _sets(table, values, [n for n, k in kinds.items() if k is None])
    findings: list[Finding] = []
    questions: dict[str, QuestionEntry] = {}
    demographics: dict[str, DemographicEntry] = {}
    guesses: dict[str, str] = {}
    for name, column in table.columns.items():
        role, why = "left out", ""
        if name in weights[:1]:
            role = "weight"
        elif name in ids[:1]:
            role = "id"
        elif kinds[name] == "demographic":
            entry, why = _demographic(column, values[name])
            if entry is not None:
                demographics[name], role = entry, "demographic"
        elif kinds[name] is not None:
            why = _OTHERS.get(str(kinds[name]), "")
        else:
            question, why = _question(column, values[name], sets.get(name))
            if question is not None:
                questions[name], role = question, "question"
                guesses |= {name: why} if why else {}
        findings.append(Finding(name, role, why))
    if not questions:
        raise DataError(
            f"{table.path}: no variable looks like a question: labelled, with 2 to {MOST_RESPONSES} labelled values; "
            "say which are by a codebook"
        )
    book = Codebook(
        weight=next(iter(weights), None),
        id=next(iter(ids), None),
        demographics=demographics,
        questions=questions,
        sets=_blank_sets(questions, sets),
    )
    return Proposal(book, tuple(findings), tuple(weights), guesses)


_OTHERS = {
    "paradata": "about the interview or the sample",
    "weight": "another weight",
    "id": "an identifier",
    "date": "a date or time",
}


def _kind(column: Column, values: Labelled, table: RespondentTable) -> str | None:
    if column.kind == "date":
        return "date"
    kind = kind_of(column.name, column.label or _header(column), list(values.answers.values()))
    if kind == "weight" and (len(values.answers) > 1 and column.labels):
        return None
    if kind is None and table.respondents > 50 and column.code.min(initial=0) >= 0:
        unique = len(column.values) == table.respondents
        whole = all(isinstance(v, str) or v.is_integer() for v in column.values)
        return "id" if unique and whole else None
    return kind


def _header(column: Column) -> str | None:
    """Return the name as a label where it is a text of several words, as headers of spreadsheets are."""
    return column.name if " " in column.name else None


def _identifies(column: Column, table: RespondentTable) -> bool:
    return len(column.values) == table.respondents and not column.missing


def _weights(table: RespondentTable, names: Sequence[str]) -> list[str]:
    """Return the candidates that hold weights, the best first.

    Weights are numbers of at least 0, not all the same, none of them missing for most. A post-stratified or
    total weight is better than a design weight, and a weight of all respondents better than one of some.
    """
    found = []
    for i, name in enumerate(names):
        numbers = table.columns[name].numbers()
        known = numbers[np.isfinite(numbers)]
        if not len(known) or known.min() < 0 or known.min() == known.max():
            continue
        text = plain(f"{name} {table.columns[name].label or ''}")
        poor = len(_POOR_WEIGHT.findall(text)) - len(_GOOD_WEIGHT.findall(text))
        found.append(((int(len(known) < 0.9 * table.respondents), poor, i), name))
    return [name for _, name in sorted(found)]


_POOR_WEIGHT = re.compile(
    r"\b(?:design|dweight|population|pweight|base|raw|household|unadjusted|s018|1000|replicate|pre)\b"
)
_GOOD_WEIGHT = re.compile(
    r"\b(?:post ?strat\w*|pspwght|anweight|analysis|final|wtssps\w*|wtssall|full sample|total|combined)\b"
)


def _demographic(column: Column, values: Labelled) -> tuple[DemographicEntry | None, str]:
    label = bare_label(column.label or column.name)
    levels = {
        v: t
        for v, t in values.answers.items()
        if plain(t) not in ("other", "andere", "autre", "otro", "altro")
    }
    named = bool(column.labels) or column.kind == "text"
    numbers = [
        v
        for v in column.values
        if isinstance(v, float) and v not in column.missing and v not in values.missing
    ]
    open_number = len(values.unlabelled) > max(2, len(values.answers)) or not named
    if open_number and len(numbers) > MOST_LEVELS:
        text = plain(f"{column.name} {column.label or ''}")
        if _AGE.search(text) and not _BIRTH.search(text):
            return DemographicEntry(label=label, bins=AGE_BINS), "cut at 18, 30, 50 and 65"
        return None, "a demographic with many values; give bins or levels in a codebook"
    if not levels:
        return None, "a demographic without labels of values"
    if len(levels) > MOST_LEVELS:
        return None, f"a demographic with more than {MOST_LEVELS} levels"
    return DemographicEntry(label=label, levels=levels), ""


_AGE = re.compile(r"\b(?:age|agea|alter|edad|eta|idade|leeftijd|alder|wiek|ppage)\b")
_BIRTH = re.compile(r"\b(?:year|birth|educ\w*|child|married|wed|cohort|first)\b")


def _question(column: Column, values: Labelled, marks: _Marks | None) -> tuple[QuestionEntry | None, str]:
    prompt = bare_label(column.label or _header(column) or (column.name if column.kind == "text" else ""))
    if column.problem is not None:
        return None, column.problem
    if not prompt:
        return None, "it has no label"
    if marks is not None:
        return _mark(column, values, marks, prompt), "one of a set, mark all that apply: yes or no"
    if is_possession(prompt):
        return None, "what the household owns, or a number"
    answers = dict(values.answers)
    distinct = len(set(answers.values()))
    if not column.labels and column.kind != "text":
        return None, "its values have no labels"
    if distinct < 2:
        return None, "fewer than 2 labelled answers"
    if distinct > MOST_RESPONSES or len(values.unlabelled) > MOST_RESPONSES:
        return None, f"more than {MOST_RESPONSES} values"
    if sum(column.counts()) == 0:
        return None, "nobody answered it"
    answers, ordered, why = _in_order(column, values, answers)
    return QuestionEntry(prompt=prompt, responses=answers, missing=values.missing, ordered=ordered), why


def _in_order(
    column: Column, values: Labelled, answers: dict[Value, str]
) -> tuple[dict[Value, str], bool, str]:
    """Return the answers in their order, whether they are a scale, and what of that is a guess."""
    labels = list(dict.fromkeys(answers.values()))
    if values.numbered:
        return answers, True, ""
    if column.levels and column.measure == "ordinal":
        return answers, True, ""
    if column.kind == "text" and not column.labels and not column.levels:
        order = order_of(labels)
        if order is not None:
            rank = {labels[j]: i for i, j in enumerate(order)}
            ranked = dict(sorted(answers.items(), key=lambda item: rank[item[1]]))
            return ranked, True, "a scale, by the words of its responses"
        return answers, False, "in the order in which its responses first occur"
    if is_ordered(labels):
        return answers, True, "a scale, by the words of its responses"
    if column.measure == "ordinal" and len(labels) > 2 and not any(_NOMINAL.search(plain(t)) for t in labels):
        return answers, True, "a scale, by its level of measurement in the file"
    return answers, False, ""


_NOMINAL = re.compile(
    r"\b(?:other|none of|both|something else|andere|sonstige|keine davon|autre|otro|otra|altro|outro)\b"
)


@dataclass(frozen=True)
class _Marks:
    """A set of variables, each of which says whether one thing was marked."""

    stem: str
    members: tuple[str, ...]
    blank: bool
    """Whether the file holds nothing for what was not marked."""


_MARKED = re.compile(
    r"(?:yes|selected|mentioned|marked|checked|chosen|ticked|quoted|named|genannt|ja|oui|cite|citee|mencionado|mencionada|menciona|si|sim|"
    r"citato|menzionato|genoemd|ja|namnd|nevnt|wskazano|tak|true|1|x)"
)
_UNMARKED = re.compile(
    r"(?:no|not selected|not mentioned|unselected|not marked|not checked|not chosen|unchecked|not ticked|nicht genannt|nein|non|non cite|non citee|"
    r"no mencionado|no mencionada|no menciona|nao|non citato|niet genoemd|nee|ej namnd|ikke nevnt|nie wskazano|nie|false|0)"
)
_PLAIN_YES = re.compile(r"(?:yes|ja|oui|si|sim|tak|true|1|no|nein|non|nao|nee|nie|false|0)")


def _sets(table: RespondentTable, values: Mapping[str, Labelled], names: Sequence[str]) -> dict[str, _Marks]:
    """Return the sets "mark all that apply" of variables, by their names.

    They are those that the file declares, and labelled variables of a common stem that say of each thing
    whether it was mentioned or selected. Of variables with "yes" and "no" those are sets whose items are
    many, with marks alone: questions that are asked one after the other have answers of both kinds.
    """
    found: dict[str, _Marks] = {}
    stems: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if table.columns[name].label and _marks(values[name]):
            stems[_stem(name, table.columns[name])].append(name)
    groups = [*({*each} & {*names} for each in table.sets), *(set(g) for g in stems.values())]
    for i, group in enumerate(groups):
        members = tuple(n for n in names if n in group and _marks(values[n]))
        declared = i < len(table.sets)
        if len(members) < (2 if declared else LEAST_OF_SET) or any(n in found for n in members):
            continue
        blank = all(len(values[n].answers) == 1 for n in members)
        words = [plain(t) for n in members for t in values[n].answers.values()]
        if not declared and not blank and all(_PLAIN_YES.fullmatch(w) for w in words):
            continue
        found |= dict.fromkeys(members, _Marks(members[0], members, blank))
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
    """Return what the names of a set's variables have in common: Q5_1 and Q5_2, qb1.1 and qb1.2, V8 and V9."""
    cut = re.sub(r"(?:[_.\-]?\d+|[_.\-]?[A-Za-z])$", "", re.sub(r"_W\d+$", "", name))
    label = column.label or ""
    text = re.split(r"[:;]| - |\? ", label)[0] if re.search(r"[:;]| - |\? ", label) else ""
    return f"{cut}|{plain(text)}"


def _mark(column: Column, values: Labelled, marks: _Marks, prompt: str) -> QuestionEntry:
    """Return the yes/no question of one thing in a set."""
    responses: dict[Value, str] = {}
    for value, label in values.answers.items():
        unmarked = len(values.answers) == 2 and _UNMARKED.fullmatch(plain(label))
        responses[value] = "No" if unmarked else "Yes"
    blank = "No" if marks.blank else None
    return QuestionEntry(prompt=prompt, responses=responses, missing=values.missing, blank=blank)


def _blank_sets(
    questions: Mapping[str, QuestionEntry], sets: Mapping[str, _Marks]
) -> dict[str, tuple[str, ...]]:
    return {
        marks.stem: tuple(n for n in marks.members if n in questions)
        for marks in sets.values()
        if marks.blank and any(n in questions for n in marks.members)
    }


def with_prompts(proposal: Proposal) -> Proposal:
    """Return the proposal with the names of variables added to prompts that several questions share."""
    seen: dict[str, list[str]] = defaultdict(list)
    for name, question in proposal.codebook.questions.items():
        seen[f"{question.prompt}|{question.slate()}"].append(name)
    same = {n for names in seen.values() if len(names) > 1 for n in names}
    questions = {
        n: q.model_copy(update={"prompt": f"{q.prompt} ({n})"}) if n in same else q
        for n, q in proposal.codebook.questions.items()
    }
    return replace(proposal, codebook=proposal.codebook.model_copy(update={"questions": questions}))
