"""Folders with manifests: atomic, checked, local or by URI."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import flip_byte, truncate

from gpo_ray.errors import BundleError, ConfigError, DataError
from gpo_ray.runtime.local_files import read_regular
from gpo_ray.runtime.storage import MANIFEST, Folder, parquet_bytes, read_parquet_bytes


@pytest.fixture(params=["path", "uri"])
def folder(request, tmp_path):
    """A folder that does not exist yet, by its path and through ``pyarrow.fs``."""
    path = tmp_path / "some" / "folder"
    return Folder(path if request.param == "path" else f"file://{path}", DataError)


def complete(folder, **files):
    entries = {name: folder.write(name, data) for name, data in files.items()}
    folder.write_manifest("thing", entries, extra=1)
    return folder.read_manifest("thing")


def test_written_files_are_read_back_and_match_their_manifest(folder):
    manifest = complete(folder, a=b"one", b=b"")
    assert (folder.read("a"), folder.read_checked("b", manifest), manifest["extra"]) == (b"one", b"", 1)
    assert folder.names() == ["a", "b", MANIFEST]
    assert folder.exists("a")
    assert not folder.exists("c")


def test_write_replaces_and_leaves_no_temporary_file(folder):
    folder.write("a", b"old")
    folder.write("a", b"new")
    assert folder.read("a") == b"new"
    assert os.listdir(folder.local_path) == ["a"]  # noqa: PTH208


@pytest.mark.parametrize("broken", ["os.fsync", "pathlib.Path.replace"])
def test_failing_write_leaves_the_old_content(folder, monkeypatch, broken):
    folder.write("a", b"old")

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        with pytest.raises(ConfigError, match=r"/a: cannot be written: disk full"):
            folder.write("a", b"new")
    assert folder.read("a") == b"old"
    assert os.listdir(folder.local_path) == ["a"]  # noqa: PTH208


def test_write_below_a_file_is_a_config_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        Folder(tmp_path / "file" / "folder").write("a", b"")


def test_nothing_is_written_into_a_jobs_working_folder(tmp_path):
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0"
    with pytest.raises(ConfigError, match="deletes after the job"):
        Folder(copy / "out", DataError).claim("thing")
    assert not copy.exists()


@pytest.mark.parametrize("name", [os.fsdecode(b"b\xff"), "a\0b", "s3://bucket/" + os.fsdecode(b"b\xff")])
def test_path_that_is_no_text(name, tmp_path):
    with pytest.raises(DataError) as e:
        Folder(name if "://" in name else f"{tmp_path}/{name}", DataError)
    assert str(e.value).isascii()


def test_path_in_a_working_folder_that_is_no_text(tmp_path, monkeypatch):
    (tmp_path / os.fsdecode(b"b\xff")).mkdir()
    monkeypatch.chdir(tmp_path / os.fsdecode(b"b\xff"))
    with pytest.raises(DataError, match="not UTF-8"):
        Folder("out", DataError)


def test_temporary_files_of_a_crash_are_not_listed(folder):
    folder.write("a", b"")
    (folder.local_path / ".tmp-123").write_bytes(b"half")
    assert folder.names() == ["a"]


def test_missing_file_is_named(folder):
    with pytest.raises(DataError, match=r"/some/folder/a: no such file"):
        folder.read("a")


def test_missing_folder_and_missing_manifest_are_told_apart(folder):
    with pytest.raises(DataError, match=r"no such folder; run this first"):
        folder.read_manifest("thing", hint="run this first")
    folder.write("a", b"")
    with pytest.raises(DataError, match=r"no manifest.json.*; run this first"):
        folder.read_manifest("thing", hint="run this first")


def test_another_kind_of_folder_is_refused(folder):
    complete(folder)
    with pytest.raises(DataError, match=r"folder: holds 'thing', expected 'bundle'"):
        folder.read_manifest("bundle")


def test_a_later_format_is_refused(folder):
    folder.write(MANIFEST, json.dumps({"kind": "thing", "format": 99, "files": {}}).encode())
    with pytest.raises(DataError, match="format 99 is not known"):
        folder.read_manifest("thing")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"kind": "thing"}', b"\xff\xfe"])
def test_damaged_manifest_is_named(folder, text):
    folder.write(MANIFEST, text)
    with pytest.raises(DataError, match=r"manifest.json: damaged"):
        folder.read_manifest("thing")


@pytest.mark.parametrize("damage", [flip_byte, truncate, Path.unlink])
def test_file_that_does_not_match_its_manifest_is_named(folder, damage):
    manifest = complete(folder, a=bytes(range(100)), b=b"fine")
    damage(folder.local_path / "a")
    with pytest.raises(DataError, match=r"/some/folder/a: "):
        folder.read_checked("a", manifest)
    assert folder.read_checked("b", manifest) == b"fine"


def test_file_outside_the_manifest_is_refused(folder):
    manifest = complete(folder, a=b"")
    folder.write("b", b"")
    with pytest.raises(DataError, match=r"manifest.json: does not list b"):
        folder.read_checked("b", manifest)


def test_unknown_scheme_is_an_error_of_the_given_class():
    with pytest.raises(BundleError, match=r"nowhere://x: not a usable location"):
        Folder("nowhere://x", BundleError)


def test_child_and_remove(folder):
    child = folder.child("inner")
    child.write("a", b"1")
    assert child.local_path == folder.local_path / "inner"
    child.remove("a")
    child.remove("a")
    assert child.names() == []


def test_relative_path_stays_put_when_the_working_directory_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = Folder("here")
    here.write("a", b"1")
    monkeypatch.chdir("/")
    assert here.read("a") == b"1"


@given(values=st.lists(st.floats(allow_nan=False) | st.none()))
def test_parquet_round_trip(values):
    table = pa.table({"v": pa.array(values, pa.float64())})
    assert read_parquet_bytes(parquet_bytes(table), "here", DataError).equals(table)


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_unreadable_parquet_is_named(keep):
    data = parquet_bytes(pa.table({"v": [1, 2]}))[:keep]
    with pytest.raises(DataError, match=r"here/x\.parquet: not a readable Parquet file"):
        read_parquet_bytes(data, "here/x.parquet", DataError)


def test_parquet_of_vectors_is_hardly_larger_than_the_vectors():
    vectors = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 64)
    table = pa.table({"key": ["the same"] * 500, "vector": column})
    data = parquet_bytes(table)
    assert len(data) < 1.02 * vectors.nbytes
    assert read_parquet_bytes(data, "it", DataError).equals(table)


@pytest.mark.parametrize("uri", ["s3://a[b/x", "file://[x"])
def test_what_is_no_uri_is_one_line(uri):
    with pytest.raises(ConfigError, match="Invalid IPv6 URL"):
        Folder(uri)


def test_a_password_in_what_is_no_uri_is_not_shown():
    with pytest.raises(ConfigError) as e:
        Folder("s3://user:secret@a[b/x")
    assert "secret" not in str(e.value)


def test_a_folder_in_place_of_a_file_is_named_and_leaves_nothing_open(tmp_path):
    (tmp_path / "a").mkdir()
    path = str(tmp_path / "a")
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 -- a Path would be open meanwhile
    for _ in range(3):
        with pytest.raises(IsADirectoryError) as refused:
            read_regular(path, None)
        assert refused.value.filename == path
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
