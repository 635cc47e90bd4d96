"""A backend in this process: a tiny language model, and a bundle of a prior over a small survey."""

import asyncio

import numpy as np
from synthetic import TINY_MODEL, tiny_config

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.encoder import Encoder
from gpo_ray.embedding.store import Embeddings
from gpo_ray.embedding.template import TEMPLATE
from gpo_ray.lm.find import find_model
from gpo_ray.lm.load import fingerprint
from gpo_ray.meta_training.engine import new_model
from gpo_ray.model.bundle import BundleConfig, read_bundle, write_bundle
from gpo_ray.model.estimator import GroupPreferenceModel
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.labels import question_key
from gpo_ray.prior.calibration import fit_prior
from gpo_ray.prior.keyed import KeyedGroupPrior
from gpo_ray.prior.recognition import answer_notes
from gpo_ray.serving.inference.asked import Asked, restored
from gpo_ray.serving.inference.backend import BackendReadiness, SlatePrediction, SlatePredictions

PROMPTS = {
    "How often do you talk about politics?": ("Often", "Sometimes", "Never"),
    "Should the state spend more on schools?": ("Yes", "No"),
    "How much do you trust scientists?": ("A great deal", "Some", "Hardly any"),
    "Would you move abroad for work?": ("Yes", "Perhaps", "No"),
    "Is the economy getting better?": ("Better", "The same", "Worse"),
}


def small_survey(groups=8):
    """Random shares of groups town-0, town-1, ... over PROMPTS."""
    rng = np.random.default_rng(0)
    asked = [Question(f"q{i}", "small", p, r) for i, (p, r) in enumerate(PROMPTS.items())]
    ids = [f"town-{g}" for g in range(groups)]
    rows = [(g, q.question_id, rng.dirichlet(np.ones(len(q.responses))).tolist()) for g in ids for q in asked]
    columns = dict(zip(("group_id", "question_id", "share"), zip(*rows, strict=True), strict=True))
    return PreferenceDataset.build(asked, [Group(g, "attribute") for g in ids], columns)


def write_small_bundle(folder, language_model, dataset):
    """A bundle whose prior remembers all but the last two groups of ``dataset``."""
    config = tiny_config(model={**TINY_MODEL, "likelihood": "cross_entropy", "prior": "memory"})
    source = find_model(str(language_model))
    questions = list(dataset.iter_questions())
    encoded = Encoder(source, "float32", "cpu").encode([(q.prompt, q.responses) for q in questions])
    vectors = [e.pooled(config.model.pooling) for e in encoded]
    joined = Embeddings(
        vectors=np.concatenate(vectors),
        letter_logprob=np.concatenate([e.letter_logprob for e in encoded]),
        offsets=np.concatenate([[0], np.cumsum([len(v) for v in vectors])]),
        fingerprint=fingerprint(source, "float32"),
        template=TEMPLATE,
        pooling=config.model.pooling,
    )
    arrays = PreferenceArrays.build(dataset, joined)
    view = fit_prior(arrays, range(dataset.groups.num_rows - 2), np.arange(len(questions)), 2)
    about = BundleConfig(
        embedding_width=vectors[0].shape[1],
        embedding_fingerprint=joined.fingerprint,
        embedding_template=TEMPLATE,
        embedding_model=str(language_model),
        embedding_dtype="float32",
        model=config.model,
    )
    weights = new_model(about.embedding_width, config).state_dict()
    memory = KeyedGroupPrior.keyed(view.prior, questions)
    write_bundle(folder, weights, about, {}, memory)
    return folder


class InProcessBackend:
    """What predicts, without Serve: an estimator and its language model, one request at a time."""

    def __init__(self, model, encoder, name):
        self.model, self.encoder, self.name = model, encoder, name

    @classmethod
    def load(cls, bundle):
        """With the bundle in a folder."""
        model = GroupPreferenceModel(read_bundle(bundle))
        source = find_model(model.config.embedding_model)
        return cls(model, Encoder(source, model.config.embedding_dtype, "cpu"), "small")

    async def predict(self, context, questions, caller=""):
        return await asyncio.to_thread(self._predict, context, questions)

    def _predict(self, context, questions):
        pooling = self.model.config.model.pooling
        slates = [(s.prompt, s.responses) for s in [*context, *questions]]
        answered = {question_key(a.prompt, a.responses): (a.prompt, a.responses) for a in context}
        asked = [Asked.of(s, self.model.recognise(*s), answered) for s in slates]
        encoded = self.encoder.encode([a.texts for a in asked])
        vectors = [e.pooled(pooling) for e in encoded]
        keys = [a.key for a in asked]
        n = len(context)
        shares = [q.found.to_prior(a.shares()) for q, a in zip(asked, context, strict=False)]
        known = [*zip(vectors[:n], shares, strict=True)]
        group = self.model.adapt(known, keys[:n], [a.n for a in context])
        shares = group.predict(vectors[n:], keys[n:])
        ends = group.intervals(vectors[n:], keys[n:])
        base = [np.exp(e.letter_logprob).tolist() for e in encoded[n:]]
        made = [
            SlatePrediction(p.tolist(), [tuple(pair) for pair in e.tolist()], b)
            for p, e, b in zip(shares, ends, base, strict=True)
        ]
        notes = answer_notes((a.prompt, self.model.recognise(a.prompt, a.responses)) for a in context)
        return restored(SlatePredictions(made, self.name), asked[n:], tuple(notes))

    async def ready(self):
        return BackendReadiness(True, self.name)
