"""Variables that are no choice among answers: own words, addresses, months, what interviewers noted."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpo_ray.preferences.readers.respondents.words import plain

_OWN_WORDS = re.compile(
    r"\bother please (?:specify|describe|state|explain|list)(?: text)?$|"
    r"\bplease (?:specify|describe|elaborate)(?: text)?$| text$|"
    r"\bother (?:specified|verbatim|text)$|(?:sonstiges|anderes|andere)(?: und zwar| bitte (?:angeben|"
    r"nennen))$|"
    r"(?:autre|otro|otra|altro|outro)s? (?:precis\w+|preciser|especi\w+|specificare|especifique)$|anders "
    r"namelijk|"
    r"^(?:any )?(?:other |further |additional )?comments?(?: or \w+)?$"
)
"""Ends of labels of texts in the respondent's own words."""
_CHOICES = frozenset(
    ("yes", "no", "selected", "not selected", "mentioned", "not mentioned", "marked", "not marked")
)
_CONTACT = re.compile(
    r"[^@\s]+@[^@\s]+\.[a-z]{2,}|https?://\S+|(?:\d{1,3}\.){3}\d{1,3}|\+\d[\d ()/-]{7,}\d", re.IGNORECASE
)
"""Addresses of mail and the web, and numbers of telephones."""
_MONTH_NAMES = """
january february march april may june july august september october november december januar februar marz
maerz mai juni juli oktober dezember janvier fevrier mars avril juin juillet aout septembre octobre
novembre decembre enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre
diciembre gennaio febbraio aprile maggio giugno luglio settembre ottobre dicembre janeiro fevereiro maio
junho julho setembro outubro novembro dezembro januari februari maart mei augustus marts maj desember
styczen luty marzec kwiecien czerwiec lipiec sierpien wrzesien pazdziernik listopad grudzien jan feb mar
apr jun jul aug sep sept oct nov dec
"""
_MONTHS = frozenset(plain(month) for month in _MONTH_NAMES.split())
_OBSERVED = re.compile(
    r"調査員|訪問員|面接|协力度|協力度|访员|訪員|调查员|問卷版本|问卷版本|样本|樣本|調査票|回収|면접원|조사원|표본|المقابل|الباحث|"
    r"интервьюер|анкетер|המראיין"
)
"""Words for interviewers and samples in scripts other than Latin."""


def is_own_words(text: str, levels: Sequence[str]) -> bool:
    """Return whether a variable holds texts in the respondents' own words, or their addresses.

    Args:
        text: its label in its plain form.
        levels: the labels of its values, or the different texts.
    """
    if _OWN_WORDS.search(text) and not any(plain(level) in _CHOICES for level in levels):
        return True
    addresses = sum(_CONTACT.fullmatch(level.strip()[:200]) is not None for level in levels)
    return bool(addresses) and 2 * addresses > len(levels)


def are_months(forms: Sequence[str]) -> bool:
    """Return whether most labels in their plain form are months."""
    named = sum(re.sub(r"\d+ ?", "", form).strip() in _MONTHS for form in forms)
    return len(forms) > 2 and named >= 0.8 * len(forms)


def is_observed(text: str) -> bool:
    """Return whether a label in its plain form, in a script other than Latin, is of interviewers' notes."""
    return _OBSERVED.search(text) is not None
