"""Guesses that an embedding store holds anyway: the option letters' probabilities."""

from __future__ import annotations

import os

import numpy as np

from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.guesses.features import LETTERS, letter_shares
from gpo_ray.guesses.table import Guess, GuessTable, Way
from gpo_ray.preferences.dataset import PreferenceDataset


def guesses_of_store(dataset: PreferenceDataset, embeddings: str | os.PathLike[str]) -> GuessTable:
    """Return the probabilities of the option letters that the embeddings' language model gave, as guesses.

    Args:
        dataset: the questions; those that were dropped when they were embedded have no guess.
        embeddings: folder or URI of the embedding store.

    Raises:
        EmbeddingError: if the store is incomplete or damaged, or lacks a question.
    """
    store = EmbeddingStore(embeddings)
    dataset = store.without_dropped(dataset)
    loaded = store.load(dataset)
    model = store.folder.read_manifest("embeddings", fields={"model": str})["model"]
    way = Way(model, LETTERS, "none")
    each = np.split(loaded.letter_logprob, loaded.offsets[1:-1])
    made = {
        q.key: Guess(way, None, q, letter_shares(p).tolist())
        for q, p in zip(dataset.iter_questions(), each, strict=True)
    }
    return GuessTable.build(made.values(), models={model: loaded.fingerprint})
