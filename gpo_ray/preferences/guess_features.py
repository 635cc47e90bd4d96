"""What a language model guessed of a survey's questions, as arrays beside the groups' answers.

Shapes: V voices, N responses of the questions end to end, K ways of asking.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gpo_ray.preferences.slates import Ints


@dataclass(frozen=True)
class GuessFeatures:
    """The guesses of several voices, asked in several ways.

    A voice is a group as which the model was asked. ``log_share`` (V, N, K) are the guessed log-shares,
    centred within each question, and 0 where the question has no guess at all. ``guessed`` (N,) is True where
    it has one.
    """

    log_share: NDArray[np.float32]
    guessed: NDArray[np.bool_]
    ways: tuple[str, ...]
    """Names of the K ways of asking, each with its model."""
    voices: tuple[str, ...] = ()
    """Ids of the V groups as which the model was asked; empty if it was only asked as nobody, V is 1 then."""

    def at(self, rows: Ints) -> GuessFeatures:
        """Return the guesses of some responses; those of row -1 have none."""
        inside = rows >= 0
        log_share = np.where(inside[:, None], self.log_share[:, rows], 0)
        return replace(self, log_share=log_share, guessed=self.guessed[rows] & inside)

    def or_else(self, other: GuessFeatures | None) -> GuessFeatures:
        """Return the same with the guesses of another, of the same voices and ways, where this has none."""
        if other is None:
            return self
        log_share = np.where(self.guessed[:, None], self.log_share, other.log_share)
        return replace(self, log_share=log_share, guessed=self.guessed | other.guessed)
