"""Strict reading of delimited text, with the separator and the encoding that a file turns out to have.

Quotes are read as RFC 4180 defines them: a cell is quoted as a whole or not at all, and a quote within a
quoted cell is doubled. Lenient readers guess what a stray quote means, and join rows without a word.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from gpo_ray.errors import DataError
from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers.cells import HEADER_ROWS, Cells, blank_note
from gpo_ray.preferences.readers.files import require_file

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
SAMPLE = 50
"""Number of rows on which a separator is tried."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with the mark of UTF-16, so it is tried before it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LINE_END = re.compile(r"\r\n|\n|\r")
_SEPARATOR_LINE = re.compile(r'"?sep=([!#-/:-@\[-^`{-~\t])"?', re.IGNORECASE)


_QUOTED = r'"[^"]*+(?:""[^"]*+)*+"'


@dataclass(frozen=True)
class _Grammar:
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
class _Text:
    """The lines of a file, and what is known of them."""

    path: Path
    encoding: str
    lines: list[str]
    first: int = 0
    """Index of the line at which the header begins."""
    above: int = 0
    """Number of rows above the header, as a spreadsheet counts; a line such as ``sep=;`` is none."""
    grammar: _Grammar = field(default_factory=lambda: _Grammar(","))

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


MAX_COLUMNS = 20_000
"""Most columns of a text file; each takes memory of its own."""


def read_delimited(path: Path, encoding: str | None = None, expected: Iterable[str] = ()) -> Cells:
    """Read all cells of a delimited text file as text.

    The separator is what a first line such as ``sep=;`` says, or of comma, semicolon, tab and vertical bar
    the one with which the header has the expected columns and the rows have as many cells as the header.
    Empty rows are left out, as are empty cells beyond the header; notes list them, but for rows at the end.

    Args:
        path: the file.
        encoding: its encoding; by default UTF-8, or what a byte order mark says.
        expected: names of columns that the header should have, in lower case.

    Raises:
        DataError: if the file is missing, empty, not text of that encoding, has no rows, has rows above the
            header, a row of more or fewer cells than the header, or quotes that RFC 4180 does not allow.
    """
    require_file(path)
    text = _lines(path, encoding)
    _find_separator(text, {*expected})
    records = text.records()
    header = text.cells(*next(records))
    if len(header) > MAX_COLUMNS:
        raise DataError(
            f"{path}: the header has {len(header):,} columns, at most {MAX_COLUMNS:,} are read; is "
            f"{text.grammar.separator!r} the separator?"
        )
    rows = _checked_rows(text, records, header)
    if not rows.starts:
        raise DataError(f"{path}: the file has a header and no rows")
    separator = text.grammar.separator
    note = f"separated by {SEPARATORS.get(separator, repr(separator))}, encoded as {text.encoding.upper()}"
    body = "\n".join(rows.records) + "\n"
    text.lines.clear()  # a large file is not held twice
    columns = _parse(path, body, separator, len(header))
    return Cells(path, header, columns, rows.numbers, [i + 1 for i in rows.starts], (note, *rows.notes()))


@dataclass
class _Rows:
    """The rows of a file that hold anything."""

    numbers: list[int] = field(default_factory=list)
    """Their numbers, as a spreadsheet counts."""
    starts: list[int] = field(default_factory=list)
    """The index of each row's first line."""
    records: list[str] = field(default_factory=list)
    """Each row's text, with as many cells as the header has."""
    fitted: int = 0
    """Number of rows from which empty cells were removed, or to which some were added."""
    blank: list[int] = field(default_factory=list)
    """The numbers of empty rows."""

    def notes(self) -> list[str]:
        """Return what to say of empty rows between others, and of empty cells beyond the header."""
        said = []
        between = [number for number in self.blank if number < self.numbers[-1]]
        if between:
            said.append(blank_note(between))
        if self.fitted:
            said.append(f"{self.fitted} rows have more or fewer empty cells at the end than the header")
        return said


def _checked_rows(text: _Text, records: Iterator[tuple[int, int]], header: Sequence[str]) -> _Rows:
    """Check that all rows are strict and have as many cells as the header, but for empty ones at the end."""
    width, separator = len(header), text.grammar.separator
    of_width = text.grammar.of_width(width)
    blank = re.compile(rf'[\s"{re.escape(separator)}]*')
    rows = _Rows()
    for number, (start, end) in enumerate(records, text.above + 2):
        record = text.record(start, end)
        if '"' in record:
            fits = of_width.fullmatch(record) is not None
            if not fits or end - start > 1:
                text.cells(start, end)
        else:
            fits = record.count(separator) == width - 1
        if blank.fullmatch(record):
            rows.blank.append(number)
            continue
        if not fits:
            record = _fitted(text, (start, end), header, number)
            rows.fitted += 1
        rows.numbers.append(number)
        rows.starts.append(start)
        rows.records.append(record)
    return rows


