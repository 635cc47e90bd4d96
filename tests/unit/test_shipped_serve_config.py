"""The Serve config file that ships: Serve itself ignores keys that it does not know."""

from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

import gpo_ray
from gpo_ray.cluster.ray_schemas import unknown_keys
from gpo_ray.config import parse
from gpo_ray.serving.app import app_from_environment
from gpo_ray.serving.deployments import Predictor, SwapConfig
from gpo_ray.serving.settings import ServeSettings

CONFIG = Path(gpo_ray.__file__).parents[1] / "cluster" / "serve" / "config.yaml"


@pytest.fixture
def config():
    return yaml.safe_load(CONFIG.read_text())


def test_serve_knows_every_key(config):
    assert list(unknown_keys(ServeDeploySchema, config)) == []
    ServeDeploySchema.model_validate(config)


def test_the_check_sees_a_typo_that_serve_does_not(config):
    config["http_option"] = {}
    config["http_options"]["hots"] = "0.0.0.0"
    config["applications"][0]["deployments"][0] |= {
        "num_replica": 3,
        "ray_actor_options": {"cpus": 1},
        "autoscaling_config": {"min": 1},
    }
    ServeDeploySchema.model_validate(config)
    assert set(unknown_keys(ServeDeploySchema, config)) == {
        "http_option",
        "http_options.hots",
        "applications.0.deployments.0.num_replica",
        "applications.0.deployments.0.ray_actor_options.cpus",
        "applications.0.deployments.0.autoscaling_config.min",
    }


def test_its_settings_are_ours(config):
    (application,) = config["applications"]
    settings = parse(ServeSettings, application["args"], "args")
    assert settings.require_keys
    assert not settings.page  # several ingress replicas
    (deployment,) = application["deployments"]
    assert deployment["name"] == Predictor.__name__
    assert parse(SwapConfig, deployment["user_config"], "user_config").bundle == settings.bundle


def test_settings_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("GPO_SERVE_BUNDLE", str(tmp_path))
    for value, said in (("{max: 0}", "environment: ingress.max"), ("{max", "GPO_SERVE_INGRESS: not valid")):
        monkeypatch.setenv("GPO_SERVE_INGRESS", value)
        with pytest.raises(gpo_ray.errors.ConfigError, match=said):
            app_from_environment()
