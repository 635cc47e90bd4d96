"""The pipeline on three hosts, submitted from a fourth: a host is lost in every stage, and cut off for 30 s.

Hosts are network namespaces (``hosts.py``). What a stage leaves is compared with what one host makes of the
same. Run with -s to see, for each stage, how long it took to go on, and what was done twice.
"""

import json
import time

import hosts
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.torch import load_file
from synthetic import survey, tiny_config
from tiny_model import save_tiny_model

from gpo_ray.embedding.encoder import Encoder
from gpo_ray.embedding.language_model import find_model
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.evaluation.protocol import EvaluationPlan, evaluate_config, evaluate_split
from gpo_ray.model.episodes import PreferenceArrays
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.splits import Split

pytestmark = [pytest.mark.slow, pytest.mark.minutes]
QUESTIONS, GROUPS = 320, 8
EVERY, STEPS = 10, 120
CUT = 30
"""Seconds without a cable."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The folder that all hosts mount."""
    reason = hosts.why_not()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("shared")
    survey(groups=GROUPS, count=QUESTIONS).save(folder / "survey")
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4}
    save_tiny_model(folder / "model", **sizes)
    return folder


@pytest.fixture(scope="module")
def cluster(shared):
    (shared / "logs").mkdir()
    cluster = hosts.Cluster(shared / "logs")
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


class Strike:
    """A worker host is lost, and comes back at once."""

    def __init__(self, cluster, job, host, title):
        self._job, self._host, self._title = job, host, title
        job.wait_until(self.works, 120, f"work of {title} on {host.name}")
        self._cluster = cluster

    def works(self):
        """Whether a process of the stage's kind is on the host."""
        return bool(self.processes())

    def processes(self):
        found = []
        for pid in self._host.pids():
            try:
                found += [pid] if self._title in " ".join(psutil.Process(pid).cmdline()) else []
            except psutil.NoSuchProcess:
                continue
        return found

    def fall(self):
        self.at = time.monotonic()
        self._host.kill()
        self._node = self._cluster.join(self._host)

    def recovered(self, seconds=120):
        """Seconds from the loss until the host works again."""
        self._job.wait_until(self.works, seconds, f"{self._title} on {self._host.name} again")
        assert self._node.wait() == 0
        return round(time.monotonic() - self.at, 1)


def tell(stage, **facts):
    print(f"\n{stage}: " + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in facts.items()), flush=True)


def embed_command(shared, out):
    return (
        "embed", "--survey", shared / "survey", "--model", shared / "model", "--out", shared / out,
        "--actors", 2, "--batch-tokens", 512, "--json",
    )  # fmt: skip


def last_json(text):
    """The result that a job printed, which Ray's own lines follow."""
    return json.loads([line for line in text.splitlines() if line.startswith("{")][-1])


def shards(folder):
    """Shards by name, with what changes when one is written again."""
    return {p.name: p.stat().st_ino for p in folder.glob("shard-*.parquet")}


@pytest.fixture(scope="module")
def embedded(shared, cluster):
    """The store that two hosts made, one of which was lost; and what that took."""
    out = shared / "store"
    job = cluster.submit("embed", *embed_command(shared, "store"))
    strike = Strike(cluster, job, cluster.workers[0], "_EmbeddingActor")
    job.wait_until(lambda: len(shards(out)) >= 4, 180, "fourth shard")
    strike.fall()
    before = shards(out)
    facts = {"host_back_after": strike.recovered()}
    result = last_json(job.wait())
    after = shards(out)
    again = [name for name, inode in before.items() if after[name] != inode]
    facts["rows_redone"] = sum(pq.read_metadata(out / name).num_rows for name in again)
    facts["rows"] = sum(pq.read_metadata(out / name).num_rows for name in after)
    tell("embed", **facts)
    return result


def test_nobody_submits_without_the_token(cluster):
    for name, given in (("none", {"RAY_AUTH_TOKEN": None, "RAY_AUTH_MODE": "disabled"}), ("wrong", {"RAY_AUTH_TOKEN": "0" * 32})):
        job = cluster.submit(f"token-{name}", "preflight", **given)
        assert job.process.wait(60) != 0
        assert "AuthenticationError" in job.log.read_text()


