"""What is made of trials: ranks, importance, the finals' verdict."""

import importlib.util
import math

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.train import ControllerError, WorkerGroupError
from synthetic import survey

from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.protocols import PROTOCOLS
from gpo_ray.meta_training.driver import _why
from gpo_ray.preferences.splits import draw_split
from gpo_ray.runtime.storage import Folder
from gpo_ray.tuning.failures import reason, was_lost
from gpo_ray.tuning.finals import AGAINST, _judge, everything, final_split
from gpo_ray.tuning.ledger import FAILED, FINISHED, RUNNING, Ledger, TrialRecord
from gpo_ray.tuning.report import importance
from gpo_ray.tuning.space import compile_search
from gpo_ray.tuning.tracking import MlflowLog
from gpo_ray.tuning.trial import METRIC


def record(number, alignment, status=FINISHED, **sample):
    return TrialRecord(
        number, sample, status, history=[{"step": 5, "best_alignment": alignment, METRIC: alignment}]
    )


def final(name, seed, validation, test, protocol="paper"):
    row = {"method": name, "seed": seed, "group_id": "g", "alignment": test, "curve": False}
    return {"name": name, "protocol": protocol, "rows": [row], "validation_alignment": validation}


def test_ledger_remembers_and_ranks(tmp_path):
    ledger = Ledger(Folder(tmp_path))
    assert ledger.start({"x": 1}).number == 0
    for r in (record(1, 0.5), record(2, 0.9), record(3, 0.99, FAILED), record(4, 0.7)):
        ledger.write(r)
    again = Ledger(Folder(tmp_path))
    assert [r.number for r in again.ranked()] == [2, 4, 1]
    again.records[1].history[0] |= {"best_alignment": 0.9, METRIC: 0.95}
    assert [r.number for r in again.ranked()] == [1, 2, 4]  # a tie is broken by what training made of it
    assert [r.number for r in again.interrupted()] == [0]
    assert again.records[0].status == RUNNING
    assert again.start({"x": 1}).number == 5
    (tmp_path / "00002.json").write_text("{")
    with pytest.raises(ConfigError, match=r"00002\.json: damaged"):
        Ledger(Folder(tmp_path))


@pytest.mark.parametrize(
    "sample", [{}, {"model.width": 7.0}, {"model.width": -8.0}, {"model.width": math.nan}, {"steps": 0.0}]
)
def test_a_record_of_another_space_is_an_error(tmp_path, sample):
    _, space = compile_search({"space": {"model.width": {"choice": [64, 128]}}}, "s.yaml")
    Ledger(Folder(tmp_path), space.values).start({"model.width": 1.0})
    assert len(Ledger(Folder(tmp_path), space.values).records) == 1
    Ledger(Folder(tmp_path)).start(sample)
    with pytest.raises(ConfigError, match=r"00001\.json: damaged"):
        Ledger(Folder(tmp_path), space.values)


