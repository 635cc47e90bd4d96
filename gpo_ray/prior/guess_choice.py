"""Decide whether guesses join a prior, and how much variance they leave, on the questions that were answered.

Shapes: M responses of seen questions, Q seen questions that have a guess.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.preferences.slates import Array, spans
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.covariance import NUGGET
from gpo_ray.prior.cross_fitting import folds
from gpo_ray.prior.extrapolation import extrapolated_mean, scale_covariance, unguessed_logs
from gpo_ray.prior.group_prior import MAX_KERNEL_RESPONSES, GroupPrior, within
from gpo_ray.prior.guessed import CalibratedGuesses, nugget
from gpo_ray.prior.kernel import filled

VARIANCES = (1.0, 0.3, 0.1)
"""Variances of what guesses leave to extrapolate that are tried, relative to questions without a guess."""
STANDARD_ERRORS = 1.0
"""Number of standard errors by which guesses must improve the extrapolated means to join a prior. It is low,
since the weights of a model that knows little are near 0 and do little harm."""
MIN_QUESTIONS = 10
"""With fewer questions that have a guess and were answered, guesses do not join a prior."""


def with_guesses(plain: PriorAtQuestions, arrays: PreferenceArrays) -> PriorAtQuestions:
    """Return the prior with the guesses of ``arrays`` if they improve it, else the prior as it is.

    Each seen question that has a guess is extrapolated from the other folds of questions (cross-fitting),
    with the guesses and without. They join where the total variation from the groups' mean shares falls by
    more than chance, over questions: a model that knows nothing is left out.

    Args:
        plain: the prior without guesses at all questions of ``arrays``, cross-fitted.
        arrays: the data.
    """
    features, prior = arrays.guesses, plain.prior
    if features is None:
        return plain
    ids = [arrays.group_ids[g] for g in prior.groups]
    seen = np.flatnonzero(plain.response_index >= 0)  # in the order of the prior's responses
    known = CalibratedGuesses.fit(features.at(seen), ids, prior.shares, prior.sizes)
    number = {g: i for i, g in enumerate(arrays.group_ids)}
    roles = {number[voice]: v for v, voice in enumerate(features.voices) if voice in number}
    truth = filled(prior.shares).mean
    with_them, blank = _extrapolated(plain, known, truth)
    errors = {v: _errors(mean, truth, prior, known) for v, mean in with_them.items()}
    best = min(VARIANCES, key=lambda v: float(errors[v].sum()))
    # a smaller variance alone may do some good, which is not the guesses' merit
    rivals = [blank[best]] if prior.expected is None else [prior.expected, blank[best]]
    if not all(_better(_errors(rival, truth, prior, known) - errors[best]) for rival in rivals):
        return plain
    joined = replace(prior, guesses=replace(known, variance=best))
    return plain.with_guesses(joined, features, roles).with_expected()


def _better(gain: Array) -> bool:
    """Return whether the mean of the questions' gains (Q,) is above 0 by more than chance."""
    if len(gain) < MIN_QUESTIONS:
        return False
    return bool(gain.mean() > STANDARD_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)))


def _extrapolated(
    plain: PriorAtQuestions, known: CalibratedGuesses, truth: Array
) -> tuple[dict[float, Array], dict[float, Array]]:
    """Return the means (M,) of seen questions by variance, extrapolated from the other folds.

    They are those of :class:`~gpo_ray.prior.extrapolation.KernelRidgeExtrapolator`, which also extrapolates
    deviations; the means of questions without a guess are NaN.

    Args:
        plain: the prior without guesses.
        known: the guesses.
        truth: (M,) the groups' mean shares.

    Returns:
        The means with the guesses, and with guesses that say nothing.
    """
    prior, sizes = plain.prior, plain.prior.sizes
    fold, guessed = folds(len(sizes)), known.features.guessed[prior.offsets[:-1]]
    found, blank = ({v: np.full(len(truth), np.nan) for v in VARIANCES} for _ in range(2))
    for k in np.unique(fold):
        asked, others = np.flatnonzero((fold == k) & guessed), np.flatnonzero(fold != k)
        if not len(asked) or not len(others):
            continue
        weights = known.fitted_weights(prior.shares, sizes, others)
        others = within(others, sizes, MAX_KERNEL_RESPONSES)
        given, rows = spans(prior.offsets, others), spans(prior.offsets, asked)
        x, y = (prior.kernel.standardized(prior.x[some]) for some in (given, rows))
        similarity, cross = prior.kernel.between(x, x), prior.kernel.between(x, y)
        for variance in VARIANCES:
            guess = replace(known, variance=variance).of_mean(known.features, weights)
            nothing = replace(guess, log_share=np.zeros_like(guess.log_share))
            covariance, between = similarity.copy(), cross.copy()
            scale_covariance(covariance, guess.at(given), guess.at(given))
            scale_covariance(between, guess.at(given), guess.at(rows))
            covariance[np.diag_indices(len(given))] += nugget(guess.scale[given], NUGGET)
            factor = cho_factor(covariance, lower=True, overwrite_a=True)
            for told, means in ((guess, found), (nothing, blank)):
                logs = unguessed_logs(truth[given, None], sizes[others], told.at(given))
                dual = cho_solve(factor, logs)[:, 0]
                means[variance][rows] = extrapolated_mean(between, dual, sizes[asked], told.at(rows))
    return found, blank


def _errors(expected: Array, truth: Array, prior: GroupPrior, known: CalibratedGuesses) -> Array:
    """Return how far expected means (M,) are from the groups' at the seen questions that have a guess.

    It is the total variation (Q,), whose gains have lighter tails than those of the squared error.
    """
    starts = prior.offsets[:-1]
    return np.asarray(np.add.reduceat(np.abs(expected - truth) / 2, starts)[known.features.guessed[starts]])
