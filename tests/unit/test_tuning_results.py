"""What is made of trials: ranks, importance, the finals' verdict."""

import pytest
from synthetic import survey

from gpo_ray.errors import ConfigError
from gpo_ray.preferences.splits import draw_split
from gpo_ray.storage import Folder
from gpo_ray.tuning.finals import AGAINST, _judge, reshuffled
from gpo_ray.tuning.ledger import FAILED, FINISHED, RUNNING, Ledger, TrialRecord
from gpo_ray.tuning.report import importance
from gpo_ray.tuning.space import compile_search


def record(number, alignment, status=FINISHED, **sample):
    return TrialRecord(number, sample, status, history=[{"step": 5, "best_alignment": alignment}])


def final(name, seed, validation, test):
    row = {"method": name, "seed": seed, "group_id": "g", "alignment": test, "curve": False}
    return {"rows": [row], "validation_alignment": validation}


def test_ledger_remembers_and_ranks(tmp_path):
    ledger = Ledger(Folder(tmp_path))
    assert ledger.start({"x": 1}).number == 0
    for r in (record(1, 0.5), record(2, 0.9), record(3, 0.99, FAILED), record(4, 0.7)):
        ledger.write(r)
    again = Ledger(Folder(tmp_path))
    assert [r.number for r in again.ranked()] == [2, 4, 1]
    assert [r.number for r in again.interrupted()] == [0]
    assert again.records[0].status == RUNNING
    assert again.start({"x": 1}).number == 5
    (tmp_path / "00002.json").write_text("{")
    with pytest.raises(ConfigError, match=r"00002\.json: damaged"):
        Ledger(Folder(tmp_path))


def test_importance_is_what_a_hyperparameter_explains():
    space = {"model.heads": {"choice": [2, 4]}, "learning_rate": {"uniform": [1e-4, 1]}}
    _, compiled = compile_search({"space": space}, "f")
    records = [record(i, i % 2, **{"model.heads": i % 2, "learning_rate": 1e-4 + i // 2}) for i in range(8)]
    found = importance(records, compiled)
    assert list(found) == ["model.heads", "learning_rate"]
    assert found["model.heads"] == pytest.approx(1)
    assert found["learning_rate"] == pytest.approx(0)


def test_finals_keep_the_test_groups_and_draw_the_rest_anew():
    split = draw_split(survey(10, 12), 0.6, 0, "new-questions", 0.4)
    drawn = [reshuffled(split, s) for s in range(4)]
    for d in drawn:
        assert (d.test_groups, d.new_questions) == (split.test_groups, split.new_questions)
        assert set(d.meta_train_groups) == set(split.meta_train_groups)
        assert len(d.validation_groups) == len(split.validation_groups)
    assert len({d.validation_groups for d in drawn}) > 1
    assert len({d.question_order for d in drawn}) == 4
    assert [d.seed for d in drawn] == [0, 1, 2, 3]


def test_winner_is_chosen_on_validation_groups_and_its_gain_told_on_test_groups():
    runs = {
        "trial-1": [final("trial-1", s, 0.8, 0.5) for s in range(2)],
        "trial-2": [final("trial-2", s, 0.7, 0.9) for s in range(2)],
        "trial-3": [final("trial-3", 0, 0.9, 0.9), {"rows": [], "validation_alignment": None, "reason": "?"}],
        AGAINST: [final(AGAINST, s, 0.95, 0.4) for s in range(2)],
    }
    verdict = _judge(runs)
    assert verdict["winner"] == "trial-1"
    assert verdict["gain"]["difference"] == pytest.approx(0.1)
    assert verdict["gain"]["rows"] == 2
    lost = {"rows": [], "validation_alignment": None, "reason": "diverged"}
    with pytest.raises(ConfigError, match="diverged"):
        _judge({"trial-1": [lost], AGAINST: runs[AGAINST]})
