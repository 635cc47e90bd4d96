"""``gpo cluster check``: the shipped files pass, and nothing in a folder makes the check itself fail."""

import json
import random

import pytest
import yaml
from synthetic_cluster import EMBED, GPU, LOCAL, ROOT, commands, copy_cluster
from typer.testing import CliRunner

from gpo_ray.cli import app
from gpo_ray.cluster.check import check_folder
from gpo_ray.cluster.problems import walk
from gpo_ray.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    return copy_cluster(tmp_path)


def test_shipped_files_have_no_problems():
    checked = check_folder(ROOT / "cluster", commands())
    assert checked.problems == []
    assert checked.files > 20


def test_a_file_of_no_known_kind_is_named(folder):
    (folder / "more.yaml").write_text("some: thing\n")
    (folder / "notes.txt").write_text("")
    (folder / "list.yaml").write_text("- 1\n")
    found = {(p.file, p.key) for p in check_folder(folder, commands()).problems}
    assert found == {("more.yaml", "some"), ("notes.txt", "(file)"), ("list.yaml", "(top level)")}


def test_secrets_of_the_users_are_not_read(folder):
    secrets = folder / GPU / "secrets"
    secrets.mkdir()
    (secrets / "gpo-storage.env").write_text("AWS_ACCESS_KEY_ID=x\n")
    assert check_folder(folder, commands()).problems == []


def test_command_line(folder):
    def run(*more):
        return CliRunner().invoke(app, ["cluster", "check", "--path", str(folder), *more])

    assert "no problems" in run().output
    assert json.loads(run("--json").output) == {
        "files": len([p for p in folder.rglob("*") if p.is_file()]),
        "problems": [],
    }
    text = (folder / EMBED).read_text()
    (folder / EMBED).write_text(text.replace("--actors", "--actor"))
    done = run()
    assert isinstance(done.exception, ConfigError)
    assert done.output == f"{EMBED}: spec.entrypoint: gpo embed has no option --actor\n"
    (problem,) = json.loads(run("--json").output)["problems"]
    assert problem == {"file": EMBED, "key": "spec.entrypoint", "message": "gpo embed has no option --actor"}


def put(values, place, new):
    """Replace what is at ``place``, a key as problems give it; keys may hold dots themselves."""
    keys = place.split(".")
    for i in range(len(keys), 0, -1):
        key = ".".join(keys[:i])
        key = int(key) if isinstance(values, list) and key.isdigit() else key
        if key in (range(len(values)) if isinstance(values, list) else values):
            if i == len(keys):
                values[key] = new
            else:
                put(values[key], ".".join(keys[i:]), new)
            return


def test_no_value_makes_the_check_itself_fail(folder):
    rng = random.Random(0)
    odd = [None, [], {}, "x", 5, -1, True, [None], ["x"], {"a": 1}, [[]], 'a b "c', 1e300]
    files = [p for p in sorted(folder.rglob("*.y*ml")) if LOCAL not in str(p)]
    for _ in range(20):
        file = rng.choice(files)
        text = file.read_text()
        documents = list(yaml.safe_load_all(text))
        document = rng.choice(documents)
        put(document, rng.choice([place for place, _ in walk(document) if place]), rng.choice(odd))
        file.write_text(yaml.safe_dump_all(documents))
        check_folder(folder, commands())
        file.write_text(text)


@pytest.mark.parametrize("made", [False, True])
def test_nothing_to_check_is_an_error(tmp_path, made):
    if made:
        (tmp_path / "x").mkdir()
    with pytest.raises(ConfigError, match=r"no such folder|no files"):
        check_folder(tmp_path / "x", {})
