"""kill -9 of stages that write to an S3 server: nothing half-written is seen; the same command goes on."""

import random
import time

import numpy as np
import pytest
import yaml
from synthetic import survey, tiny_config, tiny_search, write_store
from tiny_model import save_tiny_model

from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import BundleError, ConfigError, EmbeddingError
from gpo_ray.model.bundle import read_bundle
from gpo_ray.runtime.storage import Folder

pytestmark = [pytest.mark.slow, pytest.mark.minutes]
STEPS = 200


@pytest.fixture
def bucket(s3):
    return s3.bucket()


def test_killed_embed_leaves_no_store_and_goes_on(gpo, s3, bucket, tmp_path):
    root = f"s3://{bucket}/some"
    dataset = survey(groups=2, count=60)
    dataset.save(f"{root}/survey")
    sizes = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 4}
    model = save_tiny_model(tmp_path / "model", **sizes)
    options = ("--model", model, "--batch-tokens", 256, "--no-readings", "--actors", 2, "--json")

    def command(out):
        return ("embed", "--survey", f"{root}/survey", "--out", out, *options)

    def shards():
        return [k for k in s3.keys(bucket) if k.startswith("some/store/shard-")]

    run = gpo(*command(f"{root}/store"))
    run.wait_until(lambda: len(shards()) >= 3, 180, "third shard")
    run.kill_all()
    kept = {k: s3.read(bucket, k) for k in shards()}
    store = EmbeddingStore(f"{root}/store")
    with pytest.raises(EmbeddingError, match=r"some/store: no manifest.json, so nothing complete is here"):
        store.load(dataset)
    later = gpo("train", "--survey", f"{root}/survey", "--embeddings", f"{root}/store", "--out", f"{root}/b")
    assert later.process.wait(60) == 2
    assert "nothing complete is here" in later.log.read_text()
    result = gpo(*command(f"{root}/store")).result()
    assert 0 < result["reused"] < 60
    assert result["damaged"] == {}
    assert result["embedded"] == 60 - result["reused"]
    assert all(s3.read(bucket, k) == data for k, data in kept.items())
    gpo(*command(tmp_path / "undisturbed")).result()
    expected = EmbeddingStore(tmp_path / "undisturbed").load(dataset)
    np.testing.assert_allclose(store.load(dataset).vectors, expected.vectors, atol=1e-4)


@pytest.fixture
def training(bucket, tmp_path):
    """``gpo train`` with many checkpoints, given where its data are and where it writes."""
    dataset = survey(groups=8, count=12)
    config = tiny_config(steps=STEPS).model_dump(mode="json")
    config["validation"] |= {"every": 5, "patience": 1000}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))

    def command(root, *more):
        dataset.save(f"{root}/survey")
        write_store(f"{root}/store", list(dataset.iter_questions()))
        places = ("--survey", f"{root}/survey", "--embeddings", f"{root}/store", "--out", f"{root}/bundle")
        return ("train", *places, "--config", tmp_path / "train.yaml", *more, "--json")

    return command


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_training_goes_on_and_ends_in_the_same_bundle(gpo, s3, bucket, training, tmp_path, seed):
    command = training(f"s3://{bucket}/some")

    def checkpoints():
        return {k for k in s3.keys(bucket) if "/checkpoint-" in k}

    run = gpo(*command)
    first = set()
    run.wait_until(lambda: first.update(checkpoints()) or len(first) > 10, 120, "second checkpoint")
    time.sleep(random.Random(seed).random() / 2)
    run.kill_all()
    with pytest.raises(BundleError, match=r"no such folder|nothing complete"):
        read_bundle(f"s3://{bucket}/some/bundle")
    result = gpo(*command).result(900)
    assert result["steps"] == STEPS
    assert 0 < result["resumed"][0] < STEPS
    gpo(*training(tmp_path)).result(900)  # a process of its own too: as many threads sum in the same order
    for name in ("model.safetensors", "config.json"):
        assert s3.read(bucket, f"some/bundle/{name}") == (tmp_path / "bundle" / name).read_bytes()


def test_killed_training_on_workers_goes_on(gpo, s3, bucket, training):
    command = training(f"s3://{bucket}/some", "--workers", 2, "--steps", 60)

    def checkpoints():
        return {k.split("/")[3] for k in s3.keys(bucket) if "/checkpoint_" in k}

    run = gpo(*command)
    seen = set()
    run.wait_until(lambda: seen.update(checkpoints()) or len(seen) > 2, 600, "third checkpoint")
    run.kill_all()
    with pytest.raises(BundleError, match=r"no such folder|nothing complete"):
        read_bundle(f"s3://{bucket}/some/bundle")
    result = gpo(*command).result(900)
    assert result["steps"] == 60
    assert 0 < result["resumed"][0] < 60
    assert read_bundle(f"s3://{bucket}/some/bundle").provenance["best_step"] == result["best_step"]


def test_killed_search_ends_with_every_trial_once(gpo, s3, bucket, training, tmp_path):
    root = f"s3://{bucket}/some"
    training(root)
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump(tiny_config(steps=60).model_dump(mode="json")))
    search = tiny_search(base, 4, concurrent=1)
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(search))
    places = ("--survey", f"{root}/survey", "--embeddings", f"{root}/store", "--out", f"{root}/tuning")
    command = ("tune", *places, "--config", tmp_path / "search.yaml", "--json")

    def ended():
        keys = [k for k in s3.keys(bucket) if k.startswith("some/tuning/trials/")]
        records = {k: s3.read(bucket, k) for k in keys}
        return {k: data for k, data in records.items() if b'"running"' not in data}

    run = gpo(*command)
    run.wait_until(lambda: len(ended()) >= 2, 240, "second trial")
    run.kill_all()
    kept = ended()
    with pytest.raises(ConfigError, match=r"no manifest\.json, so nothing complete"):
        Folder(f"{root}/tuning").read_manifest("tuning")
    result = gpo(*command).result(900)
    assert (result["trials"], result["failed"]) == (4, 0)
    assert ended().items() >= kept.items()
    assert len(ended()) == 4
    assert read_bundle(result["bundle"]).provenance["split"]
