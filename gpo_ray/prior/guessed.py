"""Let guesses of a language model join the prior: calibrate them on answered questions.

What is guessed of a question's log-shares is a weighted sum over the ways of asking. The weights are fitted
by cross-entropy to what the groups answered, so that a model which knows little gets weights near 0. On
unseen questions the calibrated guess is what the mean starts from, and only what it leaves is extrapolated
from seen questions (``extrapolation.py``). A model that was also asked as groups gives simulated groups:
their deviations from the mean join the covariance (``covariance.py``), and a new group that is one of them
has its own as part of its mean (``posterior.py``).

Shapes: V voices, M responses of seen questions, N responses, K ways of asking, G meta-train groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import minimize

from gpo_ray.preferences.guess_features import GuessFeatures
from gpo_ray.preferences.slates import Array, Floats, Ints, slate_totals, softmax, spans

TOTAL_WEIGHT, RIDGE = 0.8, 1.0
"""Sum of the weights that ridge regularisation shrinks to, evenly over the ways, and its strength in nats of
cross-entropy."""
GUESS_NUGGET = 0.1
"""Variance of a log-share that is specific to its question where the guess explains much of the rest."""
EPSILON = 0.003
"""Added to mean shares before a voice's log-shares are added to their logarithms."""
MAX_WAYS, MAX_VOICES = 1000, 10_000


@dataclass(frozen=True)
class MeanGuess:
    """What calibrated guesses say of N responses before any answer is extrapolated.

    ``log_share`` (N,) are centred within each question, 0 where there is no guess. ``scale`` (N,) is the
    standard deviation of what is left to extrapolate, relative to questions without a guess: there it is 1.
    """

    log_share: Array
    scale: Array

    @classmethod
    def none(cls, n: int) -> MeanGuess:
        """Return what is said of N responses without guesses: nothing."""
        return cls(np.zeros(n), np.ones(n))

    def at(self, rows: Ints | slice) -> MeanGuess:
        """Return what is said of some of the responses."""
        return MeanGuess(self.log_share[rows], self.scale[rows])


class GuessState(BaseModel):
    """The stored values of :class:`CalibratedGuesses`, beside its arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ways: tuple[str, ...] = Field(min_length=1, max_length=MAX_WAYS)
    voices: tuple[str, ...] = Field(default=(), max_length=MAX_VOICES)
    variance: float = Field(gt=0, le=1)

    def shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the arrays that belong to it, by name, for M = ``rows`` responses."""
        k, v = len(self.ways), max(1, len(self.voices))
        return {"guess_log_share": (v, rows, k), "guess_weights": (k,), "guessed": (rows,)}


