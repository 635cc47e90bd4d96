"""How often a label says that something is done, as times a year, in several languages."""

from __future__ import annotations

import re

_COUNTS: tuple[tuple[str, float], ...] = (
    (
        r"once or twice|one or two times|ein bis zwei mal|une ou deux fois|una o dos veces|"
        r"en eller tva ganger",
        1.5,
    ),
    (
        r"two or three times|2 3 times|2 or 3 times|deux ou trois fois|zwei bis drei mal|"
        r"dos o tres veces",
        2.5,
    ),
    (
        r"several times|a few times|few times|some times|mehrmals|mehrere male|ein paar mal|plusieurs fois|"
        r"quelques fois|varias veces|algunas veces|piu volte|alcune volte|varias vezes|algumas vezes|"
        r"meerdere (?:keren|malen)|een paar keer|flera ganger|nagra ganger|flere ganger|noen ganger|"
        r"kilka razy",
        3.5,
    ),
    (
        r"twice|two times|zweimal|deux fois|dos veces|due volte|duas vezes|twee keer|tva ganger|"
        r"to ganger",
        2.0,
    ),
    (
        r"once|one time|1 time|einmal|une fois|una vez|una volta|uma vez|een keer|en gang|nagon gang|"
        r"raz|every|each|jede[nrs]?|chaque|cada|ogni|elke|varje|hver",
        1.0,
    ),
)
_PERIODS: tuple[tuple[str, float], ...] = (
    (
        r"days?|tag|taglich|jours?|dia|giorno|dag|dagen|dagligen|daglig|dagelijks|daily|everyday|"
        r"quotidien\w*|diariamente|quotidianamente|codziennie|dnia|dziennie",
        365.0,
    ),
    (
        r"weeks?|weekly|woche|wochentlich|semaine|semana|settimana|week|veckan?|uken?|ugen?|tydzien|"
        r"tygodniu",
        52.0,
    ),
    (r"months?|monthly|monat|monatlich|mois|mes|mese|maand|manaden?|manad|maneden?|miesiacu?|mes", 12.0),
    (r"years?|yearly|annually|jahr|jahrlich|ans?|annee|ano|anno|jaar|aret?|ar|rok|roku", 1.0),
)
_ALONE: tuple[tuple[str, float], ...] = (
    (
        r"(?:\w+ )?(?:almost )?never(?: .*)?|nie|niemals|jamais|nunca|mai|nooit|aldrig|aldri|nigdy|"
        r"not at all",
        0.0,
    ),
    (
        r"less often|less frequently|seltener|moins souvent|menos a menudo|mindre ofta|sjeldnere|rarely|"
        r"seldom",
        0.3,
    ),
    (r"only on special.*|(?:only )?(?:on )?(?:major )?holidays.*", 2.6),
    (r"(?:only )?occasionally|de temps en temps|de vez en cuando|ab und zu|gelegentlich", 3.0),
    (r"most days|(?:an )?den meisten tagen|la plupart des jours|casi todos los dias", 250.0),
    (r"(?:todos los dias|tous les jours|tutti i giorni|todos os dias|alle dage|alla dagar)", 365.0),
    (r"(?:almost )?constantly|all the time", 5000.0),
)
_LESS = re.compile(
    r"\b(?:less (?:often )?than|weniger als|seltener als|moins (?:d|de|qu)|menos de|meno di|mindre an|"
    r"minder dan)\b"
)
_MORE = re.compile(
    r"\b(?:more (?:often )?than|mehr als|ofter als|plus (?:d|de|qu)|mas de|piu di|mer an|meer dan|"
    r"or more(?: often)?|ou plus|oder ofter|o mas)\b"
)
_ALMOST = re.compile(
    r"^(?:almost|nearly|fast|presque|casi|quasi|nastan|nesten|bijna) (?!.*\b(?:almost|nearly)\b)"
)


def times_a_year(form: str) -> float | None:
    """Return about how many times a year a label in its plain form says; None if it says nothing of it."""
    for words, times in _ALONE:
        if re.fullmatch(words, form):
            return times
    period = _first(_PERIODS, form)
    if period is None or re.search(r"\b(?:last|past|ago|old|from|since)\b", form):
        return None
    count = _first(_COUNTS, form)
    adverb = re.search(r"ly\b|lich\b|dagl|daglig|everyday|dagelijks|quotidien|diaria|codzienn", form)
    if count is None and adverb is None:
        return None
    times = (1.0 if count is None else count) * period
    if _LESS.search(form):
        return 0.6 * times
    if _ALMOST.match(form):
        return 0.9 * times
    return 1.4 * times if _MORE.search(form) else times


def _first(words: tuple[tuple[str, float], ...], form: str) -> float | None:
    return next((n for w, n in words if re.search(rf"\b(?:{w})\b", form)), None)
