"""A real service in this process: a small trained-looking model, a tiny language model, SQLite."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

import numpy as np
import torch
from page_backend import InProcessBackend
from synthetic import FINGERPRINT, TINY_MODEL, bundle_config, survey, tiny_config

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.encoder import Encoder
from gpo_ray.embedding.store import Embeddings
from gpo_ray.embedding.template import TEMPLATE
from gpo_ray.lm.find import find_model
from gpo_ray.lm.load import fingerprint
from gpo_ray.meta_training.engine import new_model
from gpo_ray.model import GroupPreferenceModel
from gpo_ray.model.bundle import Bundle, write_bundle
from gpo_ray.prior.calibration import fit_prior
from gpo_ray.prior.keyed import KeyedGroupPrior
from gpo_ray.serving.api.http import create_api
from gpo_ray.serving.inference.backend import BackendReadiness
from gpo_ray.serving.registry.database import open_database
from gpo_ray.serving.registry.groups import Registry
from gpo_ray.serving.registry.keys import KeyRing
from gpo_ray.serving.settings import ServeSettings

BUNDLE = "tiny-1"
CONFIG = tiny_config(model={**TINY_MODEL, "likelihood": "cross_entropy", "prior": "memory"})


class LocalBackend(InProcessBackend):
    """One that can be made to fail, with a bundle of its own."""

    def __init__(self, language_model):
        encoder = Encoder(find_model(str(language_model)), "float32")
        self.bundle = small_bundle(encoder)
        super().__init__(GroupPreferenceModel(self.bundle), encoder, BUNDLE)
        self.problem = None
        self.fails = None
        """What the next predictions raise."""

    def encode(self, slates):
        """Vectors of slates, as the model pools them."""
        return [e.pooled(CONFIG.model.pooling) for e in self.encoder.encode(slates)]

    async def predict(self, context, questions, caller=""):
        if self.fails is not None:
            raise self.fails
        return await super().predict(context, questions, caller)

    async def ready(self):
        return BackendReadiness(self.problem is None, self.name, self.problem)


def small_bundle(encoder):
    """A model that looks trained, of the embeddings of an encoder."""
    dataset = survey(groups=8, count=12)
    slates = [(q.prompt, q.responses) for q in dataset.iter_questions()]
    encoded = [e.pooled(CONFIG.model.pooling) for e in encoder.encode(slates)]
    sizes = dataset.slate_sizes()
    embeddings = Embeddings(
        vectors=np.concatenate(encoded),
        letter_logprob=np.zeros(int(sizes.sum()), np.float32),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        fingerprint=FINGERPRINT,
        template=TEMPLATE,
        pooling="mean",
    )
    data = PreferenceArrays.build(dataset, embeddings)
    view = fit_prior(data, range(6), np.arange(12), 4)
    model = new_model(encoder.width, CONFIG).eval()
    with torch.no_grad():
        model.prior_gate.copy_(torch.tensor([0.3, 0.6]))
    config = bundle_config(CONFIG, encoder.width)
    return Bundle(model, config, {}, KeyedGroupPrior.keyed(view.prior, [*dataset.iter_questions()]))


def write_service_bundle(folder, language_model):
    """The backend's bundle as files, for a language model; gives the folder."""
    source = find_model(str(language_model))
    bundle = LocalBackend(language_model).bundle
    config = bundle.config.model_copy(
        update={
            "embedding_model": source.reference,
            "embedding_fingerprint": fingerprint(source, "float32"),
            "embedding_dtype": "float32",
        }
    )
    write_bundle(folder, bundle.model.state_dict(), config, {}, bundle.prior)
    return folder


@dataclass
class Service:
    """The application with what it is made of, and the secrets of some keys."""

    api: object
    backend: LocalBackend
    registry: Registry
    keys: KeyRing
    secrets: dict[str, str]

    def headers(self, name):
        return {"Authorization": f"Bearer {self.secrets[name]}"}


KEYS = {
    "reader": ("north", ["read"]),
    "writer": ("north", ["write"]),
    "admin": ("north", ["admin"]),
    "stranger": ("south", ["admin"]),
}


def make_service(folder, backend, **settings):
    """A service on an SQLite file in ``folder``."""
    engine = open_database(f"sqlite:///{folder}/groups.sqlite")
    made = ServeSettings(bundle="tiny", **settings)
    registry, keys = Registry(engine, made.limits.stored_bytes), KeyRing(engine)
    secrets = {name: keys.create(name, tenant, scopes)[1] for name, (tenant, scopes) in KEYS.items()}
    return Service(create_api(made, backend, registry, keys), backend, registry, keys, secrets)


def answer(i=0, **changes):
    """An answer as JSON."""
    values = {"prompt": f"Question number {i}?", "responses": ["never", "sometimes", "always"]}
    return values | ({"share": [0.2, 0.3, 0.5]} if "choice" not in changes else {}) | changes


def question(i=9, **changes):
    """A question as JSON."""
    return {"prompt": f"Question number {i}?", "responses": ["no", "perhaps", "yes"]} | changes


class LogLines(logging.Handler):
    """Everything that is logged, as text."""

    def __init__(self):
        super().__init__()
        self.text = []

    def emit(self, record):
        self.text.append(self.format(record))

    def requests(self):
        return [v for v in map(json.loads, self.text) if v["event"] == "request"]
