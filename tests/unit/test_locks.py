"""Two writers of one folder: one is refused, nothing is lost, and what a killed one left goes."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from synthetic import FINGERPRINT, encoded, questions, survey, tiny_config, tiny_search, write_store

from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import ConfigError, EmbeddingError
from gpo_ray.model.bundle import read_bundle
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.runtime.locks import LOCK, sweep, temporary_held
from gpo_ray.runtime.storage import Folder

HOLDER = Path(__file__).parent.parent / "lock_holder.py"


@pytest.fixture
def writer():
    """Start a process that writes in a folder and does not end."""
    started = []

    def start(folder):
        process = subprocess.Popen(
            [sys.executable, HOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    survey(8, 10).save(root / "survey")
    write_store(root / "store", questions(10))
    (root / "config.yaml").write_text(yaml.safe_dump(tiny_config().model_dump(mode="json")))
    (root / "tune.yaml").write_text(yaml.safe_dump(tiny_search(root / "config.yaml", 1)))
    (root / "t.csv").write_text("group,prompt,response,count\na,Tea?,yes,3\na,Tea?,no,1\n")
    return root


def names(folder):
    return sorted(p.name for p in Path(folder).iterdir())


def test_second_writer_is_refused_until_the_first_is_killed(tmp_path, writer):
    folder = Folder(tmp_path / "a" / "folder")
    process = writer(folder.absolute)
    assert folder.names() == []
    with (
        pytest.raises(ConfigError, match=rf"process {process.pid} on .* is writing here; wait"),
        folder.writing(),
    ):
        pass
    assert any(n.startswith(".tmp-") for n in names(folder.absolute))
    process.kill()
    process.wait()
    with folder.writing():
        assert names(folder.absolute) == [LOCK]
        with folder.writing():
            folder.write("a", b"1")
    assert names(folder.absolute) == ["a"]


def test_another_thread_is_another_writer_and_may_wait(tmp_path):
    folder, order = Folder(tmp_path / "folder"), []

    def second():
        with folder.writing(wait=True):
            order.append("second")

    with folder.writing():
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.3)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]
    assert not (tmp_path / "folder").exists()


def test_waiting_for_a_process_that_is_killed(tmp_path, writer, caplog):
    process = writer(tmp_path)
    threading.Timer(0.5, process.kill).start()
    with Folder(tmp_path).writing(wait=True):
        assert names(tmp_path) == [LOCK]
    assert f"waiting for process {process.pid}" in caplog.text


def test_what_the_lock_file_says_is_not_believed(tmp_path, writer):
    writer(tmp_path)
    (tmp_path / LOCK).write_text("\x1b[31mprocess 1 on here\n")
    with pytest.raises(ConfigError, match="another process is writing here"), Folder(tmp_path).writing():
        pass


def test_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "folder" / LOCK).symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigError, match="cannot be written"), Folder(tmp_path / "folder").writing():
        pass
    assert (tmp_path / "victim").read_text() == "mine"


def test_sweep_spares_living_writers_and_folders_of_others(tmp_path, writer):
    dead = [tmp_path / ".tmp-dead", tmp_path / "inner" / ".tmp-dead"]
    tree = tmp_path / ".tmp-tree"
    tree.mkdir()
    (tree / "file").touch()
    other = tmp_path / "other"
    writer(other)
    theirs = names(other)
    for path in dead:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (other / ".tmp-dead").touch()
    with temporary_held(tmp_path / ".tmp-alive"):
        sweep(tmp_path)
        assert names(tmp_path) == [".tmp-alive", "inner", "other"]
        assert names(tmp_path / "inner") == []
        assert names(other) == sorted([*theirs, ".tmp-dead"])


COMMANDS = {
    "survey import": ["table", "--from", "{root}/t.csv"],
    "survey merge": ["{root}/survey", "{root}/survey"],
    "embed": ["--survey", "{root}/survey", "--model", "{model}"],
    "train": ["--survey", "{root}/survey", "--embeddings", "{root}/store", "--config", "{root}/config.yaml"],
    "tune": ["--survey", "{root}/survey", "--embeddings", "{root}/store", "--config", "{root}/tune.yaml"],
    "evaluate": ["--survey", "{root}/survey", "--embeddings", "{root}/store", "--methods", "uniform"],
    "quickstart": [],
    "cluster render": ["--profile", "local"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_writes_a_folder_refuses_where_another_does(
    command, sources, tmp_path, writer, gpo, request
):
    model = request.getfixturevalue("tiny_language_model") if command == "embed" else ""
    out = tmp_path / "out"
    process = writer(out)
    before = names(out)
    options = [o.format(root=sources, model=model) for o in COMMANDS[command]]
    code, _, err = gpo(*command.split(), *options, "--out", out)
    assert code == 2
    assert f"{out}: process {process.pid} on" in err
    assert err.count("\n") == 1
    assert names(out) == before


def test_run_of_a_name_is_trained_by_one(sources, tmp_path):
    """Two at the same time; once they wrote into each other's checkpoints."""
    command = [sys.executable, "-m", "gpo_ray", "train", "--survey", sources / "survey", "--name", "run"]
    command += ["--embeddings", sources / "store", "--config", sources / "config.yaml", "--json"]
    command += ["--storage", tmp_path / "runs"]
    both = [
        subprocess.Popen(
            [*map(str, command), "--out", str(tmp_path / f"bundle {i}")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    ended = [(*p.communicate(timeout=300), p.returncode) for p in both]
    done = [i for i, (_, _, code) in enumerate(ended) if code == 0]
    assert done, ended
    for out, err, code in ended:
        if code:
            assert (code, out) == (2, "")
            assert "is writing here" in err
            assert len(err.strip().splitlines()) == 1
        else:
            assert json.loads(out)["steps"] == 12
    for i in done:
        read_bundle(tmp_path / f"bundle {i}")
    assert not list(tmp_path.rglob(".tmp-*"))
    assert not list(tmp_path.rglob(LOCK))


def write_part(store, asked):
    return dict([store.write_shard(asked, encoded(asked), FINGERPRINT)])


def test_stores_of_two_that_nothing_locks_are_merged(tmp_path):
    """As in an object store: each began with an empty one, and neither knows of the other."""
    asked = questions(10)
    first, second = (EmbeddingStore(tmp_path) for _ in range(2))
    parts = [write_part(first, asked[:4]), write_part(second, asked[4:])]
    for store, part in zip((first, second), parts, strict=True):
        store.commit(FINGERPRINT, part, model="tiny", dtype="float32")
    assert len(first.load(survey(count=10)).vectors) == sum(len(q.responses) for q in asked)


def test_store_of_one_who_ends_while_another_writes_the_manifest(tmp_path, monkeypatch):
    asked = questions(10)
    store, part = EmbeddingStore(tmp_path), None
    part = write_part(store, asked[:4])
    write = Folder.write_manifest
    late = []

    def other_comes_first(self, *arguments, **meta):
        if not late:
            late.append(write_part(EmbeddingStore(tmp_path), asked[4:]))
        write(self, *arguments, **meta)

    monkeypatch.setattr(Folder, "write_manifest", other_comes_first)
    store.commit(FINGERPRINT, part, model="tiny", dtype="float32")
    assert set(store.manifest()["files"]) == part.keys() | late[0].keys()


def test_others_shards_of_another_model_are_no_part_of_it(tmp_path):
    asked = questions(10)
    store = EmbeddingStore(tmp_path)
    part = write_part(store, asked[:4])
    store.write_shard(asked[4:], encoded(asked[4:]), "another@model")
    with pytest.raises(EmbeddingError, match="of model another@model"):
        store.commit(FINGERPRINT, part, model="tiny", dtype="float32")


def test_killed_import_leaves_nothing_for_good(tmp_path, writer):
    process = writer(tmp_path / "survey")
    process.kill()
    process.wait()
    assert len(names(tmp_path / "survey")) == 2
    survey().save(tmp_path / "survey")
    PreferenceDataset.load(tmp_path / "survey")
    assert not [n for n in names(tmp_path / "survey") if n.startswith(".")]
