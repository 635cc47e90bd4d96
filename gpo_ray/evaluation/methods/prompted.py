"""The methods that predict what a language model guesses of nobody, or in the role of the test group.

Guesses are read where an evaluation was given them; otherwise the evaluation's own language model is asked,
only for the questions and groups of the tasks.

Shapes: R responses of a question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gpo_ray.config import parse
from gpo_ray.evaluation.methods.method import (
    PUBLISHED_POOLING,
    FitProgress,
    FitSettings,
    Fitted,
    Method,
    Needs,
    SplitData,
    TaskPrediction,
)
from gpo_ray.guesses.asking import Asked, AskSettings, asked
from gpo_ray.guesses.few_shot import Shown
from gpo_ray.guesses.kept import KeepingBackend
from gpo_ray.guesses.roles import describe
from gpo_ray.guesses.table import Guess, Way
from gpo_ray.lm.find import find_model
from gpo_ray.lm.load import fingerprint
from gpo_ray.model.episodes import Task
from gpo_ray.preferences.dataset import Group, Question
from gpo_ray.preferences.join import PREFIX
from gpo_ray.preferences.slates import Ints, normalized

ALL_ORDERS = 100
"""Number of orders that is all of them: there are no more than options."""
Pair = tuple[str | None, int]
"""The group as which a question is asked, None for nobody, and the question's number."""


@dataclass(frozen=True)
class Prompted(Method):
    """A method that predicts what a language model guesses, in one way of asking."""

    name: str
    style: str
    """How the model is told the test group: ``none``, ``qa``, ``bio`` or ``portray``."""
    ask: str | None = None
    """What it is asked for; None leaves it to the evaluation's settings."""
    orders: int | None = None
    """Number of orders of the options; None leaves it to the evaluation's settings."""
    exact: bool = False
    """Whether given guesses are read only if they are known to be asked with this number of orders."""
    reads_guesses: bool = True

    def settings(self, settings: FitSettings) -> AskSettings:
        """Return what the model is asked for.

        Raises:
            ConfigError: if the evaluation's settings are out of range.
        """
        chosen = settings.language_model
        ask, orders = self.ask or chosen.ask, self.orders or chosen.orders
        return parse(AskSettings, {"ask": ask, "orders": orders}, self.name)

    def needs(self, settings: FitSettings) -> Needs:
        """Return that it asks a language model."""
        del settings
        return Needs(language_model=True)

    def configuration(self, settings: FitSettings) -> dict[str, Any]:
        """Return how the model is asked."""
        return {"as": self.style, **self.settings(settings).model_dump(mode="json")}

    def fit(self, data: SplitData, tell: FitProgress = lambda _: None) -> FittedPrompted:
        """Learn nothing; the model is asked when tasks are predicted."""
        return FittedPrompted(self, data, tell)


@dataclass(frozen=True)
class FittedPrompted(Fitted):
    """A way of asking, and whom to ask."""

    method: Prompted
    data: SplitData
    tell: FitProgress

    def predict(self, tasks: Sequence[Task]) -> list[TaskPrediction] | None:
        """Predict the tasks, whose contexts are not read, with uniform shares where there is no distribution.

        Returns:
            The predictions; None if nothing was or can be asked, such as in the role of a single person.
        """
        found = self._answers(dict.fromkeys(p for task in tasks for p in self._pairs(task)))
        if not found:
            return None
        return [prediction(self.data, task, [found.get(p) for p in self._pairs(task)]) for task in tasks]

    def _pairs(self, task: Task) -> list[Pair]:
        group = None if self.method.style == "none" else group_of(self.data, task)
        return [(group, int(q)) for q in task.target]

    def _answers(self, pairs: Iterable[Pair]) -> dict[Pair, Guess]:
        """Return what the model answered, or answers now."""
        settings = self.method.settings(self.data.settings)
        way = Way(self._model, settings.ask, self.method.style)
        found: dict[Pair, Guess] = {}
        missing: dict[Pair, Asked] = {}
        for group, number in pairs:
            wanted = self._asked(way, group, self.data.texts.questions[number], settings)
            read = self._given(way, group, self.data.texts.questions[number], wanted)
            if read is not None:
                found[group, number] = read
            elif wanted is not None and self._asks:
                missing[group, number] = wanted
        backend = KeepingBackend(self.data.language_model)
        answers = backend.answer(list(missing.values()), settings, self.tell)
        return found | dict(zip(missing, answers, strict=True))

    def _asked(self, way: Way, group: str | None, question: Question, settings: AskSettings) -> Asked | None:
        """Return a question as it is asked; None in the role of a group that cannot be told."""
        role = None if group is None else describe(_own(self.data.texts.groups[group]))
        if group is not None and role is None:
            return None
        return asked(question, way, group, role, self._identity, settings)

    def _given(self, way: Way, group: str | None, question: Question, wanted: Asked | None) -> Guess | None:
        """Return the guess that the evaluation was given, if it is what this method predicts."""
        read = None if self.data.guesses is None else self.data.guesses.guess(way, group, question)
        if read is None or not self.method.exact:
            return read
        return read if wanted is not None and read.content == wanted.content else None

    @cached_property
    def _own_identity(self) -> str:
        chosen = self.data.settings.language_model
        return fingerprint(find_model(chosen.model), chosen.dtype)

    @property
    def _model(self) -> str:
        """The name of the model that guesses."""
        given = self.data.guesses
        return self._own_identity.partition("@")[0] if given is None else next(iter(given.models))

    @property
    def _identity(self) -> str:
        """What identifies this model."""
        given = self.data.guesses
        return self._own_identity if given is None else given.models[self._model] or "unknown"

    @property
    def _asks(self) -> bool:
        """Whether the evaluation's language model may be asked what is not given: only if it is the same."""
        return self._identity == self._own_identity


def _own(group: Group) -> Group:
    """Return a group of a joined survey under the id that it has in its own survey."""
    return Group(group.group_id.removeprefix(PREFIX), group.kind, group.description)


def group_of(data: SplitData, task: Task) -> str:
    """Return the id of a task's group."""
    return data.arrays[PUBLISHED_POOLING].group_ids[task.group]


def sizes_of(data: SplitData, questions: Ints) -> Ints:
    """Return the number of responses of each question."""
    return np.diff(data.arrays[PUBLISHED_POOLING].offsets)[questions]


def shown_answers(data: SplitData, group: int, questions: Ints) -> list[Shown]:
    """Return a group's answers to some questions, by their numbers, as few-shot prompts show them."""
    y = data.arrays[PUBLISHED_POOLING].shares_of(group, questions)
    shares = np.split(y, np.cumsum(sizes_of(data, questions))[:-1])
    return [(data.texts.questions[q], share) for q, share in zip(questions, shares, strict=True)]


def prediction(
    data: SplitData, task: Task, guesses: Sequence[Guess | None], dropped: float = 0.0
) -> TaskPrediction:
    """Return guesses as a prediction, with uniform shares where there is no distribution.

    Args:
        data: the data.
        task: the task.
        guesses: the guess for each target; None if it could not be asked.
        dropped: mean number of context questions for which a prompt had no room.
    """
    sizes = sizes_of(data, task.target)
    shares = [g.share if g is not None else None for g in guesses]
    filled = [np.full(n, 1 / n) if s is None else np.asarray(s) for s, n in zip(shares, sizes, strict=True)]
    without = sum(s is None for s in shares)
    return TaskPrediction(
        normalized(np.concatenate(filled), sizes), without_distribution=without, context_dropped=dropped
    )
