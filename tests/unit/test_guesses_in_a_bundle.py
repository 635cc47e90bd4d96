"""A bundle whose prior reads a language model's guesses: trained, stored, and asked."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import TINY_MODEL, questions, tiny_config, write_store
from typer.testing import CliRunner

import gpo_ray
from gpo_ray import Answer, Question
from gpo_ray.api import NO_GUESS
from gpo_ray.cli import app
from gpo_ray.errors import BundleError, ConfigError, DataError
from gpo_ray.guesses.features import guess_features
from gpo_ray.guesses.table import Guess, GuessTable, Way
from gpo_ray.meta_training.local import train_local
from gpo_ray.meta_training.run import TrainJob
from gpo_ray.model.bundle import read_bundle
from gpo_ray.preferences.dataset import Group, PreferenceDataset
from gpo_ray.preferences.slates import softmax
from gpo_ray.preferences.splits import draw_split

ASKED = questions(40)
OLD, NEW = ASKED[:32], ASKED[32:]
NAMES = [f"T={g}" for g in range(12)]
NOBODY, ROLE = Way("tiny", "distribution", "none"), Way("tiny", "distribution", "bio")
CONFIG = tiny_config(steps=4, model=TINY_MODEL | {"prior": "memory"})
NOWHERE = "/no/language/model"


def opinions():
    """(12, N) shares of all questions: groups differ little from each other."""
    rng, sizes = np.random.default_rng(4), np.array([len(q.responses) for q in ASKED])
    common = 1.2 * rng.standard_normal(sizes.sum())
    each = [softmax(common + 0.4 * rng.standard_normal(len(common)), sizes) for _ in NAMES]
    return np.stack(each), np.concatenate([[0], np.cumsum(sizes)])


SHARES, OFFSETS = opinions()


def share(g, i):
    return SHARES[g, OFFSETS[i] : OFFSETS[i + 1]]


def table(wanted=range(40), roles=range(6), junk=False):
    """Guesses that are the groups' mean shares, and each role's own; or random ones."""
    rng, made = np.random.default_rng(7), []
    for i in wanted:
        q = ASKED[i]

        def of(truth, q=q):
            return rng.dirichlet(np.ones(len(q.responses))) if junk else truth

        made.append(Guess(NOBODY, None, q, of(SHARES[:, OFFSETS[i] : OFFSETS[i + 1]].mean(0))))
        made += [Guess(ROLE, NAMES[g], q, of(share(g, i))) for g in roles]
    return GuessTable.build(made, models={"tiny": "tiny@1"})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("guessed")
    rows = {"group_id": [], "question_id": [], "share": []}
    for g, name in enumerate(NAMES):
        for i, q in enumerate(OLD):
            rows["group_id"].append(name)
            rows["question_id"].append(q.question_id)
            rows["share"].append(share(g, i).tolist())
    dataset = PreferenceDataset.build(OLD, [Group(n, "attribute") for n in NAMES], rows)
    dataset.save(root / "survey")
    write_store(root / "store", ASKED)
    table().save(root / "guesses")
    table(range(32)).save(root / "guesses-of-seen")
    table(junk=True).save(root / "junk")
    job = TrainJob(
        survey=str(root / "survey"),
        embeddings=str(root / "store"),
        out=str(root / "plain"),
        storage=str(root / "runs"),
        name="plain",
        config=CONFIG,
        split=draw_split(dataset, 0.7, 0),
    )
    train_local(job)
    for name in ("guesses", "junk"):
        given = replace(job, out=str(root / f"with-{name}"), name=name, guesses=(str(root / name),))
        (root / f"{name}.json").write_text(json.dumps(train_local(given)))
    return root


def ask(root, bundle="with-guesses", guesses="guesses", role=None, g=0, asked=NEW):
    model = gpo_ray.load(
        root / bundle,
        model=NOWHERE,
        embeddings=root / "store",
        guesses=None if guesses is None else root / guesses,
    )
    context = [Answer(q.prompt, q.responses, share=share(g, i).tolist()) for i, q in enumerate(OLD[:5])]
    return model.adapt(context, role).predict([Question(q.prompt, q.responses) for q in asked])


def error(found, g=0, first=32):
    return np.mean([np.abs(np.subtract(p.share, share(g, first + i))).sum() for i, p in enumerate(found)])


def test_a_bundle_says_whose_guesses_it_reads(root):
    read = read_bundle(root / "with-guesses")
    told = read.provenance["guesses"]
    assert (told["model"], told["model_fingerprint"], told["joined_prior"]) == ("tiny", "tiny@1", True)
    model = gpo_ray.load(root / "with-guesses").estimator
    assert model.guess_ways == ("tiny distribution bio", "tiny distribution none")
    assert model.roles == tuple(sorted(NAMES[:6]))
    assert json.loads((root / "guesses.json").read_text())["guesses_joined_prior"] is True


def test_new_questions_are_predicted_better_and_best_in_the_own_role(root):
    plain = error(ask(root, "plain", None))
    nobody, own = error(ask(root)), error(ask(root, role=NAMES[0]))
    assert own < nobody < 0.6 * plain


def test_a_question_without_a_guess_is_said_and_predicted_as_without(root):
    found = ask(root, guesses="guesses-of-seen")
    assert all(p.note == NO_GUESS for p in found)
    assert [p.share for p in found] == [p.share for p in ask(root, guesses=None)]
    assert all(p.note is None for p in ask(root))
    assert all(p.note is None for p in ask(root, asked=OLD[6:9], guesses=None))


def test_guesses_follow_labels():
    turned = replace(NEW[0], responses=NEW[0].responses[::-1])
    features = guess_features(table(), [NEW[0]]).log_share[:, ::-1]
    np.testing.assert_allclose(guess_features(table(), [turned]).log_share, features)


def test_guesses_that_know_nothing_leave_the_bundle_as_it_is(root):
    assert json.loads((root / "junk.json").read_text())["guesses_joined_prior"] is False
    for name in ("memory.safetensors", "memory.json", "model.safetensors"):
        assert (root / "with-junk" / name).read_bytes() == (root / "plain" / name).read_bytes()
    with pytest.raises(BundleError, match="reads guesses of no model"):
        ask(root, "with-junk", "junk")


def test_what_does_not_fit_is_refused(root, tmp_path):
    with pytest.raises(DataError, match=r"role 'T=9': is none of the bundle's 6 roles, such as 'T=0'"):
        ask(root, role="T=9")
    with pytest.raises(DataError, match="trained without guesses in roles"):
        ask(root, "plain", None, role="T=0")
    other = [Guess(Way("other", "logprobs", "none"), None, q, share(0, i)) for i, q in enumerate(OLD)]
    GuessTable.build(other).save(tmp_path / "other")
    with pytest.raises(BundleError, match="those given are other logprobs none"):
        gpo_ray.load(root / "with-guesses", guesses=tmp_path / "other")
    model = gpo_ray.load(root / "with-guesses").estimator
    x = np.zeros((2, model.config.embedding_width))
    with pytest.raises(DataError, match="this bundle needs those of tiny distribution bio"):
        model.prepare([x], guesses=guess_features(table(), OLD[:1], ("tiny distribution none",), ()))
    job = TrainJob(
        *(str(root / n) for n in ("survey", "store", "new", "runs")),
        name="new",
        config=CONFIG,
        split=draw_split(PreferenceDataset.load(root / "survey"), 0.7, 0),
        guesses=(str(root / "guesses"),),
    )
    bare = job.config.model_copy(update={"model": job.config.model.model_copy(update={"prior": "none"})})
    with pytest.raises(ConfigError, match="this configuration has none"):
        train_local(replace(job, config=bare))
    kept = table(range(32, 40))
    kept.save(tmp_path / "new-only")
    with pytest.raises(DataError, match="no guess of a question of the survey"):
        train_local(replace(job, guesses=(str(tmp_path / "new-only"),)))


def test_a_run_goes_on_only_with_the_same_guesses(root):
    job = TrainJob(
        *(str(root / n) for n in ("survey", "store", "again", "runs")),
        name="junk",
        config=CONFIG,
        split=draw_split(PreferenceDataset.load(root / "survey"), 0.7, 0),
        guesses=(str(root / "guesses"),),
    )
    with pytest.raises(ConfigError, match="started with another guesses"):
        train_local(job)


def test_the_command_line(root, tmp_path):
    context = [
        {"prompt": q.prompt, "responses": q.responses, "share": share(0, i).tolist()}
        for i, q in enumerate(OLD[:5])
    ]
    Path(tmp_path, "context.json").write_text(json.dumps(context))
    Path(tmp_path, "asked.json").write_text(
        json.dumps([{"prompt": q.prompt, "responses": q.responses} for q in NEW])
    )
    command = ["predict", "--bundle", str(root / "with-guesses"), "--context", str(tmp_path / "context.json")]
    command += ["--questions", str(tmp_path / "asked.json"), "--embeddings", str(root / "store")]
    command += ["--guesses", str(root / "guesses"), "--role", "T=0", "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])["predictions"]
    want = ask(root, role="T=0")
    np.testing.assert_allclose(found[0]["share"], want[0].share, atol=1e-6)
    refused = CliRunner().invoke(app, ["predict", *command[1:5], *command[5:7], "--guesses-model", "tiny"])
    assert refused.exit_code != 0
