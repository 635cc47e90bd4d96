"""Extrapolate a prior to questions, and in cross-fitting to the seen ones as if they were unseen.

Shapes: G meta-train groups, M responses of seen questions, N responses of all questions, K ways of asking.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gpo_ray.preferences.guess_features import GuessFeatures
from gpo_ray.preferences.slates import Array, Floats, Ints, spans
from gpo_ray.prior.extrapolation import Extrapolation, KernelRidgeExtrapolator
from gpo_ray.prior.group_prior import GroupPrior
from gpo_ray.prior.guessed import MeanGuess

FOLDS = 5
"""Number of parts into which cross-fitting divides the seen questions; each part is extrapolated from the
others."""


def folds(questions: int) -> Ints:
    """Return the fold of each of the seen questions in cross-fitting, at random and of nearly equal sizes."""
    return np.random.default_rng(0).permutation(np.arange(questions) % FOLDS)


def extrapolate(
    prior: GroupPrior,
    x: NDArray[np.float32],
    offsets: Ints,
    response_index: Ints,
    question_index: Ints,
    cross_fit: bool,
    guesses: GuessFeatures | None,
    plain: Extrapolation | None = None,
) -> Extrapolation:
    """Predict the responses from their embeddings, and from guesses where there are some.

    Seen questions are extrapolated only in cross-fitting; otherwise their means are the prior's ``expected``.

    Args:
        prior: the prior.
        x: (N, E) embeddings of the responses.
        offsets: first row of each question, followed by N.
        response_index: (N,) number of each response in the prior, -1 for unseen questions.
        question_index: number of each question in the prior, -1 for unseen ones.
        cross_fit: whether seen questions are extrapolated from the other folds.
        guesses: a language model's guesses of the N responses.
        plain: the same without guesses, if it is known; questions without a guess are taken from it.
    """
    sizes, seen = np.diff(offsets), response_index >= 0
    mean, leave_one_out_mean, deviation, conditional_variance, whitened = (
        _blank(prior, len(x), cross_fit) if plain is None else plain.arrays()
    )
    if prior.expected is not None and plain is None:
        mean[seen] = prior.expected[response_index[seen]]
    guessed = np.zeros(len(sizes), bool) if guesses is None else guesses.guessed[offsets[:-1]]
    unseen_index = np.cumsum(~seen) - 1
    for questions, extrapolator, weights in _extrapolators(prior, question_index, cross_fit, guessed):
        if plain is not None and weights is None:
            continue
        rows, unseen = spans(offsets, questions), bool(question_index[questions[0]] < 0)
        guess: MeanGuess | None = None
        if weights is not None and guesses is not None and prior.guesses is not None:
            guess = prior.guesses.of_mean(guesses.at(rows), weights)
        found = extrapolator.at(x[rows], sizes[questions], unseen, len(leave_one_out_mean) > 0, guess)
        mean[rows], conditional_variance[rows] = found.mean, found.conditional_variance
        deviation.T[rows] = found.deviation.T
        if len(leave_one_out_mean):
            leave_one_out_mean[:, rows] = found.leave_one_out_mean
        if unseen and len(rows) == np.count_nonzero(~seen):
            whitened = found.whitened
        elif unseen:
            if not whitened.size:
                whitened = np.zeros((len(found.whitened), np.count_nonzero(~seen)), np.float32)
            whitened[:, unseen_index[rows]] = found.whitened
    return Extrapolation(mean, leave_one_out_mean, deviation, conditional_variance, whitened)


def _blank(
    prior: GroupPrior, n: int, cross_fit: bool
) -> tuple[Array, Array, Floats, Array, NDArray[np.float32]]:
    """Return the arrays of an :class:`Extrapolation` for ``n`` responses, before any is extrapolated to."""
    left_out = len(prior.groups) if cross_fit and prior.leaves_out else 0
    deviation = np.zeros((len(prior.shares), n), prior.shares.dtype, order="F")
    whitened = np.zeros((0, 0), np.float32)
    return np.full(n, np.nan), np.full((left_out, n), np.nan), deviation, np.zeros(n), whitened


def _extrapolators(
    prior: GroupPrior, question_index: Ints, cross_fit: bool, guessed: NDArray[np.bool_]
) -> Iterator[tuple[Ints, KernelRidgeExtrapolator, Array | None]]:
    """Yield the unseen questions and, in cross-fitting, each fold of seen ones, with their extrapolators.

    Questions with a guess come apart from those without; the third value is the weights (K,) of the guesses,
    None for questions without. In cross-fitting, weights are fitted to the other folds.
    """
    unseen, known = question_index < 0, prior.guesses
    if (unseen & ~guessed).any():
        yield np.flatnonzero(unseen & ~guessed), prior.extrapolator, None
    if known is not None and (unseen & guessed).any():
        yield np.flatnonzero(unseen & guessed), prior.guess_extrapolator, known.weights
    if not cross_fit or len(prior.sizes) < 2:
        return
    fold = folds(len(prior.sizes))
    for k in np.unique(fold):
        asked, others = ~unseen & (fold[question_index] == k), np.flatnonzero(fold != k)
        if (asked & ~guessed).any():
            yield np.flatnonzero(asked & ~guessed), prior.extrapolator_from(others), None
        if known is not None and (asked & guessed).any():
            weights = known.fitted_weights(prior.shares, prior.sizes, others)
            yield np.flatnonzero(asked & guessed), prior.extrapolator_from(others, weights), weights
