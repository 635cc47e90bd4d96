"""The lines of a delimited text file: its encoding, and the strict form of its records.

Quotes are read as RFC 4180 defines them: a cell is quoted as a whole or not at all, and a quote within a
quoted cell is doubled. Lenient readers guess what a stray quote means, and join rows without a word.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers.files import file_bytes

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with the mark of UTF-16, so it is tried before it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LINE_END = re.compile(r"\r\n|\n|\r")
_QUOTED = r'"[^"]*+(?:""[^"]*+)*+"'


@dataclass(frozen=True)
class Grammar:
    """The strict form of a record, for one separator."""

    separator: str

    @cached_property
    def _cell(self) -> str:
        return rf'(?:{_QUOTED}|[^"\n{re.escape(self.separator)}]*+)'

    @cached_property
    def _record(self) -> re.Pattern[str]:
        return re.compile(f"{self._cell}(?:{re.escape(self.separator)}{self._cell})*+")

    def of_width(self, width: int) -> re.Pattern[str]:
        """Return the pattern of a record of so many cells."""
        return re.compile(f"{self._cell}(?:{re.escape(self.separator)}{self._cell}){{{width - 1}}}")

    def split(self, record: str) -> list[str] | None:
        """Return the cells of a record, or None if its quotes are not strict."""
        if '"' not in record:
            return record.split(self.separator)
        if not self._record.fullmatch(record):
            return None
        return next(csv.reader([record], delimiter=self.separator, strict=True))

    def wrong_cell(self, record: str) -> int:
        """Return where the first cell begins whose quotes are not strict."""
        cell = re.compile(rf"{self._cell}(?:{re.escape(self.separator)}|\Z)")
        at = 0
        while (found := cell.match(record, at)) and found.end() < len(record):
            at = found.end()
        return at


@dataclass
class Text:
    """The lines of a file, and what is known of them."""

    path: Path
    encoding: str
    lines: list[str]
    first: int = 0
    """Index of the line at which the header begins."""
    above: int = 0
    """Number of rows above the header, as a spreadsheet counts; a line such as ``sep=;`` is none."""
    grammar: Grammar = field(default_factory=lambda: Grammar(","))

    def records(self) -> Iterator[tuple[int, int]]:
        """Yield the index of each record's first line, and of the line after it: quotes come in pairs."""
        i = self.first
        while i < len(self.lines):
            start, quotes = i, self.lines[i].count('"')
            i += 1
            while quotes % 2 and i < len(self.lines):
                quotes += self.lines[i].count('"')
                i += 1
            yield start, i

    def record(self, start: int, end: int) -> str:
        """Return the text of a record."""
        return self.lines[start] if end == start + 1 else "\n".join(self.lines[start:end])

    def cells(self, start: int, end: int) -> list[str]:
        """Return the cells of a record.

        Raises:
            DataError: if its quotes are not strict, or hide other records.
        """
        record = self.record(start, end)
        try:
            cells = self.grammar.split(record)
        except csv.Error as e:
            raise DataError(f"{self.path}: line {start + 1}: {e}; shorten the cell") from e
        if cells is None:
            raise self._wrong_quotes(record, start)
        if end - start > 1:
            self.require_one_record(start, end)
        return cells

    def _wrong_quotes(self, record: str, start: int) -> DataError:
        """Return the error for a record whose quotes are not strict."""
        at = self.grammar.wrong_cell(record)
        where = f"{self.path}: line {start + 1 + record.count(chr(10), 0, at)}"
        shown = repr(record[at : at + 40])
        if record[at : at + 1] != '"':
            return DataError(
                f"{where}: a quote within a cell that does not begin with one, at {shown}; remove the quote, "
                'or write the cell in quotes and each quote in it twice: "say ""yes"""'
            )
        closing = re.compile(_QUOTED).match(record, at)
        if closing is None:
            return DataError(
                f"{where}: the quote that opens here, at {shown}, is never closed; remove or close it, and "
                "see whether the file is complete"
            )
        line = start + 1 + record.count("\n", 0, closing.end())
        return DataError(
            f"{where}: the quote that opens here, at {shown}, closes on line {line} before more text of the "
            'cell; remove the quotes, or write each quote within the cell twice: """Big"" is it?"'
        )

    def require_one_record(self, start: int, end: int) -> None:
        """Refuse a record of several lines if the lines look like records.

        Two stray quotes in different rows make one cell of all that lies between them. A text of several
        lines seldom has as many separators on a line as the header has, without a space after them.
        """
        header = self.grammar.split(self.record(*next(self.records()))) or []
        spaced = any(cell.startswith(" ") for cell in header)

        def is_record(line: str) -> bool:
            cells = line.split(self.grammar.separator)
            return len(cells) == len(header) > 1 and (spaced or not any(c.startswith(" ") for c in cells[1:]))

        hidden = any(is_record(line) for line in self.lines[start + 1 : end - 1])
        if start > self.first and (
            hidden or (is_record(self.lines[start]) and is_record(self.lines[end - 1]))
        ):
            raise DataError(
                f"{self.path}: line {start + 1}: a quote that opens here closes on line {end}, and lines "
                "between look like rows of their own; remove the stray quotes, or write the cell on one line"
            )


