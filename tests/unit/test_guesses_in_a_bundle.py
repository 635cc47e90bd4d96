"""A bundle whose prior reads a language model's guesses: trained, stored, and asked."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from guessed_survey import CONFIG, NAMES, NEW, OLD, ask, error, share, table
from typer.testing import CliRunner

import gpo_ray
from gpo_ray.api import NO_GUESS
from gpo_ray.cli import app
from gpo_ray.errors import BundleError, ConfigError, DataError
from gpo_ray.guesses.features import guess_features
from gpo_ray.guesses.table import Guess, GuessTable, Way
from gpo_ray.meta_training.local import train_local
from gpo_ray.meta_training.run import TrainJob
from gpo_ray.model.bundle import read_bundle
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.splits import draw_split


def test_a_bundle_says_whose_guesses_it_reads(guessed):
    read = read_bundle(guessed / "with-guesses")
    told = read.provenance["guesses"]
    assert (told["model"], told["model_fingerprint"], told["joined_prior"]) == ("tiny", "tiny@1", True)
    model = gpo_ray.load(guessed / "with-guesses").estimator
    assert model.guess_ways == ("tiny distribution bio", "tiny distribution none")
    assert model.roles == tuple(sorted(NAMES[:6]))
    assert json.loads((guessed / "guesses.json").read_text())["guesses_joined_prior"] is True


def test_new_questions_are_predicted_better_and_best_in_the_own_role(guessed):
    plain = error(ask(guessed, "plain", None))
    nobody, own = error(ask(guessed)), error(ask(guessed, role=NAMES[0]))
    assert own < nobody < 0.6 * plain


def test_a_question_without_a_guess_is_said_and_predicted_as_without(guessed):
    found = ask(guessed, guesses="guesses-of-seen")
    assert all(p.note == NO_GUESS for p in found)
    assert [p.share for p in found] == [p.share for p in ask(guessed, guesses=None)]
    assert all(p.note is None for p in ask(guessed))
    assert all(p.note is None for p in ask(guessed, asked=OLD[6:9], guesses=None))


def test_guesses_follow_labels():
    turned = replace(NEW[0], responses=NEW[0].responses[::-1])
    features = guess_features(table(), [NEW[0]]).log_share[:, ::-1]
    np.testing.assert_allclose(guess_features(table(), [turned]).log_share, features)


def test_guesses_that_know_nothing_leave_the_bundle_as_it_is(guessed):
    assert json.loads((guessed / "junk.json").read_text())["guesses_joined_prior"] is False
    for name in ("memory.safetensors", "memory.json", "model.safetensors"):
        assert (guessed / "with-junk" / name).read_bytes() == (guessed / "plain" / name).read_bytes()
    with pytest.raises(BundleError, match="reads guesses of no model"):
        ask(guessed, "with-junk", "junk")


def test_what_does_not_fit_is_refused(guessed, tmp_path):
    with pytest.raises(DataError, match=r"role 'T=9': is none of the bundle's 6 roles, such as 'T=0'"):
        ask(guessed, role="T=9")
    with pytest.raises(DataError, match="trained without guesses in roles"):
        ask(guessed, "plain", None, role="T=0")
    other = [Guess(Way("other", "logprobs", "none"), None, q, share(0, i)) for i, q in enumerate(OLD)]
    GuessTable.build(other).save(tmp_path / "other")
    with pytest.raises(BundleError, match="those given are other logprobs none"):
        gpo_ray.load(guessed / "with-guesses", guesses=tmp_path / "other")
    model = gpo_ray.load(guessed / "with-guesses").estimator
    x = np.zeros((2, model.config.embedding_width))
    with pytest.raises(DataError, match="this bundle needs those of tiny distribution bio"):
        model.prepare([x], guesses=guess_features(table(), OLD[:1], ("tiny distribution none",), ()))
    job = TrainJob(
        *(str(guessed / n) for n in ("survey", "store", "new", "runs")),
        name="new",
        config=CONFIG,
        split=draw_split(PreferenceDataset.load(guessed / "survey"), 0.7, 0),
        guesses=(str(guessed / "guesses"),),
    )
    bare = job.config.model_copy(update={"model": job.config.model.model_copy(update={"prior": "none"})})
    with pytest.raises(ConfigError, match="this configuration has none"):
        train_local(replace(job, config=bare))
    kept = table(range(32, 40))
    kept.save(tmp_path / "new-only")
    with pytest.raises(DataError, match="no guess of a question of the survey"):
        train_local(replace(job, guesses=(str(tmp_path / "new-only"),)))


def test_a_run_goes_on_only_with_the_same_guesses(guessed):
    job = TrainJob(
        *(str(guessed / n) for n in ("survey", "store", "again", "runs")),
        name="junk",
        config=CONFIG,
        split=draw_split(PreferenceDataset.load(guessed / "survey"), 0.7, 0),
        guesses=(str(guessed / "guesses"),),
    )
    with pytest.raises(ConfigError, match="started with another guesses"):
        train_local(job)


def test_the_command_line(guessed, tmp_path):
    context = [
        {"prompt": q.prompt, "responses": q.responses, "share": share(0, i).tolist()}
        for i, q in enumerate(OLD[:5])
    ]
    Path(tmp_path, "context.json").write_text(json.dumps(context))
    Path(tmp_path, "asked.json").write_text(
        json.dumps([{"prompt": q.prompt, "responses": q.responses} for q in NEW])
    )
    command = [
        "predict",
        "--bundle",
        str(guessed / "with-guesses"),
        "--context",
        str(tmp_path / "context.json"),
    ]
    command += ["--questions", str(tmp_path / "asked.json"), "--embeddings", str(guessed / "store")]
    command += ["--guesses", str(guessed / "guesses"), "--role", "T=0", "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])["predictions"]
    want = ask(guessed, role="T=0")
    np.testing.assert_allclose(found[0]["share"], want[0].share, atol=1e-6)
    refused = CliRunner().invoke(app, ["predict", *command[1:5], *command[5:7], "--guesses-model", "tiny"])
    assert refused.exit_code != 0
