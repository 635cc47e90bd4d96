"""Every stage on a GPU gives the numbers that it gives on the CPU."""

import json
import signal
import subprocess

import httpx
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from serving_cluster import free_ports, wait_for
from synthetic import questions, run_losses, survey, write_survey_and_store
from tiny_model import save_tiny_model

from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.model.bundle import read_bundle
from gpo_ray.model.estimator import GroupPreferenceModel
from gpo_ray.preferences.dataset import PreferenceDataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine"),
]
STEPS = 20


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A survey, a language model, and embeddings that do not come from it."""
    root = tmp_path_factory.mktemp("gpu")
    write_survey_and_store(root, survey(groups=12, count=40))
    save_tiny_model(root / "model", hidden_size=64, num_attention_heads=4, initializer_range=0.1)
    return root


@pytest.fixture
def embed(folders, gpo, tmp_path):
    def start(out, *arguments):
        places = ("--survey", folders / "survey", "--out", tmp_path / out, "--model", folders / "model")
        gpo("embed", *places, "--json", *arguments).result()
        store, dataset = EmbeddingStore(tmp_path / out), PreferenceDataset.load(folders / "survey")
        return {p: store.load(dataset, p).vectors for p in ("mean", "answer_mean", "last", "opinion")}

    return start


@pytest.fixture
def train(folders, gpo, tmp_path):
    def start(out, *arguments):
        config = tmp_path / "config.yaml"
        episodes = {"context_questions": [4, 12], "target_questions": [4, 12]}
        settings = {"steps": STEPS, "episodes": episodes, "standardize": True}
        settings |= {"validation": {"every": 10, "patience": 1000, "context_questions": 8}}
        config.write_text(yaml.safe_dump(settings))
        places = ("--survey", folders / "survey", "--embeddings", folders / "store", "--out", tmp_path / out)
        gpo("train", "--config", config, *places, "--fraction", 0.75, "--json", *arguments).result()
        return run_losses(tmp_path, out)

    return start


def relative_error(found, wanted):
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


def test_embeddings(embed):
    on_cpu = embed("cpu", "--gpus-per-actor", 0)
    for dtype, near in (("float32", 1e-5), ("bfloat16", 2e-2), ("float16", 3e-3)):
        on_gpu = embed(dtype, "--gpus-per-actor", 0.5, "--actors", 2, "--dtype", dtype)
        for pooling, wanted in on_cpu.items():
            assert relative_error(on_gpu[pooling], wanted) < near, (dtype, pooling)


def test_training(train, tmp_path):
    """One process and DeepSpeed, over NCCL or on the CPU beside a GPU, take the steps of the CPU."""
    on_cpu = train("cpu", "--workers", 0)
    assert on_cpu[-1] < on_cpu[0]
    weights = load_file(tmp_path / "cpu" / "model.safetensors")
    ways = {"gpu": ("--workers", 0, "--gpus-per-worker", 1), "gloo": ("--workers", 2)}
    for stage in (1, 2, 3):
        ways[f"zero{stage}"] = ("--workers", 1, "--zero-stage", stage, "--gpus-per-worker", 1)
    for name, how in ways.items():
        np.testing.assert_allclose(train(name, *how), on_cpu, atol=1e-3, err_msg=name)
        for key, tensor in load_file(tmp_path / name / "model.safetensors").items():
            np.testing.assert_allclose(tensor, weights[key], atol=1e-2, err_msg=f"{name} {key}")


def test_prediction(train, tmp_path):
    train("bundle", "--workers", 0)
    rng = np.random.default_rng(0)
    slates = [rng.normal(size=(n, 6)).astype(np.float32) for n in (2, 3, 4, 5, 6)]
    answers = [(x, rng.dirichlet(np.ones(len(x)))) for x in slates[:3]]
    found = {}
    for device in ("cpu", "cuda"):
        model = GroupPreferenceModel(read_bundle(tmp_path / "bundle"), device)
        found[device] = np.concatenate(model.adapt(answers).predict(slates))
    np.testing.assert_allclose(found["cuda"], found["cpu"], atol=1e-5)


@pytest.mark.parametrize("gpus", [0.5, 0])
def test_service(folders, gpo, tmp_path, monkeypatch, gpus):
    """Predictor and encoder on a GPU, or beside one, answer as ``gpo predict`` does without GPUs."""
    store = tmp_path / "store"
    places = ("--survey", folders / "survey", "--out", store, "--model", folders / "model")
    gpo("embed", *places, "--gpus-per-actor", 0, "--json").result()
    how = ("--config", "paper", "--steps", STEPS, "--json", "--out", tmp_path / "bundle")
    gpo("train", "--survey", folders / "survey", "--embeddings", store, *how).result()
    context = [_text(q) | {"choice": 0} for q in questions(3)]
    asked = [_text(q) for q in questions(6, seed=9)[3:]]

    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    settings = {"bundle": str(tmp_path / "bundle"), "model": str(folders / "model"), "page": False}
    settings |= {"database": f"sqlite:///{tmp_path}/groups.sqlite", "one_process": False}
    settings |= {name: {"cpus": 0.5, "gpus": gpus} for name in ("predictor", "encoder")}
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(settings))
    service = gpo("serve", "--config", tmp_path / "serve.yaml", "--port", port)
    wait_for(lambda: _ready(url), 180, "service")
    reply = httpx.post(f"{url}/v1/predict", json={"context": context, "questions": asked}, timeout=60)
    assert reply.status_code == 200, reply.text
    assert len(_using_gpu(service)) == (2 if gpus else 0)
    service.process.send_signal(signal.SIGTERM)
    service.process.wait(60)

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "context.json").write_text(json.dumps(context))
    (tmp_path / "questions.json").write_text(json.dumps(asked))
    files = ("--context", tmp_path / "context.json", "--questions", tmp_path / "questions.json")
    how = ("--model", folders / "model", "--json")
    on_cpu = gpo("predict", "--bundle", tmp_path / "bundle", *files, *how).result()["predictions"]
    for found, wanted in zip(reply.json()["predictions"], on_cpu, strict=True):
        np.testing.assert_allclose(found["share"], wanted["share"], atol=1e-4)


def _using_gpu(service):
    """Ids of the service's replicas that hold memory of a GPU."""
    query = ("nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader")
    listed = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    return {p.pid for p in service.workers("ServeReplica")} & set(map(int, listed))


def _text(question):
    return {"prompt": question.prompt, "responses": list(question.responses)}


def _ready(url):
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
