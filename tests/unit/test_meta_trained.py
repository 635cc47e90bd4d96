"""Methods that are meta-trained."""

import pytest

from gpo_ray.config import load_train_config
from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.methods import METHODS, FitSettings


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
def test_the_name_decides_before_the_settings(method, objective, preset, kind):
    settings = FitSettings(steps=3, objective=objective)
    assert METHODS[method].config(settings, 5) == load_train_config(preset, seed=5, steps=3, objective=kind)


def test_unknown_objective_is_named():
    with pytest.raises(ConfigError, match=r"preset gpo: objective\.kind"):
        METHODS["gpo"].needs(FitSettings(objective="fair"))
