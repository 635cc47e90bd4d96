"""Guesses that embeddings hold anyway: a bundle that reads them has them for every question it is asked."""

import json
from dataclasses import replace

import numpy as np
import pytest
from guessed_survey import ASKED, CONFIG, NEW, NOWHERE, OFFSETS, OLD, SHARES, ask, error, share
from synthetic import FINGERPRINT, encoded
from typer.testing import CliRunner

import gpo_ray
from gpo_ray import Answer, Question
from gpo_ray.cli import app
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import DataError
from gpo_ray.guesses.features import NO_GUESS
from gpo_ray.guesses.from_embeddings import guesses_of_store
from gpo_ray.meta_training.local import train_local
from gpo_ray.meta_training.run import TrainJob
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.labels import slate_key
from gpo_ray.preferences.splits import draw_split
from gpo_ray.serving.inference.encoding import EncodedSlate
from gpo_ray.serving.inference.prediction_job import EncodedRequest
from gpo_ray.serving.inference.predictor import BatchPredictor

RESULTS = [
    replace(e, letter_logprob=np.log(SHARES[:, OFFSETS[i] : OFFSETS[i + 1]].mean(0)).astype(np.float32))
    for i, e in enumerate(encoded(ASKED))
]
"""Embeddings of a language model whose letters know the mean shares."""


def written(folder, fingerprint=FINGERPRINT):
    store = EmbeddingStore(folder)
    store.commit(
        fingerprint,
        dict([store.write_shard(ASKED, RESULTS, fingerprint, "float32")]),
        model="tiny",
        dtype="float32",
    )
    return folder


@pytest.fixture(scope="module")
def clever(guessed, tmp_path_factory):
    """Folder of a store whose letters know much, of their guesses, and of a bundle that reads these."""
    folder = tmp_path_factory.mktemp("clever")
    written(folder / "store")
    command = ["guess", "letters", "--survey", guessed / "survey", "--embeddings", folder / "store"]
    done = CliRunner().invoke(app, [str(a) for a in [*command, "--out", folder / "letters", "--json"]])
    assert done.exit_code == 0, done.output
    counts = json.loads(done.stdout.splitlines()[-1])
    assert (counts["guesses"], counts["models"], counts["roles"]) == (32, ["tiny"], 0)
    job = TrainJob(
        *(str(place) for place in (guessed / "survey", folder / "store", folder / "bundle", folder / "runs")),
        name="letters",
        config=CONFIG,
        split=draw_split(PreferenceDataset.load(guessed / "survey"), 0.7, 0),
        guesses=(str(folder / "letters"),),
    )
    assert train_local(job)["guesses_joined_prior"] is True
    return folder


def test_every_new_question_has_its_guess(guessed, clever):
    model = gpo_ray.load(clever / "bundle", model=NOWHERE, embeddings=clever / "store")
    assert model.estimator.guess_ways == ("tiny letters none",)
    context = [Answer(q.prompt, q.responses, share=share(0, i).tolist()) for i, q in enumerate(OLD[:5])]
    found = model.adapt(context).predict([Question(q.prompt, q.responses) for q in NEW])
    assert all(p.note is None for p in found)
    assert error(found) < 0.6 * error(ask(guessed, "plain", None))


def request():
    slates = [
        EncodedSlate(slate_key(q.prompt, q.responses), e.pooled("mean"), e.letter_logprob)
        for q, e in zip(ASKED, RESULTS, strict=True)
    ]
    answered = [(slates[i], share(0, i)) for i in range(5)]
    return EncodedRequest(answered, slates[32:])


def test_the_service_makes_the_guesses_of_its_language_model(guessed, clever):
    model = gpo_ray.load(clever / "bundle", model=NOWHERE, embeddings=clever / "store")
    context = [Answer(q.prompt, q.responses, share=share(0, i).tolist()) for i, q in enumerate(OLD[:5])]
    want = model.adapt(context).predict([Question(q.prompt, q.responses) for q in NEW])
    (made,) = BatchPredictor(clever / "bundle").predict([request()])
    for p, w in zip(made.predictions, want, strict=True):
        np.testing.assert_allclose(p.share, w.share, atol=2e-6)
    assert not made.lacks_guesses
    (made,) = BatchPredictor(guessed / "with-guesses").predict([request()])
    assert made.lacks_guesses  # of another way of asking, which the service cannot make
    assert all(p.note == NO_GUESS for p in ask(guessed, guesses=None))


def test_letters_of_other_embeddings_are_refused(guessed, clever, tmp_path):
    written(tmp_path / "store", "other@1/float32")
    dataset = PreferenceDataset.load(guessed / "survey")
    guesses_of_store(dataset, tmp_path / "store").save(tmp_path / "letters")
    job = TrainJob(
        *(str(p) for p in (guessed / "survey", clever / "store", tmp_path / "bundle", tmp_path / "runs")),
        name="other",
        config=CONFIG,
        split=draw_split(PreferenceDataset.load(guessed / "survey"), 0.7, 0),
        guesses=(str(tmp_path / "letters"),),
    )
    with pytest.raises(DataError, match=r"embeddings of other@1/float32.*make them with: gpo guess letters"):
        train_local(job)
