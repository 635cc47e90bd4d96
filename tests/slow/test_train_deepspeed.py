"""Ray Train with DeepSpeed on CPUs: every ZeRO stage, a killed worker, a rerun."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file
from synthetic import run_losses, survey, write_survey_and_store

from gpo_ray.errors import ConfigError
from gpo_ray.meta_training.driver import SNAPSHOT, check_snapshot
from gpo_ray.runtime.storage import Folder

pytestmark = pytest.mark.slow
WIDTH = 6

STEPS = 80
"""Enough that a worker can be killed in the middle."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("train")
    write_survey_and_store(root, survey(groups=12, count=40))
    return root


@pytest.fixture
def train(folders, gpo, tmp_path):
    """Start ``gpo train`` with a published-size model on the small survey."""

    def start(out, *arguments, steps=20, every=10):
        config = tmp_path / "config.yaml"
        episodes = {"context_questions": [4, 12], "target_questions": [4, 12]}
        settings = {"steps": steps, "episodes": episodes, "standardize": True}
        settings |= {"validation": {"every": every, "patience": 1000, "context_questions": 8}}
        config.write_text(yaml.safe_dump(settings))
        places = ("--survey", folders / "survey", "--embeddings", folders / "store", "--out", tmp_path / out)
        return gpo("train", "--config", config, *places, "--fraction", 0.75, "--json", *arguments)

    return start


@pytest.mark.parametrize("stages", [(2,), pytest.param((1, 3), marks=pytest.mark.minutes)])
def test_zero_stages_take_the_same_steps_as_one_process(train, tmp_path, stages):
    train("alone", "--workers", 0).result()
    alone = run_losses(tmp_path, "alone")
    assert len(alone) == 20
    assert alone[-1] < alone[0]
    weights = load_file(tmp_path / "alone" / "model.safetensors")
    for stage in stages:
        name = f"zero{stage}"
        result = train(name, "--workers", 2, "--zero-stage", stage).result()
        assert result["steps"] == 20
        np.testing.assert_allclose(run_losses(tmp_path, name), alone, atol=1e-4)
        for key, tensor in load_file(tmp_path / name / "model.safetensors").items():
            np.testing.assert_allclose(tensor, weights[key], atol=5e-3, err_msg=f"{name} {key}")


@pytest.mark.minutes
def test_robust_weights_are_those_of_one_process(train, tmp_path):
    train("alone", "--workers", 0, "--objective", "robust").result()
    train("two", "--workers", 2, "--objective", "robust").result()
    alone, two = (
        [json.loads(line) for line in (tmp_path / "runs" / n / "metrics.jsonl").read_text().splitlines()]
        for n in ("alone", "two")
    )
    for got, want in zip(two, alone, strict=True):
        np.testing.assert_allclose(got["losses"], want["losses"], atol=1e-4)
        assert got["group_weights"] == pytest.approx(want["group_weights"], abs=1e-4)


@pytest.mark.minutes
def test_killed_worker_resumes_within_two_reports_and_ends_with_the_same_weights(train, tmp_path):
    every = 10
    arguments = ("--workers", 2, "--zero-stage", 1)
    first = train("calm", *arguments, steps=STEPS, every=every).result()
    run = train("struck", *arguments, steps=STEPS, every=every)
    metrics = tmp_path / "runs" / "struck" / "metrics.jsonl"

    def reached():
        return int(json.loads(metrics.read_text().splitlines()[-1])["step"]) if metrics.exists() else 0

    run.wait_until(lambda: reached() >= 30, 180, "step 30")
    workers = run.workers("RayTrainWorker")
    assert len(workers) == 2
    at_kill = reached()
    os.kill(workers[1].pid, signal.SIGKILL)
    result = run.result()
    assert result["steps"] == STEPS
    assert run_losses(tmp_path, "struck") == pytest.approx(run_losses(tmp_path, "calm"), abs=1e-6)
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [m["step"] for m in lines] == list(range(every, STEPS + 1, every))
    assert len(result["resumed"]) == 1
    assert 0 <= at_kill - result["resumed"][0] <= 2 * every
    calm, struck = (load_file(tmp_path / n / "model.safetensors") for n in ("calm", "struck"))
    assert all((calm[k] == struck[k]).all() for k in calm)
    finished = (tmp_path / "calm" / "model.safetensors").read_bytes()
    again = train(
        "calm", *arguments, steps=STEPS, every=every
    ).result()  # a finished run is not trained again
    assert (tmp_path / "calm" / "model.safetensors").read_bytes() == finished
    assert again["best_step"] == first["best_step"]
    assert len(run_losses(tmp_path, "calm")) == STEPS


def test_checkpoint_runs_no_code(tmp_path):
    """Every ZeRO stage's is loaded; other pickles in any of its files are an error, and do nothing."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    program = Path(__file__).parent.parent / "deepspeed_checkpoints.py"
    command = [sys.executable, program, tmp_path, str(port)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.endswith("all right\n")


@pytest.mark.parametrize("name", ["../../victim", "/victim", "..", "a\0b"])
def test_rays_record_names_no_other_folder(tmp_path, name):
    result = {"version": 0, "checkpoint_dir_name": name, "metrics": {}}
    for record in (
        {"checkpoint_results": [result]},
        {"latest_checkpoint_result": result},
        {"validated_checkpoint_dir_names": ["checkpoint_1", name]},
    ):
        (tmp_path / SNAPSHOT).write_text(json.dumps(record))
        with pytest.raises(ConfigError, match="not the name of a file"):
            check_snapshot(Folder(tmp_path))
