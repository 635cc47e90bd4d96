"""Fit priors once each for several callers; a key says which prior is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from gpo_ray.config import TrainConfig
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.preferences.splits import Split
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.calibration import fit_prior


class PriorKey(NamedTuple):
    """The key of a prior: everything that it depends on besides the survey."""

    pooling: str
    standardize: bool
    context: int
    groups: tuple[str, ...]
    """Groups to whose answers the prior is fitted."""
    questions: tuple[str, ...]
    """Questions whose answers the prior is fitted to, in the split's order."""
    with_cross_survey: bool = False
    """Whether a context may consist of questions from another survey only, as in :func:`fit_prior`."""
    guesses: bool = False
    """Whether a language model's guesses may join it."""

    @classmethod
    def of(
        cls,
        config: TrainConfig,
        split: Split,
        groups: Sequence[str],
        with_cross_survey: bool = False,
        guesses: bool = False,
    ) -> PriorKey:
        """Return the key of the prior that a configuration needs on a split, fitted to ``groups``."""
        return cls(
            pooling=config.model.pooling,
            standardize=config.standardize,
            context=config.validation.context_questions,
            groups=tuple(groups),
            questions=split.question_order,
            with_cross_survey=with_cross_survey,
            guesses=guesses,
        )

    def fit(self, arrays: PreferenceArrays) -> PriorAtQuestions:
        """Fit the prior, and evaluate it at all questions.

        Args:
            arrays: the data with embeddings in this pooling, standardised if ``standardize`` is true, and
                with the guesses if they may join it.

        Raises:
            ConfigError: if the groups answered none of the questions.
        """
        if not self.guesses:
            arrays = replace(arrays, guesses=None)
        groups, questions = arrays.group_numbers(self.groups), arrays.question_numbers(self.questions)
        return fit_prior(arrays, groups, questions, self.context, self.with_cross_survey)


class FittedPriors:
    """Priors of one survey, each of which is fitted when it is first needed, and then kept.

    Args:
        fitted: priors that were fitted before.
    """

    def __init__(self, fitted: Mapping[PriorKey, PriorAtQuestions] | None = None) -> None:
        self._found = dict(fitted or {})

    def get(self, key: PriorKey, arrays: PreferenceArrays) -> PriorAtQuestions:
        """Return the prior of a key; see :meth:`PriorKey.fit` for the data and errors."""
        if key not in self._found:
            self._found[key] = key.fit(arrays)
        return self._found[key]
