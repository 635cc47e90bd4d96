"""Names in manifests: nothing outside a folder is read or written because a file says so."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import questions, survey, write_store

from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import ConfigError, DataError, GPOError
from gpo_ray.meta_training.checkpoints import Checkpoints
from gpo_ray.model.bundle import read_bundle
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.large import is_large
from gpo_ray.runtime.manifests import MAX_FILES, is_file_name, parse_manifest
from gpo_ray.runtime.storage import Folder

BAD = [
    "/etc/passwd",
    "../outside",
    "..",
    ".",
    "",
    "a/b",
    "a/../../outside",
    "..\\outside",
    "C:\\x",
    "a\0b",
    "a\nb",
    "\x1b[31m",
    ".tmp-1",
    ".lock",
    "x" * 300,
    "\ud800",
    "a:b",
    "-rf",
]
ENTRY = {"bytes": 4, "sha256": hashlib.sha256(b"evil").hexdigest()}


def manifest(files, kind="thing", **more):
    return json.dumps({"kind": kind, "format": 1, "files": files, **more}).encode()


@pytest.mark.parametrize("name", BAD)
def test_name_of_nothing_in_the_folder_is_refused_in_every_manifest(tmp_path, name):
    for kind, read in {
        "thing": lambda f: Folder(f, DataError).read_manifest("thing"),
        "preferences": PreferenceDataset.load,
        "embeddings": lambda f: EmbeddingStore(f).load(survey()),
        "bundle": read_bundle,
    }.items():
        more = {"preferences": 1, "fingerprint": "", "template": ""}
        (tmp_path / "manifest.json").write_bytes(manifest({name: ENTRY}, kind, **more))
        with pytest.raises(GPOError, match=r"manifest\.json: damaged") as e:
            read(tmp_path)
        assert str(e.value).isascii()
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["../../outside", "{temporary}/outside"])
def test_checkpoint_writes_nowhere_else(tmp_path, monkeypatch, name):
    """What a manifest names used to be copied, by that name, below a temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a" / "temporary"))
    (tmp_path / "a" / "temporary").mkdir(parents=True)
    checkpoint = tmp_path / "runs" / "run" / "checkpoint-000000004"
    checkpoint.mkdir(parents=True)
    name = name.format(temporary=tmp_path / "a")
    source = Path(os.path.normpath(f"{checkpoint}/{name}"))
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(b"evil")
    (checkpoint / "manifest.json").write_bytes(manifest({name: ENTRY}, "checkpoint"))
    before = sorted(tmp_path.rglob("*"))
    with (
        pytest.raises(ConfigError, match="not the name of a file"),
        Checkpoints(Folder(tmp_path / "runs" / "run")).newest(),
    ):
        pass
    assert sorted(tmp_path.rglob("*")) == before


@given(st.text())
def test_accepted_names_stay_in_their_folder(name):
    if is_file_name(name):
        assert Path("folder", name).parent == Path("folder")
        assert name.isascii()
        assert name.isprintable()


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"{}",
        b'{"kind": "thing", "format": 1, "files": []}',
        b'{"kind": "thing", "format": 1, "files": {"a": 1}}',
        b'{"kind": "thing", "format": true, "files": {}}',
        b'{"kind": "thing", "format": 1, "files": {"a": {"bytes": Infinity, "sha256": ""}}}',
        b'{"kind": "thing", "format": 1, "files": {"a": {"bytes": -1, "sha256": "%s"}}}' % (b"0" * 64),
        b'{"kind": "thing", "format": 1, "files": {"a": {"bytes": 1%s, "sha256": ""}}}' % (b"0" * 100_000),
        b"[" * 100_000,
        manifest({f"f{i}": ENTRY for i in range(MAX_FILES + 1)}),
        b"\xff",
    ],
    ids=range(11),
)
def test_manifest_that_is_none(data):
    with pytest.raises(DataError, match=r"^m: damaged.*; make it$"):
        parse_manifest(data, "m", DataError, "; make it")


def test_manifest_without_what_its_kind_has(tmp_path):
    survey().save(tmp_path / "survey")
    write_store(tmp_path / "store", questions(8))
    for folder, key, read in (
        ("survey", "preferences", is_large),
        ("store", "fingerprint", lambda f: EmbeddingStore(f).manifest()),
    ):
        path = tmp_path / folder / "manifest.json"
        values = json.loads(path.read_bytes())
        for wrong in ({key: None}, {key: [float("inf")]}):
            path.write_text(json.dumps(values | wrong))
            with pytest.raises(GPOError, match=f"no {key} in it"):
                read(str(tmp_path / folder))


def test_manifest_that_is_a_pipe_or_a_folder(tmp_path):
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "manifest.json")
    (tmp_path / "folder" / "manifest.json").mkdir(parents=True)
    for name in ("pipe", "folder"):
        with pytest.raises(DataError, match="cannot be read"):
            Folder(tmp_path / name, DataError).read_manifest("thing")
