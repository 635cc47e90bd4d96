"""Vectors of questions that were read before."""

import contextlib
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from gpo_ray.embedding import question_cache
from gpo_ray.embedding.question_cache import (
    QuestionCache,
    clear_question_cache,
    question_cache_bytes,
    question_cache_file,
)
from gpo_ray.errors import ConfigError

WRITER = """
import sys
import numpy as np
from gpo_ray.embedding.question_cache import QuestionCache
for i in range(40):
    QuestionCache("m").put({f"{sys.argv[1]}-{i}": np.full((2, 3), float(i), np.float32)})
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GPO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def vectors(seed, responses=3, width=5):
    return np.random.default_rng(seed).normal(size=(responses, width)).astype(np.float32)


def test_what_was_put_comes_back_bit_by_bit():
    put = {"a": vectors(0), "b": vectors(1, 1), "c": vectors(2).astype(np.float64).T}
    QuestionCache("m", "float32").put(put)
    found = QuestionCache("m", "float32").get(["b", "a", "nobody's", "c"])
    assert found.keys() == put.keys()
    for key, value in found.items():
        assert value.dtype == np.float32
        assert value.shape == put[key].shape
        assert np.array_equal(value, put[key].astype(np.float32))
        value[0, 0] = 7  # whose it is now


@pytest.mark.parametrize("other", [("n", "float32"), ("m", "float16"), ("m",), ("mfloat32",)])
def test_of_another_model_or_way_of_reading_nothing_comes_back(other):
    QuestionCache("m", "float32").put({"a": vectors(0)})
    assert QuestionCache(*other).get(["a"]) == {}


def test_the_file_is_its_owners_and_holds_no_names():
    QuestionCache("secret-model").put({"secret-key": vectors(0)})
    assert question_cache_file().stat().st_mode & 0o777 == 0o600
    assert b"secret" not in question_cache_file().read_bytes()


def test_what_was_not_used_for_longest_goes(monkeypatch):
    one = vectors(0).nbytes
    monkeypatch.setattr(question_cache, "MAX_BYTES", 8 * one)
    cache = QuestionCache("m")
    for i in range(8):
        cache.put({str(i): vectors(i)})
    assert len(cache.get([str(i) for i in range(8)])) == 8
    cache.get(["0"])
    cache.put({"8": vectors(8)})  # down to three quarters
    assert sorted(cache.get([str(i) for i in range(9)])) == ["0", "4", "5", "6", "7", "8"]


@pytest.mark.parametrize("damage", [b"no database", b""])
def test_a_damaged_file_is_begun_anew(damage):
    QuestionCache("m").put({"a": vectors(0)})
    question_cache_file().write_bytes(damage)
    assert QuestionCache("m").get(["a"]) == {}
    QuestionCache("m").put({"a": vectors(0)})
    assert QuestionCache("m").get(["a"]).keys() == {"a"}


def test_a_damaged_row_is_begun_anew():
    QuestionCache("m").put({"a": vectors(0)})
    with sqlite3.connect(question_cache_file()) as connection:
        connection.execute("UPDATE questions SET vectors = x'0102'")
    connection.close()
    assert QuestionCache("m").get(["a"]) == {}
    QuestionCache("m").put({"a": vectors(0)})
    assert QuestionCache("m").get(["a"]).keys() == {"a"}


def test_changed_numbers_are_not_believed():
    QuestionCache("m").put({"a": vectors(0)})
    data = question_cache_file().read_bytes()
    raw = vectors(0).tobytes()
    assert data.count(raw) == 1
    question_cache_file().write_bytes(data.replace(raw, raw[:8] + b"\0\0\xf0\x41" + raw[12:]))
    assert QuestionCache("m").get(["a"]) == {}


@pytest.mark.parametrize(
    "change", ["width = 'abc'", "width = 1.5", "vectors = 7", "vectors = 'text'", "width = 1"]
)
def test_a_row_of_other_types_is_begun_anew(change):
    QuestionCache("m").put({"a": vectors(0)})
    with sqlite3.connect(question_cache_file()) as connection:
        connection.execute(f"UPDATE questions SET {change}")
    connection.close()
    assert QuestionCache("m").get(["a"]) == {}
    QuestionCache("m").put({"a": vectors(0)})
    assert QuestionCache("m").get(["a"]).keys() == {"a"}


def test_without_a_place_for_it(monkeypatch):
    monkeypatch.setenv("GPO_CACHE", "/proc/nowhere")
    QuestionCache("m").put({"a": vectors(0)})
    assert QuestionCache("m").get(["a"]) == {}
    assert question_cache_bytes() == 0


def test_switched_off(monkeypatch, cache):
    monkeypatch.setenv("GPO_CACHE_GIB", "0")
    QuestionCache("m").put({"a": vectors(0)})
    assert QuestionCache("m").get(["a"]) == {}
    assert not cache.exists()
    monkeypatch.setenv("GPO_CACHE_GIB", "much")
    with pytest.raises(ConfigError, match="GPO_CACHE_GIB"):
        QuestionCache("m").get(["a"])


def test_while_another_process_holds_it(monkeypatch):
    QuestionCache("m").put({"a": vectors(0)})
    monkeypatch.setattr(question_cache, "WAIT", 0.05)
    holder = sqlite3.connect(question_cache_file(), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert QuestionCache("m").get(["a"]) == {}
    holder.execute("COMMIT")
    holder.close()
    assert QuestionCache("m").get(["a"]).keys() == {"a"}  # a file in use is not a damaged one


def test_two_processes_at_once():
    run = [subprocess.Popen([sys.executable, "-c", WRITER, name]) for name in "xy"]
    assert [p.wait(timeout=60) for p in run] == [0, 0]
    found = QuestionCache("m").get([f"{name}-{i}" for name in "xy" for i in range(40)])
    assert len(found) == 80
    assert found["x-7"].tolist() == [[7.0] * 3] * 2


def test_clearing():
    QuestionCache("m").put({"a": vectors(0)})
    assert question_cache_bytes() > 0
    clear_question_cache()
    assert question_cache_bytes() == 0
    assert QuestionCache("m").get(["a"]) == {}


FOREIGN = {
    "trigger": "CREATE TRIGGER more AFTER INSERT ON questions BEGIN INSERT INTO junk VALUES (1); END",
    "trigger on an update": "CREATE TRIGGER more AFTER UPDATE ON questions BEGIN DELETE FROM junk; END",
    "view": "CREATE VIEW other AS SELECT name FROM questions",
    "index": "CREATE INDEX other ON questions (zeroblob(width))",
    "table": "CREATE TABLE other (name)",
    "column": "ALTER TABLE questions ADD COLUMN more BLOB DEFAULT (x'00')",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_with_anything_of_others_is_begun_anew(kind, caplog):
    caplog.set_level("INFO")
    QuestionCache("m").put({"a": vectors(0)})
    with contextlib.closing(sqlite3.connect(question_cache_file())) as connection, connection:
        connection.execute(FOREIGN[kind])
    assert QuestionCache("m").get(["a"]) == {}
    assert "holds other tables than this program makes" in caplog.text
    QuestionCache("m").put({"a": vectors(0)})
    assert QuestionCache("m").get(["a"]).keys() == {"a"}
    with contextlib.closing(sqlite3.connect(question_cache_file())) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("questions",)]


def test_a_view_in_the_tables_place_is_not_read():
    question_cache_file().parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(question_cache_file())) as connection, connection:
        connection.execute("CREATE VIEW questions AS SELECT 1 AS name, 2 AS used")
    QuestionCache("m").put({"a": vectors(0)})
    QuestionCache("m").put({"a": vectors(0)})
    assert QuestionCache("m").get(["a"]).keys() == {"a"}
