"""What a command loads, and what the command line offers before any command runs."""

import json
import os
import re
import subprocess
import sys

import pytest
from synthetic import survey

from gpo_ray.cli import app, evaluate, plan, serve, train
from gpo_ray.cli import survey as survey_commands
from gpo_ray.cli.cluster import command_options
from gpo_ray.evaluation.protocols import PROTOCOLS
from gpo_ray.planning.hardware import PROCESSORS
from gpo_ray.preferences.large import LARGE
from gpo_ray.preferences.readers import READERS
from gpo_ray.serving.settings import DEFAULT_DATABASE

HEAVY = ("torch", "transformers", "deepspeed", "ray", "pandas", "scipy", "fastapi", "sqlalchemy")


def loaded(*arguments):
    """Which of the heavy libraries a command has loaded by its end, and what it printed."""
    code = f"""
import atexit, json, sys
from gpo_ray.cli import main
atexit.register(lambda: print(json.dumps([m for m in {HEAVY} if m in sys.modules]), file=sys.stderr))
sys.argv = ["gpo", *{list(map(str, arguments))}]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stderr.strip().splitlines()[-1]), done.stdout


def every_command():
    import typer

    return sorted(command_options(typer.main.get_command(app)))


def test_looking_at_a_survey_loads_no_heavy_library(tmp_path):
    survey().save(tmp_path / "survey")
    found, out = loaded("survey", "show", tmp_path / "survey")
    assert found == []
    assert "8 questions" in out
    assert loaded("survey", "show", tmp_path / "survey", "--json")[0] == []


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("survey", "import", "--help")])
def test_help_loads_nothing(arguments):
    heavy, out = loaded(*arguments)
    assert (heavy, bool(out)) == ([], True)


@pytest.mark.parametrize("name", every_command())
def test_every_command_has_short_and_long_help(gpo, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    short, long = gpo(*name.split(), "-h"), gpo(*name.split(), "--help")
    assert short[0] == 0
    assert "Usage" in short[1]
    assert short == long
    assert max(map(len, plain(short[1]).splitlines())) <= 80


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_no_help_imports_more_than_the_command_tree():
    names = (*HEAVY, "pyarrow", "numpy", "pydantic")
    code = f"import sys, gpo_ray.cli; print([m for m in {names} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_in_help_are_those_of_the_libraries_that_it_does_not_load():
    assert tuple(READERS) == survey_commands.KINDS
    assert tuple(PROTOCOLS) == evaluate.PROTOCOLS
    assert train.LARGE == LARGE
    assert plan.NAMES.split(", ") == list(PROCESSORS)
    assert serve.DEFAULT_DATABASE == DEFAULT_DATABASE


def test_shell_completion_knows_the_commands():
    asked = {"_GPO_COMPLETE": "complete_bash", "COMP_WORDS": "gpo ev", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['gpo']; from gpo_ray.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | asked, check=False
    )
    assert done.stdout.split() == ["evaluate"]


def test_shell_completion_can_be_installed(tmp_path):
    # else typer looks for a shell among the processes above, where there may be none
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    environment = os.environ | {"HOME": str(tmp_path), "SHELL": "/bin/bash"} | named
    code = (
        "import sys; sys.argv = ['gpo', '--install-completion', 'bash']; from gpo_ray.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "_GPO_COMPLETE" in (tmp_path / ".bash_completions" / "gpo.sh").read_text()
