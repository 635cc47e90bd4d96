"""Meta-training in this process, from folders to a bundle."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from synthetic import flip_byte, questions, survey, tiny_config, write_store

from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import ConfigError, EmbeddingError, GPOError
from gpo_ray.meta_training.checkpoints import Checkpoints
from gpo_ray.meta_training.engine import LocalEngine, new_model
from gpo_ray.meta_training.local import train_local
from gpo_ray.meta_training.progress import Progress
from gpo_ray.meta_training.run import RunLog, TrainJob, prepare
from gpo_ray.model.bundle import read_bundle
from gpo_ray.model.estimator import GroupPreferenceModel
from gpo_ray.model.predict import fixed_context_tasks, predict_tasks, score
from gpo_ray.preferences.splits import draw_split
from gpo_ray.runtime.storage import Folder

DATASET = survey(8, 10, seed=1, answered=0.8)
BUNDLE = ("model.safetensors", "config.json", "provenance.json", "manifest.json")


class StoppedError(Exception):
    """A process that dies."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    DATASET.save(root / "survey")
    write_store(root / "store", questions(10, 1))
    return root


@pytest.fixture
def job(sources, tmp_path):
    return TrainJob(
        survey=str(sources / "survey"),
        embeddings=str(sources / "store"),
        out=str(tmp_path / "bundle"),
        storage=str(tmp_path / "runs"),
        name="run",
        config=tiny_config(standardize=True),
        split=draw_split(DATASET, 0.8, 0),
    )


def bundle_bytes(job):
    return {name: (Path(job.out) / name).read_bytes() for name in BUNDLE}


def metrics(job):
    lines = job.run_folder.read("metrics.jsonl").decode().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def die_at(monkeypatch, step, before_logging=True):
    """Make the process die at a report, with that step's checkpoint on disk."""
    write = RunLog.write

    def stop(self, history):
        if not before_logging:
            write(self, history)
        if history[-1]["step"] == step:
            self.close()
            raise StoppedError
        if before_logging:
            write(self, history)

    monkeypatch.setattr(RunLog, "write", stop)


def interrupted(job, step, **kwargs):
    with pytest.MonkeyPatch.context() as patch:
        die_at(patch, step, **kwargs)
        with pytest.raises(StoppedError):
            train_local(job)


def elsewhere(job, tmp_path):
    return dataclasses.replace(job, storage=str(tmp_path / "other runs"), out=str(tmp_path / "other bundle"))


def test_result_and_bundle(job):
    result = train_local(job)
    assert set(result) >= {"steps", "best_step", "validation_alignment", "seconds", "out", "run"}
    assert (result["steps"], result["out"]) == (12, job.out)
    loaded = GroupPreferenceModel.load(job.out)
    assert loaded.config.embedding_width == 6
    assert loaded.config.model == job.config.model
    assert loaded.provenance["best_step"] == result["best_step"]
    assert loaded.provenance["split"] == job.split.model_dump(mode="json")
    assert loaded.provenance["config"] == job.config.model_dump(mode="json")
    assert [m["step"] for m in metrics(job)] == [4, 8, 12]


def test_robust_run_logs_its_groups_weights_and_goes_on_with_them(job, tmp_path):
    job = dataclasses.replace(job, config=tiny_config(objective={"kind": "robust", "step_size": 2.0}))
    train_local(job)
    undisturbed = metrics(job)
    for line in undisturbed:
        assert list(line["group_weights"]) == list(job.split.train_groups)
        assert sum(line["group_weights"].values()) == pytest.approx(1)
        assert line["validation_worst"] <= line["validation_alignment"]
        assert line["worst_group_loss"] > 0
    again = elsewhere(job, tmp_path)
    interrupted(again, 8)
    train_local(again)
    assert metrics(again) == undisturbed
    assert bundle_bytes(again) == bundle_bytes(job)


