"""GGUF models converted once for a machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from synthetic import truncate
from tiny_model import save_tiny_gguf

from gpo_ray.embedding.encoder import Encoder
from gpo_ray.errors import ConfigError
from gpo_ray.lm import cache as model_cache
from gpo_ray.lm import load as language_model
from gpo_ray.lm.cache import cached_models, clear_cache, converted
from gpo_ray.lm.find import find_model
from gpo_ray.lm.load import load

SLATES = [("Should the city build more parks?", ["Yes", "No", "Don't know"]), ("Is it so?", ["A", "B"])]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    """A tiny model in GGUF."""
    return save_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and another place for temporary files."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(model_cache.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.setenv("GPO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def write(folder):
    (folder / "weights").write_bytes(b"w" * 1000)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_converted_model_has_the_files_numbers_bit_by_bit(gguf, dtype):
    source = find_model(str(gguf))
    tokenizer, plain = language_model.load_files(source, getattr(torch, dtype), {})
    for _ in range(2):  # as it is converted, and from the cache
        again, model = load(source, dtype, "cpu")
        weights = dict(model.state_dict())
        assert weights.keys() == plain.state_dict().keys()
        assert all(torch.equal(weights[k], v) for k, v in plain.state_dict().items())
        assert again.chat_template == tokenizer.chat_template
        texts = ["Yes", " naïve 你好\n\n x", "<|im_start|>user\nA. No<|im_end|>"]
        assert again(texts)["input_ids"] == tokenizer(texts)["input_ids"]


def test_embeddings_are_those_of_the_file_bit_by_bit(gguf, monkeypatch):
    kept = Encoder(find_model(str(gguf))).encode(SLATES)
    monkeypatch.setenv("GPO_CACHE_GIB", "0")
    plain = Encoder(find_model(str(gguf))).encode(SLATES)
    assert [(e.mean.tobytes(), e.letter_logprob.tobytes()) for e in kept] == [
        (e.mean.tobytes(), e.letter_logprob.tobytes()) for e in plain
    ]


def test_the_file_is_read_once_and_weights_are_mapped(gguf, monkeypatch):
    source = find_model(str(gguf))
    load(source, "float32", "cpu")
    monkeypatch.setattr(language_model, "_parsed_once", None)  # converting again would fail
    _, model = load(source, "float32", "cpu")
    ((folder, _),) = ((m.folder, m.name) for m in cached_models())
    mapped = [
        tuple(int(a, 16) for a in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(folder / "model.safetensors"))
    ]
    starts = [p.data_ptr() for p in model.parameters()]
    assert starts
    assert all(any(low <= s < high for low, high in mapped) for s in starts)


def test_another_file_is_another_model(gguf, tmp_path, cache):
    load(find_model(str(gguf)), "float32", "cpu")
    copy = shutil.copy(gguf, tmp_path / "copy.gguf")
    load(find_model(str(copy)), "float32", "cpu")
    assert len(cached_models()) == 1  # the same content
    other = save_tiny_gguf(tmp_path / "other.gguf", seed=1)
    load(find_model(str(other)), "float32", "cpu")
    assert {m.name for m in cached_models()} == {"tiny.gguf", "other.gguf"}


CONVERT = """
import sys, time
from pathlib import Path
from gpo_ray.lm.cache import converted
def convert(folder):
    (folder / "weights").write_bytes(b"w" * 1000)
    with open(sys.argv[1], "a") as log:
        log.write("x")
    time.sleep(float(sys.argv[2]))