@dataclass(frozen=True)
class CalibratedGuesses:
    """The guesses of the M responses of seen questions, and their calibration.

    ``weights`` (K,) are those of the ways of asking, and ``variance`` is that of the log-shares which the
    guesses leave to extrapolate, relative to questions without a guess. ``rows`` are, for each voice that is
    a meta-train group, its number among the voices and its row in the table of shares; they are needed to
    fit the weights, and empty in a bundle.
    """

    features: GuessFeatures
    weights: Array
    variance: float = 1.0
    rows: tuple[tuple[int, int], ...] = field(default=(), repr=False)

    @classmethod
    def fit(
        cls, features: GuessFeatures, group_ids: Sequence[str], shares: Floats, sizes: Ints
    ) -> CalibratedGuesses:
        """Fit the weights to the answers of the meta-train groups.

        Args:
            features: the guesses of M responses.
            group_ids: ids of the G groups.
            shares: (G, M) the groups' shares, NaN where a group did not answer.
            sizes: number of responses of each question, summing to M.
        """
        row = {g: i for i, g in enumerate(group_ids)}
        rows = tuple((v, row[g]) for v, g in enumerate(features.voices) if g in row)
        blank = cls(features, np.zeros(len(features.ways)), rows=rows)
        return replace(blank, weights=blank.fitted_weights(shares, sizes, np.arange(len(sizes))))

    def fitted_weights(self, shares: Floats, sizes: Ints, questions: Ints) -> Array:
        """Return weights (K,) that are fitted to some of the seen questions only.

        The cross-entropy is that of the shares of each group that is a voice, under the guesses of that
        voice; if there is none, that of the groups' mean shares under the guesses of all voices.
        """
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        guessed = questions[self.features.guessed[offsets[questions]]]
        if not len(guessed):
            return np.full(len(self.features.ways), TOTAL_WEIGHT / len(self.features.ways))
        rows, kept = spans(offsets, guessed), sizes[guessed]
        if self.rows:
            voices = [v for v, _ in self.rows]
            truth = np.nan_to_num(shares[[g for _, g in self.rows]][:, rows]).astype(np.float64)
        else:
            voices = list(range(len(self.features.log_share)))
            some = shares[:, rows]
            truth = np.nanmean(some, 0, keepdims=True, dtype=np.float64)
        x = self.features.log_share[voices][:, rows].astype(np.float64)
        if not self.rows:
            x = x.mean(0, keepdims=True)
        return _cross_entropy_weights(x, truth, kept)

    def of_mean(self, features: GuessFeatures, weights: Array | None = None) -> MeanGuess:
        """Return what the guesses of N responses say of the mean, by these weights or others."""
        weighed = features.log_share.mean(0, dtype=np.float64) @ (
            self.weights if weights is None else weights
        )
        return MeanGuess(np.where(features.guessed, weighed, 0.0), self.scale(features))

    def scale(self, features: GuessFeatures) -> Array:
        """Return the ``scale`` (N,) of :class:`MeanGuess` for the guesses of N responses."""
        return np.where(features.guessed, np.sqrt(self.variance), 1.0)

    def deviations(self, features: GuessFeatures, mean: Array, sizes: Ints) -> Floats:
        """Return the deviations (V, N) of the voices' shares from mean shares (N,); none if V is nobody."""
        if not features.voices:
            return np.zeros((0, len(mean)))
        each = features.log_share.astype(np.float64) @ self.weights
        each -= each.mean(0)
        scores = np.log(np.maximum(mean, 0) + EPSILON) + each
        shares = np.stack([softmax(s, sizes) for s in scores])
        return np.where(features.guessed, shares - softmax(scores[0] - each[0], sizes), 0.0)

    def at(self, rows: Ints) -> CalibratedGuesses:
        """Return the guesses of some of the M responses."""
        return replace(self, features=self.features.at(rows))

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what is stored: the values of a :class:`GuessState`, and arrays by name."""
        features = self.features
        values: dict[str, Any] = {"ways": features.ways, "voices": features.voices, "variance": self.variance}
        arrays: dict[str, NDArray[Any]] = {
            "guess_log_share": features.log_share,
            "guess_weights": self.weights,
        }
        return values, arrays | {"guessed": features.guessed}

    @classmethod
    def from_state(cls, state: GuessState, arrays: Mapping[str, NDArray[Any]]) -> CalibratedGuesses:
        """Make the guesses from what :meth:`to_state` returned."""
        features = GuessFeatures(
            arrays["guess_log_share"].astype(np.float32), arrays["guessed"] > 0, state.ways, state.voices
        )
        return cls(features, arrays["guess_weights"].astype(np.float64), state.variance)


def nugget(scale: Array, plain: float) -> Array:
    """Return the variance (N,) of log-shares that is specific to their questions.

    Args:
        scale: (N,) the ``scale`` of :class:`MeanGuess`.
        plain: the variance for questions without a guess, or whose guess says little.
    """
    return np.where(scale < 1, GUESS_NUGGET, plain)


def _cross_entropy_weights(x: Array, truth: Array, sizes: Ints) -> Array:
    """Fit weights (K,) of log-shares ``x`` (V, N, K) to shares (V, N) that were answered, with a ridge."""
    k = x.shape[2]
    start = np.full(k, TOTAL_WEIGHT / k)

    def loss(w: Array) -> tuple[float, Array]:
        gradient, total = 2 * RIDGE * (w - start), RIDGE * float((w - start) @ (w - start))
        for features, shares in zip(x, truth, strict=True):
            predicted = softmax(features @ w, sizes)
            answered = slate_totals(shares, sizes)  # 0 where a group did not answer
            total -= float(shares @ np.log(np.maximum(predicted, 1e-12)))
            gradient -= features.T @ (shares - answered * predicted)
        return total, gradient

    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B").x)
