"""Points of scales that have numbers, are too much or not enough, or are written in abbreviations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise


def numbered(labels: Sequence[str]) -> list[float] | None:
    """Return the numbers of points of which a few have words: "-5 very bad", "-4", ..., "+5 very good".

    None unless there are at least 3, equally spaced in some order, with words at the ends and a middle
    at most.
    """
    found = [_POINT.fullmatch(_LAST.sub(r"\2 \1", label.strip())) for label in labels]
    points = [float(m[1].replace("−", "-").replace("–", "-")) for m in found if m]
    if len(points) < max(3, len(labels)) or sum(bool(m and m[2]) for m in found) > min(3, len(points) - 1):
        return None
    steps = {b - a for a, b in pairwise(sorted(points))}
    return points if len(steps) == 1 and 0.0 not in steps else None


_POINT = re.compile(r"([+\-−–]?\d{1,3})(?:(?: ?[.:)=\-–—] ?| )([^\d\s][^\d]*))?")
"""A number, and words after it in which there is no other number."""
_LAST = re.compile(r"([^\d]*[^\d\s+\-−–(=:])[ (=:\-−–]+(\d{1,3})\)?")
"""Words before a number: "Extremely likely - 10"."""
_ENOUGH = (
    (
        re.compile(
            r"\bnot? (?:\w+ )*(?:nearly|remotely|anywhere) (?:\w+ )*enough\b|(?:far|much|way) too (?:little|"
            r"few)\b"
        ),
        -2.0,
    ),
    (
        re.compile(
            r"\bnot? (?:\w+ )*enough\b|(?:isnt|arent|doesnt|dont|hasnt|havent) (?:\w+ )*enough\b|\btoo "
            r"(?:little|few)\b|"
            r"\b(?:nicht|pas|no|non|nao|niet|inte|ikke|nie|не) (?:\w+ )*(?:genug|assez|suficiente\w*|"
            r"abbastanza|"
            r"genoeg|tillrackligt|nok|dosc|wystarczaj\w+|достаточно)\b|\b(?:zu wenige?|trop peu|"
            r"demasiad[oa]s? poc[oa]s?|"
            r"troppo poc[oa]|te weinig|for lite|for lidt|za malo|слишком мало)\b|"
            r"少なすぎ|足りない|不足|太少|너무 적"
        ),
        -1.0,
    ),
    (
        re.compile(
            r"(?:about |just )?(?:the )?(?:right|enough|adequate)(?: (?:amount|number|level|balance))?|about "
            r"right(?: .*)?|"
            r"(?:gerade |ungefahr |genau )?(?:richtig|genug|angemessen)|(?:juste )?(?:assez|ce qu il faut|"
            r"adequat)|"
            r"(?:lo )?(?:adecuado|suficiente|justo)|giusto|adeguato|adequado|suficiente|(?:precies )?(?:goed|"
            r"genoeg)|"
            r"lagom|passe|passende|akkurat|w sam raz|как раз|достаточно|"
            r"適当|ちょうどよい|ちょうど良い|適切|正好|合适|適中|적당"
        ),
        0.0,
    ),
    (re.compile(r"\b(?:far|much|way) too \w+"), 2.0),
    (
        re.compile(
            r"\btoo \w+|\b(?:zu (?:viele?|hoch|weit|stark|gross)|trop|demasiad[oa]s?|troppo|te (?:veel|hoog|"
            r"ver)|"
            r"for (?:mye|meget|hoy)|za (?:duzo|wysok\w+)|слишком (?:много|высок\w+))\b|"
            r"多すぎ|過剰|太多|너무 많"
        ),
        1.0,
    ),
)
"""Too little, enough and too much, from the lowest; those further up are looked for first."""


def enough(form: str) -> float | None:
    """Return the place of a label in its plain form between "not nearly enough" and "much too much"."""
    return next(
        (
            place
            for pattern, place in _ENOUGH
            if (pattern.fullmatch(form) if place == 0 else pattern.search(form))
        ),
        None,
    )


_ABBREVIATIONS = {
    "strongly": "strng?ly|strgly|stngly|strng|strongl|str|stgly|strly",
    "very": "v|vry",
    "extremely": "extr?e?mly|extrm|extr|ext",
    "slightly": "sligh?tl|slghtly|slghly|slght|slgt|sl",
    "somewhat": "smwh?a?t|somewh?a?t?|somwhat|smewhat|swhat|smwt|somew",
    "moderately": "mod|modr?tly|moder|moderat",
    "fairly": "frly|fairl",
    "almost": "al?mst|almst|almo",
    "always": "alwys|alw|alwy",
    "usually": "usu",
    "often": "oftn",
    "sometimes": "smtimes|sometim|somtimes|smtms|sometms",
    "probably": "prob|probly|probab",
    "definitely": "def|defin|defntly|defin?tly|definit|definitly",
    "completely": "complt?ly|compl|completl",
    "agree": "agr|agre",
    "disagree": "disagr|disagre|dsagree|dsagr|disag",
    "satisfied": "sat|satis|satisf|satsfd|satisfd|satisfi|satisfie",
    "dissatisfied": "dissat|dissatis|dissatisf|dissatisfd|dissatsfd|disatisfied|dissatisfie?",
    "important": "imp|impt|imprt|importnt|importan",
    "unimportant": "unimp|unimpt|unimport",
    "favor": "fav|favr",
    "oppose": "opp|oppos|opps",
    "support": "supp|suppt|suprt",
    "approve": "appr|apprv|approv",
    "disapprove": "disappr|disapprv|disapprov",
    "neither": "neith|nthr|neithr|neth",
    "wrong": "wrg|wrng",
    "likely": "lkly|likly",
    "unlikely": "unlkly|unlikly",
    "confidence": "conf|confid|confidenc",
    "liberal": "lib|librl|liberl",
    "conservative": "consrv|consrvtv|conserv|consrvatve|conservatve|consrvative|consertive",
    "democrat": "dem",
    "republican": "rep|repub",
    "better": "bettr|btr",
    "worse": "wrse",
    "about": "abt",
    "interested": "intrst|interestd|intrstd",
}
_SHORT = re.compile(rf"\b(?:{'|'.join(f'(?P<{w}>{shorts})' for w, shorts in _ABBREVIATIONS.items())})\b")


def spelled_out(form: str) -> str:
    """Return a label in its plain form with whole words for those that old files abbreviate: "str agree"."""
    return _SHORT.sub(lambda found: found.lastgroup or found[0], form)
