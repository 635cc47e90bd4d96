"""Build the Serve application, which a Serve config file names as ``gpo_ray.serving:build_app``."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from ray import serve
from ray.serve import Application

from gpo_ray.config import parse
from gpo_ray.errors import ConfigError
from gpo_ray.model.texts import bundle_language_model
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.runtime.documents import parse_yaml
from gpo_ray.serving.deployments import EncoderDeployment, Ingress, Predictor
from gpo_ray.serving.inference.encoding import EmbeddingCache
from gpo_ray.serving.inference.predictor import BatchPredictor
from gpo_ray.serving.instance import running
from gpo_ray.serving.reach import check_reach
from gpo_ray.serving.registry.database import open_database
from gpo_ray.serving.settings import Replicas, ServeSettings

KEYS_AT_ONCE = 4
"""Number of keys whose limits of requests at once all keys together have."""
TARGET_ONGOING = 32
"""Ongoing requests for each replica above which more replicas are started."""
ENVIRONMENT = "GPO_SERVE_"
"""Prefix of the environment variables from which ``app`` takes its settings."""


def build_app(settings: ServeSettings | dict[str, Any]) -> Application:
    """Return the application for ``serve run``, ``serve deploy`` and :func:`ray.serve.run`.

    Everything that could make a replica fail is checked here first: a failing replica is started again and
    again, and the reason is hard to find.

    Args:
        settings: settings of the service, or the ``args`` of a Serve config file.

    Raises:
        ConfigError: if a setting is wrong, or no keys are needed where Serve listens to other machines.
        GPOError: if the bundle, the language model, the store, the survey or the database cannot be used.
    """
    if not isinstance(settings, ServeSettings):  # Serve does not parse by annotations that are strings
        settings = parse(ServeSettings, settings, "args")
    instance = running()
    check_reach(settings.require_keys, instance and instance.http_config.host, "http_options.host")
    check(settings)
    return assemble(settings)


def assemble(settings: ServeSettings, patience: float = 20) -> Application:
    """Return the application for settings that :func:`check` has accepted.

    Args:
        settings: settings of the service.
        patience: seconds that requests in flight have when replicas have to stop.
    """
    options = partial(_deployment_options, patience=patience)
    # Several keys may ask at once: a request that waits here takes only memory.
    places = KEYS_AT_ONCE * settings.limits.requests_at_once
    encoder = serve.deployment(EncoderDeployment, name="Encoder").options(**options(settings.encoder, places))
    serving = {"bundle": settings.bundle}
    outside = places + settings.limits.page_sockets
    ingress = serve.deployment(Ingress, name="Ingress")
    if settings.one_process:
        made = ingress.options(**options(settings.ingress, outside, user_config=serving))
        return made.bind(settings, encoder.bind(settings))
    predictor = serve.deployment(Predictor, name="Predictor").options(
        **options(settings.predictor, places, user_config=serving)
    )
    made = ingress.options(**options(settings.ingress, outside))
    return made.bind(settings, predictor.bind(settings, encoder.bind(settings)))


def check(settings: ServeSettings) -> None:
    """Check that everything that the settings name can be used.

    Raises:
        GPOError: if something cannot be used; the message says what and why.
    """
    config = BatchPredictor(settings.bundle).config
    bundle_language_model(config, settings.model, settings.bundle)
    EmbeddingCache(settings.embeddings, config, capacity=1)
    open_database(settings.database).dispose()
    if settings.page:
        settings.check_page()
        if settings.survey:
            PreferenceDataset.load(settings.survey)


def app_from_environment() -> Application:
    """Return the application with settings from ``GPO_SERVE_BUNDLE``, ``GPO_SERVE_DATABASE`` and so on.

    Settings that hold several values are written as in YAML: ``GPO_SERVE_INGRESS={max: 2, cpus: 0.5}``.

    Raises:
        ConfigError: if ``GPO_SERVE_BUNDLE`` is not set or a setting is wrong.
        GPOError: as in :func:`build_app`.
    """
    values = {
        name.removeprefix(ENVIRONMENT).lower(): _value(name, value)
        for name, value in os.environ.items()
        if name.startswith(ENVIRONMENT)
    }
    if "bundle" not in values:
        raise ConfigError("gpo_ray.serving:app takes its settings from the environment; set GPO_SERVE_BUNDLE")
    return build_app(parse(ServeSettings, values, "environment"))


def _value(name: str, text: str) -> Any:
    if not text.startswith("{"):
        return text
    return parse_yaml(text, f"environment: {name}", ConfigError)[0]


def _deployment_options(
    replicas: Replicas, ongoing: int, user_config: dict[str, Any] | None = None, patience: float = 20
) -> dict[str, Any]:
    """Return deployment options with which ``ongoing`` requests run on each replica at the same time.

    A replica that has to stop gives them ``patience`` seconds.
    """
    found: dict[str, Any] = {
        "ray_actor_options": {"num_cpus": replicas.cpus, "num_gpus": replicas.gpus},
        "max_ongoing_requests": ongoing,
        "max_queued_requests": replicas.queue,
        "backpressure_config": {"status_code": 429, "retry_after_s": 1},
        "health_check_period_s": 5,
        "health_check_timeout_s": 30,
        "graceful_shutdown_timeout_s": patience,
        "graceful_shutdown_wait_loop_s": 0.2,
    }
    if replicas.max > replicas.min:
        found["autoscaling_config"] = {
            "min_replicas": replicas.min,
            "max_replicas": replicas.max,
            "target_ongoing_requests": min(TARGET_ONGOING, max(1, ongoing // 2)),
        }
    else:
        found["num_replicas"] = replicas.min
    if user_config is not None:
        found["user_config"] = user_config
    return found