def test_embeddings_are_those_of_one_host_each_once(shared, embedded):
    dataset = PreferenceDataset.load(shared / "survey")
    assert embedded["embedded"] == QUESTIONS
    tables = [pq.read_table(shared / "store" / name) for name in shards(shared / "store")]
    rows = sorted(
        pair
        for t in tables
        for pair in zip(*(t[c].to_pylist() for c in ("question_id", "response_index")), strict=True)
    )
    assert rows == sorted((q.question_id, i) for q in dataset.iter_questions() for i in range(len(q.responses)))
    some = list(dataset.iter_questions())[::8]
    encoder = Encoder(find_model(str(shared / "model")), "float32", "cpu", batch_tokens=4096)
    encoded = encoder.encode([(q.prompt, q.responses) for q in some])
    store = EmbeddingStore(shared / "store")
    for pooling in ("mean", "person"):
        vectors = store.load(dataset, pooling)
        for q, expected in zip(some, encoded, strict=True):
            number = int(q.question_id[1:])
            got = vectors.vectors[vectors.offsets[number] : vectors.offsets[number + 1]]
            np.testing.assert_allclose(got, expected.pooled(pooling), atol=1e-4)


def train_command(shared, out):
    return (
        "train", "--config", shared / "train.yaml", "--survey", shared / "survey", "--embeddings", shared / "store",
        "--out", shared / out, "--workers", 2, "--zero-stage", 1, "--fraction", 0.75, "--json",
    )  # fmt: skip


@pytest.fixture(scope="module")
def calm(shared, cluster, embedded):
    """What two workers of one host make of the same, undisturbed."""
    settings = {"steps": STEPS, "episodes": {"context_questions": [4, 12], "target_questions": [4, 12]}}
    settings |= {"validation": {"every": EVERY, "patience": 1000, "context_questions": 8}, "standardize": True}
    (shared / "train.yaml").write_text(yaml.safe_dump(settings))
    log = shared / "logs" / "calm.txt"
    alone = hosts.Job(cluster.client.start(hosts.BIN / "gpo", *train_command(shared, "calm"), log=log), log)
    return last_json(alone.wait())


def reported(shared, name):
    """Steps of a run's reports so far."""
    metrics = shared / "runs" / name / "metrics.jsonl"
    return [json.loads(line)["step"] for line in metrics.read_text().splitlines()] if metrics.exists() else []


def check_same_weights(shared, name):
    assert reported(shared, name) == list(range(EVERY, STEPS + 1, EVERY))
    found, expected = (load_file(shared / n / "model.safetensors") for n in (name, "calm"))
    assert all((found[k] == expected[k]).all() for k in expected)


def test_training_goes_on_with_the_same_weights(shared, cluster, calm):
    job = cluster.submit("train", *train_command(shared, "struck"))
    strike = Strike(cluster, job, cluster.workers[1], "RayTrainWorker")
    job.wait_until(lambda: len(reported(shared, "struck")) >= 4, 180, "fourth report")
    strike.fall()
    at = reported(shared, "struck")[-1]
    back = strike.recovered()
    goes_on = job.wait_until(lambda: reported(shared, "struck")[-1] > at, 120, "report after the loss")
    result = last_json(job.wait())
    (resumed,) = result["resumed"]
    tell("train", host_back_after=back, next_report_after=round(back + goes_on, 1), steps_redone=at - resumed)
    assert 0 <= at - resumed <= 2 * EVERY
    check_same_weights(shared, "struck")


def test_training_outlives_a_cut_cable(shared, cluster, calm):
    job = cluster.submit("cut", *train_command(shared, "cut"))
    job.wait_until(lambda: len(reported(shared, "cut")) >= 4, 180, "fourth report")
    host = cluster.workers[0]
    host.cut()
    at, cut = reported(shared, "cut")[-1], time.monotonic()
    time.sleep(CUT)
    assert reported(shared, "cut")[-1] <= at + EVERY
    host.mend()
    job.wait_until(lambda: reported(shared, "cut")[-1] > at + EVERY, 240, "report after the cut")
    went_on = round(time.monotonic() - cut - CUT, 1)
    result = last_json(job.wait())
    redone = sum(at - step for step in result["resumed"])
    tell("train, cut off", next_report_after_mending=went_on, times_resumed=len(result["resumed"]), steps_redone=redone)
    check_same_weights(shared, "cut")
