"""Settings of the service; they are the one argument of :func:`gpo_ray.serving.app.build_app`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from gpo_ray.config import StrictConfig, parse, read_yaml
from gpo_ray.errors import ConfigError
from gpo_ray.runtime.resources import ResourceRequest, serve_request
from gpo_ray.serving.bounds import MAX_BODY_BYTES, REQUESTS_AT_ONCE

DEFAULT_DATABASE = "sqlite:///gpo-groups.sqlite"
PUBLIC = "public"
"""The tenant of all callers if no keys are needed."""


class Replicas(StrictConfig):
    """How many replicas of a deployment run, and what each may use."""

    min: int = Field(default=1, ge=1, le=10_000)
    """Least number of replicas."""
    max: int = Field(default=1, ge=1, le=10_000)
    """Most replicas; if it is more than ``min``, the number follows the load."""
    cpus: float = Field(default=1, gt=0, le=10_000)
    """Logical CPUs of each replica."""
    gpus: float = Field(default=0, ge=0, le=1_000)
    """GPUs of each replica."""
    queue: int = Field(default=64, ge=1)
    """Most requests that wait for a free replica; further ones get 429 and may come back later."""


class Limits(StrictConfig):
    """Limits on what one request, one key and one visitor of the page may ask for."""

    body_bytes: int = Field(default=1_000_000, ge=1_000, le=MAX_BODY_BYTES)
    """Most bytes of a request's body; longer ones get 413."""
    body_seconds: float = Field(default=20, gt=0)
    """Seconds for a body to arrive; slower ones get 408."""
    requests_per_minute: int = Field(default=6_000, ge=1)
    """Most requests in a minute of each key, or of all callers if no keys are needed; more get 429."""
    requests_at_once: int = Field(default=REQUESTS_AT_ONCE, ge=1)
    """Most unanswered requests of each key, or of all callers if no keys are needed; more get 429."""
    request_seconds: float = Field(default=60, gt=0)
    """Seconds for a prediction; a longer one gets 504, but keeps what was embedded until then."""
    context_responses: int = Field(default=2_000, ge=2)
    """Most responses of all questions that a group answered, together; more get 422."""
    question_responses: int = Field(default=4_000, ge=2)
    """Most responses of all questions of one request, together; more get 422."""
    question_tokens: int = Field(default=2_000, ge=1)
    """Most tokens that the language model reads for one new question; more get 422."""
    request_tokens: int = Field(default=40_000, ge=1)
    """Most tokens that the language model reads for all new questions of one request, answered ones included;
    more get 422."""
    stored_bytes: int = Field(default=2**31, ge=1_000)
    """Most bytes of the answers of one tenant's groups; a put beyond gets 507. They are counted about once a
    minute, and each put in between counts in full."""
    page_sockets: int = Field(default=32, ge=1)
    """Most pages that are open at once; each of them holds a connection."""
    page_sockets_each: int = Field(default=8, ge=1)
    """Most pages that one client address has open at once."""
    page_requests_per_minute: int = Field(default=1_200, ge=1)
    """Most requests of one client address in a minute for the page and its parts; more get 429. Opening a
    page counts as 20 requests."""


class ServeSettings(StrictConfig):
    """All settings of the service."""

    bundle: str
    """Folder or URI of the bundle to serve."""
    model: str | None = None
    """Language model; by default the one that the bundle was trained with."""
    embeddings: str | None = None
    """Embedding store; the questions in it need no language model."""
    survey: str | None = None
    """Survey whose questions the page offers; it shows their real shares beside the predicted ones."""
    database: str = Field(default_factory=lambda: os.environ.get("GPO_DATABASE", DEFAULT_DATABASE))
    """SQLAlchemy URL of the registry; SQLite serves one node, PostgreSQL (``postgresql+psycopg://``) many.
    The default is GPO_DATABASE, an environment variable since a URL may hold a password."""
    require_keys: bool = True
    """Whether every request under /v1 needs an API key."""
    page: bool = True
    """Whether to show the page at /."""
    limits: Limits = Limits()
    one_process: bool = False
    """Whether ingress and predictor are one process, which saves each request a hop between processes; this
    needs one replica of each. ``gpo serve`` sets it where possible. A bundle is then swapped by the ingress's
    ``user_config``, and a failure that ends one of the two ends both."""
    ingress: Replicas = Replicas(queue=256)
    predictor: Replicas = Replicas()
    encoder: Replicas = Replicas(queue=32)
    batch_size: int = Field(default=32, ge=1)
    """Most requests that are predicted together."""
    batch_wait_seconds: float = Field(default=0.002, ge=0, le=1)
    """Seconds that a request waits for others to be predicted with it."""
    cached_contexts: int = Field(default=10_000, ge=1)
    """Adapted groups that each predictor keeps in memory."""
    cached_questions: int = Field(default=20_000, ge=1)
    """Embedded questions that each predictor keeps in memory."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    def model_post_init(self, _: Any) -> None:
        """Check conditions that concern several fields."""
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
        """Return whether there is one ingress and one predictor, and the predictor needs no GPU."""
        return self.ingress.max == self.predictor.max == 1 and not self.predictor.gpus

    def resource_request(self) -> ResourceRequest:
        """Return the replicas that have to run before the service answers."""
        names = [n for n in ("ingress", "predictor", "encoder") if n != "predictor" or not self.one_process]
        least: dict[str, Replicas] = {name: getattr(self, name) for name in names}
        return serve_request({name: (r.min, r.cpus, r.gpus) for name, r in least.items()})

    @property
    def processes(self) -> int:
        """Return the most replicas of all deployments together that may run at the same time."""
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
    """Read settings from a YAML file, if there is one; ``given`` values replace the file's.

    Raises:
        ConfigError: if a setting is wrong; the message names the file and the key.
    """
    if path is None:
        if "bundle" not in given:
            raise ConfigError("gpo serve needs --bundle DIR, or --config FILE with a bundle in it")
        return parse(ServeSettings, given, "options")
    return parse(ServeSettings, read_yaml(path) | given, str(path))