def test_importance_is_what_a_hyperparameter_explains():
    space = {"model.heads": {"choice": [2, 4]}, "learning_rate": {"uniform": [1e-4, 1]}}
    _, compiled = compile_search({"space": space}, "f")
    records = [record(i, i % 2, **{"model.heads": i % 2, "learning_rate": 1e-4 + i // 2}) for i in range(8)]
    found = importance(records, compiled)
    assert list(found) == ["model.heads", "learning_rate"]
    assert found["model.heads"] == pytest.approx(1)
    assert found["learning_rate"] == pytest.approx(0)


@pytest.mark.parametrize("protocol", ["paper", "new-questions"])
def test_finals_keep_the_test_groups_and_draw_the_rest_anew(protocol):
    split = draw_split(survey(10, 12), 0.6, 0, PROTOCOLS["new-questions"], 0.4)
    drawn = [final_split(split, protocol, s) for s in range(4)]
    for d in drawn:
        assert (d.protocol, d.test_groups) == (protocol, split.test_groups)
        assert set(d.meta_train_groups) == set(split.meta_train_groups)
        assert len(d.validation_groups) == len(split.validation_groups)
        kept = set(split.new_questions) if protocol == "new-questions" else set()
        assert set(d.new_questions) == kept
        assert set(d.question_order) == {f"q{i}" for i in range(12)} - kept
    assert len({d.validation_groups for d in drawn}) > 1
    assert len({d.question_order for d in drawn}) == 4
    assert [d.seed for d in drawn] == [0, 1, 2, 3]
    assert set(everything(split).question_order) == {f"q{i}" for i in range(12)}


def test_finals_draw_new_questions_where_the_search_kept_none():
    split = draw_split(survey(10, 12), 0.6, 0, PROTOCOLS["paper"], 0.4)
    drawn = [final_split(split, "new-questions", s) for s in range(4)]
    assert {len(d.new_questions) for d in drawn} == {3}
    assert len({frozenset(d.new_questions) for d in drawn}) > 1


def test_winner_is_chosen_on_validation_groups_and_its_gain_told_on_test_groups():
    lost = {"rows": [], "validation_alignment": None, "reason": "diverged"}
    names = ["trial-1", "trial-2", "trial-3", AGAINST]
    runs = [final("trial-1", s, 0.8, 0.5 + 0.1 * s) for s in range(2)]
    runs += [final("trial-1", s, 0.8, 0.3, "new-questions") for s in range(2)]
    runs += [final("trial-2", s, 0.7, 0.9, p) for s in range(2) for p in ("paper", "new-questions")]
    runs += [final("trial-3", 0, 0.9, 0.9), lost | {"name": "trial-3", "protocol": "paper"}]
    against = [final(AGAINST, s, 0.95, 0.4, p) for s in range(2) for p in ("paper", "new-questions")]
    verdict = _judge(runs + against, names, ("paper", "new-questions"))
    assert verdict["winner"] == "trial-1"
    assert verdict["gains"]["paper"]["difference"] == pytest.approx(0.15)
    assert verdict["gains"]["new-questions"]["difference"] == pytest.approx(-0.1)
    assert verdict["gains"]["paper"]["rows"] == 2
    assert verdict["candidates"][0]["test_alignment"] == {
        "paper": pytest.approx(0.55),
        "new-questions": pytest.approx(0.3),
    }
    assert [c["failed"] for c in verdict["candidates"]] == [0, 0, 1, 0]
    with pytest.raises(ConfigError, match="diverged"):
        _judge([lost | {"name": "trial-1", "protocol": "paper"}, *against], ["trial-1", AGAINST], ("paper",))


def test_reasons_tell_of_memory():
    assert reason(RayTaskError("f", "", MemoryError("no room"))) == "out of memory: MemoryError: no room"
    assert reason(ConfigError("a\nb")) == "a b"
    killed = reason(ActorDiedError())
    assert killed.startswith("its process was killed, as happens where memory runs out: ")
    assert "\n" not in killed
    assert reason(KeyError("x")) == "KeyError: 'x'"


def three_trials(folder):
    ledger = Ledger(Folder(folder))
    report = {"step": 5, "loss": 0.4, "ended": True, "best_alignment": 0.8, METRIC: 0.8}
    for number, status in enumerate((FINISHED, FAILED, RUNNING)):
        ledger.write(TrialRecord(number, {"learning_rate": 0.01}, status, "diverged", history=[report]))
    return Ledger(Folder(folder))


SPACE = {"space": {"learning_rate": {"uniform": [1e-4, 1]}}}


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
@pytest.mark.filterwarnings("ignore")  # of MLflow's own code
def test_mlflow_has_every_trial_once(tmp_path):
    from mlflow import MlflowClient

    uri, (_, space) = f"sqlite:///{tmp_path}/mlflow.db", compile_search(SPACE, "f")
    ledger = three_trials(tmp_path / "trials")
    MlflowLog(uri, "search", space).write(ledger)
    ledger.records[2].status = FINISHED
    MlflowLog(uri, "search", space).write(ledger)
    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("search").experiment_id])
    assert {r.info.run_name: r.info.status for r in runs} == {
        "trial-0": "FINISHED",
        "trial-1": "FAILED",
        "trial-2": "FINISHED",
    }
    failed = next(r for r in runs if r.info.status == "FAILED")
    assert failed.data.tags["reason"] == "diverged"
    assert failed.data.params == {"learning_rate": "0.01"}
    (loss,) = client.get_metric_history(failed.info.run_id, "loss")
    assert (loss.step, loss.value) == (5, 0.4)
    with pytest.raises(ConfigError, match="mlflow: nonsense://x: "):
        MlflowLog("nonsense://x", "search", space)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="mlflow is installed")
def test_mlflow_that_is_not_installed_is_named():
    with pytest.raises(ConfigError, match=r"mlflow: not installed; pip install 'gpo-ray\[mlflow\]'"):
        MlflowLog("sqlite:///m.db", "search", compile_search(SPACE, "f")[1])


def test_a_lost_process_is_told_from_an_error():
    lost = ActorDiedError()
    wrong = ConfigError("training diverged")
    assert was_lost(lost)
    assert was_lost(RayTaskError("f", "traceback", lost))
    assert was_lost(WorkerGroupError("two failed", {0: wrong, 1: lost}))
    assert not was_lost(wrong)
    assert not was_lost(RayTaskError("f", "traceback", wrong))
    assert not was_lost(WorkerGroupError("one failed", {0: wrong}))


def test_what_ended_a_training_run_is_named():
    never = ControllerError(RuntimeError("Traceback:\n  in setup\nRuntimeError: connectFullMesh failed"))
    assert _why(never) == "its workers could not be started (RuntimeError: connectFullMesh failed)"
    assert _why(WorkerGroupError("gone", {1: ActorDiedError()})).startswith("it lost workers 4 times")