@pytest.mark.parametrize("standardize", [False, True])
def test_bundle_predicts_on_raw_vectors_as_validated(job, standardize):
    job = dataclasses.replace(job, config=tiny_config(standardize=standardize))
    result = train_local(job)
    model = read_bundle(job.out).model
    data = prepare(dataclasses.replace(job, config=tiny_config())).data  # raw vectors
    tasks = fixed_context_tasks(data.arrays, data.validation_groups, data.questions, 2)
    predictions = predict_tasks(model, data.arrays, tasks)
    means = [np.nanmean(score(data.arrays, t, p)) for t, p in zip(tasks, predictions, strict=True)]
    assert np.mean(means) == pytest.approx(result["validation_alignment"], abs=1e-5)


def test_rerun_of_a_finished_run_returns_the_same(job, monkeypatch):
    first = train_local(job)
    before = bundle_bytes(job)

    def no_step(*_):
        raise AssertionError("a finished run took another step")

    monkeypatch.setattr(LocalEngine, "step", no_step)
    again = train_local(job)
    assert again | {"resumed": []} == first | {"resumed": []}
    assert bundle_bytes(job) == before


@pytest.mark.parametrize("step", [4, 8])
def test_run_that_died_goes_on_to_the_same_bundle(job, tmp_path, monkeypatch, step):
    undisturbed = elsewhere(job, tmp_path)
    train_local(undisturbed)
    interrupted(job, step)
    steps = []
    step_of = LocalEngine.step
    monkeypatch.setattr(LocalEngine, "step", lambda self, e, r: (steps.append(r), step_of(self, e, r))[1])
    train_local(job)
    assert len(steps) == 12 - step
    assert bundle_bytes(job) == bundle_bytes(undisturbed)
    assert metrics(job) == metrics(undisturbed)


@pytest.mark.parametrize(
    "before_logging",
    [
        True,
        False,
    ],
)
def test_run_that_died_at_its_last_report_ends_with_all_its_metrics(job, tmp_path, before_logging):
    undisturbed = elsewhere(job, tmp_path)
    train_local(undisturbed)
    interrupted(job, 12, before_logging=before_logging)
    train_local(job)
    assert bundle_bytes(job) == bundle_bytes(undisturbed)
    assert metrics(job) == metrics(undisturbed)


def test_half_written_checkpoint_is_passed_over(job):
    checkpoints = Checkpoints(job.run_folder)
    with checkpoints.newest() as found:
        assert found is None
    interrupted(job, 8)
    half = job.run_folder.local_path / "checkpoint-000000012"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    with checkpoints.newest() as found:
        assert Progress.load(found).step == 8


def test_damaged_checkpoint_is_named(job):
    interrupted(job, 8)
    flip_byte(job.run_folder.local_path / "checkpoint-000000008" / "model.safetensors")
    with pytest.raises(ConfigError, match=r"checkpoint-000000008/model.safetensors: does not match"):
        train_local(job)


def test_newest_of_several_checkpoints_is_taken(tmp_path):
    for step in (900, 1000, 99):
        folder = Folder(tmp_path).child(f"checkpoint-{step:09d}")
        folder.publish("checkpoint", {"step": str(step).encode()})
    with Checkpoints(Folder(tmp_path)).newest() as found:
        assert (found / "step").read_text() == "1000"


def test_only_the_newest_checkpoint_is_kept(job):
    train_local(job)
    root = job.run_folder.local_path
    assert [p.name for p in root.glob("checkpoint-*")] == ["checkpoint-000000012"]
    assert list(root.glob(".tmp-*")) == []
    assert not [p for p in root.rglob("*") if p.suffix in {".pt", ".pkl", ".pickle"}]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"config": tiny_config(seed=7)}, "config"),
        ({"split": draw_split(DATASET, 0.8, 1)}, "split"),
        ({"config": tiny_config(), "split": draw_split(DATASET, 0.8, 1)}, "config and split"),
    ],
)
def test_same_name_with_other_settings_is_refused(job, change, what):
    train_local(job)
    before = bundle_bytes(job)
    with pytest.raises(ConfigError, match=f"was started with another {what}; give another --name"):
        train_local(dataclasses.replace(job, **change))
    assert bundle_bytes(job) == before


