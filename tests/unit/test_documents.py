"""JSON and YAML of others': any bytes give a value or one error, soon and in little memory."""

import contextlib
import json
import os
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpo_ray.answer_files import read_answers_file, read_questions_file
from gpo_ray.cluster.check import check_folder
from gpo_ray.cluster.profile import load_profile
from gpo_ray.config import load_train_config, read_yaml
from gpo_ray.errors import ConfigError, DataError, GPOError
from gpo_ray.evaluation.execution import _read as read_scored
from gpo_ray.runtime.documents import (
    DEPTH,
    DIGITS,
    JSON_BYTES,
    YAML_BYTES,
    parse_json,
    parse_yaml,
    read_json,
    read_yaml_documents,
)
from gpo_ray.runtime.storage import Folder
from gpo_ray.tuning.finals import _read as read_final
from gpo_ray.tuning.ledger import Ledger

BAD_JSON = {
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "not so deep": b"[" * (DEPTH + 2) + b"]" * (DEPTH + 2),
    "many digits": b"[1%s]" % (b"0" * 100_000),
    "more digits": b"[-1%s]" % (b"0" * (DIGITS + 1)),
    "half a character": b'["\\ud800"]',
    "not UTF-8": b'["\xff"]',
    "truncated": b'[{"prompt": "a", "resp',
    "empty": b"",
    "NUL": b"\0",
    "a key twice": b'[{"prompt": "a", "responses": ["b", "c"], "choice": 0, "choice": 1}]',
}
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(ord(n) + 1)}: &{chr(ord(n) + 1)} [{', '.join(f'*{n}' for _ in range(9))}]\n" for n in "abcdefghij"
)
BAD_YAML = {
    "deep flow": "a: " + "[" * 100_000,
    "deep blocks": "- " * 50_000 + "a",
    "deep keys": "? " * 5_000 + "a",
    "laughs": LAUGHS,
    "an alias": "a: &x {y: 1}\nb: *x\n",
    "an alias to itself": "a: &x [*x]\n",
    "many digits": f"steps: 1{'0' * 100_000}\n",
    "hexadecimal digits": f"steps: 0x{'f' * 100_000}\n",
    "base 60": f"steps: 1{':01' * 100_000}\n",
    "tagged digits": f"steps: !!int '{'9' * 100_000}'\n",
    "no date": "steps: 2024-99-99\n",
    "empty integer": "steps: !!int ''\n",
    "no truth value": "steps: !!bool x\n",
    "no time": "steps: !!timestamp x\n",
    "key that is a list": "? [a]\n: 1\n",
    "Python object": "steps: !!python/object/apply:os.system [true]\n",
    "unclosed": "a: [1",
    "NUL": "a: \0",
    "half a character": 'a: "\\ud800"',
    "long": "a: " + "x" * YAML_BYTES,
}


@pytest.mark.parametrize("data", BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_one_error_everywhere(tmp_path, data):
    path = tmp_path / "f.json"
    path.write_bytes(data)
    folder = Folder(tmp_path, ConfigError)
    for read in (
        lambda: parse_json(data, str(path), DataError),
        lambda: read_answers_file(str(path)),
        lambda: read_questions_file(str(path)),
        lambda: read_final(folder, path.name),
        lambda: read_scored(folder, path.name),
        lambda: Ledger(folder),
        lambda: folder.identify(path.name, {}, "begin anew"),
    ):
        with pytest.raises(GPOError, match=r"f\.json: ") as e:
            read()
        assert len(str(e.value)) < 1000


@pytest.mark.parametrize("text", BAD_YAML.values(), ids=BAD_YAML)
def test_bad_yaml_is_one_error_everywhere(tmp_path, text):
    path = tmp_path / "f.yaml"
    path.write_bytes(text.encode())
    for read in (read_yaml, load_train_config, load_profile):
        with pytest.raises(ConfigError, match=r"f\.yaml: ") as e:
            read(str(path))
        assert len(str(e.value)) < 1000


@pytest.mark.parametrize("text", BAD_YAML.values(), ids=BAD_YAML)
def test_bad_yaml_is_a_problem_of_cluster_files(tmp_path, text):
    (tmp_path / "a.yaml").write_bytes(text.encode())
    service = {"kind": "RayService", "apiVersion": "ray.io/v1", "spec": {"serveConfigV2": text}}
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(service))
    problems = check_folder(tmp_path, {}).problems
    assert {p.file for p in problems} == {"a.yaml", "b.yaml"}


