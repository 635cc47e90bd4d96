"""The proposal for any labels: nothing that a file says may end it but in one line of an error."""

import contextlib

import numpy as np
import pytest

from gpo_ray.errors import GPOError
from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.respondents.kinds import kind_of
from gpo_ray.preferences.readers.respondents.levels import labelled
from gpo_ray.preferences.readers.respondents.proposal import propose
from gpo_ray.preferences.readers.respondents.reader import read_table_of
from gpo_ray.preferences.readers.respondents.table import Column, RespondentTable
from gpo_ray.preferences.readers.respondents.vocabulary import FILLERS, NOUNS

SCRIPTS = (
    (0x20, 0x7E),
    (0xA1, 0x17F),
    (0x300, 0x36F),
    (0x370, 0x3FF),
    (0x400, 0x4FF),
    (0x590, 0x5F4),
    (0x600, 0x6FF),
    (0x900, 0x97F),
    (0xE01, 0xE5B),
    (0x1100, 0x11FF),
    (0x200B, 0x206F),
    (0x3040, 0x30FF),
    (0x4E00, 0x4FFF),
    (0xAC00, 0xAFFF),
    (0xFF01, 0xFF60),
    (0x1F300, 0x1F5FF),
    (0x0, 0x1F),
)
WORDS = (
    *(
        "very satisfied",
        "nicht",
        "1",
        "-5",
        "0 - left",
        "Don't know",
        "ganz",
        "status",
        "grösse",
        "(vol.)",
        "[x]",
        "?",
    ),
    *(
        "too",
        "not enough",
        "both",
        "agree",
        "Statement 1",
        "3,5",
        "01.",
        "NA",
        "|",
        ", ",
        "wohnortgroesse",
        "klassen",
    ),
    *sorted(NOUNS)[::7],
    *sorted(FILLERS)[::11],
)
ENDS = ("klasse", "gruppe", "größe", "kategorie", "status", "form", "typ", "s", "n", "")


def text(rng):
    """Return a random label: signs of a script, words that rules know, compounds of these, or a mixture."""
    parts = []
    for _ in range(rng.integers(1, 6)):
        kind = rng.integers(4)
        if kind == 0:
            low, high = SCRIPTS[rng.integers(len(SCRIPTS))]
            parts.append("".join(map(chr, rng.integers(low, high + 1, rng.integers(1, 9)))))
        elif kind == 1:
            parts.append(WORDS[rng.integers(len(WORDS))] + ENDS[rng.integers(len(ENDS))])
        else:
            parts.append(WORDS[rng.integers(len(WORDS))])
    return ("", " ", " ", ": ", " - ")[rng.integers(5)].join(parts)


def column(rng, name):
    number = int(rng.integers(0, 15))
    if rng.random() < 0.3:
        values = tuple(dict.fromkeys(text(rng) for _ in range(number)))
        labels = {}
    else:
        pool = np.array([-9, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 97, 98, 99, 2.5])
        values = tuple(sorted(float(v) for v in rng.choice(pool, min(number, len(pool)), replace=False)))
        labels = {v: text(rng) for v in values if rng.random() < 0.7}
    code = rng.integers(-1, len(values), 60).astype(np.int32) if values else np.full(60, -1, np.int32)
    measure = (None, "nominal", "ordinal", "scale")[rng.integers(4)]
    kind = "number" if all(isinstance(v, float) for v in values) else "text"
    label = None if rng.random() < 0.1 else text(rng)
    missing = frozenset(v for v in values if rng.random() < 0.1)
    return Column(name, values, code, label, labels, missing, measure, kind)


def proposed(table):
    """Return the proposal, or None where it is refused."""
    with contextlib.suppress(GPOError):
        return propose(table)


@pytest.mark.parametrize("seed", range(60))
def test_any_labels_are_proposed_or_refused(tmp_path, seed):
    rng = np.random.default_rng(seed)
    names = dict.fromkeys(text(rng) or "v" for _ in range(20))
    columns = {name: column(rng, name) for name in names}
    table = RespondentTable(tmp_path / "s.sav", 60, columns)
    proposal = proposed(table)
    if proposal is None:
        return
    assert {f.name for f in proposal.findings} == set(columns)
    for name, entry in proposal.codebook.questions.items():
        assert entry.prompt
        answers = {*labelled(columns[name]).answers}
        assert not answers & {*columns[name].missing}
        assert len(entry.slate()) == len({*entry.slate()}) > 1


@pytest.mark.parametrize("seed", range(20))
def test_any_texts_of_a_table_are_read_or_refused(tmp_path, seed):
    rng = np.random.default_rng(1000 + seed)
    header = [text(rng) for _ in range(6)]
    pools = [[text(rng) for _ in range(rng.integers(2, 9))] for _ in header]
    rows = [header, *([pool[rng.integers(len(pool))] for pool in pools] for _ in range(40))]
    path = tmp_path / "s.csv"
    quoted = (",".join('"' + c.replace('"', '""').replace("\0", "") + '"' for c in row) for row in rows)
    path.write_text("\n".join(quoted) + "\n", encoding="utf-8", newline="")
    with contextlib.suppress(GPOError):
        propose(read_table_of(path, ReadOptions()))


@pytest.mark.parametrize("word", sorted(NOUNS)[::3])
def test_compounds_of_every_noun(word):
    for end in ENDS:
        kind_of("v1", f"{word}{end}", ["a", "b"])
        kind_of("v1", f"{word} {end}", ["a", "b"])
