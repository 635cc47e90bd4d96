"""The identity of questions: normal forms of their texts, and hashes by which they are found again.

A question is the same one whatever the order of its responses and whatever the spaces, the Unicode form,
the typography (curly or straight quotes, kinds of dashes) and the case of its texts: :func:`question_key`
says which question it is. A language model, however, reads texts
as they are given, so embeddings belong to a :func:`slate_key`, which depends on every character and on the
order. :func:`response_order` leads from one order of a question's responses to another, so that shares
follow labels and not positions.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff"))
"""Characters of no width that editors and exports leave in texts; str.split does not count them as space."""

HALF_CHARACTER = re.compile("[\ud800-\udfff]")
"""A lone surrogate, which no encoding can store. A loop in Python would take milliseconds for a long text."""
_TYPOGRAPHY: dict[int, str | None] = {
    ord(sign): plain
    for signs, plain in (
        ("‘’‚‛′ʼ´`", "'"),
        ("“”„‟″«»", '"'),
        ("\u2010\u2011\u2012–—\u2015−", "-"),
        ("…", "..."),
        ("\u00ad", None),
    )
    for sign in signs
}
"""The signs that editors set for plain ones: quotes, dashes and non-breaking hyphens, the ellipsis; soft
hyphens."""


def normal_label(text: str) -> str:
    """Normalise a text to Unicode NFC, trimmed, with single spaces; upper and lower case stay."""
    return " ".join(unicodedata.normalize("NFC", text.translate(INVISIBLE)).split())


def plain_label(text: str) -> str:
    """Normalise a text as :func:`normal_label` does, with plain quotes, hyphens and dots.

    What differs in these alone is the same text, typed in another program.
    """
    return normal_label(normal_label(text).translate(_TYPOGRAPHY))


def folded_label(text: str) -> str:
    """Normalise a text as :func:`plain_label` does, and remove differences of case."""
    return _folded(plain_label(text))


def earlier_folded_label(text: str) -> str:
    """Return what :func:`folded_label` was before it removed differences of typography.

    Bundles of that time hold hashes of these forms.
    """
    return _folded(normal_label(text))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text.casefold())


def unusable(text: str) -> str | None:
    """Return what makes a text unusable as a prompt or response, None if nothing does."""
    if not normal_label(text):
        return "is blank"
    if "\x00" in text:
        return "holds a NUL character"
    if HALF_CHARACTER.search(text):
        return "holds half a character (a lone surrogate)"
    return None


Form = Callable[[str], str]


def response_labels(responses: Sequence[str], folded: Form = folded_label) -> tuple[str, ...]:
    """Return the forms by which a question's responses are recognised, in their order.

    They are the :func:`folded_label` of each response; if two responses have the same, then the
    :func:`earlier_folded_label` of each, then the :func:`normal_label`, and if these are not distinct either,
    the texts themselves.

    Args:
        responses: the R responses.
        folded: the first form; :func:`earlier_folded_label` for hashes in a bundle of that time.
    """
    for form in (folded, earlier_folded_label, normal_label):
        labels = tuple(map(form, responses))
        if len(set(labels)) == len(labels):
            return labels
    return tuple(responses)


def label_hashes(responses: Sequence[str], folded: Form = folded_label) -> tuple[str, ...]:
    """Return a hash of each of the :func:`response_labels`, which tell responses apart without texts."""
    return tuple(_digest(label)[:16] for label in response_labels(responses, folded))


def question_key(prompt: str, responses: Sequence[str]) -> str:
    """Return the hash that identifies a question: of its normalised prompt and the set of its responses.

    Texts are normalised by :func:`folded_label` and :func:`response_labels`; the order of the responses does
    not matter.
    """
    return _digest([folded_label(prompt), sorted(response_labels(responses))])


def first_repeated(questions: Iterable[tuple[str, Sequence[str]]]) -> tuple[int, int] | None:
    """Return the numbers of two questions that are the same one, by their keys; None if all are different.

    The second is the first that repeats an earlier question.
    """
    first: dict[str, int] = {}
    for i, (prompt, responses) in enumerate(questions):
        before = first.setdefault(question_key(prompt, responses), i)
        if before != i:
            return before, i
    return None


def prompt_key(prompt: str, folded: Form = folded_label) -> str:
    """Return the hash of a normalised prompt, by which a prompt with other responses is recognised."""
    return _digest(folded(prompt))


def same_responses(responses: Sequence[str]) -> tuple[int, int, str] | None:
    """Find two responses that are the same text, or differ in little; None if all are distinct.

    Returns:
        The places of the two, and in what they differ.
    """
    first: dict[str, int] = {}
    for i, response in enumerate(responses):
        before = first.setdefault(folded_label(response), i)
        if before != i:
            one, other = responses[before], response
            if normal_label(one) == normal_label(other):
                return before, i, "nothing but spaces or Unicode forms"
            same_case = plain_label(one) == plain_label(other)
            return before, i, "quotes, dashes or dots alone" if same_case else "upper and lower case alone"
    return None


def slate_key(prompt: str, responses: Sequence[str]) -> str:
    """Return the hash of what a language model reads of a question: its prompt and responses as they are."""
    return _digest([prompt, list(responses)])


def response_order(mine: Sequence[str], labels: Sequence[str]) -> tuple[int, ...] | None:
    """Return where each response of a question stands among the same responses in another order.

    Args:
        mine: the :func:`response_labels` of R responses, or their :func:`label_hashes`.
        labels: the same of the question in the other order.

    Returns:
        R indices into ``labels``, or None if these are not the same responses.
    """
    place = {label: i for i, label in enumerate(labels)}
    if len(place) != len(labels) or place.keys() != set(mine) or len(mine) != len(labels):
        return None
    return tuple(place[label] for label in mine)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()[:32]
