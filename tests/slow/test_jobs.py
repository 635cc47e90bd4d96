"""Every stage as a job of a Ray cluster, submitted as docs/cluster.md says."""

import re
import shutil
import time
from pathlib import Path

import pytest
import yaml
from job_cluster import JobCluster
from synthetic import survey, tiny_config, tiny_search
from synthetic_cluster import ROOT
from tiny_model import save_tiny_model

from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.model.bundle import read_bundle

pytestmark = [pytest.mark.slow, pytest.mark.minutes]


@pytest.fixture(scope="module")
def cluster():
    made = JobCluster()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with what must not be sent along: an environment, data, results and secrets."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("gpo_ray", "cluster"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    for place in (
        ".venv/lib/code.py",
        ".git/config",
        "survey/questions.parquet",
        "embeddings/shard-1.parquet",
        "bundle/manifest.json",
        "runs/x/metrics.jsonl",
        "quickstart-out/report.html",
        "elsewhere/weights.safetensors",
        "cluster/kuberay/overlays/gpu/secrets/gpo-storage.env",
    ):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text("not for the cluster")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory, clone):
    """Shared storage with a survey, and a configuration in the clone."""
    folder = tmp_path_factory.mktemp("shared")
    survey(groups=8, count=12).save(folder / "survey")
    config = tiny_config(steps=20).model_dump(mode="json")
    (clone / "train.yaml").write_text(yaml.safe_dump(config))
    search = tiny_search("train.yaml", 2)
    (clone / "search.yaml").write_text(yaml.safe_dump(search))
    return folder


def test_jobs_get_code_and_configuration_and_no_data(cluster, clone, data):
    done = cluster.submit("files", clone, "find", ".", "-type", "f")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {line for line in cluster.logs("files").splitlines() if line.startswith("./")}
    assert {"./gpo_ray/cli/stages.py", "./gpo_ray/presets/gpo.yaml", "./train.yaml", "./search.yaml"} <= found
    assert not [f for f in found if "not for the cluster" in (clone / f).read_text()]


def test_every_stage_runs_as_a_job(cluster, clone, data, tiny_language_model):
    places = ("--survey", data / "survey", "--embeddings", data / "embeddings")
    model = ("--model", tiny_language_model)
    embed = ("gpo", "embed", *places[:2], "--out", data / "embeddings", *model)
    embedded = cluster.result("embed", clone, *embed)
    assert (embedded["embedded"], embedded["reused"]) == (12, 0)
    train = ("gpo", "train", *places, "--out", data / "bundle", "--config", "train.yaml", "--workers", 2)
    assert cluster.result("train", clone, *train)["steps"] == 20
    assert read_bundle(data / "bundle").provenance["survey"]["path"] == str(data / "survey")
    tune = ("gpo", "tune", *places, "--out", data / "tuning", "--config", "search.yaml")
    tuned = cluster.result("tune", clone, *tune)
    assert (tuned["trials"], tuned["failed"]) == (2, 0)
    evaluate = ("gpo", "evaluate", *places, "--out", data / "evaluation", "--methods", "uniform,train-mean")
    cells = cluster.result("evaluate", clone, *evaluate, "--fractions", "0.5", "--context", 3)["cells"]
    assert len(cells) == 2 * 3
    assert (data / "evaluation" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("--survey", "/nowhere", "--out", "OUT"), "error: /nowhere: no such folder", 2),
        (("--survey", "SURVEY", "--out", "results"), "error: .*/results: .* deletes after the job", 2),
        (("--survey", "SURVEY", "--out", "OUT", "--actors", "999"), "error: embed: 999 actors", 3),
    ],
)
def test_what_is_wrong_fails_the_job_with_one_line(cluster, clone, data, arguments, message, code):
    job = f"wrong-{code}-{len(message)}"
    places = {"SURVEY": data / "survey", "OUT": data / "never"}
    given = [places.get(a, a) for a in arguments]
    done = cluster.submit(job, clone, "gpo", "embed", *given)
    assert done.returncode == 1
    status = cluster.status(job)
    assert "failed" in status
    assert f"exit code {code}" in status
    (line,) = [x for x in cluster.logs(job).splitlines() if x.startswith("error: ")]
    assert re.match(message, line), line


def test_a_stopped_job_goes_on_where_it_was(cluster, clone, tmp_path):
    dataset = survey(groups=2, count=60)
    dataset.save(tmp_path / "survey")
    sizes = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 4}
    model = save_tiny_model(tmp_path / "model", **sizes)
    out = tmp_path / "embeddings"
    command = ("gpo", "embed", "--survey", tmp_path / "survey", "--out", out, "--model", model)
    command += ("--batch-tokens", 256, "--no-readings", "--actors", 1)
    cluster.submit("stopped", clone, *command, wait=False)
    _wait_until(lambda: len(list(Path(out).glob("shard-*"))) >= 2, 120)
    assert cluster.ray("job", "stop", "stopped").returncode == 0
    assert "was stopped" in cluster.status("stopped")
    assert not (out / "manifest.json").exists()
    result = cluster.result("again", clone, *command)
    assert result["reused"] > 0
    assert result["embedded"] + result["reused"] == 60
    assert EmbeddingStore(out).load(dataset).vectors.shape[1] == 384


def _wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
