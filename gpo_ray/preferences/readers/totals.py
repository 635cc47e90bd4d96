"""Rows of totals in a table of groups: "Total", "All", "Base" as one more response, or as one more group.

The name alone proves nothing: "All" may be an answer. A row counts as a total if its name may be that of one
and its numbers are those of the others together; then it is left out, which is listed. A name without the
numbers is said in a note, or refused where shares would be wrong.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

from gpo_ray.errors import DataError
from gpo_ray.preferences.labels import folded_label
from gpo_ray.preferences.readers.amounts import ROUNDING, WHOLE, Unit
from gpo_ray.preferences.readers.common import Collector

TOTAL_RESPONSE = "response is the total of the others"
TOTAL_GROUP = "group is the total of the others"

Sure = Literal["sure", "perhaps"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SURE = _words(
    """
    total totals totale totaal totalt totalen totaux totais totales toplam gesamt insgesamt gesamtsumme
    gesamtergebnis gesamtzahl subtotal zwischensumme ogolem razem lacznie celkem spolu osszesen ukupno
    yhteensa ialt итого всего συνολο 合計 総計 合计 总计 總計 합계 전체
    المجموع base basis bases fallzahl podstawa baza
    """
)
"""Words that say "total" or "base" in several languages, without accents."""
_PERHAPS = _words(
    """
    all everyone everybody overall n sum summe alle alles tous toutes tout ensemble todos todas tutti tutte
    alla kaikki wszyscy iedereen allen alt allt все sample stichprobe respondents befragte zusammen suma
    soma somma somme national nationwide antal anzahl effectif effectifs jumlah
    """
)
"""Words that say it too, but may be an answer or a group of their own."""
_FILL = _words(
    """
    of the der die das de del des di i og im la le les el size number no count grand general generale genel
    us uk adults people persons population respondent respondenten befragten interviews interviewed answers
    responses valid effective weighted unweighted ungewichtet ungewichtete gewichtet gewichtete ponderada
    ponderado pondere ponderes ponderees ponderee ponderata brute sin con ponderar non repondants encuestados
    intervistati entrevistas entrevistados nombre numero numer svarande deltagare erwachsene bevolkerung
    voters parties groups gruppen ongewogen gewogen viktad oviktad wazona niewazona
    """
)
"""Words that may stand beside them."""
_WEIGHTED = re.compile(r"weight|gewicht|ponder|gewogen|wazon|vikta")
_NEAR = 1.25
"""Up to how many times more or less than the others a sure total is a total with a mistake."""
_ROUNDED = 0.005
"""The part of a sum up to which rounding of its parts is allowed for."""
_RENAME = "if it is none, write its name otherwise"


class Asked(Protocol):
    """What the rows of a table say of one question."""

    prompt: str
    responses: dict[str, None]
    by_group: dict[str, dict[str, float]]
    n: dict[str, float | None]
    totals: set[str]


@lru_cache(maxsize=4096)
def names_total(label: str) -> Sure | None:
    """Return whether a label is surely or perhaps the name of a total; None if it is not."""
    text = folded_label(re.sub(r"\([^()]*\)", " ", label) or label)
    words = [*map(_without_accents, re.findall(r"[^\W\d_]+", text))]
    if not words or not {*words} <= _SURE | _PERHAPS | _FILL or re.search(r"\d", text.split("=")[0]):
        return None
    if {*words} & _SURE or (_WEIGHTED.search(" ".join(words)) and {*words} & _PERHAPS):
        return "sure"
    return "perhaps" if {*words} & _PERHAPS else None


def _without_accents(word: str) -> str:
    if len(word) == 1:  # a letter with an accent is no N
        return word
    parts = unicodedata.normalize("NFD", word.replace("ł", "l"))
    return "".join(c for c in parts if not unicodedata.combining(c))


def leave_out_totals(
    path: Path, unit: Unit, questions: Mapping[str, Asked], people: Iterable[str], into: Collector
) -> None:
    """Leave out the responses and the groups that are totals of the others, and log them.

    Args:
        path: the file.
        unit: what the numbers are.
        questions: the questions, from which the totals are removed.
        people: the groups that are single people, whose answers are no sums.
        into: where totals are logged.

    Raises:
        DataError: if a response is surely a total, and is about the sum of the others but not equal to it.
    """
    single = {*people}
    for key, question in questions.items():
        named = [r for r in question.responses if names_total(r)]
        for response in sorted(named, key=lambda r: names_total(r) != "sure"):
            if _is_total_response(path, unit, question, response, single, into):
                into.drop(f"{path.name}: {key}, {response}", TOTAL_RESPONSE)
                question.totals.add(response)
                del question.responses[response]
                for given in question.by_group.values():
                    given.pop(response, None)
    groups = {g: None for q in questions.values() for g in q.by_group if g not in single}
    named_so = [g for g in groups if names_total(g)]
    others = [g for g in groups if g not in named_so]
    found = {g for g in named_so if _is_total_group(path, unit, [*questions.values()], g, others, into)}
    for question in questions.values():
        for group in found & question.by_group.keys():
            del question.by_group[group]


def _is_total_response(
    path: Path, unit: Unit, question: Asked, response: str, single: set[str], into: Collector
) -> bool:
    """Return whether a response is the total of the others; if it is none in spite of its name, note that."""
    others = [r for r in question.responses if r != response and names_total(r) != "sure"]
    if len(response) == 1 and any(len(r) == 1 for r in others):
        return False  # N beside Y
    pairs = {
        group: (given[response], sum(given.get(r, 0.0) for r in others), len(given))
        for group, given in question.by_group.items()
        if response in given and group not in single
    }
    if not pairs:
        return False
    wrong = [g for g, pair in pairs.items() if not _adds_up(unit, *pair)]
    where, shown = f"{path.name}: {question.prompt[:60]}", f"response {response[:60]!r}"
    if not wrong and len(others) > 1 and any(total > 0 for total, _, _ in pairs.values()):
        into.note(where, f"{shown} is the sum of the others and is left out; {_RENAME}")
        return True
    group = wrong[0] if wrong else next(iter(pairs))
    total, rest, _ = pairs[group]
    about = rest > 0 and 1 / _NEAR <= total / rest <= _NEAR and len(others) > 1
    if names_total(response) == "sure" and (about or _WEIGHTED.search(_without_accents(response.casefold()))):
        raise DataError(
            f"{path}: {shown} to {question.prompt[:60]!r} seems to be a total, but is {total:g} for "
            f"{group[:60]!r}, where the others add up to {rest:g}; leave its rows out and give the number of "
            f"respondents in a column 'n', or, {_RENAME}"
        )
    into.note(
        where,
        f"{shown} is read as a response: it is {total:g} for {group[:60]!r}, and the others add up to "
        f"{rest:g}; if it is a total, leave its rows out",
    )
    return False


def _adds_up(unit: Unit, total: float, rest: float, parts: int) -> bool:
    """Return whether a number is the sum of others, up to rounding; shares have a total that is the whole."""
    if unit in WHOLE:
        return all(abs(v / WHOLE[unit] - 1) <= ROUNDING + 1e-9 for v in (total, rest))
    return abs(total - rest) <= _tolerance(parts, rest)


def _tolerance(parts: float, total: float) -> float:
    """Return by how much the sum of so many rounded numbers may differ from its rounded value."""
    return min(0.5 * parts, _ROUNDED * total) + 1e-9 * total


def _is_total_group(
    path: Path, unit: Unit, questions: Sequence[Asked], group: str, others: Sequence[str], into: Collector
) -> bool:
    """Return whether a group is all the others together; if that is not shown, note that it is read."""
    where, shown = f"{path.name}: {group[:60]}", f"the group named {group[:60]!r}"
    checks = [
        check
        for question in questions
        if group in question.by_group
        for check in [_mixture(unit, question, group, [g for g in others if g in question.by_group])]
        if check is not None
    ]
    is_total = bool(checks) and (
        _is_multiple(checks) if unit == "count" else _is_mean(checks, names_total(group) == "sure")
    )
    if is_total:
        into.drop(where, TOTAL_GROUP)
        into.note(where, f"{shown} is all the others together and is left out; {_RENAME}")
        return True
    why = (
        "its numbers are not the others' together" if checks else "there is no other group to compare it with"
    )
    into.note(where, f"{shown} is read as a group: {why}; if it is a total, leave its rows out")
    return False


class _Check:
    """A question's numbers: of the group that may be a total, and of the others, by response."""

    def __init__(self, unit: Unit, question: Asked, group: str, others: Sequence[str]) -> None:
        self.whole = WHOLE.get(unit, 1.0)
        known = [question.n[g] for g in others]
        self.n = [v for v in known if v is not None] if all(known) else None
        self.total = [question.by_group[group].get(r, 0.0) for r in question.responses]
        self.others = [[question.by_group[g].get(r, 0.0) for g in others] for r in question.responses]

    def cells(self) -> Iterator[tuple[float, list[float]]]:
        """Yield the number of each response, and those of the others."""
        yield from zip(self.total, self.others, strict=True)


