"""Guesses as the prior reads them: log-shares of every voice in every way, without gaps.

Shapes: V voices, N responses of the questions end to end, K ways of asking, R responses of one question.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpo_ray.errors import DataError
from gpo_ray.guesses.table import GUESSES, GuessTable, Way
from gpo_ray.preferences.dataset import Question
from gpo_ray.preferences.guess_features import GuessFeatures
from gpo_ray.preferences.labels import response_labels, response_order
from gpo_ray.preferences.slates import Array

LETTERS = "letters"
"""What the embeddings' language model was asked for while it embedded: the probabilities of the option
letters, in the given order of the options. These guesses cost nothing, and are known wherever a question is
embedded."""
MAX_NUMBERS = 50_000_000
"""Most numbers V N K of the features."""
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

    Raises:
        DataError: if there are so many ways, roles and questions that the features would not fit in memory.
    """
    known = GuessTable(GUESSES.empty_table()) if table is None else table
    names = tuple(way_name(w) for w in known.ways) if ways is None else tuple(ways)
    asked_as = tuple(known.roles if voices is None else voices)
    size = max(len(asked_as), 1) * len(names) * sum(len(q.responses) for q in questions)
    if size > MAX_NUMBERS:
        raise DataError(
            f"guesses: {len(names)} ways of asking, {len(asked_as)} roles and {len(questions)} questions are "
            f"{size:,} numbers, at most {MAX_NUMBERS:,} are held; leave ways or roles out"
        )
    rows = _rows(known, {q.key for q in questions}, names, asked_as)
    parts = [_of_question(q, rows.get(q.key, ()), max(len(asked_as), 1), len(names)) for q in questions]
    return _features(parts, names, asked_as, letters)


def letter_features(
    letters: Sequence[NDArray[np.floating]], ways: Sequence[str], voices: Sequence[str]
) -> GuessFeatures:
    """Return the guesses that only option letters make, as in :func:`guess_features`.

    Args:
        letters: for each question, the log-probabilities (R,) of its option letters.
        ways: names of the K ways.
        voices: ids of the groups as which the model was asked.
    """
    blank = [np.full((max(len(voices), 1), len(logprobs), len(ways)), np.nan) for logprobs in letters]
    return _features(blank, tuple(ways), tuple(voices), letters)


def _features(
    parts: Sequence[Array],
    ways: tuple[str, ...],
    voices: tuple[str, ...],
    letters: Sequence[NDArray[np.floating] | None] | None,
) -> GuessFeatures:
    """Join the log-shares (V, R, K) of several questions, with those of option letters and without gaps."""
    from_letters = [_is_letters(name) for name in ways]
    for found, logprobs in zip(parts, letters or [None] * len(parts), strict=True):
        if logprobs is not None:
            found[:, :, from_letters] = _centred_log(letter_shares(logprobs))[:, None]
    whole = [_completed(found) for found in parts]
    guessed = [bool(np.isfinite(part).all()) for part in whole]
    log_share = np.nan_to_num(np.concatenate(whole, 1)).astype(np.float32)
    return GuessFeatures(log_share, np.repeat(guessed, [part.shape[1] for part in whole]), ways, voices)


class _Row(NamedTuple):
    """A guess by the numbers of its way and its voice, which is None for nobody."""

    way: int
    voice: int | None
    responses: list[str]
    share: list[float]


def _rows(
    table: GuessTable, keys: set[str], ways: Sequence[str], voices: Sequence[str]
) -> dict[str, list[_Row]]:
    """Return the guesses of some questions by key, those of nobody first."""
    way, voice = ({name: i for i, name in enumerate(names)} for names in (ways, voices))
    columns = ("model", "asked", "as", "group_id", "question_key", "responses", "share")
    found: dict[str, list[_Row]] = {}
    asked = pc.is_in(table.guesses["question_key"], pa.array(sorted(keys), pa.string()))
    held = table.guesses.filter(pc.and_(pc.is_valid(table.guesses["share"]), asked))
    for model, asked, style, group, key, responses, share in zip(
        *(held[c].to_pylist() for c in columns), strict=True
    ):
        k = way.get(way_name(Way(model, asked, style)))
        if k is not None and (group is None or group in voice):
            found.setdefault(key, []).append(_Row(k, voice.get(group), responses, share))
    return {key: sorted(rows, key=lambda row: row.voice is not None) for key, rows in found.items()}


def letter_shares(logprobs: NDArray[np.floating]) -> Array:
    """Return the shares (R,) of option letters, from their log-probabilities (R,)."""
    shares = np.exp(logprobs.astype(np.float64) - logprobs.max())
    return np.asarray(shares / shares.sum())


def reads_letters(ways: Sequence[str]) -> bool:
    """Return whether one of some ways of asking, given by name, is what embeddings hold anyway."""
    return any(map(_is_letters, ways))


def _is_letters(name: str) -> bool:
    return name.endswith(f" {LETTERS} none")


def _of_question(question: Question, rows: Sequence[_Row], voices: int, ways: int) -> Array:
    """Return the centred log-shares (V, R, K) of a question, NaN where there is no guess."""
    found = np.full((voices, len(question.responses), ways), np.nan)
    mine = response_labels(question.responses)
    for row in rows:
        order = response_order(mine, response_labels(row.responses))
        if order is not None:
            where = slice(None) if row.voice is None else row.voice
            found[where, :, row.way] = _centred_log(np.array(row.share)[list(order)])
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
