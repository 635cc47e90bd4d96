"""Property tests of the table reader: random tables in random dialects, and files that lost or gained a byte.

What is read is what was written, or it is refused; nothing is silently different.
"""

import csv
import io
import re
import tempfile
import unicodedata
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpo_ray.errors import DataError
from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers import ReadOptions, read_survey

FEW, MANY = 150, 2000
many = pytest.param(MANY, marks=pytest.mark.minutes)

LETTERS = st.sampled_from(
    [*"abcäéñ", "e\u0301", *"AB", " ", "  ", ",", ";", "|", "'", "?", '"', "\n", "1", ".", "–"]
)
TEXT = st.lists(LETTERS, min_size=1, max_size=10).map("".join).filter(normal_label)
LINE_ENDS = ["\n", "\r\n", "\r"]


def distinct(texts, low, high):
    return st.lists(texts, min_size=low, max_size=high, unique_by=lambda t: normal_label(t).casefold())


@st.composite
def tables(draw):
    """A unit, and the numbers of each (group, prompt, response) as counts of hundredths or thousandths."""
    groups = draw(distinct(TEXT, 1, 3))
    questions = {p: draw(distinct(TEXT, 2, 4)) for p in draw(distinct(TEXT, 1, 3))}
    unit = draw(st.sampled_from(["count", "count", "count", "share", "percent"]))
    places = draw(st.sampled_from([0, 1, 2, 3])) if unit == "count" else draw(st.sampled_from([0, 2, 3]))
    numbers = {}
    for group in groups:
        for prompt, responses in questions.items():
            high = 3_000_000 if unit == "count" else 30
            weights = [draw(st.integers(0, high)) for _ in responses]
            weights[0] += 1
            if unit != "count":
                whole = 10 ** (places + 2)
                weights = [w * whole // sum(weights) for w in weights]
                weights[-1] += whole - sum(weights)
            for response, weight in zip(responses, weights, strict=True):
                numbers[group, prompt, response] = weight
    return unit, places, numbers


@st.composite
def dialects(draw):
    decimal = draw(st.sampled_from(".,"))
    return {
        "separator": draw(st.sampled_from([*",;\t|"])),
        "told": draw(st.sampled_from([False, False, True])),
        "end": draw(st.sampled_from(LINE_ENDS)),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "mac-roman"])),
        "decimal": decimal,
        "thousands": draw(st.sampled_from(["", "", "'", " ", "\u202f", "\u00a0", ".,".replace(decimal, "")])),
        "percent": draw(st.sampled_from(["", "", "%", " %"])),
        "quotes": draw(st.sampled_from(["needed", "all", "random"])),
        "header": draw(st.sampled_from([str, str.upper, str.title, lambda name: f" {name} "])),
        "tail": draw(st.sampled_from(["", "", "blank", "separators", "cells", "between"])),
        "options": draw(st.sampled_from([{}, {}, {"decimal": decimal}])),
    }


def number(value, places, dialect):
    """Write a number of so many decimals."""
    whole, fraction = divmod(value, 10**places)
    sign = dialect["thousands"]
    text = f"{whole:,}".replace(",", sign)
    return f"{text}{dialect['decimal']}{fraction:0{places}}" if places else text


def written(rng, rows, dialect):
    """Write rows of cells with RFC 4180's quotes."""
    separator, lines = dialect["separator"], []
    for row in rows:
        cells = []
        for cell in row:
            needed = any(c in cell for c in f'{separator}"\n\r')
            if needed or dialect["quotes"] == "all" or (dialect["quotes"] == "random" and rng.random() < 0.5):
                cell = '"' + cell.replace('"', '""') + '"'
            cells.append(cell)
        lines.append(separator.join(cells))
    if dialect["told"]:
        lines.insert(0, f"sep={separator}")
    empty = separator * (len(rows[0]) - 1)
    if dialect["tail"] == "cells":
        begin = rng.randint(0, 1)
        lines[begin:] = [line + separator * 3 for line in lines[begin:]]
    if dialect["tail"] == "between":
        lines.insert(rng.randint(1, len(lines)), rng.choice(["", empty]))
    lines += {"blank": ["", " "], "separators": [empty] * 2}.get(dialect["tail"], [])
    return dialect["end"].join(lines) + dialect["end"]


def respelled(rng, text):
    """Write a label in another Unicode form, with other spaces."""
    text = unicodedata.normalize(rng.choice(["NFC", "NFD"]), text)
    return rng.choice(["", " "]) + text.replace(" ", rng.choice([" ", "  "])) + rng.choice(["", "", " "])


def shares(dataset):
    questions = {q["question_id"]: q for q in dataset.questions.to_pylist()}
    return {
        (p["group_id"], questions[p["question_id"]]["prompt"], response): share
        for p in dataset.preferences.to_pylist()
        for response, share in zip(questions[p["question_id"]]["responses"], p["share"], strict=True)
    }


