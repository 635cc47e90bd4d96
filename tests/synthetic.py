"""Small random surveys, embeddings and stores that the unit tests share."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import torch

from gpo_ray.config import TrainConfig
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.encoder import EncodedQuestion
from gpo_ray.embedding.store import Embeddings, EmbeddingStore
from gpo_ray.embedding.template import TEMPLATE
from gpo_ray.model.bundle import BundleConfig
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question

LONG = "group,prompt,response,count\n"
"""The first line of a table that ``gpo survey import table`` reads."""
GOOD = LONG + "a,Tea?,yes,3\na,Tea?,no,1\nb,Tea?,yes,1\nb,Tea?,no,4\n"
FINGERPRINT = "tiny@0123456789abcdef/float32"
TINY_MODEL = {"width": 16, "layers": 2, "heads": 2, "feedforward": 16}


def questions(count: int, seed: int = 0) -> list[Question]:
    """Questions with 2 to 5 responses; every third is nominal."""
    rng = np.random.default_rng([seed, 1])
    made = []
    for i in range(count):
        size = int(rng.integers(2, 6))
        ordinal = None if i % 3 == 2 else tuple(float(v) for v in range(size))
        responses = tuple(f"answer {r} of {i}" for r in range(size))
        made.append(Question(f"q{i}", "synthetic", f"Question number {i}?", responses, None, ordinal))
    return made


def survey(groups: int = 6, count: int = 8, seed: int = 0, answered: float = 1.0) -> PreferenceDataset:
    """Random shares; each group answers each question with probability ``answered``, two at least."""
    rng = np.random.default_rng([seed, 2])
    asked = questions(count, seed)
    rows: dict[str, list] = {"group_id": [], "question_id": [], "share": []}
    for g in range(groups):
        mine = rng.random(count) < answered
        mine[rng.choice(count, 2, replace=False)] = True
        for i in rng.permutation(np.flatnonzero(mine)):
            rows["group_id"].append(f"g{g}")
            rows["question_id"].append(f"q{i}")
            rows["share"].append(rng.dirichlet(np.ones(len(asked[i].responses))).tolist())
    return PreferenceDataset.build(asked, [Group(f"g{g}", "attribute") for g in range(groups)], rows)


def one_topic_each(groups: int = 12, count: int = 30) -> PreferenceDataset:
    """People of whom even ones answer the first half of the questions, each of a topic,
    and odd ones the other half."""
    asked = [
        dataclasses.replace(q, topic="first" if i < count // 2 else "second", ordinal=None)
        for i, q in enumerate(questions(count))
    ]
    pairs = [(g, i) for g in range(groups) for i in range(count) if (i < count // 2) == (g % 2 == 0)]
    rows = {
        "group_id": [f"p{g}" for g, _ in pairs],
        "question_id": [f"q{i}" for _, i in pairs],
        "choice": [(g + i) % 2 for g, i in pairs],
    }
    return PreferenceDataset.build(asked, [Group(f"p{g}", "individual") for g in range(groups)], rows)


def embeddings(dataset: PreferenceDataset, width: int = 6, seed: int = 0) -> Embeddings:
    """Random vectors for every response, not centred and of unlike scales."""
    sizes = dataset.slate_sizes()
    rng = np.random.default_rng([seed, 3])
    vectors = rng.normal(2.0, np.linspace(0.5, 3.0, width), (int(sizes.sum()), width))
    return Embeddings(
        vectors=vectors.astype(np.float32),
        letter_logprob=np.zeros(int(sizes.sum()), np.float32),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        fingerprint=FINGERPRINT,
        template=TEMPLATE,
        pooling="mean",
    )


def arrays(dataset: PreferenceDataset, width: int = 6, seed: int = 0) -> PreferenceArrays:
    """``dataset`` joined with random vectors."""
    return PreferenceArrays.build(dataset, embeddings(dataset, width, seed))


def encoded(
    asked: list[Question], width: int = 6, seed: int = 0, readings: bool = True
) -> list[EncodedQuestion]:
    """What an encoder might return for ``asked``: each pooling has vectors of its own."""
    rng = np.random.default_rng([seed, 4])

    def vectors(q: Question) -> np.ndarray:
        return rng.normal(size=(len(q.responses), width)).astype(np.float32)

    return [
        EncodedQuestion(
            mean=vectors(q),
            answer_mean=vectors(q),
            last=vectors(q),
            letter_logprob=torch.randn(len(q.responses), generator=torch.Generator().manual_seed(i))
            .log_softmax(0)
            .numpy(),
            tokens=10 + i,
            opinion=vectors(q) if readings else None,
            person=vectors(q) if readings else None,
        )
        for i, q in enumerate(asked)
    ]


def write_store(folder, asked: list[Question], shards: int = 2, dtype: str = "float32") -> EmbeddingStore:
    """A complete store of random vectors in ``shards`` shards."""
    store = EmbeddingStore(folder)
    results = encoded(asked)
    written = [
        store.write_shard(asked[i::shards], results[i::shards], FINGERPRINT, dtype) for i in range(shards)
    ]
    store.commit(FINGERPRINT, dict(written), model="tiny", dtype="float32")
    return store


def write_survey_and_store(root, dataset: PreferenceDataset) -> None:
    """``dataset`` in the folder ``survey``, and random vectors of its questions in ``store``."""
    dataset.save(root / "survey")
    write_store(root / "store", list(dataset.iter_questions()))


def run_losses(root, name: str) -> list[float]:
    """The loss of each step of the training run ``name``, from its metrics file below ``root``."""
    lines = (root / "runs" / name / "metrics.jsonl").read_text().splitlines()
    return [loss for line in lines for loss in json.loads(line)["losses"]]


def tiny_config(**changes) -> TrainConfig:
    """A training configuration that takes milliseconds a step."""
    values = {
        "model": TINY_MODEL,
        "episodes": {"groups": 3, "context_questions": [1, 3], "target_questions": [2, 4]},
        "validation": {"context_questions": 2, "every": 4, "patience": 10},
        "steps": 12,
        "learning_rate": 1e-2,
    }
    return TrainConfig.model_validate(values | changes)


def tiny_search(base, trials: int, **changes) -> dict:
    """A tuning file: one learning rate a trial, each run to its end, the best tried once more."""
    values = {
        "base": str(base),
        "against": str(base),
        "space": {"learning_rate": {"loguniform": [1e-4, 1e-1]}},
        "start": [{}],
        "trials": trials,
        "scheduler": {"kind": "none"},
        "finalists": 1,
        "seeds": 1,
        "context": 3,
    }
    return values | changes


def bundle_config(config: TrainConfig, width: int = 6) -> BundleConfig:
    """What a bundle of ``config``'s model over the vectors above says about itself."""
    return BundleConfig(
        embedding_width=width,
        embedding_fingerprint=FINGERPRINT,
        embedding_template=TEMPLATE,
        embedding_model="tiny",
        embedding_dtype="float32",
        model=config.model,
    )


def flip_byte(path, position: int = -20) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


def truncate(path, keep: float = 0.5) -> None:
    """Cut a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
