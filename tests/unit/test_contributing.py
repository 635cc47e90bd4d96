"""The recipes of CONTRIBUTING.md, followed as they are written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = dict(re.findall(r"^### ([^\n]+)\n(.*?)(?=^### |\Z)", TEXT, re.DOTALL | re.MULTILINE))
BLOCK = re.compile(r"```(python|bash)\n(.*?)```", re.DOTALL)


def apply(project, code):
    """Add a block to the file that its first line names."""
    head, body = code.split("\n", 1)
    name, _, line = head.removeprefix("# file: ").partition(", after: ")
    file = project / name
    if not file.exists():
        file.write_text(body)
        return
    text = file.read_text()
    if not line:
        file.write_text(f"{text}\n\n{body}")
        return
    assert text.count(f"{line}\n") == 1, f"{name}: {line!r} is not there once"
    file.write_text(text.replace(f"{line}\n", f"{line}\n{body}"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_works(name, tmp_path):
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "gpo_ray", tmp_path / "gpo_ray", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    blocks = BLOCK.findall(RECIPES[name])
    assert {kind for kind, _ in blocks} == {"python", "bash"}
    binaries = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }
    for kind, code in blocks:
        if kind == "python":
            apply(tmp_path, code)
        else:
            subprocess.run(["bash", "-euc", code], cwd=tmp_path, env=environment, check=True, timeout=120)
    check = ["ruff", "check", "--no-cache", "gpo_ray"]
    found = subprocess.run(check, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.minutes
def test_recipes_are_typed(tmp_path):
    """All of them together, since mypy reads the whole package each time."""
    shutil.copytree(ROOT / "gpo_ray", tmp_path / "gpo_ray", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for text in RECIPES.values():
        for kind, code in BLOCK.findall(text):
            if kind == "python":
                apply(tmp_path, code)
    check = [Path(sys.executable).with_name("mypy"), "--no-incremental", "gpo_ray"]
    found = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_there_are_recipes():
    assert list(RECIPES) == [
        "A reader of another source",
        "A baseline",
        "A method that asks a language model",
        "A protocol",
        "A likelihood",
        "A command",
        "A route of the API",
    ]
