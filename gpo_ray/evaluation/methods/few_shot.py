"""Method ``few-shot``: a language model is shown the group's answers to the context, and asked the targets.

Shapes: K orders of a question's options.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpo_ray.config import parse
from gpo_ray.evaluation.methods.method import (
    FitProgress,
    FitSettings,
    Fitted,
    Method,
    Needs,
    SplitData,
    TaskPrediction,
)
from gpo_ray.evaluation.methods.prompted import group_of, prediction, shown_answers
from gpo_ray.guesses.asking import Asked, AskSettings, content_of, cyclic_orders
from gpo_ray.guesses.few_shot import FewShotPrompt, Shown, few_shot_prompt
from gpo_ray.guesses.kept import KeepingBackend
from gpo_ray.guesses.letters import option_spellings
from gpo_ray.guesses.table import Way
from gpo_ray.lm.find import ModelSource, find_model
from gpo_ray.lm.load import fingerprint
from gpo_ray.lm.tokenizer import Tokenizer
from gpo_ray.model.episodes import Task
from gpo_ray.preferences.dataset import Question

STYLE = "few-shot"


class FewShot(Method):
    """The probabilities of the options' letters, after the answers of the group's context."""

    name = "few-shot"

    def settings(self, settings: FitSettings) -> AskSettings:
        """Return what the model is asked for.

        Raises:
            ConfigError: if the evaluation's settings are out of range.
        """
        return parse(AskSettings, {"orders": settings.language_model.orders}, self.name)

    def needs(self, settings: FitSettings) -> Needs:
        """Return that it asks a language model."""
        del settings
        return Needs(language_model=True)

    def configuration(self, settings: FitSettings) -> dict[str, Any]:
        """Return how the model is asked."""
        asked = self.settings(settings).model_dump(mode="json")
        return {"as": STYLE, "window": settings.language_model.window, **asked}

    def fit(self, data: SplitData, tell: FitProgress = lambda _: None) -> FittedFewShot:
        """Learn nothing; the model is asked when tasks are predicted."""
        return FittedFewShot(data, self.settings(data.settings), tell)


@dataclass(frozen=True)
class FittedFewShot(Fitted):
    """The data, and how the language model is asked."""

    data: SplitData
    settings: AskSettings
    tell: FitProgress

    def predict(self, tasks: Sequence[Task]) -> list[TaskPrediction]:
        """Predict the tasks, with uniform shares where a target alone is longer than the model can read."""
        chosen = self.data.settings.language_model
        source = find_model(chosen.model)
        identity, tokenizer = fingerprint(source, chosen.dtype), _tokenizer(source)
        limits = [n for n in (chosen.window, tokenizer.max_tokens) if n is not None]
        prompts = Prompts(identity, tokenizer, min(limits, default=None), self.settings)
        asked = [self._asked(task, prompts) for task in tasks]
        # prompts that show the same answers are neighbours: what they begin with is read once
        every = sorted(
            (found for each in asked for found in each if found is not None),
            key=lambda found: (found.asked.group_id or "", -found.shown),
        )
        backend = KeepingBackend(self.data.language_model)
        guesses = backend.answer([found.asked for found in every], self.settings, self.tell)
        by_content = {guess.content: guess for guess in guesses}
        predictions = []
        for task, each in zip(tasks, asked, strict=True):
            found = [None if f is None else by_content[f.asked.content] for f in each]
            dropped = [len(task.context) if f is None else f.dropped for f in each]
            predictions.append(prediction(self.data, task, found, float(np.mean(dropped))))
        return predictions

    def _asked(self, task: Task, prompts: Prompts) -> list[AskedFewShot | None]:
        questions = self.data.texts.questions
        shown = shown_answers(self.data, task.group, task.context)
        group = group_of(self.data, task)
        return [prompts.asked(questions[q], group, shown) for q in task.target]


@dataclass(frozen=True)
class AskedFewShot:
    """A question with a group's answers before it, and how many of these there was room for."""

    asked: Asked
    shown: int
    dropped: int


@dataclass(frozen=True)
class Prompts:
    """What makes the prompts of one language model."""

    identity: str
    tokenizer: Tokenizer
    window: int | None
    """Most tokens of a prompt and the letter after it; None for no limit."""
    settings: AskSettings

    def asked(self, target: Question, group: str, shown: Sequence[Shown]) -> AskedFewShot | None:
        """Return a question with a group's answers before it, in all orders of its options.

        Returns:
            The question as it is asked; None if it alone is longer than the window.
        """
        size = len(target.responses)
        orders = cyclic_orders(size, self.settings.orders)
        reply = max(len(ids) for i in range(size) for ids in self._spellings(i, size))
        found = self._in_orders(target, orders, shown, reply)
        if found is not None and len({f.shown for f in found}) > 1:  # every order shows the same answers
            found = self._in_orders(target, orders, shown[: min(f.shown for f in found)], reply)
        if found is None:
            return None
        texts = tuple(f.text for f in found)
        way = Way(self.identity.partition("@")[0], self.settings.ask, STYLE)
        content = content_of(self.identity, self.settings, texts, target)
        asked = Asked(way, group, target, orders, texts, content)
        return AskedFewShot(asked, found[0].shown, len(shown) - found[0].shown)

    def _in_orders(
        self, target: Question, orders: Sequence[Sequence[int]], shown: Sequence[Shown], reply: int
    ) -> list[FewShotPrompt] | None:
        found = []
        for order in orders:
            prompt = few_shot_prompt(target.in_order(order), shown, self._count, self.window, reply)
            if prompt is None:
                return None
            found.append(prompt)
        return found

    def _count(self, text: str) -> int:
        return len(self.tokenizer.chat_tokens([text])[0])

    @functools.cached_property
    def _spellings(self) -> Callable[[int, int], list[list[int]]]:
        return functools.cache(functools.partial(option_spellings, self.tokenizer))


@functools.cache
def _tokenizer(source: ModelSource) -> Tokenizer:
    return Tokenizer.of(source)
