"""A whole search on a small random survey: failures, resumption, and what it leaves."""

import contextlib
import dataclasses
import json
import threading
import time

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import ray
import yaml
from synthetic import TINY_MODEL, survey, tiny_config, write_survey_and_store

from gpo_ray.config import load_train_config
from gpo_ray.errors import ConfigError, ResourceError
from gpo_ray.evaluation.scoring import evaluate_config
from gpo_ray.model.episodes import Task
from gpo_ray.model.estimator import GroupPreferenceModel
from gpo_ray.prior.fitted import FittedPriors, PriorKey
from gpo_ray.tuning import job, search
from gpo_ray.tuning.finals import final_split
from gpo_ray.tuning.job import run_search
from gpo_ray.tuning.ledger import Ledger, TrialRecord
from gpo_ray.tuning.shared import SharedPriors, share
from gpo_ray.tuning.space import compile_search
from gpo_ray.tuning.trial import trial_data

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

SPACE = {
    "model.width": {"choice": [16, 18]},
    "model.heads": {"choice": [2, 4]},
    "learning_rate": {"choice": [1e-2, 1e-3, 1e30]},
}
START = [  # as sampled: indices of the choices
    {"model.width": 0, "model.heads": 0, "learning_rate": 0},
    {"model.width": 1, "model.heads": 1, "learning_rate": 0},  # refused by the configuration
    {"model.width": 0, "model.heads": 0, "learning_rate": 2},  # diverges
    {"model.width": 0, "model.heads": 0, "learning_rate": 1},
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tune")
    write_survey_and_store(root, survey(groups=8, count=12))
    config = tiny_config(steps=6, standardize=True).model_dump(mode="json")
    config["validation"]["every"] = 2
    (root / "base.yaml").write_text(yaml.safe_dump(config))
    return root


def compiled(folders, start=START, **changes):
    base = str(folders / "base.yaml")
    values = {"base": base, "against": base, "space": SPACE, "trials": 4}
    values |= {"scheduler": {"grace": 2, "reduction": 2}, "finalists": 1, "seeds": 2, "context": 3}
    config, space = compile_search(values | changes, "tiny.yaml")
    return config, dataclasses.replace(space, starts=tuple(start))


def run(folders, out, restart=False, **changes):
    places = (str(folders / "survey"), str(folders / "store"), str(out))
    return run_search(*compiled(folders, **changes), *places, restart=restart)


@pytest.fixture(scope="module")
def finished(folders):
    return run(folders, folders / "out"), folders / "out"


def test_failing_trials_are_recorded_and_the_others_end(finished):
    result, out = finished
    assert (result["trials"], result["failed"]) == (4, 2)
    rows = pq.read_table(out / "trials.parquet").to_pylist()
    assert [r["number"] for r in rows] == [0, 1, 2, 3]
    failed = sorted(r["reason"] for r in rows if r["status"] == "failed")
    assert failed[0].startswith("training diverged: the loss is nan at step")
    assert failed[1] == "trial: model: heads (4) must divide width (18)"
    for row in [r for r in rows if r["status"] != "failed"]:
        assert row["status"] in {"finished", "stopped"}
        assert row["reason"] is None
        assert 0 < row["validation_alignment"] <= 1
        assert [h["step"] for h in row["history"]] == list(range(2, row["steps"] + 1, 2))
        assert row["trained_alignment"] == max(h["validation_alignment"] for h in row["history"])
    assert result["steps"] == sum(r["steps"] for r in rows)


def test_what_a_search_leaves(finished):
    result, out = finished
    best = load_train_config(out / "best.yaml")
    assert best.learning_rate == result["best"]["values"]["learning_rate"]
    assert best.model.feedforward == TINY_MODEL["feedforward"]
    bundle = GroupPreferenceModel.load(str(out / "bundle"))
    assert bundle.provenance["config"] == best.model_dump(mode="json")
    test = set(bundle.provenance["split"]["test_groups"])
    rows = [r for p in (out / "finals").glob("*.json") for r in json.loads(p.read_text())["rows"]]
    assert {r["group_id"] for r in rows} == test
    assert not result["finals"]["questions_seen"]
    for protocol in ("paper", "new-questions"):
        gain = result["finals"]["gains"][protocol]
        assert gain["low"] <= gain["difference"] <= gain["high"]
        assert gain["rows"] == 2 * len(test)
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "heads (4) must divide width (18)" in page
    assert list((out / "tune").rglob("events.out.tfevents.*"))


def test_a_prior_is_fitted_once_and_shared_without_a_difference(folders):
    changes = {"space": {"model.prior": {"choice": ["memory", "none"]}}, "start": []}
    config, space = compiled(folders, **changes)
    sources = job.load_sources(config, space, str(folders / "survey"), str(folders / "store"))
    shared = share(sources.arrays)
    priors = search.fit_priors(config, space, shared, sources.split)
    assert len(priors) == 1
    with_prior = space.train_config({"model.prior": 0})
    pairs = [trial_data(with_prior, shared, p, sources.split) for p in (priors, {})]
    task = Task(pairs[0].validation_groups[0], pairs[0].questions[:2], pairs[0].questions[2:])
    for found, expected in zip(*(p.task_prior(task) for p in pairs), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (
        trial_data(space.train_config({"model.prior": 1}), shared, priors, sources.split).task_prior is None
    )
    pool, drawn = SharedPriors(shared, 1, 1), final_split(sources.split, "paper", 1)
    keys = [PriorKey.of(with_prior, drawn, g) for g in (drawn.train_groups, drawn.meta_train_groups)]
    assert pool.get(keys[0]) is pool.get(keys[0])
    assert pool.get(keys[0]) is not pool.get(keys[1])
    arguments = ("x", with_prior, sources.arrays[with_prior.model.pooling], drawn, 3)
    fitted = FittedPriors({k: ray.get(pool.get(k)) for k in keys})
    assert evaluate_config(*arguments, fitted) == evaluate_config(*arguments)


def test_a_finished_search_is_not_run_again(folders, finished, monkeypatch):
    def nothing(*_):
        raise AssertionError("a finished search was run again")

    monkeypatch.setattr(job, "run_trials", nothing)
    assert run(folders, finished[1]) == json.loads(json.dumps(finished[0]))
    with pytest.raises(ConfigError, match="another search was started here"):
        run(folders, finished[1], seed=1)


@pytest.mark.minutes
def test_more_trials_go_on_from_those_there_are(folders, finished, tmp_path):
    out = folders / "more"
    run(folders, out, trials=2, start=[START[3], START[0]])
    before = {p.name: p.read_bytes() for p in (out / "trials").glob("*.json")}
    result = run(folders, out, trials=5, start=[START[3], START[0]])
    assert result["trials"] == 5
    after = {p.name: p.read_bytes() for p in (out / "trials").glob("*.json")}
    assert len(after) == 5
    assert after.items() >= before.items()


def test_an_interrupted_trial_runs_first_and_under_its_number(folders, tmp_path):
    config, space = compiled(folders)
    ledger = Ledger(search.Folder(tmp_path / "trials"))
    ledger.records[7] = TrialRecord(7, space.starts[3])
    ledger.records[2] = TrialRecord(
        2,
        space.starts[0],
        "finished",
        history=[{"step": 6, "best_alignment": 0.5, "validation_alignment": 0.5, search.METRIC: 0.5}],
    )
    ledger.records[3] = TrialRecord(3, space.starts[2], "failed", "diverged")
    searcher = search.make_searcher(config, space, ledger)
    assert searcher.suggest("a") == space.starts[3]
    assert searcher.suggest("b") == space.starts[1]
    recorder = search.Recorder(ledger)
    trials = [search.SimpleNamespace(trial_id=name, config=space.starts[3]) for name in "ab"]
    for trial in trials:
        recorder.on_trial_start(0, [], trial)
    for step, trial in enumerate(trials, 1):
        recorder.on_trial_result(0, [], trial, dict.fromkeys(search.REPORTED, step) | {"time_total_s": 1.0})
    assert [r.number for r in ledger] == [2, 3, 7, 8]
    assert [ledger.records[number].steps for number in (7, 8)] == [1, 2]


def test_impossible_resources_are_refused_at_once(folders, tmp_path):
    with pytest.raises(ResourceError, match="2 trials with 5 GPU each: 10 GPU in all, the cluster has 0"):
        run(folders, tmp_path / "out", gpus=5)


def test_a_search_whose_trials_all_fail_says_why(folders, tmp_path):
    with pytest.raises(ConfigError, match="all 1 trials failed; most often: training diverged"):
        run(folders, tmp_path / "out", trials=1, start=[START[2]])


@pytest.mark.minutes
def test_trials_that_run_out_of_memory_are_recorded_and_the_search_goes_on(folders, tmp_path):
    space = {"model.width": {"choice": [16, 2**23]}, "steps": {"choice": [6, 10**6]}}
    start = [
        {"model.width": 0, "steps": 1},  # killed, as the kernel does
        {"model.width": 1, "steps": 0},  # layers of 2**48 bytes, beyond any address space
        {"model.width": 0, "steps": 0},
    ]
    out = tmp_path / "out"
    killed = []

    def first():
        file = out / "trials" / "00000.json"
        return json.loads(file.read_text()) if file.exists() else {"status": "absent"}

    def others_ended():
        files = [out / "trials" / f"{i:05d}.json" for i in (1, 2)]
        return all(f.exists() and json.loads(f.read_text())["status"] != "running" for f in files)

    def kill_the_first_trial_whenever_it_runs():
        for lost in range(1 + search.MAX_LOST):  # it runs again after the others
            while first()["status"] == "absent" or (lost and not others_ended()):
                time.sleep(0.1)
            while first()["status"] == "running" and first()["lost"] == lost:
                for process in psutil.Process().children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        if "ImplicitFunc" in process.name() + " ".join(process.cmdline()):
                            process.kill()
                time.sleep(0.1)
            killed.append(first()["status"])

    watcher = threading.Thread(target=kill_the_first_trial_whenever_it_runs, daemon=True)
    watcher.start()
    result = run(folders, out, start=start, space=space, trials=3, concurrent=1, scheduler={"kind": "none"})
    watcher.join()
    assert killed == ["running"] * search.MAX_LOST + ["failed"]
    rows = pq.read_table(out / "trials.parquet").to_pylist()
    assert [r["status"] for r in rows] == ["failed", "failed", "finished"]
    assert rows[0]["reason"].startswith("its process was killed, as happens where memory runs out: ")
    assert rows[1]["reason"].startswith("out of memory: ")
    assert (result["trials"], result["failed"], result["best"]["number"]) == (3, 2, 2)
