"""The profiles of clusters, and the files that are written from them."""

import itertools
import re
from pathlib import Path

import pytest
import yaml
from synthetic_cluster import ROOT
from typer.testing import CliRunner

from gpo_ray.cli import app
from gpo_ray.cluster.profile import RAY_VERSION, ClusterProfile, load_profile, profiles
from gpo_ray.cluster.references import calls
from gpo_ray.cluster.render import render
from gpo_ray.config import parse
from gpo_ray.errors import ConfigError
from gpo_ray.runtime.resources import (
    Capacity,
    Node,
    embed_request,
    evaluate_request,
    train_request,
    tune_request,
)
from gpo_ray.tuning.space import load_search

EMBED_LOCAL = "kuberay/overlays/local/rayjob-embed.yaml"
SHIPPED = {p: render(load_profile(p)) for p in profiles()}


def test_shipped_manifests_are_what_the_profiles_give_and_nothing_else():
    wanted = {place: text for files in SHIPPED.values() for place, text in files.items()}
    folders = [ROOT / "cluster" / name for name in ("kuberay", "ray_up")]
    found = {
        str(p.relative_to(ROOT / "cluster")): p.read_text()
        for folder in folders
        for p in folder.rglob("*")
        if p.is_file() and "secrets" not in p.parts
    }
    assert found == wanted


def test_both_profiles_share_the_base():
    base = [{k: v for k, v in files.items() if "/base/" in k} for files in SHIPPED.values()]
    assert base[0] == base[1]
    assert len(base[0]) == 3


def test_ray_is_the_tested_one():
    assert f"\nray=={RAY_VERSION}\n" in (ROOT / "constraints.txt").read_text()


