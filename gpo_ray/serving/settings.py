"""Settings of the service: the one argument of :func:`gpo_ray.serving.app.build_app`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from gpo_ray.config import StrictConfig, parse, read_yaml
from gpo_ray.errors import ConfigError
from gpo_ray.runtime.resources import ResourceRequest, serve_need

DEFAULT_DATABASE = "sqlite:///gpo-groups.sqlite"
PUBLIC = "public"
"""Tenant of everybody where no keys are needed."""


class Replicas(StrictConfig):
    """How many copies of a deployment, and what each may use."""

    min: int = Field(default=1, ge=1, le=10_000)
    """Copies at least."""
    max: int = Field(default=1, ge=1, le=10_000)
    """Copies at most; with more than ``min`` the number follows the load."""
    cpus: float = Field(default=1, gt=0, le=10_000)
    """Logical CPUs of each."""
    gpus: float = Field(default=0, ge=0, le=1_000)
    """GPUs of each."""
    queue: int = Field(default=64, ge=1)
    """Requests that wait for a free copy at most; more are told to come back later (429)."""


class Limits(StrictConfig):
    """What one request, and one key, may ask for."""

    body_bytes: int = Field(default=1_000_000, ge=1_000)
    """Longest body of a request; longer ones get 413."""
    body_seconds: float = Field(default=20, gt=0)
    """Time for a body to arrive; slower ones get 408."""
    requests_per_minute: int = Field(default=6_000, ge=1)
    """For each key, and for all requests together where no keys are needed; more get 429."""
    requests_at_once: int = Field(default=64, ge=1)
    """Likewise, requests that are not answered yet; more get 429."""
    request_seconds: float = Field(default=60, gt=0)
    """Time for a prediction; one that takes longer gets 504. What was embedded until then is kept."""
    context_responses: int = Field(default=2_000, ge=2)
    """Responses of the questions that a group answered, together; with more, 422."""
    question_responses: int = Field(default=4_000, ge=2)
    """Responses of the questions of one request, together; with more, 422."""
    question_tokens: int = Field(default=2_000, ge=1)
    """That the language model reads for one new question; with more, 422."""
    request_tokens: int = Field(default=40_000, ge=1)
    """That it reads for the new questions of one request, answered ones included; with more, 422."""
    page_sockets: int = Field(default=32, ge=1)
    """Pages that are open at once, each of which holds a connection."""
    page_sockets_each: int = Field(default=8, ge=1)
    """Likewise, of one client address."""
    page_requests_per_minute: int = Field(default=1_200, ge=1)
    """Requests for the page and its parts of one client address, of which a page that is opened counts as 20;
    more get 429."""


class ServeSettings(StrictConfig):
    """All settings of the service."""

    bundle: str
    """Folder or URI of the bundle to serve."""
    model: str | None = None
    """Language model; by default the one that the bundle was trained with."""
    embeddings: str | None = None
    """Embedding store whose questions need no language model."""
    survey: str | None = None
    """Survey whose questions the page offers, with the real shares beside the predicted ones."""
    database: str = Field(default_factory=lambda: os.environ.get("GPO_DATABASE", DEFAULT_DATABASE))
    """SQLAlchemy URL of the registry; SQLite serves one node, PostgreSQL (``postgresql+psycopg://``) many. By
    default what GPO_DATABASE says, since a URL may hold a password."""
    require_keys: bool = True
    """Whether every request under /v1 needs an API key."""
    page: bool = True
    """Whether to show the page at /."""
    limits: Limits = Limits()
    one_process: bool = False
    """Whether ingress and predictor are one process, which saves each request a hop between them; only with
    one replica of each. ``gpo serve`` sets it where that is so. A bundle is then swapped by the ingress's
    ``user_config``, and what ends one ends both."""
    ingress: Replicas = Replicas(queue=256)
    predictor: Replicas = Replicas()
    encoder: Replicas = Replicas(queue=32)
    batch_size: int = Field(default=32, ge=1)
    """Requests predicted together at most."""
    batch_wait_seconds: float = Field(default=0.002, ge=0, le=1)
    """How long a request waits for others."""
    cached_contexts: int = Field(default=10_000, ge=1)
    """Adapted groups that each predictor keeps."""
    cached_questions: int = Field(default=20_000, ge=1)
    """Embedded questions that each predictor keeps."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    def model_post_init(self, _: Any) -> None:
        """Check what a single field cannot."""
        for name in ("ingress", "predictor", "encoder"):
            replicas: Replicas = getattr(self, name)
            if replicas.max < replicas.min:
                raise ValueError(f"{name}: max ({replicas.max}) is less than min ({replicas.min})")

        if self.one_process and not self.may_be_one_process:
            raise ValueError(
                "one_process: needs ingress.max and predictor.max 1, and no GPU of the predictor's"
            )

    @property
    def may_be_one_process(self) -> bool:
        """Whether there is one ingress and one predictor, and neither a GPU."""
        return self.ingress.max == self.predictor.max == 1 and not self.predictor.gpus

    def need(self) -> ResourceRequest:
        """What has to run before the service answers."""
        names = [n for n in ("ingress", "predictor", "encoder") if n != "predictor" or not self.one_process]
        least: dict[str, Replicas] = {name: getattr(self, name) for name in names}
        return serve_need({name: (r.min, r.cpus, r.gpus) for name, r in least.items()})

    @property
    def processes(self) -> int:
        """Replicas that there may be at a time, of all deployments."""
        return self.ingress.max + (not self.one_process) * self.predictor.max + self.encoder.max

    def check_page(self) -> None:
        """Check that the page can be served with these settings.

        Raises:
            ConfigError: if there may be several ingress replicas.
        """
        if self.ingress.max > 1:
            raise ConfigError(
                f"page: needs ingress.max 1, not {self.ingress.max}: what a visitor sees lives in one "
                "process; set page: false, and serve the page as an application of its own"
            )


def load_settings(path: Path | None, given: dict[str, Any]) -> ServeSettings:
    """Settings from a YAML file, if any, with those given in the place of the file's.

    Raises:
        ConfigError: naming the file and the key that is wrong.
    """
    if path is None:
        if "bundle" not in given:
            raise ConfigError("gpo serve needs --bundle DIR, or --config FILE with a bundle in it")
        return parse(ServeSettings, given, "options")
    return parse(ServeSettings, read_yaml(path) | given, str(path))
