"""The pipeline on three hosts, submitted from a fourth: a host is lost in every stage, and cut off for 30 s.

Hosts are network namespaces (``hosts.py``). What a stage leaves is compared with what one host makes of the
same. For each stage they print how long it took to go on, in seconds, and what was done twice.
"""

import json
import sys
import time

import hosts
import numpy as np
import pyarrow.parquet as pq
import pytest
import steady_client
import yaml
from safetensors.torch import load_file
from synthetic import survey, tiny_search
from tiny_model import save_tiny_model

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.encoder import Encoder
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.evaluation.plan import EvaluationPlan
from gpo_ray.evaluation.scoring import evaluate_config, evaluate_split
from gpo_ray.lm.find import find_model
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.splits import Split
from gpo_ray.serving.registry.database import open_database
from gpo_ray.serving.registry.keys import KeyRing
from gpo_ray.tuning import job as tuning
from gpo_ray.tuning.space import compile_search
from gpo_ray.tuning.trial import trial_config

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


@pytest.fixture(scope="module")
def tell(pytestconfig):
    """Print facts about a stage, also where pytest keeps what tests print."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def tell(stage, **facts):
        line = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in facts.items())
        with capture.global_and_fixture_disabled():
            sys.stdout.write(f"\n{stage}: {line}\n")

    return tell


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
def embedded(shared, cluster, tell):
    """The store that two hosts made, one of which was lost; and what that took."""
    out = shared / "store"
    job = cluster.submit("embed", *embed_command(shared, "store"))
    strike = hosts.Strike(cluster, job, cluster.workers[0], "_EmbeddingActor")
    job.wait_until(lambda: len(shards(out)) >= 4, hosts.PATIENCE, "fourth shard")
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
    for name, given in (
        ("none", {"RAY_AUTH_TOKEN": None, "RAY_AUTH_MODE": "disabled"}),
        ("wrong", {"RAY_AUTH_TOKEN": "0" * 32}),
    ):
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
    asked = list(dataset.iter_questions())
    assert rows == sorted((q.question_id, i) for q in asked for i in range(len(q.responses)))
    some = asked[::8]
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
    places = ("--survey", shared / "survey", "--embeddings", shared / "store", "--out", shared / out)
    command = ("train", "--config", shared / "train.yaml", *places, "--fraction", 0.75)
    return (*command, "--workers", 2, "--zero-stage", 1, "--json")


@pytest.fixture(scope="module")
def settings(shared):
    """The file of a configuration for training."""
    episodes = {"context_questions": [4, 12], "target_questions": [4, 12]}
    validation = {"every": EVERY, "patience": 1000, "context_questions": 8}
    values = {"steps": STEPS, "episodes": episodes, "validation": validation, "standardize": True}
    (shared / "train.yaml").write_text(yaml.safe_dump(values))
    return shared / "train.yaml"


@pytest.fixture(scope="module")
def calm(shared, cluster, embedded, settings):
    """What two workers of one host make of the same, undisturbed."""
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


def test_training_goes_on_with_the_same_weights(shared, cluster, calm, tell):
    job = cluster.submit("train", *train_command(shared, "struck"))
    strike = hosts.Strike(cluster, job, cluster.workers[1], "RayTrainWorker")
    job.wait_until(lambda: len(reported(shared, "struck")) >= 4, hosts.PATIENCE, "fourth report")
    strike.fall()
    at = reported(shared, "struck")[-1]
    back = strike.recovered()
    goes_on = job.wait_until(
        lambda: reported(shared, "struck")[-1] > at, hosts.PATIENCE, "report after the loss"
    )
    result = last_json(job.wait())
    (resumed,) = result["resumed"]
    tell("train", host_back_after=back, next_report_after=round(back + goes_on, 1), steps_redone=at - resumed)
    assert 0 <= at - resumed <= 2 * EVERY
    check_same_weights(shared, "struck")


def test_training_outlives_a_cut_cable(shared, cluster, calm, tell):
    job = cluster.submit("cut", *train_command(shared, "cut"))
    job.wait_until(lambda: len(reported(shared, "cut")) >= 4, hosts.PATIENCE, "fourth report")
    host = cluster.workers[0]
    host.cut()
    at, cut = reported(shared, "cut")[-1], time.monotonic()
    time.sleep(CUT)
    assert reported(shared, "cut")[-1] <= at + EVERY
    host.mend()
    started_again = []

    def goes_on():
        # TCP's waits have grown, so that the head may take the host for dead once the cable is back; its node
        # then ends itself, and has to be started again, as Kubernetes does
        if not started_again and "raylet/raylet" not in host.titles():
            host.kill()
            started_again.append(cluster.join(host))
        return reported(shared, "cut")[-1] > at + EVERY

    job.wait_until(goes_on, hosts.PATIENCE, "report after the cut")
    went_on = round(time.monotonic() - cut - CUT, 1)
    result = last_json(job.wait())
    assert all(node.wait() == 0 for node in started_again)
    redone = sum(at - step for step in result["resumed"])
    tell(
        "train, cut off",
        next_report_after_mending=went_on,
        nodes_started_again=len(started_again),
        times_resumed=len(result["resumed"]),
        steps_redone=redone,
    )
    check_same_weights(shared, "cut")


def test_no_trial_is_lost(shared, cluster, embedded, settings, tell):
    rates = [1e-3, 3e-4, 1e-4, 3e-5]
    values = tiny_search(
        settings,
        len(rates),
        space={"learning_rate": {"choice": rates}, "steps": {"choice": [60]}},
        start=[{"learning_rate": r, "steps": 60} for r in rates],
        finals_protocols=["paper"],
    )
    (shared / "search.yaml").write_text(yaml.safe_dump(values))
    places = ("--survey", shared / "survey", "--embeddings", shared / "store", "--out", shared / "tuning")
    job = cluster.submit("tune", "tune", "--config", shared / "search.yaml", *places, "--json")
    strike = hosts.Strike(cluster, job, cluster.workers[0], "ImplicitFunc")
    records = shared / "tuning" / "trials"
    job.wait_until(lambda: len(list(records.glob("*.json"))) >= 2, hosts.PATIENCE, "second trial")
    time.sleep(1)
    strike.fall()
    back = strike.recovered()
    result = last_json(job.wait())
    lost = [json.loads(p.read_text())["lost"] for p in sorted(records.glob("*.json"))]
    tell("tune", host_back_after=back, trials_redone=sum(lost))
    assert (result["trials"], result["failed"], len(lost)) == (len(rates), 0, len(rates))
    assert 1 <= sum(lost) <= 2
    search, space = compile_search(values, "search.yaml")
    sources = tuning.load_sources(search, space, str(shared / "survey"), str(shared / "store"))
    rows = pq.read_table(shared / "tuning" / "trials.parquet").to_pylist()
    assert sorted(r["learning_rate"] for r in rows) == sorted(rates)
    for row, times in zip(rows, lost, strict=True):
        assert row["steps"] == 60
        if times:
            config = trial_config(space.starts[rates.index(row["learning_rate"])], space)
            arrays = sources.arrays[config.model.pooling]
            _, alignment = evaluate_config("alone", config, arrays, sources.split, 3)
            assert row["validation_alignment"] == pytest.approx(alignment, abs=1e-6)


def test_every_split_is_scored_once(shared, cluster, embedded, tell):
    out = shared / "evaluation"
    places = ("--survey", shared / "survey", "--embeddings", shared / "store", "--out", out)
    options = ("--methods", "paper,uniform", "--fractions", 0.5, "--seeds", 4, "--steps", 60, "--context", 4)
    job = cluster.submit("evaluate", "evaluate", *places, *options, "--context-sizes", "", "--json")
    strike = hosts.Strike(cluster, job, cluster.workers[1], "_split_task")
    time.sleep(1)
    redone = len(strike.processes())
    strike.fall()
    back = strike.recovered()
    last_json(job.wait())
    tell("evaluate", host_back_after=back, splits_redone=redone)
    assert redone == 1
    plan = EvaluationPlan(("paper", "uniform"), 4, 60, ())
    dataset, store = PreferenceDataset.load(shared / "survey"), EmbeddingStore(shared / "store")
    arrays, _ = PreferenceArrays.load(dataset, store, plan.needs().poolings)
    splits = [Split(**s) for s in json.loads((out / "splits.json").read_text())]
    expected = [row for s in splits for row in evaluate_split(plan, arrays, s)]
    rows = pq.read_table(out / "results.parquet").to_pylist()
    assert [(r["method"], r["seed"], r["group_id"]) for r in rows] == [
        (r["method"], r["seed"], r["group_id"]) for r in expected
    ]
    np.testing.assert_allclose([r["alignment"] for r in rows], [r["alignment"] for r in expected], atol=1e-6)


def serve_config(shared, database):
    config = yaml.safe_load((hosts.ROOT / "cluster" / "serve" / "config.yaml").read_text())
    (application,) = config["applications"]
    small = {"min": 2, "max": 2, "cpus": 0.2}
    application["args"] |= {
        "bundle": str(shared / "calm"),
        "embeddings": str(shared / "store"),
        "database": database,
        "ingress": small,
        "predictor": small,
        "encoder": small,
    }
    application["deployments"] = []
    (shared / "serve.yaml").write_text(yaml.safe_dump(config))
    return shared / "serve.yaml"


@pytest.fixture
def serve(cluster):
    """Runs a ``serve`` command on the client; what it deploys is gone after the test."""

    def run(*arguments):
        log = cluster.logs / f"serve-{arguments[0]}.txt"
        command = (hosts.BIN / "serve", *arguments, "--address", cluster.dashboard)
        assert cluster.client.start(*command, log=log).wait(120) == 0, log.read_text()

    yield run
    run("shutdown", "-y")


def test_the_service_answers_while_a_host_is_lost(shared, cluster, calm, serve, tell):
    database = f"sqlite:///{shared}/groups.sqlite"
    engine = open_database(database)
    _, key = KeyRing(engine).create("test", "tenant", ["read", "write"])
    engine.dispose()
    serve("deploy", serve_config(shared, database))
    asked = list(PreferenceDataset.load(shared / "survey").iter_questions())[:8]
    slates = json.dumps([{"prompt": q.prompt, "responses": q.responses} for q in asked])
    place = shared / "served"
    place.mkdir()
    served = place / "requests.jsonl"
    host = cluster.workers[0]
    deadline = time.monotonic() + hosts.PATIENCE
    while any("ServeReplica" not in lines for lines in map(hosts.Host.titles, cluster.workers)):
        assert time.monotonic() < deadline, "no replicas on both hosts"
        time.sleep(0.5)
    url = f"http://{cluster.head.address}:8000"
    log = shared / "logs" / "served.txt"
    load = (sys.executable, steady_client.__file__, url, key, place, slates)
    job = hosts.Job(cluster.client.start(*load, log=log), log)
    strike = hosts.Strike(cluster, job, host, "ServeReplica")

    def answers():
        return [json.loads(x) for x in served.read_text().splitlines()] if served.exists() else []

    job.wait_until(lambda: len(answers()) >= 20, hosts.PATIENCE, "answers")
    strike.fall()
    back = strike.recovered()
    count = len(answers())
    job.wait_until(lambda: len(answers()) >= count + 20, hosts.PATIENCE, "answers after the loss")
    (place / "stop").touch()
    job.wait()
    took = [seconds for _, seconds, _ in answers()]
    failed = [shares for *_, shares in answers() if isinstance(shares, str)]
    tell("serve", host_back_after=back, requests=len(took), failed=len(failed), slowest=round(max(took), 1))
    assert not failed
    first = answers()[0][2]
    assert all(
        np.allclose(a, b, atol=1e-5) for _, _, shares in answers() for a, b in zip(shares, first, strict=True)
    )


def test_embedding_goes_on_without_a_host_that_stays_away(shared, cluster, tell):
    patience = {"env_vars": {"RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S": "15"}}
    command = embed_command(shared, "alone")
    job = cluster.submit("alone", *command, runtime=patience)
    strike = hosts.Strike(cluster, job, cluster.workers[0], "_EmbeddingActor")
    job.wait_until(lambda: len(shards(shared / "alone")) >= 4, hosts.PATIENCE, "fourth shard")
    strike.fall(comes_back=False)
    result = last_json(job.wait())
    assert (result["embedded"], result["reused"]) == (QUESTIONS, 0)
    tell("embed, host stays away", ended_after=round(time.monotonic() - strike.at, 1))
    rows = [pq.read_metadata(p).num_rows for p in (shared / "alone").glob("shard-*.parquet")]
    EmbeddingStore(shared / "alone").load(PreferenceDataset.load(shared / "survey"))
    assert sum(rows) == result["responses"]
