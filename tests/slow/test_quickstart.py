"""The whole pipeline on the embedded survey and language model."""

from pathlib import Path

import pytest

from gpo_ray.model import GroupPreferenceModel

pytestmark = pytest.mark.slow


def test_quickstart_learns_more_than_nothing(gpo, tmp_path):
    result = gpo("quickstart", "--out", tmp_path / "out", "--json").result(1200)
    scores = {method: values["alignment"] for method, values in result["methods"].items()}
    assert scores["gpo"] > scores["uniform"] + 0.05
    assert scores["gpo"] > scores["lm-base"] + 0.05
    assert all(0 < s < 1 for s in scores.values())
    assert "gpo" in Path(result["report"]).read_text()
    assert result["model"] == "smollm2"
    bundle = GroupPreferenceModel.load(result["bundle"])
    assert bundle.config.embedding_width == 4 * 576  # last+mean+opinion+person
    assert bundle.provenance["split"]["test_groups"]