def _mixture(unit: Unit, question: Asked, group: str, others: Sequence[str]) -> _Check | None:
    """Return the numbers to compare; None if no other group answered, or the group has none."""
    if not others or not sum(question.by_group[group].values()):
        return None
    return _Check(unit, question, group, others)


def _is_multiple(checks: Sequence[_Check]) -> bool:
    """Return whether the others' counts add up to the total's, once for each way to divide everybody."""
    mine = sum(sum(check.total) for check in checks)
    theirs = sum(sum(map(sum, check.others)) for check in checks)
    times = max(1, round(theirs / mine))
    return all(
        abs(times * total - sum(rest)) <= _tolerance(times + len(rest), sum(map(sum, check.others)))
        for check in checks
        for total, rest in check.cells()
    )


def _is_mean(checks: Sequence[_Check], sure: bool) -> bool:
    """Return whether shares are the mean of the others', by their respondents, or may be one if unknown."""
    for check in checks:
        off = 0.01 * check.whole + 1e-9
        for total, rest in check.cells():
            if check.n is not None:
                mean = sum(n * v for n, v in zip(check.n, rest, strict=True)) / sum(check.n)
                if abs(total - mean) > off:
                    return False
            elif not sure or len(rest) < 2 or not min(rest) - off <= total <= max(rest) + off:
                return False
    return True
