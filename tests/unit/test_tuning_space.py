"""Search spaces: what the shipped ones sample, and how a wrong one is named."""

import math
from pathlib import Path

import hyperopt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpo_ray.config import TrainConfig, load_train_config
from gpo_ray.errors import ConfigError
from gpo_ray.tuning.space import Dimension, ParameterDistribution, compile_search, load_search

FILES = sorted((Path(__file__).parents[2] / "tune_configs").glob("*.yaml"))
SPACE = {"space": {"learning_rate": {"loguniform": [1e-5, 1e-2]}}}


def draw(expressions, seed):
    return hyperopt.pyll.stochastic.sample(expressions, np.random.default_rng(seed))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_sample_of_a_shipped_space_is_valid(file, seed):
    _, space = load_search(file)
    sample = draw(space.expressions(), seed)
    config = space.train_config(sample)
    assert config.validation == space.base.validation
    for d in space.dimensions:
        assert d.decode(d.encode(d.decode(sample[d.key]))) == d.decode(sample[d.key])


def test_the_shipped_spaces():
    assert [f.stem for f in FILES] == ["default", "smoke", "wide"]
    for file in FILES:
        config, space = load_search(file)
        assert config.start[0] == "paper"
        for preset, start in zip(config.start, space.starts, strict=True):
            named = load_train_config(preset)
            for key, value in space.values(start).items():
                section, _, name = key.rpartition(".")
                assert getattr(getattr(named, section) if section else named, name) == value


def test_former_keys_are_searched_by_their_present_names():
    former = {"episodes.hidden_prior": {"choice": [0.0, 0.5]}}
    config, space = compile_search({"space": former, "start": [{"episodes.hidden_prior": 0.0}]}, "s.yaml")
    assert list(config.space) == ["episodes.masked_fraction"]
    assert space.train_config(space.starts[0]).episodes.masked_fraction == 0


@given(
    st.sampled_from(["uniform", "loguniform", "quniform", "qloguniform", "randint"]),
    st.integers(1, 50),
    st.integers(1, 50),
    st.sampled_from([1, 2, 5, 0.1, 0.25]),
    st.integers(0, 2**32 - 1),
)
def test_samples_stay_within_their_bounds(kind, low, width, step, seed):
    step = 1 if kind == "randint" else step
    bounds = [round(low * step, 9), round((low + width) * step, 9)]
    distribution = ParameterDistribution.model_validate(
        {kind: [*bounds, step] if kind.startswith("q") else bounds}
    )
    dimension = Dimension("steps", kind, distribution.arguments)
    value = dimension.decode(draw(dimension.expression(), seed))
    assert bounds[0] <= value <= bounds[1]
    assert dimension.decode(dimension.encode(value)) == value
    if kind.startswith("q"):
        assert math.isclose(value / step, round(value / step), abs_tol=1e-9)
    if kind == "randint" or (kind.startswith("q") and isinstance(step, int)):
        assert isinstance(value, int)


def test_both_ends_of_randint_are_sampled():
    dimension = Dimension("model.layers", "randint", (2, 4))
    assert {dimension.decode(draw(dimension.expression(), s)) for s in range(60)} == {2, 3, 4}


