"""The whole pipeline on the embedded survey and language model, and the notebook that shows its results."""

import os
import subprocess
import sys
from pathlib import Path

import notebook
import pytest
from command import Command

from gpo_ray.model import GroupPreferenceModel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("quickstart") / "out"


@pytest.fixture(scope="module")
def result(out):
    """What ``gpo quickstart`` ends with."""
    command = Command("quickstart", "--out", out, "--json", log=out.with_name("log.txt"))
    try:
        yield command.result(1200)
    finally:
        command.kill_all()


def test_quickstart_learns_more_than_nothing(result):
    scores = {method: values["alignment"] for method, values in result["methods"].items()}
    assert scores["gpo"] > scores["uniform"] + 0.05
    assert scores["gpo"] > scores["lm-base"] + 0.05
    assert all(0 < s < 1 for s in scores.values())
    assert "gpo" in Path(result["report"]).read_text()
    assert result["model"] == "smollm2"
    bundle = GroupPreferenceModel.load(result["bundle"])
    assert bundle.config.embedding_width == 4 * 576  # last+mean+opinion+person
    assert bundle.provenance["split"]["test_groups"]


@pytest.mark.minutes
def test_the_notebook_runs_as_it_is_stored(result, out, tmp_path):
    file = tmp_path / "run.ipynb"
    environment = os.environ | {"GPO_QUICKSTART": str(out)}
    subprocess.run([sys.executable, notebook.__file__, file], env=environment, check=True, timeout=900)
    for now, before in zip(notebook.stored(file).cells, notebook.stored().cells, strict=True):
        assert now.source == before.source
        kinds = [[sorted(o.get("data", o)) for o in cell.get("outputs", ())] for cell in (now, before)]
        assert kinds[0] == kinds[1]
