"""Guesses as the prior reads them: log-shares of every voice in every way, without gaps.

Shapes: V voices, N responses of the questions end to end, K ways of asking, R responses of one question.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpo_ray.guesses.table import GUESSES, GuessTable, Way
from gpo_ray.preferences.dataset import Question
from gpo_ray.preferences.guess_features import GuessFeatures
from gpo_ray.preferences.slates import Array

LETTERS = "letters"
"""What the embeddings' language model was asked for while it embedded: the probabilities of the option
letters, in the given order of the options. These guesses cost nothing, and are known wherever a question is
embedded."""
NO_GUESS = (
    "the bundle reads a language model's guesses, and there is none of this question; it is predicted as "
    "without them"
)
"""Note on the prediction of an unseen question."""
EPSILON = 0.02
"""Added to a guessed share before its logarithm is taken, since models often guess exactly 0."""


def way_name(way: Way) -> str:
    """Return the name by which a bundle knows a way of asking."""
    return " ".join(way)


def guess_features(
    table: GuessTable | None,
    questions: Sequence[Question],
    ways: Sequence[str] | None = None,
    voices: Sequence[str] | None = None,
    letters: Sequence[NDArray[np.floating] | None] | None = None,
) -> GuessFeatures:
    """Return the guesses of a table for some questions.

    Where a voice was not asked in a way, the mean of the other voices stands in its place, then the mean of
    the voice's other ways, so that a question has either all guesses or none.

    Args:
        table: the guesses; None if there are only ``letters``.
        questions: the questions, in order.
        ways: names of the K ways; by default all of the table, sorted.
        voices: ids of the groups as which the model was asked; by default all of the table, sorted.
        letters: for each question, the log-probabilities (R,) of the option letters that the embeddings'
            language model gave, for ways that read :data:`LETTERS`; None where they are not known.

    Returns:
        The features; ``guessed`` is False for questions that have a guess in none of the ways.
    """
    table = GuessTable(GUESSES.empty_table()) if table is None else table
    by_name = {way_name(w): w for w in table.ways}
    names = tuple(by_name) if ways is None else tuple(ways)
    asked_as = tuple(table.roles if voices is None else voices)
    told = [by_name.get(name) for name in names]
    from_letters = [_is_letters(name) for name in names]
    parts = []
    for i, q in enumerate(questions):
        found = _of_question(table, q, told, asked_as)
        known = None if letters is None else letters[i]
        if known is not None:
            found[:, :, from_letters] = _centred_log(letter_shares(known))[:, None]
        parts.append(_completed(found))
    guessed = np.array([bool(np.isfinite(p).all()) for p in parts])
    sizes = [len(q.responses) for q in questions]
    log_share = np.nan_to_num(np.concatenate(parts, 1)).astype(np.float32)
    return GuessFeatures(log_share, np.repeat(guessed, sizes), names, asked_as)


def letter_shares(logprobs: NDArray[np.floating]) -> Array:
    """Return the shares (R,) of option letters, from their log-probabilities (R,)."""
    shares = np.exp(logprobs.astype(np.float64) - logprobs.max())
    return np.asarray(shares / shares.sum())


def reads_letters(ways: Sequence[str]) -> bool:
    """Return whether one of some ways of asking, given by name, is what embeddings hold anyway."""
    return any(map(_is_letters, ways))


def _is_letters(name: str) -> bool:
    return name.endswith(f" {LETTERS} none")


def _of_question(
    table: GuessTable, question: Question, ways: Sequence[Way | None], voices: Sequence[str]
) -> Array:
    """Return the centred log-shares (max(V, 1), R, K) of a question, NaN where there is no guess."""
    found = np.full((max(len(voices), 1), len(question.responses), len(ways)), np.nan)
    for k, way in enumerate(ways):
        if way is None:
            continue
        nobody = table.share(way, None, question)
        if nobody is not None:
            found[:, :, k] = _centred_log(nobody)
        for v, voice in enumerate(voices):
            share = table.share(way, voice, question)
            if share is not None:
                found[v, :, k] = _centred_log(share)
    return found


def _centred_log(share: NDArray[np.floating]) -> Array:
    logs = np.log(share + EPSILON)
    return np.asarray(logs - logs.mean())


def _completed(found: Array) -> Array:
    """Fill the gaps of one question's log-shares (V, R, K); all stay NaN if there is no guess at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are NaN, as they should be
        by_way = np.nanmean(found, 0, keepdims=True)
        found = np.where(np.isnan(found), by_way, found)
        by_voice = np.nanmean(found, 2, keepdims=True)
        return np.where(np.isnan(found), by_voice, found)
