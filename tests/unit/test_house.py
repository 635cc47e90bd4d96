"""The rules of the house, read from the source: sizes, and what is loaded when.

Who may import what is checked by import-linter (contracts in pyproject.toml, run by scripts/check).
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gpo_ray

ROOT = Path(gpo_ray.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [str(f.relative_to(ROOT)) for f in FILES]
MAX_LINES, MAX_FUNCTION_LINES = 400, 50


def loaded(code, names):
    """Which of the modules are loaded after some code has run in a process of its own."""
    code = f"import sys\n{code}\nprint(*({names} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_files_and_functions_stay_small(file):
    source = file.read_text()
    assert len(source.splitlines()) <= MAX_LINES
    long = [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert not long


def test_a_model_and_its_training_in_this_process_load_neither_ray_nor_deepspeed():
    modules = "import gpo_ray.model.estimator, gpo_ray.meta_training.local"
    assert loaded(modules, {"ray", "deepspeed", "transformers"}) == []
    assert loaded(modules, {"torch"}) == ["torch"]  # else the line above says nothing


def test_the_command_line_starts_without_the_heavy_libraries():
    assert loaded("import gpo_ray.cli", {"torch", "transformers", "deepspeed", "ray"}) == []


def test_a_configuration_is_checked_without_torch():
    checked = "from gpo_ray.config import load_train_config\nload_train_config('gpo')"
    assert loaded(checked, {"torch", "scipy"}) == []