def read_lines(path: Path, encoding: str | None) -> Text:
    """Decode a file and split it into lines.

    Raises:
        DataError: if it is empty, holds NUL bytes, or is not text of that encoding.
    """
    data = file_bytes(path)
    mark, marked = next(((m, e) for m, e in _BYTE_ORDER_MARKS if data.startswith(m)), (b"", None))
    chosen = _checked_encoding(path, encoding, marked)
    try:
        text = data[len(mark) :].decode(chosen)
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        hint = "give its encoding, such as --encoding cp1252 (Windows) or mac-roman, or save it as UTF-8"
        raise DataError(
            f"{path}: line {line} is not {chosen.upper()} ({e.reason} {data[e.start : e.start + 1].hex()}); "
            f"{hint}"
        ) from e
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            f"{path}: line {line} holds a NUL byte, so it is no text in {chosen.upper()}; save the file as "
            "UTF-8, or give --encoding utf-16-le if it is UTF-16 without a byte order mark"
        )
    if marked is None and not chosen.startswith("utf"):
        _require_encoding(path, data, text, chosen)
    lines = _LINE_END.split(text)
    if lines[-1] == "":  # what follows the last line's end
        lines.pop()
    if not any(line.strip() for line in lines):
        raise DataError(f"{path}: the file is empty")
    return Text(path, chosen, lines)


def _require_encoding(path: Path, data: bytes, text: str, encoding: str) -> None:
    """Refuse an encoding that a file's bytes speak against, although they can be read in it."""
    if not data.isascii():
        with contextlib.suppress(UnicodeDecodeError):
            data.decode("utf-8")  # texts in another encoding are hardly ever valid UTF-8
            raise DataError(f"{path}: the file is UTF-8, not {encoding.upper()}; leave --encoding out")
    control = re.search("[\x80-\x9f]", text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        raise DataError(
            f"{path}: line {line} holds a control character in {encoding.upper()}; give another --encoding, "
            "such as cp1252"
        )


def _checked_encoding(path: Path, given: str | None, marked: str | None) -> str:
    """Return the encoding to use, after checking that of the option against the byte order mark's."""
    if given is None:
        return marked or "utf-8"
    try:
        name = codecs.lookup(given).name
        "".encode(given)  # codecs that do not make text of bytes are refused here
    except (LookupError, ValueError) as e:
        raise DataError(f"{path}: there is no encoding {given!r}; give --encoding cp1252, for example") from e
    family = name.removesuffix("-sig").removesuffix("-le").removesuffix("-be")
    if marked is not None and not marked.startswith(family):
        raise DataError(
            f"{path}: --encoding {given} contradicts the file's byte order mark, which says "
            f"{marked.upper()}; leave --encoding out"
        )
    return marked or name
