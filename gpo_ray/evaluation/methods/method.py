"""The interface of a method: it says what it needs, is fitted on a split, and predicts tasks of test groups.

The interface assumes nothing about a model: a method may also prompt or fine-tune a language model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.evaluation.methods.meta_train import MetaTrain
from gpo_ray.model.episodes import Task
from gpo_ray.preferences.dataset import Question
from gpo_ray.preferences.slates import Array
from gpo_ray.preferences.splits import Split

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
    """Whether it reads the texts of prompts and responses."""
    gpus: float = 0.0
    """Number of GPUs of the task that fits it and predicts with it; less than 1 is a share of one GPU."""


@dataclass(frozen=True)
class FitSettings:
    """The settings that an evaluation changes in the methods' own configurations."""

    steps: int | None = None
    """Number of meta-training steps; None keeps the preset's."""
    objective: str | None = None
    """``average`` or ``robust``, for methods that do not fix it themselves; None keeps the preset's."""


@dataclass(frozen=True)
class SplitData:
    """A data set and its division, shared by all methods that are fitted on it.

    A method may learn only from the meta-train groups' answers to the training questions; it is given the
    test groups' contexts later, in their tasks.
    """

    arrays: Mapping[str, PreferenceArrays]
    """The data by pooling, which include :data:`PUBLISHED_POOLING`."""
    split: Split
    cross_survey: bool = False
    """Whether test groups answer another survey's questions, all of which are unseen."""
    settings: FitSettings = FitSettings()
    texts: tuple[Question, ...] = ()
    """The questions in the order of the arrays; empty if no method needs their texts."""

    @cached_property
    def meta_train(self) -> MetaTrain:
        """The answers to learn from, with the results that several methods share."""
        arrays = self.arrays[PUBLISHED_POOLING]
        return MetaTrain(
            arrays,
            arrays.group_numbers(self.split.meta_train_groups),
            arrays.question_numbers(self.split.question_order),
        )


@dataclass(frozen=True)
class Prediction:
    """A method's prediction of one task, whose targets have T responses."""

    shares: Array
    """(T,) shares, which sum to 1 within each question."""
    half_width: Array | None = None
    """(T,) half the widths of the shares' 90 % intervals; None for a method without intervals."""


class Fitted(ABC):
    """A method that is fitted on a split."""

    @abstractmethod
    def predict(self, tasks: Sequence[Task]) -> list[Prediction] | None:
        """Predict the tasks' targets from their contexts; return None if it can predict none of them."""


class Method(ABC):
    """A method of predicting a group's answers from a few of its other answers."""

    name: str
    plain: ClassVar[bool] = False
    """Whether it is a plain baseline; the other methods are compared with the best of these."""

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
            tell: called with the progress.

        Raises:
            ConfigError: if training diverges.
        """
