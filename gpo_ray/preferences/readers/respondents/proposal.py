"""Propose the codebook of a file of respondents from its labels, for people to correct."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers.respondents.arrange import MIN_POINTS, arrange
from gpo_ray.preferences.readers.respondents.codebook import Codebook, DemographicEntry, QuestionEntry
from gpo_ray.preferences.readers.respondents.evidence import suggests_opinion
from gpo_ray.preferences.readers.respondents.kinds import bare_label, is_possession, kind_of
from gpo_ray.preferences.readers.respondents.levels import MAX_SUBSTANTIVE, Labelled, labelled
from gpo_ray.preferences.readers.respondents.marks import (
    Marks,
    blank_sets,
    mark_prompt,
    mark_question,
    mark_sets,
)
from gpo_ray.preferences.readers.respondents.opinions import asks_opinion
from gpo_ray.preferences.readers.respondents.table import Column, RespondentTable, Value, shown_value
from gpo_ray.preferences.readers.respondents.weights import candidate_weights, require_readable_weights
from gpo_ray.preferences.readers.respondents.words import plain

MAX_LEVELS = 12
MAX_RATING = 10
"""Highest point of a rating without labels."""
MAX_BETWEEN = 0.1
"""Most of a question's answers that may be values without labels between labelled ones."""
AGE_BINS = (18.0, 30.0, 50.0, 65.0)
"""Where ages are cut by default."""


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


def propose(table: RespondentTable) -> Proposal:
    """Propose the codebook of a file of respondents.

    Raises:
        DataError: if no variable looks like a question.
    """
    values = {name: labelled(column) for name, column in table.columns.items()}
    kinds = {name: _kind(column, values[name], table) for name, column in table.columns.items()}
    weights = candidate_weights(table, [n for n, k in kinds.items() if k == "weight"])
    require_readable_weights(table, [n for n, k in kinds.items() if k == "weight"], weights)
    ids = [n for n, k in kinds.items() if k == "id" and _identifies(table.columns[n], table)]
    sets = mark_sets(table, values, [n for n, k in kinds.items() if k is None])
    draft = _Draft(table, values, kinds, sets, chosen={})
    draft.chosen = dict([*((n, "weight") for n in weights[:1]), *((n, "id") for n in ids[:1])])
    for name in table.columns:
        draft.add(name)
    if not draft.questions:
        draft.take_unsure()
    if not draft.questions:
        raise DataError(
            f"{table.path}: no variable looks like a question: labelled, with 2 to {MAX_SUBSTANTIVE} "
            "labelled values; say which are by a codebook"
        )
    book = Codebook(
        weight=next(iter(weights), None),
        id=next(iter(ids), None),
        demographics=draft.demographics,
        questions=_told_apart(draft.questions),
        sets=blank_sets(draft.questions, sets),
    )
    return Proposal(book, tuple(draft.findings), tuple(weights), draft.guesses)


@dataclass
class _Draft:
    """A proposal that is being made."""

    table: RespondentTable
    values: Mapping[str, Labelled]
    kinds: Mapping[str, str | None]
    sets: Mapping[str, Marks]
    chosen: dict[str, str]
    """Roles of the variables for which there is one alone."""
    findings: list[Finding] = field(default_factory=list)
    questions: dict[str, QuestionEntry] = field(default_factory=dict)
    demographics: dict[str, DemographicEntry] = field(default_factory=dict)
    guesses: dict[str, str] = field(default_factory=dict)
    unsure: dict[str, tuple[QuestionEntry, str]] = field(default_factory=dict)

    @cached_property
    def mentions(self) -> dict[str, str]:
        """The sets of variables that hold one each of the things that a respondent named."""
        return {n: s.name for s in self.table.sets for n in s.mentions}

    def add(self, name: str) -> None:
        """Say what a variable is."""
        kind = self.kinds[name]
        if name in self.chosen:
            self.findings.append(Finding(name, self.chosen[name], ""))
        elif kind == "demographic":
            self._add_demographic(name)
        elif kind is not None:
            unclear = self.table.columns[name].unclear
            unread = unclear is not None and kind == "weight"
            why = f"a weight that could not be read: {unclear!r}; give --decimal" if unread else _OTHERS[kind]
            self.findings.append(Finding(name, "left out", why))
        elif name in self.mentions:
            of = self.mentions[name]
            why = _SEVERAL if of == name else f"a mention of {of}, {_MENTION}"
            self.findings.append(Finding(name, "left out", why))
        else:
            self._add_question(name)

    def _add_demographic(self, name: str) -> None:
        entry, why = _demographic(self.table.columns[name], self.values[name])
        if entry is None:
            self.findings.append(Finding(name, "left out", why))
            return
        self.demographics[name] = entry
        guess = _negative(self.values[name])
        self.guesses |= {name: guess} if guess else {}
        told = why if entry.bins else f"{len({*entry.levels.values()})} levels"
        self.findings.append(Finding(name, "demographic", "; ".join(filter(None, (told, guess)))))

    def _add_question(self, name: str) -> None:
        column = self.table.columns[name]
        entry, why = _question(column, self.values[name], self.sets.get(name))
        if entry is None:
            self.findings.append(Finding(name, "left out", why))
            return
        if column.problem is not None:
            raise DataError(f"{self.table.path}: column {name}: {column.problem}")
        if not (entry.ordered or name in self.sets or _suggests_opinion(entry)):
            self.unsure[name] = entry, why
            self.findings.append(Finding(name, "left out", _NO_OPINION))
            return
        self._accept(name, entry, why)

    def take_unsure(self) -> None:
        """Take the variables of which nothing says that they ask for an opinion, if there are no others."""
        self.findings = [f for f in self.findings if f.name not in self.unsure]
        for name, (entry, why) in self.unsure.items():
            self._accept(name, entry, "; ".join(filter(None, (why, "guessed to be a question"))))

    def _accept(self, name: str, entry: QuestionEntry, why: str) -> None:
        self.questions[name] = entry
        why = "; ".join(filter(None, (why, _merged(entry), _negative(self.values[name]))))
        self.guesses |= {name: why} if why else {}
        order = "ordered" if entry.ordered else "nominal"
        told = f"{len(entry.slate())} responses, {order}"
        self.findings.append(Finding(name, "question", "; ".join(filter(None, (told, why)))))


