"""The bundle: what is written is read, and nothing else."""

import json
import re

import pytest
import torch
from synthetic import bundle_config, flip_byte, tiny_config, truncate

from gpo_ray.errors import BundleError, ConfigError
from gpo_ray.meta_training.engine import new_model
from gpo_ray.model.bundle import CONFIG, PROVENANCE, WEIGHTS, read_bundle, write_bundle
from gpo_ray.runtime.storage import MANIFEST, Folder

FILES = (WEIGHTS, CONFIG, PROVENANCE)


@pytest.fixture
def bundle(tmp_path):
    config = tiny_config()
    weights = new_model(6, config).state_dict()
    write_bundle(tmp_path / "bundle", weights, bundle_config(config), {"survey": "x", "steps": 3})
    return tmp_path / "bundle"


def rewrite(folder, name, data):
    """Replace a file and its manifest entry, as a foreign tool would that writes valid manifests."""
    place = Folder(folder)
    manifest = json.loads(place.read(MANIFEST))
    manifest["files"][name] = place.write(name, data)
    place.write(MANIFEST, json.dumps(manifest).encode())


def changed_config(folder, **values):
    rewrite(folder, CONFIG, json.dumps(json.loads((folder / CONFIG).read_text()) | values).encode())


@pytest.mark.parametrize("uri", [False, True])
def test_round_trip(bundle, uri):
    config = tiny_config()
    loaded = read_bundle(f"file://{bundle}" if uri else bundle)
    assert loaded.config == bundle_config(config)
    assert loaded.provenance == {"survey": "x", "steps": 3}
    want = new_model(6, config).state_dict()
    got = loaded.model.state_dict()
    assert list(got) == list(want)
    assert all(torch.equal(got[k], want[k]) for k in want)
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())


def test_manifest_is_written_last(tmp_path, monkeypatch):
    names, write = [], Folder.write

    def record(self, name, data):
        names.append(name)
        return write(self, name, data)

    monkeypatch.setattr(Folder, "write", record)
    config = tiny_config()
    write_bundle(tmp_path, new_model(6, config).state_dict(), bundle_config(config), {})
    assert set(names[:-1]) == set(FILES)
    assert names[-1] == MANIFEST


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [lambda p: flip_byte(p, 5), flip_byte, truncate])
def test_one_changed_byte_or_a_cut_is_named(bundle, name, damage):
    damage(bundle / name)
    with pytest.raises(BundleError, match=f"/bundle/{name}: does not match its manifest"):
        read_bundle(bundle)


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"/bundle/{name}: no such file"):
        read_bundle(bundle)


def test_damaged_manifest_is_named(bundle):
    truncate(bundle / MANIFEST)
    with pytest.raises(BundleError, match=r"/bundle/manifest\.json: damaged"):
        read_bundle(bundle)


def test_missing_manifest_says_what_to_do(bundle):
    (bundle / MANIFEST).unlink()
    with pytest.raises(BundleError, match=r"no manifest.json.*gpo train"):
        read_bundle(bundle)


def test_survey_folder_is_not_a_bundle(bundle):
    Folder(bundle).write_manifest("preferences", {})
    with pytest.raises(BundleError, match="holds 'preferences', expected 'bundle'"):
        read_bundle(bundle)


def test_unknown_key_of_the_config_is_named(bundle):
    changed_config(bundle, colour="blue")
    with pytest.raises(BundleError, match=r"config\.json: colour: Extra inputs"):
        read_bundle(bundle)


def test_unknown_key_of_the_models_config_is_named(bundle):
    changed_config(bundle, model={"widht": 3})
    with pytest.raises(BundleError, match=r"config\.json: model\.widht: Extra inputs"):
        read_bundle(bundle)


@pytest.mark.parametrize("width", [5, 7])
def test_weights_of_another_width_do_not_fit(bundle, width):
    changed_config(bundle, embedding_width=width)
    with pytest.raises(BundleError, match=r"safetensors: does not fit config\.json.*embedder\.0\.weight"):
        read_bundle(bundle)


@pytest.mark.parametrize("width", [0, -3])
def test_impossible_embedding_width_is_a_bundle_error(bundle, width):
    changed_config(bundle, embedding_width=width)
    with pytest.raises(BundleError):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "data"), [(CONFIG, b"{"), (CONFIG, b"[]"), (PROVENANCE, b"\xff"), (WEIGHTS, b"not tensors")]
)
def test_file_that_is_not_what_it_should_be(bundle, name, data):
    rewrite(bundle, name, data)
    with pytest.raises(BundleError, match=re.escape(str(bundle))):
        read_bundle(bundle)


def test_provenance_must_be_json(tmp_path):
    config = tiny_config()
    with pytest.raises(ValueError, match="JSON"):
        write_bundle(tmp_path / "b", {}, bundle_config(config), {"loss": float("nan")})
    assert not (tmp_path / "b").exists()


def test_unwritable_place_is_a_config_error(tmp_path):
    (tmp_path / "file").write_text("")
    config = tiny_config()
    with pytest.raises(ConfigError, match="cannot be written"):
        write_bundle(tmp_path / "file" / "b", {}, bundle_config(config), {})
