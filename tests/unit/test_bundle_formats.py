"""Bundles that earlier versions wrote predict what they did."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from gpo_ray.errors import BundleError
from gpo_ray.model import GroupPreferenceModel
from gpo_ray.model.bundle import read_bundle, write_bundle
from gpo_ray.prior.scales import PriorScales
from gpo_ray.runtime.storage import MANIFEST

DATA = Path(__file__).parents[1] / "data"
OLD = DATA / "bundle-format-1"
PRIOR_FILES = {
    "memory.json": "80c3c2b528efabfb89208a5a4d1392d50dae81ce47ee86e292a47a396d937304",
    "memory.safetensors": "e231910f9776665ce6f555cb6dad2fe99930de33f59a7060914178233917def0",
}
"""Digests of the prior's files in the format 2 bundle that is written from the one of format 1."""
CASES = json.loads((DATA / "bundle-format-1-predictions.json").read_text())


def check_predictions(folder):
    model = GroupPreferenceModel.load(folder)
    for case in CASES:
        context, target = case["context"], case["target"]
        known = [(np.asarray(c["vectors"], np.float32), np.asarray(c["share"])) for c in context]
        group = model.adapt(known, [c["key"] for c in context])
        vectors, keys = [np.asarray(t["vectors"], np.float32) for t in target], [t["key"] for t in target]
        for found, expected in zip(group.predict(vectors, keys), case["share"], strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)
        for found, expected in zip(group.intervals(vectors, keys), case["interval"], strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_bundle_of_format_1_predicts_as_it_did():
    check_predictions(OLD)


def test_written_again_it_has_the_present_format_and_the_same_predictions(tmp_path):
    old = read_bundle(OLD)
    write_bundle(tmp_path / "new", dict(old.model.state_dict()), old.config, old.provenance, old.prior)
    assert json.loads((tmp_path / "new" / MANIFEST).read_text())["format"] == 3
    assert "cross_survey" in (tmp_path / "new" / "memory.json").read_text()
    check_predictions(tmp_path / "new")


@pytest.mark.parametrize(("name", "digest"), PRIOR_FILES.items())
def test_each_part_of_the_prior_writes_the_bytes_that_format_2_had_from_the_start(tmp_path, name, digest):
    old = read_bundle(OLD)
    prior = old.prior
    for _ in range(2):  # as read from format 1, and as read from what was written
        write_bundle(tmp_path / "new", dict(old.model.state_dict()), old.config, old.provenance, prior)
        assert hashlib.sha256((tmp_path / "new" / name).read_bytes()).hexdigest() == digest
        prior = read_bundle(tmp_path / "new").prior


def test_the_weight_of_the_response_model_is_stored_by_its_first_name():
    scales = PriorScales(response_model_weight=0.3)
    assert scales.to_state()["traits"] == 0.3
    assert list(scales.to_state())[-2:] == ["traits", "widths"]
    assert TypeAdapter(PriorScales).validate_python(scales.to_state()) == scales


@pytest.mark.parametrize("version", [0, 4, -1])
def test_a_format_that_is_not_known_is_refused(tmp_path, version):
    shutil.copytree(OLD, tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / MANIFEST).read_text())
    (tmp_path / "b" / MANIFEST).write_text(json.dumps(manifest | {"format": version}))
    with pytest.raises(BundleError, match=f"format {version} is not known"):
        read_bundle(tmp_path / "b")