def test_rendered_from_a_file_of_ones_own(tmp_path):
    values = load_profile("local").model_dump(mode="json")
    values |= {"name": "mine", "namespace": "opinions"}
    values["image"] |= {"repository": "host:5000/a/b", "version": "2", "pull_secret": "registry"}
    values["embed"] |= {"model": "org/model", "model_secret": "hub", "survey": None}
    values["serve"] |= {"redis": "redis:6379", "redis_secret": "redis"}
    values["storage"]["volume"]["storage_class"] = "fast"
    values["cluster"]["cpu"]["node_selector"] = {"pool": "ray"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    out = tmp_path / "files"
    done = CliRunner().invoke(
        app, ["cluster", "render", "--profile", str(tmp_path / "mine.yaml"), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    overlay = out / "kuberay" / "overlays" / "mine"
    service, budget = yaml.safe_load_all((overlay / "rayservice.yaml").read_text())
    assert budget["metadata"]["namespace"] == "opinions"
    assert service["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]["redisAddress"] == "redis:6379"
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    pod = group["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "ray"}
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["containers"][0]["image"] == "host:5000/a/b:2-cpu"
    (claim,) = yaml.safe_load_all((overlay / "storage.yaml").read_text())
    assert claim["spec"]["storageClassName"] == "fast"
    kustomization = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    assert [s["name"] for s in kustomization["secretGenerator"]] == ["hub", "redis"]
    (job,) = yaml.safe_load_all((overlay / "rayjob-embed.yaml").read_text())
    assert job["spec"]["entrypoint"].startswith("gpo embed ")
    first, second = calls(yaml.safe_load(SHIPPED["local"][EMBED_LOCAL])["spec"]["entrypoint"])
    assert first[:4] == ["gpo", "survey", "import", "gss"]
    assert second[:2] == ["gpo", "embed"]
    checked = CliRunner().invoke(app, ["cluster", "check", "--path", str(out)])
    assert checked.exit_code == 0, checked.output


def test_jobs_start_with_all_the_pods_they_ask_for():
    (job,) = yaml.safe_load_all(SHIPPED["gpu"]["kuberay/overlays/gpu/rayjob-embed.yaml"])
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    actors = int(re.search(r"--actors (\d+)", job["spec"]["entrypoint"])[1])
    assert group["groupName"] == "gpu"
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == actors
    assert "enableInTreeAutoscaling" not in job["spec"]["rayClusterSpec"]


NEEDS = {
    "embed": lambda o: embed_request(
        int(o["--actors"]), float(o["--cpus-per-actor"]), float(o["--gpus-per-actor"])
    ),
    "train": lambda o: train_request(int(o["--workers"])),
    "tune": lambda o: tune_request(
        load_search(ROOT / "tune_configs" / Path(o["--config"]).name, concurrent=int(o["--concurrent"]))[0]
    ),
    "evaluate": lambda o: evaluate_request(),
}


@pytest.mark.parametrize("profile", profiles())
@pytest.mark.parametrize("stage", NEEDS)
def test_what_a_stage_checks_for_is_there_before_any_autoscaler(profile, stage):
    (job,) = yaml.safe_load_all(SHIPPED[profile][f"kuberay/overlays/{profile}/rayjob-{stage}.yaml"])
    command = calls(job["spec"]["entrypoint"])[-1]
    options = dict(itertools.pairwise(command))
    nodes = []
    for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        has = container["resources"]["requests"]
        node = Node(group["groupName"], float(has["cpu"]), float(has.get("nvidia.com/gpu", 0)))
        nodes += [node] * group["minReplicas"]
    assert command[:2] == ["gpo", stage]
    assert Capacity(tuple(nodes)).problem(NEEDS[stage](options)) is None
    assert Capacity(()).problem(NEEDS[stage](options)) is not None


def test_a_survey_is_embedded_without_the_readings_where_no_preset_needs_them():
    values = load_profile("local").model_dump(mode="json")
    values["embed"]["readings"], values["train"]["config"] = False, "paper"
    job = render(parse(ClusterProfile, values, "here"))[EMBED_LOCAL]
    assert "--no-readings" in calls(yaml.safe_load(job)["spec"]["entrypoint"])[-1]
    values["train"]["config"] = "/opt/mine.yaml"
    parse(ClusterProfile, values, "here")


def change(values, *keys, to):
    for key in keys[:-1]:
        values = values[key]
    values[keys[-1]] = to


@pytest.mark.parametrize(
    ("keys", "to", "message"),
    [
        (("nmae",), "x", "nmae: Extra inputs"),
        (("name",), "Not a name", "name: String should match"),
        (("storage", "bucket"), "https://x/y", "storage.bucket: String should match"),
        (("image", "repository"), "Registry/x", "image.repository: String should match"),
        (("cluster", "cpu", "memory"), "32Gi", "cluster.cpu.memory: "),
        (("cluster", "cpu", "min"), 9, r"cluster.cpu: max \(8\) is less than min \(9\)"),
        (("cluster", "cpu", "gpus"), 1, "cluster: GPUs belong to the group gpu"),
        (("cluster", "gpu", "gpus"), 0, "cluster.gpu.gpus: a pod of this group needs at least one"),
        (("cluster", "gpu"), None, "embed.gpus_per_actor: 1 GPUs, a pod of cluster.gpu has 0"),
        (("embed", "actors"), 9, "embed.actors: needs 9 pods, the group's max is 8"),
        (("embed", "gpus_per_actor"), 2, "embed.gpus_per_actor: 2 GPUs, a pod of cluster.gpu has 1"),
        (("embed", "readings"), False, r"embed.readings: train.config gpo needs them \(last\+mean\+"),
        (("train", "workers"), 100, "train.workers: needs 15 pods, the group's max is 8"),
        (("train", "zero_stage"), 4, "train.zero_stage: "),
        (("serve", "encoder", "gpus"), 4, "serve.encoder.gpus: 4 GPUs, a pod of cluster.gpu has 1"),
        (("serve", "database"), "sqlite:///x", "serve: give one of database and database_secret"),
        (("serve",), {"database": "postgresql://a:b@host/c"}, "serve: database: may hold a password"),
        (("serve", "redis_secret"), "x", "serve: redis_secret without redis"),
        (("serve", "predictor"), {"min": 90, "max": 90}, "serve: needs 92 cores, cluster.cpu has at most 64"),
        (("jobs", "retries"), -1, "jobs.retries: "),
        (("clouds", "aws", "disk"), 1, "clouds.aws.disk: "),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(keys, to, message):
    values = load_profile("gpu").model_dump(mode="json")
    change(values, *keys, to=to)
    with pytest.raises(ConfigError, match=message):
        parse(ClusterProfile, values, "here")


def test_unknown_profile_lists_those_there_are():
    with pytest.raises(ConfigError, match=r"gpo: neither a file nor a profile \(profiles: gpu, local\)"):
        load_profile("gpo")


def test_unwritable_place_is_named(tmp_path):
    (tmp_path / "kuberay").write_text("in the way")
    done = CliRunner().invoke(app, ["cluster", "render", "--profile", "gpu", "--out", str(tmp_path)])
    assert isinstance(done.exception, ConfigError)
    assert "kuberay" in str(done.exception)
    assert Path(tmp_path / "kuberay").read_text() == "in the way"
