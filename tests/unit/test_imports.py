"""The rules of the house, read from the source: who may import what, and sizes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gpo_ray

ROOT = Path(gpo_ray.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [str(f.relative_to(ROOT)) for f in FILES]

MAY_IMPORT_RAY = (
    "ray_session.py",
    "*/job.py",
    "*/driver.py",
    "training/deepspeed_engine.py",
    "evaluation/runner.py",
    "tuning/*",
    "serving/*",
    "cluster/ray_schemas.py",
)
TIERS = (
    {"errors", "config", "locations", "storage", "resources", "ray_session", "threads", "signals", "terminal"}
    | {"memory_left", "strict_json", "terminal_text", "documents", "locks", "manifests", "tables"},
    {"preferences"},
    {"embedding"},
    {"model"},
    {"training", "predicting"},
    {"api", "evaluation", "serving"},
    {"tuning", "cluster", "planning"},
    {"quickstart", "preflight"},
    {"cli"},
    {"__main__"},
)


def imported(file):
    """Names of all modules that a file imports, anywhere in it, whole and with what is taken from them."""
    package = ["gpo_ray", *file.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{a.name}" for a in node.names)


def part(file):
    """The folder or module of the package that a file belongs to."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def tier(name):
    return next((i for i, names in enumerate(TIERS) if name in names), None)


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_only_the_edge_imports_ray_or_deepspeed(file):
    if any(file.relative_to(ROOT).match(pattern) for pattern in MAY_IMPORT_RAY):
        return
    assert not [m for m in imported(file) if m.split(".")[0] in {"ray", "deepspeed"}]


def test_the_check_sees_imports_of_ray():
    found = {m.split(".")[0] for f in FILES for m in imported(f)}
    assert {"ray", "torch", "numpy"} <= found


def test_a_model_and_its_training_in_this_process_load_neither_ray_nor_deepspeed():
    modules = "gpo_ray.model.estimator, gpo_ray.training.local"
    code = (
        f"import sys, {modules}; print([m for m in ('ray', 'deepspeed', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_imports_go_one_way(file):
    mine = part(file)
    if mine == "__init__":
        return
    assert tier(mine) is not None, f"{mine}: give it a place in TIERS"
    for module in imported(file):
        names = module.split(".")
        if names[0] != "gpo_ray" or len(names) == 1 or names[1] in {mine, "__version__"}:
            continue
        theirs = tier(names[1])
        assert theirs is not None, f"{file.name} imports {module}, which has no place in TIERS"
        assert theirs < tier(mine) or theirs == tier(mine) == 0, f"{file.name} imports {module}"


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_files_and_functions_stay_small(file):
    source = file.read_text()
    assert len(source.splitlines()) <= 500
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} has more than 60 lines"


def test_the_command_line_starts_without_the_heavy_libraries():
    heavy = {"torch", "transformers", "deepspeed", "ray"}
    code = f"import sys, gpo_ray.cli; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