def _fitted(text: _Text, at: tuple[int, int], header: Sequence[str], number: int) -> str:
    """Return a row with as many cells as the header, if only empty cells are too many or too few.

    Raises:
        DataError: if others are.
    """
    cells, width, separator = text.cells(*at), len(header), text.grammar.separator
    more = any(cell.strip() for cell in cells[width:])
    if not more and not any(name.strip() for name in header[len(cells) :]):
        out = io.StringIO()
        cells = [*cells[:width], *[""] * (width - len(cells))]
        csv.writer(out, delimiter=separator, lineterminator="").writerow(cells)
        return out.getvalue()
    filled = [cell.strip() for cell in cells if cell.strip()]
    advice = (
        f"if {filled[0][:60]!r} is a note or a source, remove the row; otherwise repair it"
        if len(filled) == 1
        else "repair the row"
    )
    raise DataError(
        f"{text.path}: row {number}: {len(cells)} cells, the header has {width} (line {at[0] + 1}); {advice}"
    )


def _parse(path: Path, body: str, separator: str, width: int) -> list[pa.ChunkedArray]:
    """Parse rows that have been checked, as text."""
    names = [str(i) for i in range(width)]
    try:
        data = pa.py_buffer(body.encode())
        longest = max(map(len, body.split("\n"))) if '"' not in body else len(body)
        table = pa.csv.read_csv(
            pa.BufferReader(data),
            pa.csv.ReadOptions(column_names=names, block_size=min(max(8 * longest, 2**24), 2**30)),
            pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True, ignore_empty_lines=False),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except UnicodeEncodeError as e:
        raise DataError(f"{path}: a text holds half a character ({e}); give another --encoding") from e
    except (pa.ArrowException, ValueError) as e:
        raise DataError(f"{path}: not a readable text table: {e}") from e
    return table.columns


def _lines(path: Path, encoding: str | None) -> _Text:
    """Decode a file and split it into lines."""
    data = path.read_bytes()
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
    return _Text(path, chosen, lines)


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


def _find_separator(text: _Text, expected: set[str]) -> None:
    """Set the grammar of a text, and the line at which its header begins."""
    told = _SEPARATOR_LINE.fullmatch(text.lines[0].rstrip(" "))
    if told and not any(line.strip() for line in text.lines[1:]):
        raise DataError(f"{text.path}: the file has a line {text.lines[0]!r} and no header")
    text.first = begin = 1 if told else 0
    while not text.lines[text.first].strip():
        text.first += 1
    text.above = text.first - begin
    if told:
        text.grammar = _Grammar(told[1])
        return
    ranks = []
    for separator in SEPARATORS:
        trial = _Text(text.path, text.encoding, text.lines, text.first, 0, _Grammar(separator))
        widths, header = _sample(trial)
        fits = expected <= {normal_label(name).lower() for name in header}
        ranks.append(((bool(expected) and fits, len(widths) == 1, len(header)), separator))
    ranks.sort(reverse=True)
    (best, separator), (second, other) = ranks[:2]
    if best == second and best[2] > 1:
        raise DataError(
            f"{text.path}: the cells are separated by {SEPARATORS[separator]} or by {SEPARATORS[other]}; say "
            f"it in a first line: sep={separator}"
        )
    text.grammar = _Grammar(separator if best[2] > 1 else ",")
    if not best[0] and (expected or best[2] == 1):
        _refuse_title(text, expected)


def _refuse_title(text: _Text, expected: set[str]) -> None:
    """Refuse a file in which a row below the first is the header.

    It is the first of ten rows that has the expected columns; without these, and below a single cell, the
    first that has several, as the row after it has too.
    """
    for separator in SEPARATORS:
        trial = _Text(text.path, text.encoding, text.lines, text.first, 0, _Grammar(separator))
        rows = [
            trial.grammar.split(trial.record(*at)) or [] for at in islice(trial.records(), HEADER_ROWS + 1)
        ]
        for i in range(1, len(rows) - 1):
            names = {normal_label(name).lower() for name in rows[i]}
            if expected <= names if expected else 1 < len(rows[i]) == len(rows[i + 1]):
                raise DataError(
                    f"{text.path}: row {text.above + 1}, {text.lines[text.first][:60]!r}, is above the header, "
                    f"which seems to be in row {text.above + i + 1}; remove the rows above it"
                )


def _sample(text: _Text) -> tuple[set[int], Sequence[str]]:
    """Return the numbers of cells in the first rows, -1 for one that is not strict, and the header."""
    header: list[str] = []
    widths: set[int] = set()
    try:
        for start, end in islice(text.records(), SAMPLE):
            cells = text.cells(start, end)
            header = header or cells
            widths.add(len(cells))
    except DataError:
        widths.add(-1)
    return widths, header