def test_numbers_as_yaml_reads_them_without_a_point(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(
        "space:\n  learning_rate: {loguniform: [1e-5, 1e-2]}\n  weight_decay: {choice: [0, 1e-3]}\n"
        "start: [gpo, {weight_decay: 1e-3}]\n"
    )
    config, space = load_search(file, trials=7, concurrent=None)
    assert (config.trials, config.concurrent) == (7, 2)
    assert space.dimensions[0].arguments == (1e-5, 1e-2)
    assert [space.values(s)["weight_decay"] for s in space.starts] == [0, 1e-3]


def test_a_list_among_the_choices_is_a_value():
    pairs = [[10, 100], [5, 50]]
    _, space = compile_search(
        {"space": {"episodes.context_questions": {"choice": pairs}}, "start": ["gpo"]}, "f"
    )
    assert space.starts == ({"episodes.context_questions": 0},)
    assert space.train_config({"episodes.context_questions": 1}).episodes.context_questions == (5, 50)


def test_steps_of_the_trials_are_not_those_of_the_start_points():
    rates = {"learning_rate": {"loguniform": [1e-5, 1e-2]}}
    _, space = compile_search({"steps": 7, "space": rates, "start": ["gpo"]}, "f")
    assert load_train_config("gpo").steps != 7
    assert [space.train_config(s).steps for s in space.starts] == [7]


def test_combinations_that_training_refuses_are_named():
    space = {"model.width": {"choice": [128, 36]}, "model.heads": {"choice": [4, 8]}}
    _, compiled = compile_search({"space": space}, "f")
    with pytest.raises(ConfigError, match=r"heads \(8\) must divide width \(36\)"):
        compiled.train_config({"model.width": 1, "model.heads": 1})


def test_what_a_space_reads_and_how_long():
    space = {"model.pooling": {"choice": ["mean", "last"]}, "steps": {"randint": [5, 9]}}
    _, compiled = compile_search({"space": space}, "f")
    assert (compiled.possible("model.pooling"), compiled.most_steps()) == (["mean", "last"], 9)
    _, compiled = compile_search(SPACE, "f")
    assert compiled.possible("model.pooling") == [compiled.base.model.pooling]
    assert compiled.most_steps() == compiled.base.steps
    assert isinstance(compiled.base, TrainConfig)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ["space"]),
        ({"space": {}}, ["space"]),
        (SPACE | {"trails": 3}, ["trails"]),
        (SPACE | {"trials": 0}, ["trials"]),
        (SPACE | {"scheduler": {"kind": "asha", "gracee": 3}}, ["scheduler.gracee"]),
        (SPACE | {"base": "no-such-preset"}, ["base", "no-such-preset"]),
        ({"space": {"model.widht": {"choice": [1]}}}, ["space.model.widht", "model.width"]),
        ({"space": {"model": {"choice": [{}]}}}, ["space.model", "no such value"]),
        ({"space": {"model.width": {}}}, ["space.model.width", "one prior"]),
        ({"space": {"model.width": None}}, ["space.model.width"]),
        ({"space": {"model.width": {"normal": [0, 1]}}}, ["space.model.width.normal"]),
        ({"space": {"model.width": {"choice": []}}}, ["space.model.width.choice"]),
        ({"space": {"model.width": {"choice": [4], "randint": [1, 2]}}}, ["space.model.width", "not 2"]),
        ({"space": {"learning_rate": {"loguniform": [1e-2, 1e-5]}}}, ["space.learning_rate", "ascend"]),
        ({"space": {"learning_rate": {"loguniform": [0, 1e-5]}}}, ["space.learning_rate", "above 0"]),
        ({"space": {"learning_rate": {"uniform": [0, 1e-5]}}}, ["space.learning_rate", "greater than 0"]),
        ({"space": {"learning_rate": {"uniform": [0.1]}}}, ["space.learning_rate.uniform"]),
        ({"space": {"steps": {"quniform": [5, 20, 10]}}}, ["space.steps", "multiples"]),
        ({"space": {"steps": {"quniform": [0, 20, 0]}}}, ["space.steps"]),
        ({"space": {"steps": {"uniform": [10, 20]}}}, ["space.steps", "integer"]),
        ({"space": {"model.heads": {"choice": [4, 3]}}}, ["space.model.heads", "must divide"]),
        ({"space": {"seed": {"randint": [0, 9]}}}, ["space.seed", "measured"]),
        ({"space": {"validation.every": {"randint": [1, 9]}}}, ["space.validation.every", "measured"]),
        (SPACE | {"start": ["no-such-preset"]}, ["start.0", "no-such-preset"]),
        (SPACE | {"start": ["gpo", {"learning_rate": 1}]}, ["start.1", "learning_rate", "not in the space"]),
        (SPACE | {"start": [{"model.width": 8}]}, ["start.0", "model.width", "not in the space"]),
    ],
)
def test_wrong_searches_are_named_in_one_line(values, words):
    with pytest.raises(ConfigError) as error:
        compile_search(values, "tune.yaml")
    assert str(error.value).startswith("tune.yaml: ")
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
