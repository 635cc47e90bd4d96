"""Configurations: strict, frozen, and every preset loads."""

import inspect
from importlib import resources

import pydantic
import pytest
import yaml

from gpo_ray import config
from gpo_ray.config import (
    EpisodeConfig,
    ModelConfig,
    ObjectiveConfig,
    TrainConfig,
    load_train_config,
    parse,
    present_keys,
    presets,
)
from gpo_ray.errors import ConfigError

FILES = sorted(p.name for p in (resources.files("gpo_ray") / "presets").iterdir())


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_every_file_of_the_preset_folder_is_a_preset():
    assert [f"{name}.yaml" for name in presets()] == FILES
    assert "paper" in presets()


@pytest.mark.parametrize("name", presets())
def test_preset_loads(name):
    assert isinstance(load_train_config(name), TrainConfig)


def test_paper_preset_is_the_published_model():
    model = load_train_config("paper").model
    assert model == ModelConfig(
        width=128, layers=6, heads=4, feedforward=128, embedder_depth=4, likelihood="gaussian", pooling="mean"
    )


def test_written_and_read_again_it_is_the_same(tmp_path):
    made = TrainConfig(steps=7, model=ModelConfig(width=12, heads=3), standardize=True)
    path = write(tmp_path, yaml.safe_dump(made.model_dump(mode="json")))
    assert load_train_config(path) == made


def test_changes_replace_top_level_values_and_none_leaves_them(tmp_path):
    path = write(tmp_path, "steps: 7\nseed: 3\n")
    assert load_train_config(path, steps=9, seed=None) == TrainConfig(steps=9, seed=3)


FORMER = "episodes: {hidden_prior: 0.25}\nvalidation: {most_groups: 7, least_gain: 0.5}\n"
PRESENT = "episodes: {masked_fraction: 0.25}\nvalidation: {max_groups: 7, min_gain: 0.5}\n"


def test_former_keys_mean_what_they_did(tmp_path):
    former = load_train_config(write(tmp_path, FORMER))
    assert former == load_train_config(write(tmp_path, PRESENT))
    assert former != TrainConfig()
    assert not {"hidden_prior", "most_groups", "least_gain"} & {*str(former.model_dump()).split("'")}


def test_a_key_given_by_both_of_its_names_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="least_gain: is the former name of min_gain"):
        load_train_config(write(tmp_path, "validation: {least_gain: 0.1, min_gain: 0.2}\n"))


def test_former_keys_in_records_of_earlier_runs_get_their_present_names():
    assert present_keys(yaml.safe_load(FORMER)) == yaml.safe_load(PRESENT)
    sample = {"episodes.hidden_prior": 1, "seed": [{"validation.most_groups": 2}]}
    assert present_keys(sample) == {"episodes.masked_fraction": 1, "seed": [{"validation.max_groups": 2}]}


def test_objective_may_be_given_as_a_plain_word(tmp_path):
    path = write(tmp_path, "objective: robust\n")
    assert load_train_config(path).objective == ObjectiveConfig(kind="robust")
    assert load_train_config(path, objective="average") == TrainConfig()
    assert load_train_config("gpo").objective.kind == "average"


def test_empty_file_gives_the_defaults(tmp_path):
    assert load_train_config(write(tmp_path, "")) == TrainConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz: 3", r"mine\.yaml: stepz: Extra inputs"),
        ("model: {widht: 3}", r"mine\.yaml: model\.widht: Extra inputs"),
        ("steps: 0", r"mine\.yaml: steps: .*greater than or equal to 1"),
        ("steps: many", r"mine\.yaml: steps: "),
        ("learning_rate: .nan", r"mine\.yaml: learning_rate: "),
        ("learning_rate: .inf", r"mine\.yaml: learning_rate: "),
        ("learning_rate: 0", r"mine\.yaml: learning_rate: "),
        ("seed: -1", r"mine\.yaml: seed: "),
        ("clip_norm: -1", r"mine\.yaml: clip_norm: "),
        ("objective: fair", r"mine\.yaml: objective\.kind: "),
        ("objective: {kind: fair}", r"mine\.yaml: objective\.kind: "),
        ("objective: {kind: robust, step_size: 0}", r"mine\.yaml: objective\.step_size: .*greater than 0"),
        ("objective: {kind: robust, step_size: -1}", r"mine\.yaml: objective\.step_size: "),
        ("objective: {kind: robust, eta: 1}", r"mine\.yaml: objective\.eta: Extra inputs"),
        ("objective: 3", r"mine\.yaml: objective: "),
        ("model: {width: 10, heads: 4}", r"mine\.yaml: model: .*heads \(4\) must divide width \(10\)"),
        ("model: {embedder_depth: 1}", r"mine\.yaml: model\.embedder_depth: "),
        (
            "model: {likelihood: poisson}",
            r"mine\.yaml: model\.likelihood: Input should be one of gaussian, cross_entropy, not poisson",
        ),
        ("model: {likelihood: 3}", r"mine\.yaml: model\.likelihood: "),
        ("model: {pooling: first}", r"mine\.yaml: model\.pooling: "),
        ("validation: {fraction: 1}", r"mine\.yaml: validation\.fraction: "),
        ("validation: {every: 0}", r"mine\.yaml: validation\.every: "),
        ("episodes: {context_questions: [5, 4]}", r"mine\.yaml: episodes: .*context_questions must be"),
        ("episodes: {target_questions: [0, 4]}", r"mine\.yaml: episodes: .*target_questions must be"),
        ("episodes: {target_questions: [1, 2, 3]}", r"mine\.yaml: episodes\.target_questions"),
        ("stepz: 3\nseeed: 1", r"mine\.yaml: .* \(and 1 more\)"),
        ("- 1", r"mine\.yaml: expected keys and values, found list"),
        ("a: [", r"mine\.yaml: not valid YAML"),
    ],
)
def test_bad_file_is_named_with_its_key(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_train_config(write(tmp_path, text))


def test_bad_change_is_named():
    with pytest.raises(ConfigError, match="preset paper: steps: "):
        load_train_config("paper", steps=-1)


def test_unknown_name_lists_the_presets():
    with pytest.raises(ConfigError, match=r"papr: neither a file nor a preset \(presets: .*paper"):
        load_train_config("papr")


def test_top_level_of_the_wrong_type_is_named():
    with pytest.raises(ConfigError, match=r"here: \(top level\): "):
        parse(EpisodeConfig, [1], "here")


def all_configs():
    classes = inspect.getmembers(config, inspect.isclass)
    return [c for _, c in classes if issubclass(c, config.StrictConfig) and c is not config.StrictConfig]


@pytest.mark.parametrize("model", all_configs())
def test_configs_are_frozen_strict_and_small(model):
    made = model()
    assert len(model.model_fields) <= 12
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        setattr(made, next(iter(model.model_fields)), 1)
    with pytest.raises(pydantic.ValidationError, match="extra"):
        model(unknown=1)