def test_bad_json_is_a_problem_of_cluster_files(tmp_path):
    for i, data in enumerate(BAD_JSON.values()):
        (tmp_path / f"{i}.json").write_bytes(data)
    assert len(check_folder(tmp_path, {}).problems) == len(BAD_JSON)


@given(st.one_of(st.binary(), st.text().map(str.encode), st.text('[]{}":,\\u0dnNI1eE-.').map(str.encode)))
def test_any_bytes_are_json_or_an_error(data):
    with contextlib.suppress(ConfigError):
        json.dumps(parse_json(data, "f", ConfigError))


@given(
    st.one_of(
        st.binary().map(bytes),
        st.text().map(str.encode),
        st.text("[]{}:,-?*&!|>'\"%@` \n\t#0123456789.exnullintfloat~<=_+").map(str.encode),
        st.tuples(
            st.sampled_from(
                ["int", "float", "bool", "null", "timestamp", "binary", "set", "omap", "pairs", "str"]
            ),
            st.text(),
        ).map(lambda t: f"a: !!{t[0]} {t[1]}".encode()),
    )
)
def test_any_bytes_are_yaml_or_an_error(data):
    with contextlib.suppress(ConfigError):
        assert isinstance(parse_yaml(data, "f", ConfigError), list)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_what_was_written_is_read(value):
    assert parse_json(json.dumps(value).encode(), "f", ConfigError) == value


def test_what_is_allowed():
    deep = "[" * DEPTH + "]" * DEPTH
    parse_json(deep.encode(), "f", ConfigError)
    parse_yaml(deep, "f", ConfigError)
    assert parse_json(b"\xef\xbb\xbf[1e3, NaN, -Infinity]", "f", ConfigError)[0] == 1000
    words = "word " * DIGITS
    assert parse_yaml(f"a: {words}", "f", ConfigError) == [{"a": words.strip()}]


def test_endless_file_is_not_read_to_its_end(tmp_path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    for read in (
        lambda: read_json(tmp_path / "zero", "zero", DataError),
        lambda: parse_yaml(b" " * (YAML_BYTES + 1), "zero", DataError),
    ):
        with pytest.raises(DataError, match=r"zero: (longer than|not a regular file)"):
            read()
    assert JSON_BYTES > YAML_BYTES


def test_answers_with_half_a_character_are_refused(tmp_path):
    path = tmp_path / "f.json"
    path.write_text('[{"prompt": "\\udc00", "responses": ["a", "b"], "choice": 0}]')
    with pytest.raises(DataError, match="half a character"):
        read_answers_file(str(path))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (read_json, read_yaml_documents):
        with pytest.raises(DataError, match="pipe: not a regular file"):
            read(tmp_path / "pipe", "pipe", DataError)


@pytest.mark.parametrize("tag", ["", "!!int "])
def test_keys_whose_hashes_are_made_equal_are_refused_before_they_are_used(tag):
    equal = (1 << 61) - 1
    text = "".join(f"{tag}{i * equal + 1}: {i}\n" for i in range(1, 20_000))
    started = time.process_time()
    with pytest.raises(ConfigError, match="line 1: a number of 19 digits"):
        parse_yaml(text, "f", ConfigError)
    assert time.process_time() - started < 5
    assert parse_yaml("a: 12345678901234567890\n123456: [1, {2: 3}]", "f", ConfigError) == [
        {"a": 12345678901234567890, 123456: [1, {2: 3}]}
    ]
