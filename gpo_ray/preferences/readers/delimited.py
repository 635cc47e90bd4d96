"""Strict reading of delimited text, with the separator and the encoding that a file turns out to have.

Quotes are read as RFC 4180 defines them: a cell is quoted as a whole or not at all, and a quote within a
quoted cell is doubled. Lenient readers guess what a stray quote means, and join rows without a word.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from gpo_ray.errors import DataError
from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers.cells import HEADER_ROWS, Cells, blank_note
from gpo_ray.preferences.readers.files import require_file
from gpo_ray.preferences.readers.strict_text import Grammar, Text, read_lines

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
SAMPLE = 50
"""Number of rows on which a separator is tried."""

_SEPARATOR_LINE = re.compile(r'"?sep=([!#-/:-@\[-^`{-~\t])"?', re.IGNORECASE)


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
    text = read_lines(path, encoding)
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
    rows.records.clear()
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
            said.append(blank_note(between, len(between)))
        if self.fitted:
            said.append(f"{self.fitted} rows have more or fewer empty cells at the end than the header")
        return said


def _checked_rows(text: Text, records: Iterator[tuple[int, int]], header: Sequence[str]) -> _Rows:
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


def _fitted(text: Text, at: tuple[int, int], header: Sequence[str], number: int) -> str:
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


def _find_separator(text: Text, expected: set[str]) -> None:
    """Set the grammar of a text, and the line at which its header begins."""
    told = _SEPARATOR_LINE.fullmatch(text.lines[0].rstrip(" "))
    if told and not any(line.strip() for line in text.lines[1:]):
        raise DataError(f"{text.path}: the file has a line {text.lines[0]!r} and no header")
    text.first = begin = 1 if told else 0
    while not text.lines[text.first].strip():
        text.first += 1
    text.above = text.first - begin
    if told:
        text.grammar = Grammar(told[1])
        return
    ranks = []
    for separator in SEPARATORS:
        trial = Text(text.path, text.encoding, text.lines, text.first, 0, Grammar(separator))
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
    text.grammar = Grammar(separator if best[2] > 1 else ",")
    if not best[0] and (expected or best[2] == 1):
        _refuse_title(text, expected)


def _refuse_title(text: Text, expected: set[str]) -> None:
    """Refuse a file in which a row below the first is the header.

    It is the first of ten rows that has the expected columns; without these, and below a single cell, the
    first that has several, as the row after it has too.
    """
    for separator in SEPARATORS:
        trial = Text(text.path, text.encoding, text.lines, text.first, 0, Grammar(separator))
        rows = [
            trial.grammar.split(trial.record(*at)) or [] for at in islice(trial.records(), HEADER_ROWS + 1)
        ]
        for i in range(1, len(rows) - 1):
            names = {normal_label(name).lower() for name in rows[i]}
            if expected <= names if expected else 1 < len(rows[i]) == len(rows[i + 1]):
                title = text.lines[text.first].strip(f"{separator} ")
                raise DataError(
                    f"{text.path}: row {text.above + 1} is no header: {title[:60]!r}; the header seems to be "
                    f"in row {text.above + i + 1}; remove the rows above"
                )


def _sample(text: Text) -> tuple[set[int], Sequence[str]]:
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
