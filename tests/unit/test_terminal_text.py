"""A terminal shows data, and does not obey it."""

import io
import json
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from gpo_ray.cli import app
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.runtime.terminal_text import ShownFormatter, ShownText, one_line, shown

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202etxt\u2066\r\x08\x7f"


@given(st.text())
def test_nothing_to_obey_is_left_and_the_rest_is_as_it_was(text):
    found = shown(text)
    for character in found:
        assert character in "\t\n" or character.isprintable() or character.isspace() or ord(character) > 159
        assert not "\u202a" <= character <= "\u202e"
    assert shown(found) == found
    assert "\n" not in one_line(text)
    if text.isprintable():
        assert found == text


def test_what_is_shown():
    assert shown("a\x1bb\x9bc\u202ed\n\te") == "a\\x1bb\\x9bc\\u202ed\n\te"
    assert shown("ä 日本 \U0001f600 e\u0301") == "ä 日本 \U0001f600 e\u0301"
    assert one_line("a\nb\r\n\x1b c\u2028d") == "a b \\x1b c d"


def test_in_tables_and_in_the_log():
    table, sink = Table(title=ShownText(EVIL)), io.StringIO()
    table.add_column(ShownText(EVIL))
    table.add_row(ShownText(EVIL))
    Console(file=sink, width=200).print(table)
    assert not {"\x1b", "\x9b", "\u202e", "\r", "\x07"} & set(sink.getvalue())
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "%s\nERROR: second line", (EVIL,), None)
    line = ShownFormatter("%(levelname)s: %(message)s").format(record)
    assert "\n" not in line
    assert "\x1b" not in line


@pytest.fixture
def survey(tmp_path):
    question = Question("q", "t", f"What? {EVIL}", (f"yes {EVIL}", "no"))
    columns = {"group_id": [f"g {EVIL}"], "question_id": ["q"], "share": [[0.5, 0.5]]}
    dropped = [(f"row {EVIL}", f"because {EVIL}")]
    built = PreferenceDataset.build([question], [Group(f"g {EVIL}", "attribute")], columns, dropped)
    built.save(str(tmp_path / "survey"))
    return str(tmp_path / "survey")


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_texts_of_a_survey(survey, option):
    out = CliRunner().invoke(app, ["survey", "show", survey, *option]).output
    assert "What?" in out or option
    assert not {"\x1b", "\x9b", "\u202e", "\r", "\x07", "\x08"} & set(out)


def test_errors_name_files_without_obeying_their_names(tmp_path):
    name = tmp_path / "\x1b]0;owned\x07\nsecond line"
    command = [sys.executable, "-m", "gpo_ray", "survey", "show", str(name)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "\\x1b]0;owned\\x07 second line" in done.stderr


def test_mistakes_in_cluster_files(tmp_path):
    (tmp_path / "evil.yaml").write_text(json.dumps({f"key {EVIL}": 1}))
    out = CliRunner().invoke(app, ["cluster", "check", "--path", str(tmp_path)]).output
    assert "evil.yaml" in out
    assert not {"\x1b", "\x9b", "\u202e", "\r", "\x07"} & set(out)
