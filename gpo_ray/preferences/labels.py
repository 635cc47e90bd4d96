"""Normal forms of prompts and responses, by which two spellings are recognised as the same text."""

from __future__ import annotations

import unicodedata

INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff"))
"""Characters of no width that editors and exports leave in texts; str.split does not count them as space."""


def normal_label(text: str) -> str:
    """Normalise a text to Unicode NFC, trimmed, with single spaces; upper and lower case stay."""
    return " ".join(unicodedata.normalize("NFC", text.translate(INVISIBLE)).split())


def folded_label(text: str) -> str:
    """Normalise a text as :func:`normal_label` does, and remove differences of case."""
    return unicodedata.normalize("NFC", normal_label(text).casefold())