def read(data, **options):
    """Read a file's bytes; None if they are refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.csv"
        path.write_bytes(data)
        try:
            return read_survey("table", path, ReadOptions(**options))
        except DataError:
            return None


def expected_shares(numbers):
    totals = defaultdict(float)
    for (group, prompt, _), value in numbers.items():
        totals[group, prompt] += value
    return {tuple(map(normal_label, key)): value / totals[key[:2]] for key, value in numbers.items()}


@pytest.mark.parametrize("cases", [FEW, many])
def test_random_tables_in_random_dialects(cases):
    outcomes = []

    @settings(max_examples=cases)
    @given(tables(), dialects(), st.randoms(use_true_random=False))
    def check(content, dialect, rng):
        unit, places, numbers = content
        # a share of 2 places is written as 0.25, the same percentage as 25
        digits = places + 2 if unit == "share" else places
        percent = dialect["percent"] if unit != "share" else ""
        rows = [
            [*(respelled(rng, text) for text in key), number(value, digits, dialect) + percent]
            for key, value in numbers.items()
        ]
        rng.shuffle(rows)
        order = rng.sample(range(4), 4)
        header = [dialect["header"](name) for name in ("group", "prompt", "response", unit)]
        text = written(rng, [[row[i] for i in order] for row in [header, *rows]], dialect)
        options = dict(dialect["options"])
        try:
            data = text.encode(dialect["encoding"])
        except UnicodeEncodeError:
            data = text.encode("utf-8")
        else:
            if dialect["encoding"] in ("cp1252", "mac-roman"):
                options["encoding"] = dialect["encoding"]
        found = read(data, **options)
        outcomes.append(found is not None)
        if found is not None and not (unit == "count" and percent):
            assert shares(found) == pytest.approx(expected_shares(numbers), abs=1e-9)

    check()
    assert sum(outcomes) > len(outcomes) / 2, "too many valid files are refused"


PLAIN = st.text("abcdeÄ ?", min_size=1, max_size=8).filter(normal_label)


@st.composite
def plain_files(draw):
    """The text of a valid file, whose cells may need quotes, and its separator."""
    separator = draw(st.sampled_from([*",;\t"]))
    label = PLAIN | st.sampled_from([f"x{separator} y", 'say "yes"', "two\nlines", "a, b; c\td"])
    groups, prompts = draw(distinct(label, 1, 3)), draw(distinct(label, 1, 2))
    responses = draw(distinct(label, 2, 3))
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    writer.writerow(["group", "prompt", "response", "count"])
    for g in groups:
        for p in prompts:
            for r in responses:
                writer.writerow([g, p, r, draw(st.integers(1, 5000))])
    return out.getvalue(), separator


def naive_number(text, column):
    """The number that a text says: a comma is the decimal sign if the column has no other."""
    text = text.strip()
    if re.fullmatch(r"\d{1,3}( \d{3})+(\D\d*)?", text):
        text = text.replace(" ", "")
    return float(text.replace(",", "" if any("." in cell for cell in column) else "."))


def naive(text, separator):
    """What a strict reading of a text says, row by row."""
    numbers = defaultdict(float)
    file = io.StringIO(re.sub(r"\A(\s*\n)+", "", text), newline="")  # without blank lines above the header
    rows = [
        {normal_label(k or "").lower(): v for k, v in row.items()}
        for row in csv.DictReader(file, delimiter=separator, strict=True)
    ]
    rows = [row for row in rows if any("".join(v or "").strip() for v in row.values())]
    counts = [row["count"] for row in rows]
    for names in rows:
        value = naive_number(names["count"], counts)
        numbers[tuple(normal_label(names[c] or "") for c in ("group", "prompt", "response"))] += value
    slates, totals = defaultdict(set), defaultdict(float)
    for (g, p, r), value in numbers.items():
        slates[p].add(r)
        totals[g, p] += value
    return {
        (g, p, r): numbers.get((g, p, r), 0.0) / total
        for (g, p), total in totals.items()
        for r in slates[p]
        if total and len(slates[p]) > 1
    }


@pytest.mark.parametrize("cases", [FEW, many])
def test_a_file_that_lost_or_gained_a_character(cases):
    @settings(max_examples=cases)
    @given(plain_files(), st.data())
    def check(file, data):
        text, separator = file
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(text) - 1))
            extra = data.draw(st.sampled_from(["", *'""",;\n\t .a7\0', "\ufeff"]))
            text = text[:at] + extra + text[at + (extra == "") :]
            if not text:
                return
        found = read(text.encode())
        if found is not None:
            assert shares(found) == pytest.approx(naive(text, separator), abs=1e-9)

    check()


@pytest.mark.parametrize("cases", [FEW, many])
def test_two_stray_quotes_never_join_rows(cases):
    @settings(max_examples=cases)
    @given(distinct(PLAIN, 1, 3), distinct(PLAIN, 2, 3), st.sampled_from([*",;\t"]), st.data())
    def check(groups, responses, separator, data):
        rows = [["group", "prompt", "response", "count"]]
        rows += [
            [g, "Is it?", r, str(i + 7 * j + 3)]
            for i, g in enumerate(groups)
            for j, r in enumerate(responses)
        ]
        text = "\n".join(separator.join(row) for row in rows) + "\n"
        whole = shares(read(text.encode()))
        first, second = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=2)))
        found = read((text[:first] + '"' + text[first:second] + '"' + text[second:]).encode())
        assert found is None or shares(found) == whole

    check()
