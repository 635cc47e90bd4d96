"""The whole pipeline on an S3 server gives what it gives on local folders."""

import json
import os

import pytest
import ray
import yaml
from synthetic import survey, tiny_config, tiny_search
from typer.testing import CliRunner

from gpo_ray.cli import app
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.runtime.storage import Folder

pytestmark = [pytest.mark.ray, pytest.mark.minutes]


@pytest.fixture
def cluster(s3):
    """A local cluster whose processes find the server."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.fixture
def files(tmp_path):
    """Configurations, and a group's answers."""
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump(tiny_config(steps=8).model_dump(mode="json")))
    search = tiny_search(base, 2, concurrent=1)
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(search))
    return tmp_path


def pipeline(root, files, model):
    """Every stage below ``root``; returns what they report, without times and places."""

    def gpo(*arguments):
        done = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout.strip().splitlines()[-1])

    places = ("--survey", f"{root}/survey", "--embeddings", f"{root}/store")
    survey(groups=8, count=12).save(f"{root}/first")
    survey(groups=8, count=12).save(f"{root}/second")
    Folder(root).write(
        "in/context.json", json.dumps([{"prompt": "P?", "responses": ["a", "b"], "choice": 0}]).encode()
    )
    Folder(root).write("in/questions.json", json.dumps([{"prompt": "Q?", "responses": ["a", "b"]}]).encode())
    train = ("--config", files / "base.yaml", "--fraction", 0.8)
    evaluate = ("--methods", "uniform,train-mean,ridge-mix", "--fractions", 0.5, "--seeds", 1, "--context", 3)
    asked = ("--context", f"{root}/in/context.json", "--questions", f"{root}/in/questions.json")
    found = {
        "merge": gpo("survey", "merge", f"{root}/first", f"{root}/second", "--out", f"{root}/survey"),
        "show": gpo("survey", "show", f"{root}/survey"),
        "embed": gpo("embed", *places[:2], "--out", f"{root}/store", "--model", model, "--actors", 1),
        "train": gpo("train", *places, "--out", f"{root}/bundle", *train),
        "workers": gpo("train", *places, "--out", f"{root}/bundle2", *train, "--workers", 2),
        "evaluate": gpo("evaluate", *places, "--out", f"{root}/evaluation", *evaluate),
        "tune": gpo("tune", *places, "--out", f"{root}/tuning", "--config", files / "search.yaml"),
        "inspect": gpo("bundle", "inspect", f"{root}/tuning/bundle"),
        "predict": gpo("predict", "--bundle", f"{root}/tuning/bundle", *asked, "--model", model),
        "preflight": gpo("preflight", "--stage", "evaluate", "--storage", f"{root}/elsewhere")["storage"],
    }
    found["bundles"] = [
        Folder(f"{root}/{b}").read("model.safetensors") for b in ("bundle", "bundle2", "tuning/bundle")
    ]
    found["vectors"] = (
        EmbeddingStore(f"{root}/store").load(PreferenceDataset.load(f"{root}/survey")).vectors.tolist()
    )
    return found


VARIES = {
    "out",
    "run",
    "report",
    "bundle",
    "config",
    "seconds",
    "trial_seconds",
    "workers",
    "path",
    "uri",
    "free",
}
"""Times, places, and names of processes."""


def without(values):
    if isinstance(values, dict):
        return {k: without(v) for k, v in values.items() if k not in VARIES}
    return [without(v) for v in values] if isinstance(values, list) else values


@pytest.mark.usefixtures("cluster")
def test_all_stages_on_uris_give_what_they_give_on_folders(s3, files, tiny_language_model):
    root = f"s3://{s3.bucket()}/some/place"
    remote = pipeline(root, files, tiny_language_model)
    assert remote["tune"]["bundle"] == f"{root}/tuning/bundle"
    assert remote["workers"]["run"] == f"{root}/runs/bundle2"
    assert remote["evaluate"]["report"] == f"{root}/evaluation/report.html"
    assert (remote["tune"]["trials"], remote["tune"]["failed"]) == (2, 0)
    local = pipeline(files / "local", files, tiny_language_model)
    assert without(remote) == without(local)
