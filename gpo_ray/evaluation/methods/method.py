"""What every method is: it says what it needs, is fitted on a split, and then predicts tasks of test groups.

Nothing here is about a model: one that prompts or fine-tunes a language model fits in as a baseline does.
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

PUBLISHED = "mean"
"""The published pooling. It is always there: tasks are drawn and scored with its arrays."""

Tell = Callable[[float], object]
"""Told the share of the fit that is done, from 0 to 1."""


@dataclass(frozen=True)
class Needs:
    """What must be there before a method can be fitted."""

    poolings: frozenset[str] = frozenset()
    """Embeddings that it reads, by their pooling."""
    texts: bool = False
    """Whether it reads prompts and responses."""
    gpus: float = 0.0
    """GPUs of the task that fits it and predicts with it; less than 1 is a share of one GPU."""


@dataclass(frozen=True)
class FitSettings:
    """What an evaluation changes in the methods' own configurations."""

    steps: int | None = None
    """Meta-training steps, if not the preset's."""
    objective: str | None = None
    """``average`` or ``robust`` where the method does not say, if not the preset's."""


@dataclass(frozen=True)
class SplitData:
    """A data set and its division, shared by all methods that are fitted on it.

    A method may learn from the meta-train groups' answers to the training questions alone, and is given
    the test groups' contexts later, in their tasks.
    """

    arrays: Mapping[str, PreferenceArrays]
    """The data by pooling, :data:`PUBLISHED` among them."""
    split: Split
    cross_survey: bool = False
    """Whether test groups answer another survey's questions, none of which is seen."""
    settings: FitSettings = FitSettings()
    texts: tuple[Question, ...] = ()
    """The questions, by their number in the arrays; empty if no method needs them."""

    @cached_property
    def meta_train(self) -> MetaTrain:
        """The answers to learn from, with what several methods learn from them alike."""
        arrays = self.arrays[PUBLISHED]
        return MetaTrain(
            arrays,
            arrays.group_numbers(self.split.meta_train_groups),
            arrays.question_numbers(self.split.question_order),
        )


@dataclass(frozen=True)
class Prediction:
    """What a method says of one task, whose targets have T responses."""

    shares: Array
    """(T,), summing to 1 within each question."""
    half_width: Array | None = None
    """(T,) of the shares' 90 % intervals, None for a method without them."""


class Fitted(ABC):
    """A method that has learnt what it may."""

    @abstractmethod
    def predict(self, tasks: Sequence[Task]) -> list[Prediction] | None:
        """Predict the tasks' targets from their contexts; None if it can say nothing about any of them."""


class Method(ABC):
    """A way of predicting a group from a few of its answers."""

    name: str
    plain: ClassVar[bool] = False
    """Whether it is a plain baseline, the best of which the others are compared with."""

    @abstractmethod
    def needs(self, settings: FitSettings) -> Needs:
        """What it needs."""

    def configuration(self, settings: FitSettings) -> dict[str, Any]:
        """All that decides its scores besides the data, as plain values; empty if it has no configuration.

        An evaluation goes on where it was interrupted only if this has not changed.
        """
        del settings
        return {}

    @abstractmethod
    def fit(self, data: SplitData, tell: Tell = lambda _: None) -> Fitted:
        """Learn from a split.

        Args:
            data: what to learn from.
            tell: called as the work goes on.

        Raises:
            ConfigError: if training diverges.
        """
