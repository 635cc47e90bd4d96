r"""Show texts of surveys, files and strangers on a terminal so that the terminal does not obey them.

A terminal takes some characters as commands, such as to move the cursor, to rename its window, to write to
the clipboard, to show what follows from right to left. Such characters are shown as ``\x1b`` and the like
instead.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from rich.text import Text

_COMMANDS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # all control characters but tab and line feed
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # directions of writing
    r"\u2028\u2029\ufeff\ufff9-\ufffb"  # line and paragraph separators, invisible marks
    r"\ud800-\udfff]"  # halves of surrogate pairs, which cannot be printed
    r"|[\U000e0000-\U000e007f]"
)


def shown(text: object) -> str:
    """Return a text with the characters that a terminal would obey escaped; tabs and line feeds stay."""
    return _COMMANDS.sub(lambda found: _escaped(found[0]), str(text))


def one_line(text: object) -> str:
    """Return a text like :func:`shown`, but on one line with single spaces."""
    return shown(" ".join(str(text).split()))


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


class ShownText(Text):
    """A text of Rich that shows its contents with :func:`shown`."""

    def __init__(self, text: str = "", *arguments: Any, **options: Any) -> None:
        super().__init__(shown(text), *arguments, **options)


class ShownFormatter(logging.Formatter):
    """A formatter of log records that makes each record, tracebacks apart, one line by :func:`one_line`."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- its parent's name
        """Return the parent's message on one line."""
        return one_line(super().formatMessage(record))