def _suggests_opinion(entry: QuestionEntry) -> bool:
    return suggests_opinion(plain(entry.prompt), [plain(t) for t in entry.responses.values()])


_NO_OPINION = "nothing in its words says that it asks for an opinion; add it to a codebook if it does"
_SEVERAL = "it holds several answers in a cell, of which each is a question"
_MENTION = "of which each thing is a question"
_OTHERS = {
    "paradata": "about the interview or the sample",
    "weight": "another weight",
    "id": "an identifier",
    "text": "a text in the respondents' own words, or their address",
    "unique": "its values are all different",
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
        return "unique" if unique and whole else None
    return kind


def _header(column: Column) -> str | None:
    """Return the name as a label where it is a text of several words, as headers of spreadsheets are."""
    return column.name if " " in column.name else None


def _identifies(column: Column, table: RespondentTable) -> bool:
    return len(column.values) == table.respondents and not column.missing


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
    if open_number and len(numbers) > MAX_LEVELS:
        text = plain(f"{column.name} {column.label or ''}")
        if _AGE.search(text) and not _BIRTH.search(text):
            return DemographicEntry(label=label, bins=AGE_BINS), "cut at 18, 30, 50 and 65"
        return None, "a demographic with many values; give bins or levels in a codebook"
    if not levels:
        return None, "a demographic without labels of values"
    if len(levels) > MAX_LEVELS:
        return None, f"a demographic with more than {MAX_LEVELS} levels"
    return DemographicEntry(label=label, levels=levels), ""


_AGE = re.compile(
    r"\b(?:age|agea|alter|edad|eta|idade|leeftijd|alder|wiek|ppage|how old|wie alt|hoe oud|hur gammal)\b"
)
_BIRTH = re.compile(r"\b(?:year|birth|educ\w*|child|married|wed|cohort|first)\b")


def _question(column: Column, values: Labelled, marks: Marks | None) -> tuple[QuestionEntry | None, str]:
    prompt = bare_label(column.label or _header(column) or (column.name if column.kind == "text" else ""))
    prompt = prompt if marks is None else mark_prompt(column, marks, prompt)
    if not prompt:
        return None, "it has no label"
    if marks is not None:
        entry = mark_question(values, marks, prompt)
        return entry, "nobody marked it" if entry is None else "one of a set, mark all that apply"
    if is_possession(prompt):
        return None, "what the household owns, or a number"
    answers = dict(values.answers)
    points = _rating(column, values, prompt)
    if points is not None:
        return points
    loose = [
        v
        for v in column.values
        if isinstance(v, float) and v not in column.labels and v not in column.missing
    ]
    if len(loose) > MAX_SUBSTANTIVE:
        return None, f"numbers of more than {MAX_SUBSTANTIVE} values, as of a thermometer"
    distinct = len(set(answers.values()))
    if not column.labels and column.kind != "text":
        return None, "its values have no labels"
    if distinct < 2:
        return None, "fewer than 2 labelled answers"
    if distinct > MAX_SUBSTANTIVE or len(values.unlabelled) > MAX_SUBSTANTIVE:
        return None, f"more than {MAX_SUBSTANTIVE} values"
    if sum(column.counts()) == 0:
        return None, "nobody answered it"
    if _share(column, values.between, answers) > MAX_BETWEEN:
        return None, "labelled ends only, values between have no labels"
    if any(n > 1 and not any(map(str.isalpha, t)) for t, n in Counter(answers.values()).items()):
        return None, "several values have the same label, which has no letters"
    answers, ordered, why = _in_order(column, values, answers)
    missing = values.missing | {v: t for v, t in values.answers.items() if v not in answers}
    why = "; ".join(filter(None, (why, _beside(values, answers))))
    return QuestionEntry(prompt=prompt, responses=answers, missing=missing, ordered=ordered), why


def _rating(column: Column, values: Labelled, prompt: str) -> tuple[QuestionEntry, str] | None:
    """Return the question of a rating whose points have no labels, as forms write it; None if it is none.

    Its values are whole numbers from 0 or 1 to at most 10, and its text asks what one thinks.
    """
    numbers = [v for v in column.values if isinstance(v, float) and v not in values.missing]
    if values.answers or len(numbers) < MIN_POINTS or not all(v.is_integer() for v in numbers):
        return None
    low, high = min(numbers), max(numbers)
    if low not in (0.0, 1.0) or not 2 < high <= MAX_RATING or not asks_opinion(plain(prompt)):
        return None
    responses: dict[Value, str] = {float(v): str(v) for v in range(int(low), int(high) + 1)}
    entry = QuestionEntry(prompt=prompt, responses=responses, missing=values.missing, ordered=True)
    return entry, f"guessed to be a rating from {low:g} to {high:g}, since its text asks for one"


def _share(column: Column, some: Sequence[Value], answers: Mapping[Value, str]) -> float:
    """Return the share of some values among themselves and the answers of respondents."""
    counts = dict(zip(column.values, column.counts().tolist(), strict=True))
    number = sum(counts[v] for v in some)
    return number / max(1, number + sum(counts.get(v, 0) for v in answers))


def _merged(entry: QuestionEntry) -> str:
    """Return which codes have the same label, as a note."""
    codes = defaultdict(list)
    for code, label in entry.responses.items():
        codes[label].append(shown_value(code))
    marks = "Yes" in codes and "No" in codes  # of a set, where several values may say no
    same = [f"codes {', '.join(c)} are one" for c in codes.values() if len(c) > 1 and not marks]
    return "; ".join(same)


def _negative(values: Labelled) -> str:
    """Return which codes are taken for no answer since they are negative, as a note."""
    codes = ", ".join(shown_value(v) for v in values.guessed)
    return f"guessed to be no answer, as the code is negative: {codes}" if codes else ""


def _in_order(
    column: Column, values: Labelled, answers: dict[Value, str]
) -> tuple[dict[Value, str], bool, str]:
    """Return the answers in their order, whether they are a scale, and what of that is a guess.

    Answers that are not returned are beside the scale.
    """
    labels = list(dict.fromkeys(answers.values()))
    if values.numbered or (column.levels and column.measure == "ordinal"):
        return answers, True, ""
    coded = column.kind != "text" or bool(column.labels) or column.levels
    ordinal = column.measure == "ordinal" and len(labels) > 2
    found = arrange(labels, _apart(answers), coded, ordinal)
    if found is not None:
        rank = {label: i for i, label in enumerate(found.scale)}
        kept = [item for item in answers.items() if item[1] in rank]
        told = ["guessed from its words"]
        told += ["its order is not that of the codes"] if coded and found.moved else []
        return dict(sorted(kept, key=lambda item: rank[item[1]])), True, "; ".join(told)
    if ordinal and coded and not any(_NOMINAL.search(plain(t)) for t in labels):
        return answers, True, "guessed from its level of measurement"
    return answers, False, "" if coded else "in the order in which its responses first occur"


def _apart(answers: Mapping[Value, str]) -> set[str]:
    """Return the labels of codes that do not follow the others', as 97 after 1 to 4."""
    codes = sorted(v for v in answers if isinstance(v, float))
    near = {v for a, b in pairwise(codes) if b - a <= 1 for v in (a, b)}
    return {t for v, t in answers.items() if isinstance(v, float) and v not in near}


def _beside(values: Labelled, answers: Mapping[Value, str]) -> str:
    """Return which answers are taken for none since they are beside the scale, as a note."""
    beside = {v: values.missing[v] for v in values.aside} | {
        v: t for v, t in values.answers.items() if v not in answers
    }
    aside = [f"{shown_value(v)} {t!r}" if isinstance(v, float) else repr(t) for v, t in beside.items()]
    return f"guessed to be beside the scale: {', '.join(aside)}" if aside else ""


_NOMINAL = re.compile(
    r"\b(?:other|none of|both|something else|andere|sonstige|keine davon|autre|otro|otra|altro|outro)\b"
)


def _told_apart(questions: Mapping[str, QuestionEntry]) -> dict[str, QuestionEntry]:
    """Return the questions with their names added to prompts that several of them share."""
    same = defaultdict(list)
    for name, question in questions.items():
        same[question.prompt, question.slate()].append(name)
    twins = {n for names in same.values() if len(names) > 1 for n in names}
    return {
        n: q.model_copy(update={"prompt": f"{q.prompt} ({n})"}) if n in twins else q
        for n, q in questions.items()
    }