print(converted("m", "d" * 64, convert))
"""


def start(log, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", CONVERT, str(log), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_processes_at_the_same_time_convert_once(tmp_path, cache):
    log = tmp_path / "log"
    processes = [start(log, 0.5) for _ in range(4)]
    answers = {p.communicate()[0].strip() for p in processes}
    assert log.read_text() == "x"
    assert [Path(a).parent for a in answers] == [cache]


def test_a_killed_conversion_leaves_nothing_for_good(tmp_path, cache):
    log = tmp_path / "log"
    process = start(log, 60)
    while not log.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(cache.glob(".tmp-*"))
    assert cached_models() == []
    folder = converted("m", "d" * 64, write)
    assert folder is not None
    assert [f.name for f in cache.iterdir() if f.name != ".lock"] == [folder.name]


@pytest.mark.parametrize("damage", [truncate, Path.unlink])
def test_a_damaged_model_is_converted_again(damage):
    folder = converted("m", "d" * 64, write)
    damage(folder / "weights")
    assert converted("m", "d" * 64, write) == folder
    assert (folder / "weights").stat().st_size == 1000


def as_user(function):
    """Run as nobody, for whom modes count."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setuid(65534)
            code = 0 if function() else 1
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_a_cache_that_cannot_be_written_is_used_and_another_takes_what_is_new(tmp_path, cache):
    there = converted("m", "d" * 64, write)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    for folder in (cache.parent, cache, there):
        folder.chmod(0o755)
    (tmp_path / "temporary").chmod(0o1777)
    assert as_user(lambda: converted("m", "d" * 64, write) == there)
    spare = tmp_path / "temporary" / "gpo_ray-65534" / "models"
    assert as_user(lambda: converted("n", "e" * 64, write).parent == spare)
    assert spare.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_what_a_stranger_left_among_temporary_files_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("GPO_CACHE", "/proc/nowhere")
    planted = tmp_path / "temporary" / f"gpo_ray-{os.getuid()}"
    planted.mkdir()
    os.chown(planted, 65534, 65534)
    assert converted("m", "d" * 64, write) is None
    assert list(planted.iterdir()) == []


def test_without_any_cache_the_model_is_loaded_all_the_same(gguf, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("GPO_CACHE", "/proc/nowhere")
    monkeypatch.setattr(model_cache.tempfile, "gettempdir", lambda: "/proc/nowhere")
    _, model = load(find_model(str(gguf)), "float32", "cpu")
    assert model is not None
    assert "converted again each time" in caplog.text


def test_a_full_disk_leaves_the_model_usable(gguf, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1, used=1, free=0))
    load(find_model(str(gguf)), "float32", "cpu")
    assert cached_models() == []


def test_the_cache_is_bounded_and_drops_what_was_not_used_for_longest(monkeypatch):
    monkeypatch.setenv("GPO_CACHE_GIB", str(3500 / 2**30))
    folders = [converted(str(i), str(i) * 64, write) for i in range(3)]
    for age, folder in enumerate(folders):
        os.utime(folder / "converted.json", (1000 - age, 1000 - age))
    converted("0", "0" * 64, write)  # used now
    converted("3", "3" * 64, write)
    assert [m.name for m in cached_models()] == ["3", "0", "1"]


def test_a_model_larger_than_the_cache_is_not_kept(monkeypatch):
    monkeypatch.setenv("GPO_CACHE_GIB", str(500 / 2**30))
    assert converted("m", "d" * 64, write) is None
    assert cached_models() == []


@pytest.mark.parametrize("text", ["much", "-1", "nan", "1e400"])
def test_a_bound_that_is_no_size_is_refused(text, monkeypatch):
    monkeypatch.setenv("GPO_CACHE_GIB", text)
    with pytest.raises(ConfigError, match=r"GPO_CACHE_GIB=.*give the cache's size in GiB"):
        converted("m", "d" * 64, write)


def test_clearing_deletes_everything(cache):
    converted("m", "d" * 64, write)
    (cache / ".tmp-left").mkdir()
    assert [m.name for m in clear_cache()] == ["m"]
    assert cached_models() == []
    assert [f.name for f in cache.parent.rglob("*") if f.name not in ("models", ".lock")] == []


def test_commands_show_and_clear_it(gguf, capsys):
    def gpo(*words):
        from typer.testing import CliRunner

        from gpo_ray.cli.cache import app

        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    assert gpo("add", str(gguf)).startswith(f"{gguf} loads from ")
    assert "tiny.gguf" in gpo("list")
    (shown,) = json.loads(gpo("list", "--json"))["models"]
    assert shown["name"] == "tiny.gguf"
    assert json.loads(gpo("clear", "--json"))["bytes"] == shown["bytes"] > 0
    assert "0 converted models" in gpo("list")


@pytest.mark.parametrize("record", ["pipe", "{}", '{"files": {}}', '{"files": {}, "name": 3}', "[" * 10_000])
def test_a_record_that_a_stranger_left_is_no_model(cache, record, capsys):
    (cache / "strange").mkdir(parents=True)
    file = cache / "strange" / model_cache.RECORD
    if record == "pipe":
        os.mkfifo(file)  # which nobody ever writes to
    else:
        file.write_text(record)
    assert list(cached_models()) == []
