"""The shipped Serve config file on a real Ray head: swaps and mistakes under load, and what is monitored."""

import contextlib
import copy
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import yaml
from serving_backend import answer, question, write_service_bundle
from serving_cluster import BIN, Head, wait_for
from serving_load import Load
from synthetic import flip_byte

import gpo_ray
from gpo_ray.model.bundle import read_bundle, write_bundle

pytestmark = pytest.mark.slow
CLUSTER = Path(gpo_ray.__file__).parents[1] / "cluster"
BODY = {"questions": [question(i) for i in range(9, 12)]}
SMALL = {"cpus": 0.3}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, tiny_language_model):
    """A bundle, another one, and a damaged one."""
    folder = tmp_path_factory.mktemp("bundles")
    first = write_service_bundle(folder / "first", tiny_language_model)
    bundle = read_bundle(first)
    weights = {name: 0.9 * w for name, w in bundle.model.state_dict().items()}
    write_bundle(folder / "second", weights, bundle.config, {}, bundle.prior)
    shutil.copytree(folder / "second", folder / "damaged")
    flip_byte(folder / "damaged" / "model.safetensors")
    return {name: str(folder / name) for name in ("first", "second", "damaged")}


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    database = tmp_path_factory.mktemp("database") / "groups.sqlite"
    with Head(GPO_DATABASE=f"sqlite:///{database}") as head:
        yield head


@pytest.fixture(scope="module")
def config(head, bundles):
    """The shipped file with other paths, ports and sizes."""
    config = yaml.safe_load((CLUSTER / "serve" / "config.yaml").read_text())
    config["http_options"] |= {"host": "127.0.0.1", "port": head.http_port}
    (application,) = config["applications"]
    application["args"] |= {
        "bundle": bundles["first"],
        "require_keys": False,
        "limits": {"requests_per_minute": 1_000_000},
        "ingress": {"min": 1, "max": 2, **SMALL},
        "predictor": {"min": 2, "max": 2, **SMALL},
        "encoder": SMALL,
    }
    (deployment,) = application["deployments"]
    deployment["user_config"]["bundle"] = bundles["first"]
    return config


@pytest.fixture(scope="module")
def service(head, config):
    """The deployed service with a group; gives the address that predicts for it."""
    head.deploy(config)
    running(head)
    made = httpx.put(f"{head.url}/v1/groups/g", json={"context": [answer(i) for i in range(4)]}, timeout=30)
    assert made.status_code == 201
    return f"{head.url}/v1/groups/g/predict"


def running(head):
    wait_for(lambda: head.application().get("status") == "RUNNING", 180, lambda: head.application())


def changed(config, swap_to=None, **args):
    config = copy.deepcopy(config)
    (application,) = config["applications"]
    application["args"] |= args
    if swap_to is not None:
        application["deployments"][0]["user_config"] = {"bundle": swap_to}
    return config


def readiness(head):
    """What the predictors say, of which each question reaches one."""
    replies = [httpx.get(f"{head.url}/readyz", timeout=20).json() for _ in range(8)]
    return {(r["bundle"], r.get("problem")) for r in replies}


@contextlib.contextmanager
def nothing_fails(service):
    with Load(service, BODY, 4) as load:
        time.sleep(2)
        yield load
        time.sleep(2)
    assert not load.failed()
    assert load.statuses[200] > 20


@pytest.mark.minutes
def test_bundles_are_swapped_under_load(head, config, service, bundles):
    first, second = (read_bundle(bundles[name]).id for name in ("first", "second"))
    assert readiness(head) == {(first, None)}
    with nothing_fails(service):
        head.deploy(changed(config, swap_to=bundles["damaged"]))
        wait_for(lambda: all(p for _, p in readiness(head)), 60, "problem")
        ((serving, problem),) = readiness(head)
        assert serving == first
        assert "damaged/model.safetensors: does not match its manifest" in problem
        assert head.application()["status"] == "RUNNING"
        wait_for(lambda: re.search(r"^ray_gpo_bundle_refused{.* 1.0$", head.metrics(), re.M), 40, "metric")
    with nothing_fails(service) as load:
        head.deploy(changed(config, swap_to=bundles["second"]))
        wait_for(lambda: readiness(head) == {(second, None)}, 60, "second bundle")
        swapped = len(load.answers)
        wait_for(lambda: len(load.answers) > swapped + 20, 30, "answers of the second bundle")
    assert {a["bundle"] for a in load.answers} == {first, second}
    assert {a["bundle"] for a in load.answers[-4:]} == {second}


@pytest.mark.minutes
@pytest.mark.parametrize(
    ("args", "reason"),
    [
        pytest.param(
            {"bundel": "/models/bundle"},
            "args: bundel: Extra inputs are not permitted",
            id="typo",
        ),
        pytest.param(
            {"bundle": "damaged"}, "damaged/model.safetensors: does not match its manifest", id="bundle"
        ),
        pytest.param({"page": True}, "page: needs ingress.max 1, not 2", id="page"),
    ],
)
def test_wrong_args_are_refused_while_all_goes_on(head, config, service, bundles, args, reason):
    args = {k: bundles.get(v, v) for k, v in args.items()}
    with nothing_fails(service):
        head.deploy(changed(config, **args))
        wait_for(lambda: head.application()["status"] == "DEPLOY_FAILED", 90, lambda: head.application())
        assert reason in head.application()["message"]
        assert reason in " ".join(head.command("status").split())
        assert all(problem is None for _, problem in readiness(head))
    with nothing_fails(service):
        head.deploy(config)
        running(head)


def exported(head):
    return set(re.findall(r"^(ray_\w+)(?=[{ ])", head.metrics(), re.MULTILINE))


@pytest.mark.minutes
def test_monitoring_names_metrics_that_there_are(head, service):
    files = [CLUSTER / "monitoring" / name for name in ("alerts.yml", "grafana-dashboard.json")]
    named = {name for f in files for name in re.findall(r"\bray_\w+", f.read_text())}
    assert len(named) > 8
    httpx.get(f"{head.url}/v1/groups/none", timeout=20)
    httpx.post(service, json=BODY, timeout=20)
    wait_for(lambda: named <= exported(head), 60, lambda: named - exported(head))
    discovered = (head.folder / "ray" / "prom_metrics_service_discovery.json").read_text()
    assert f":{head.ports['metrics-export-port']}" in discovered
    prometheus = yaml.safe_load((CLUSTER / "monitoring" / "prometheus.yml").read_text())
    assert (CLUSTER / "monitoring" / prometheus["rule_files"][0]).is_file()


def test_the_application_can_be_built(bundles, tmp_path):
    environment = os.environ | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "GPO_SERVE_BUNDLE": bundles["first"],
        "GPO_SERVE_DATABASE": f"sqlite:///{tmp_path}/g.sqlite",
        "GPO_SERVE_PAGE": "false",
        "GPO_SERVE_PREDICTOR": "{min: 2, max: 3}",
    }
    out = tmp_path / "built.yaml"
    done = subprocess.run(
        [BIN / "serve", "build", "gpo_ray.serving:app", "-o", out],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    deployments = {d["name"]: d for d in yaml.safe_load(out.read_text())["applications"][0]["deployments"]}
    assert set(deployments) == {"Ingress", "Predictor", "Encoder"}
    assert deployments["Predictor"]["autoscaling_config"]["max_replicas"] == 3
    assert deployments["Predictor"]["user_config"] == {"bundle": bundles["first"]}
