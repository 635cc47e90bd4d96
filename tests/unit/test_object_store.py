"""Folders in object stores: the rules of local ones, on a real S3 server and in fsspec's memory."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from synthetic import questions, survey, tiny_config, write_store

from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import BundleError, ConfigError, DataError, GPOError
from gpo_ray.meta_training.local import train_local
from gpo_ray.meta_training.run import TrainJob
from gpo_ray.model.bundle import read_bundle
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.readers import read_survey
from gpo_ray.preferences.splits import draw_split
from gpo_ray.runtime.locations import beside, inside, last_name
from gpo_ray.runtime.storage import MANIFEST, Folder


@pytest.fixture
def bucket(s3):
    return s3.bucket()


@pytest.fixture(params=["s3", "s3 by query", "memory"])
def folder(request, monkeypatch):
    """An empty place in each kind of object store."""
    if request.param == "memory":
        return Folder(f"memory://bucket-{time.monotonic_ns()}/some/folder", DataError)
    server = request.getfixturevalue("s3" if request.param == "s3" else "s3_server")
    if request.param == "s3":
        return Folder(f"s3://{server.bucket()}/some/folder", DataError)
    for name, value in server.environment.items():
        if name != "AWS_ENDPOINT_URL":
            monkeypatch.setenv(name, value)
    query = f"endpoint_override=127.0.0.1:{server.port}&scheme=http&region=us-east-1"
    return Folder(f"s3://{server.bucket()}/some/folder?{query}", DataError)


def test_write_list_read_remove(folder):
    assert not folder.exists()
    assert folder.names() == folder.folders() == []
    folder.write("b", b"2")
    entry = folder.write("a", b"1")
    folder.child("inner").write("c", b"3")
    assert entry["bytes"] == 1
    assert folder.exists()
    assert folder.exists("a")
    assert not folder.exists("c")
    assert (folder.names(), folder.folders()) == (["a", "b"], ["inner"])
    assert folder.child("inner").read("c") == b"3"
    folder.write("a", b"again")
    assert folder.read("a") == b"again"
    folder.remove("a")
    folder.remove("a")
    assert folder.names() == ["b"]
    folder.remove_all()
    folder.remove_all()
    assert folder.names() == folder.folders() == []
    with pytest.raises(DataError, match=r"some/folder/b.*: no such file"):
        folder.read("b")


def test_a_result_is_complete_with_its_manifest(folder):
    with pytest.raises(DataError, match="no such folder; make it"):
        folder.read_manifest("thing", hint="make it")
    folder.claim("thing")
    folder.write("a", b"half of it")
    with pytest.raises(DataError, match="nothing complete is here; make it"):
        folder.read_manifest("thing", hint="make it")
    folder.publish("thing", {"a": b"1", "b": b""})
    manifest = folder.read_manifest("thing")
    assert folder.read_checked("a", manifest) == b"1"
    folder.claim("thing")
    with pytest.raises(DataError, match="holds 'thing', expected 'other'"):
        folder.claim("other")
    folder.write("a", b"2")
    with pytest.raises(DataError, match=r"some/folder/a.*: does not match its manifest"):
        folder.read_checked("a", manifest)


def test_a_job_is_identified(folder):
    assert folder.identify("job.json", {"a": 1, "b": 2}, "start anew") == []
    assert folder.identify("job.json", {"a": 1, "b": 3}, "start anew") == ["b"]
    folder.write("job.json", b"{")
    with pytest.raises(DataError, match=r"job.json.*: damaged.*; start anew"):
        folder.identify("job.json", {}, "start anew")


@pytest.mark.minutes
def test_a_long_list_has_all_pages(s3, bucket):
    for i in range(1003):  # a page has 1000
        s3.put(bucket, f"many/{i:04d}", b"")
    assert Folder(f"s3://{bucket}/many").names() == [f"{i:04d}" for i in range(1003)]


def test_a_large_file_arrives_whole(s3, bucket):
    data = os.urandom(1 << 20) * 25
    folder = Folder(f"s3://{bucket}/large")
    manifest = {"files": {"a": folder.write("a", data)}}
    assert folder.read_checked("a", manifest) == data
    assert s3.uploads(bucket) == []


def test_an_upload_that_was_killed_is_never_seen(s3, bucket):
    folder = Folder(f"s3://{bucket}/out", DataError)
    # more than the server takes in the time until it is killed
    code = (
        "import os; from gpo_ray.runtime.storage import Folder;"
        f"Folder('s3://{bucket}/out').publish('thing', {{'a': os.urandom(1 << 20) * 400}})"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.monotonic() + 60
    while s3.uploads(bucket) != ["out/a"]:
        assert writer.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(writer.pid, signal.SIGKILL)
    writer.wait()
    assert s3.uploads(bucket) == ["out/a"]
    assert s3.keys(bucket) == folder.names() == []
    with pytest.raises(DataError, match=r"no such folder|nothing complete"):
        folder.read_manifest("thing")
    folder.publish("thing", {"a": b"whole"})
    assert folder.read_checked("a", folder.read_manifest("thing")) == b"whole"


def test_a_bucket_that_is_not_there_is_named(s3):
    folder = Folder("s3://nowhere/folder", DataError)
    with pytest.raises(ConfigError, match=r"s3://nowhere/folder/\.tmp-.*: cannot be written: .*bucket"):
        folder.claim("thing")
    with pytest.raises(DataError, match="s3://nowhere/folder: no such folder"):
        folder.read_manifest("thing")


def test_wrong_keys_are_an_error_that_names_the_place(s3_server, monkeypatch):
    strict = type(s3_server)(open_requests=0)
    try:
        for name, value in strict.environment.items():
            monkeypatch.setenv(name, value)
        folder = Folder("s3://bucket/folder", DataError)
        with pytest.raises(ConfigError, match=r"s3://bucket/folder.*: cannot be written: .*ACCESS_KEY"):
            folder.write("a", b"")
        with pytest.raises(DataError, match=r"s3://bucket/folder.*: cannot be "):
            folder.read_manifest("thing")
    finally:
        strict.stop()


def test_a_server_that_is_down_is_an_error_within_seconds(s3_server, monkeypatch):
    gone = type(s3_server)()
    gone.stop()
    for name, value in gone.environment.items():
        monkeypatch.setenv(name, value)
    failures = []

    def load():
        try:
            PreferenceDataset.load("s3://bucket/survey")
        except GPOError as e:
            failures.append(str(e))

    waiting = threading.Thread(target=load, daemon=True)
    waiting.start()
    waiting.join(timeout=60)  # some six, by pyarrow's retries
    (failure,) = failures
    assert failure.startswith("s3://bucket/survey: cannot be looked at: ")
    assert "connect" in failure


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://key:hidden@bucket/folder", r"s3://key:...@bucket/folder: .*environment"),
        ("s3://bucket/folder?region_=x", "region_"),
        ("hdfs://host/folder", "still being written"),
        ("az://container/folder", "adlfs"),
        ("s4://bucket/folder", "s4://bucket/folder: not a usable location"),
    ],
)
def test_a_location_that_cannot_be_used_says_why(uri, message):
    with pytest.raises(BundleError, match=message) as e:
        Folder(uri, BundleError)
    assert "hidden" not in str(e.value)


def test_places_inside_and_beside_keep_the_query():
    assert inside("s3://b/k/?x=1&y=/", "a") == "s3://b/k/a?x=1&y=/"
    assert inside("/some/what?/", "a") == "/some/what?/a"
    assert beside("s3://b/k/out?x=/1", "runs") == "s3://b/k/runs?x=/1"
    assert beside("s3://b/out", "runs") == "s3://b/runs"
    assert beside("/some/out/", "runs").endswith("/runs")
    assert last_name("s3://b/k/out/?x=/1") == last_name("/k/out/") == "out"
    with pytest.raises(ValueError, match="whole bucket"):
        beside("s3://b?x=/1", "runs")


def test_a_survey_is_imported_from_a_uri_to_a_uri(s3, bucket):
    text = "group,prompt,response,count\nOslo,Parks?,Yes,4\nOslo,Parks?,No,1\n"
    s3.put(bucket, "in/answers.csv", text.encode())
    read_survey("table", f"s3://{bucket}/in/answers.csv").save(f"s3://{bucket}/survey")
    assert PreferenceDataset.load(f"s3://{bucket}/survey").groups["group_id"].to_pylist() == ["Oslo"]
    s3.put(bucket, "in/answers.csv", text.replace("count", "number").encode())
    with pytest.raises(DataError, match=f"^s3://{bucket}/in/answers.csv: "):
        read_survey("table", f"s3://{bucket}/in/answers.csv")
    with pytest.raises(DataError, match=f"s3://{bucket}/in/none.csv: cannot be read: .*no such file"):
        read_survey("table", f"s3://{bucket}/in/none.csv")


class StoppedError(Exception):
    """A process that dies."""


def test_a_run_in_this_process_on_uris_equals_the_local_one(s3, bucket, tmp_path, monkeypatch):
    dataset = survey(8, 10)
    config = tiny_config()

    def job(root):
        dataset.save(f"{root}/survey")
        write_store(f"{root}/store", questions(10))
        names = ("survey", "store", "bundle", "runs")
        return TrainJob(*(f"{root}/{n}" for n in names), "run", config, draw_split(dataset, 1.0, 0))

    local, remote = job(tmp_path), job(f"s3://{bucket}/some")
    train_local(local)
    progress = "gpo_ray.meta_training.local.RunLog.write"
    with monkeypatch.context() as patch:
        patch.setattr(progress, lambda _, history: _stop_at(8, history))
        with pytest.raises(StoppedError):
            train_local(remote)
    with pytest.raises(BundleError):
        read_bundle(remote.out)
    assert train_local(remote)["resumed"] == [8]
    for name in ("model.safetensors", "config.json"):
        assert Folder(remote.out).read(name) == Folder(local.out).read(name)
    runs = {k.split("/")[3] for k in s3.keys(bucket) if k.startswith("some/runs/run/checkpoint")}
    assert runs == {"checkpoint-000000012"}
    assert EmbeddingStore(remote.embeddings).folder.exists(MANIFEST)


def _stop_at(step, history):
    if history[-1]["step"] == step:
        raise StoppedError