def test_a_run_that_an_earlier_version_began_goes_on(job):
    train_local(job)
    before = job.run_folder.read("run.json")
    former = before.replace(b"masked_fraction", b"hidden_prior").replace(b"max_groups", b"most_groups")
    assert former != before
    job.run_folder.write("run.json", former)
    assert train_local(job)["steps"] == job.config.steps
    assert job.run_folder.read("run.json") == before


def test_same_name_with_another_survey_is_refused(job, tmp_path):
    train_local(job)
    survey(8, 10, seed=1, answered=0.9).save(tmp_path / "survey")
    with pytest.raises(ConfigError, match="was started with another survey"):
        train_local(dataclasses.replace(job, survey=str(tmp_path / "survey")))


def test_run_of_another_engine_is_refused_until_restarted(job):
    train_local(dataclasses.replace(job, engine="deepspeed, 2 workers, ZeRO 1"))
    with pytest.raises(ConfigError, match="another engine; give another --name, or --restart"):
        train_local(job)
    assert train_local(job, restart=True)["resumed"] == []


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "a/b", ".hidden"])
def test_run_name_cannot_leave_its_storage(job, name):
    with pytest.raises(ConfigError, match="run name"):
        dataclasses.replace(job, name=name)


def test_restart_removes_nothing_that_is_not_a_run(job):
    job.run_folder.write("precious.txt", b"mine")
    train_local(job, restart=True)
    assert job.run_folder.read("precious.txt") == b"mine"


def test_wrong_path_claims_no_run(job, tmp_path):
    with pytest.raises(EmbeddingError, match="nowhere"):
        train_local(dataclasses.replace(job, embeddings=str(tmp_path / "nowhere")))
    assert not job.run_folder.exists()
    train_local(job)


@pytest.mark.parametrize("place", ["survey", "file"])
def test_bundle_is_not_written_over_something_else(job, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    out = job.survey if place == "survey" else str(tmp_path / "file")
    before = (tmp_path / "file").read_text()
    with pytest.raises(GPOError, match="holds 'preferences'" if place == "survey" else "cannot be"):
        train_local(dataclasses.replace(job, out=out))
    assert not job.run_folder.exists()
    assert (tmp_path / "file").read_text() == before


def test_damaged_run_file_is_a_config_error(job):
    job.run_folder.write("run.json", b"{")
    with pytest.raises(ConfigError, match=r"run\.json"):
        train_local(job)


def test_store_without_the_surveys_questions_is_named(job, tmp_path):
    write_store(tmp_path / "store", questions(9, 1))
    with pytest.raises(EmbeddingError, match="lacks 1 of 10 questions"):
        train_local(dataclasses.replace(job, embeddings=str(tmp_path / "store")))


def test_standardized_training_sees_the_split_questions_at_mean_zero(job):
    prepared = prepare(job)
    arrays = prepared.data.arrays
    rows = arrays.x[arrays.rows(prepared.data.questions)]
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(0), 1, atol=1e-4)
    raw = EmbeddingStore(job.embeddings).load(DATASET).vectors
    weights = new_model(6, job.config).state_dict()
    folded = prepared.fold(weights)
    first = arrays.x @ weights["embedder.0.weight"][:, :-1].T + weights["embedder.0.bias"]
    again = raw @ folded["embedder.0.weight"][:, :-1].numpy().T + folded["embedder.0.bias"].numpy()
    np.testing.assert_allclose(again, first, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")
def test_diverged_training_does_not_end_in_a_traceback(job):
    job = dataclasses.replace(job, config=tiny_config(learning_rate=1e30))
    with pytest.raises(GPOError):
        train_local(job)
