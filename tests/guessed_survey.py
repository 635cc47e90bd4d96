"""A survey of similar opinions with guesses of it, and bundles that were trained on both."""

import json
from dataclasses import replace

import numpy as np
from synthetic import TINY_MODEL, questions, tiny_config, write_store

import gpo_ray
from gpo_ray import Answer, Question
from gpo_ray.guesses.table import Guess, GuessTable, Way
from gpo_ray.meta_training.local import train_local
from gpo_ray.meta_training.run import TrainJob
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


def write_bundles(root):
    """The survey, a store, guesses of several kinds, and a bundle trained without and with them."""
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
