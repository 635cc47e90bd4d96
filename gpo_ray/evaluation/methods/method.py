"""The interface of a method: it says what it needs, is fitted on a split, and predicts tasks of test groups.

The interface assumes nothing about a model. A method may also ask a language model
(``Needs.language_model``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.evaluation.methods.meta_train_answers import MetaTrainAnswers
from gpo_ray.guesses.table import GuessTable
from gpo_ray.model.episodes import Task
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.slates import Array
from gpo_ray.preferences.splits import Split

if TYPE_CHECKING:
    from gpo_ray.lm.model import LanguageModel

PUBLISHED_POOLING = "mean"
"""The published pooling. Its arrays are always loaded, since tasks are drawn and scored with them."""

FitProgress = Callable[[float], object]
"""A function called with the share of the fit that is done, from 0 to 1."""


@dataclass(frozen=True)
class Needs:
    """The data and resources that a method needs."""

    poolings: frozenset[str] = frozenset()
    """Poolings of the embeddings that it reads."""
    texts: bool = False
    """Whether it reads the texts of prompts and responses, or the groups' descriptions."""
    language_model: bool = False
    """Whether it asks a language model; it then has the texts, the GPUs that the settings give the model, and
    a task of its own for each split."""
    gpus: float = 0.0
    """Number of GPUs of the task that fits it and predicts with it, besides the language model's; less than 1
    is a share of one GPU. Methods of a split whose needs differ are scored in different tasks."""


@dataclass(frozen=True)
class LanguageModelSettings:
    """The language model that methods ask."""

    model: str = "smollm2"
    """Name of the model, for :func:`gpo_ray.lm.find.find_model`."""
    dtype: str = "float32"
    """Data type in which it computes."""
    gpus: float | None = None
    """Number of GPUs of each copy; None means 1 if the cluster has a GPU, else 0."""
    ask: str = "logprobs"
    """What methods that tell it the group ask it for: ``logprobs`` or ``distribution``."""
    orders: int = 1
    """Number of cyclic orders of the options that such methods take the mean of."""
    window: int | None = None
    """Most tokens of a prompt with a group's answers; None means as many as the model can read."""


@dataclass(frozen=True)
class FitSettings:
    """The settings that an evaluation changes in the methods' own configurations."""

    steps: int | None = None
    """Number of meta-training steps; None keeps the preset's."""
    objective: str | None = None
    """``average`` or ``robust``, for methods that do not fix it themselves; None keeps the preset's."""
    language_model: LanguageModelSettings = LanguageModelSettings()


@dataclass(frozen=True)
class SurveyTexts:
    """The texts of a survey; empty if no method needs them."""

    questions: tuple[Question, ...] = ()
    """The questions in the order of the arrays."""
    descriptions: Mapping[str, str] = field(default_factory=dict)
    """A description in words of each group that has one, by ``group_id``, such as ``US adults aged 65 or
    more``."""
    groups: Mapping[str, Group] = field(default_factory=dict)
    """The groups by ``group_id``."""

    @classmethod
    def of(cls, dataset: PreferenceDataset) -> SurveyTexts:
        """Return the texts of a survey."""
        groups = {row["group_id"]: Group(**row) for row in dataset.groups.to_pylist()}
        described = {group: found.description for group, found in groups.items() if found.description}
        return cls(tuple(dataset.iter_questions()), described, groups)


@dataclass(frozen=True)
class SplitData:
    """A data set and its division, shared by all methods that are fitted on it.

    A method may learn only from the meta-train groups' answers to the training questions; it is given the
    test groups' contexts later, in their tasks.
    """

    arrays: Mapping[str, PreferenceArrays]
    """The data by pooling, which include :data:`PUBLISHED_POOLING`."""
    split: Split
    another_survey: bool = False
    """Whether test groups answer another survey's questions, all of which are unseen."""
    settings: FitSettings = FitSettings()
    texts: SurveyTexts = SurveyTexts()
    guesses: GuessTable | None = None
    """Guesses of one language model, for any method; None if the evaluation was given none. With them, the
    texts are never empty."""

    @cached_property
    def meta_train_answers(self) -> MetaTrainAnswers:
        """The answers to learn from, with the results that several methods share."""
        arrays = self.arrays[PUBLISHED_POOLING]
        return MetaTrainAnswers(
            arrays,
            arrays.group_numbers(self.split.meta_train_groups),
            arrays.question_numbers(self.split.question_order),
        )

    def language_model(self) -> LanguageModel:
        """Return the language model to ask, which this process keeps for the methods of all splits.

        There is one such model; a method that needs a second one loads it itself.

        Raises:
            EmbeddingError: if it cannot be found or loaded.
        """
        from gpo_ray.lm.find import find_model
        from gpo_ray.lm.model import shared_model

        chosen = self.settings.language_model
        return shared_model(find_model(chosen.model), chosen.dtype, chosen.gpus or 0)


@dataclass(frozen=True)
class TrainingCost:
    """What the training of an adapter of a language model took, and what is kept of it."""

    seconds: float
    """Seconds of the training, when it was done; one that was kept from before takes none now."""
    steps: int
    """Number of optimiser steps."""
    parameters: int
    """Number of trained parameters."""
    nbytes: int
    """Bytes of the adapter."""
    kept_base: bool
    """Whether no step was better on held-back answers, so that the base model is kept without an adapter."""


@dataclass(frozen=True)
class TaskPrediction:
    """A method's prediction of one task, whose targets have T responses."""

    shares: Array
    """(T,) shares, which sum to 1 within each question."""
    half_width: Array | None = None
    """(T,) half the widths of the shares' 90 % intervals; None for a method without intervals."""
    without_distribution: int = 0
    """Number of target questions that have uniform shares since a language model gave no distribution."""
    context_dropped: float = 0.0
    """Mean number of context questions for which a language model's prompt had no room."""
    cost: TrainingCost | None = None
    """What the training of an adapter for this group, or for all groups of the split, took; None without."""


class Fitted(ABC):
    """A method that is fitted on a split."""

    @abstractmethod
    def predict(self, tasks: Sequence[Task]) -> list[TaskPrediction] | None:
        """Predict the tasks' targets from their contexts; return None if it can predict none of them."""


class Method(ABC):
    """A method of predicting a group's answers from a few of its other answers."""

    name: str
    plain: ClassVar[bool] = False
    """Whether it is a plain baseline; the other methods are compared with the best of these."""
    reads_guesses: bool = False
    """Whether it predicts what a language model guessed, and so reads an evaluation's guesses."""

    @abstractmethod
    def needs(self, settings: FitSettings) -> Needs:
        """Return the data and resources that it needs."""

    def configuration(self, settings: FitSettings) -> dict[str, Any]:
        """Return, as plain values, all that decides its scores besides the data; empty if it has no settings.

        An interrupted evaluation is resumed only if this has not changed.
        """
        del settings
        return {}

    @abstractmethod
    def fit(self, data: SplitData, tell: FitProgress = lambda _: None) -> Fitted:
        """Learn from a split.

        Args:
            data: the data to learn from.
            tell: called with the progress. A method that does most of its work when it predicts may keep it
                and call it then.

        Raises:
            ConfigError: if training diverges.
        """
