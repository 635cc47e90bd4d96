"""Which objective each method of an evaluation is meta-trained with."""

import pytest

from gpo_ray.config import load_train_config
from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.protocol import EvaluationPlan


@pytest.mark.parametrize(
    ("method", "objective", "preset", "kind"),
    [
        ("gpo", None, "gpo", "average"),
        ("gpo", "robust", "gpo", "robust"),
        ("paper", "robust", "paper", "robust"),
        ("gpo-robust", None, "gpo", "robust"),
        ("gpo-robust", "average", "gpo", "robust"),
    ],
)
def test_the_name_decides_before_the_plan(method, objective, preset, kind):
    plan = EvaluationPlan((method,), context=4, steps=3, objective=objective)
    assert plan.train_config(method, 5) == load_train_config(preset, seed=5, steps=3, objective=kind)


def test_unknown_objective_is_named():
    with pytest.raises(ConfigError, match=r"preset gpo: objective\.kind"):
        EvaluationPlan(("gpo",), context=4, objective="fair").train_config("gpo", 0)
