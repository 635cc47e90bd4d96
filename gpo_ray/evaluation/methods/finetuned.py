"""The methods that fine-tune a language model: ``sft``, ``reward-model`` and ``in-context-finetune``.

The first two train an adapter for each test group on its context; the third trains one for the split on the
meta-train groups' answers, and shows it a test group's context in the prompt. Adapters are kept on disk by
what they were made of, so that an interrupted or repeated evaluation trains none again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from gpo_ray.evaluation.methods.method import (
    PUBLISHED_POOLING,
    FitProgress,
    FitSettings,
    Fitted,
    Method,
    Needs,
    SplitData,
    TaskPrediction,
    TrainingCost,
)
from gpo_ray.evaluation.methods.prompted import shown_answers
from gpo_ray.finetuning.config import FinetuneConfig, InContextConfig, RewardModelConfig, SftConfig
from gpo_ray.guesses.few_shot import Shown
from gpo_ray.lm.find import find_model
from gpo_ray.model.episodes import Task
from gpo_ray.preferences.dataset import Question
from gpo_ray.preferences.slates import Array

if TYPE_CHECKING:
    from gpo_ray.finetuning.adapters import Adapter
    from gpo_ray.finetuning.base import BaseModel

C = TypeVar("C", bound=FinetuneConfig)


@dataclass(frozen=True)
class FineTuned(Method, Generic[C]):
    """A method that trains adapters of a language model."""

    name: str
    config: C
    """How adapters are trained."""
    begin: Callable[[FineTunedData[C]], Fitted]
    """Function that returns the method fitted on a split."""

    def needs(self, settings: FitSettings) -> Needs:
        """Return that it reads texts and trains adapters of the language model."""
        del settings
        return Needs(texts=True, language_model=True)

    def configuration(self, settings: FitSettings) -> dict[str, Any]:
        """Return how adapters are trained, and the versions of the libraries that train them.

        Raises:
            ConfigError: if one of them is not installed.
        """
        from gpo_ray.finetuning.adapters import require_libraries

        config = self.with_steps(settings.steps)
        return config.model_dump(mode="json") | {"libraries": require_libraries(self.name)}

    def with_steps(self, steps: int | None) -> C:
        """Return the configuration with the evaluation's number of meta-training steps, if it has one."""
        if steps is None or not isinstance(self.config, InContextConfig):
            return self.config
        return self.config.model_copy(
            update={"max_steps": steps, "eval_steps": min(self.config.eval_steps, steps)}
        )

    def fit(self, data: SplitData, tell: FitProgress = lambda _: None) -> Fitted:
        """Return the method with its data.

        Raises:
            EmbeddingError: if the language model cannot be loaded.
            ConfigError: if the libraries that train are not installed, or training diverged.
        """
        from gpo_ray.finetuning.adapters import require_libraries
        from gpo_ray.finetuning.base import BaseModel

        require_libraries(self.name)
        chosen = data.settings.language_model
        base = BaseModel(data.language_model(), find_model(chosen.model), chosen.dtype)
        config = self.with_steps(data.settings.steps)
        return self.begin(FineTunedData(self.name, config, data, base, tell))


@dataclass(frozen=True)
class FineTunedData(Generic[C]):
    """What a method of fine-tuning has on a split."""

    name: str
    config: C
    data: SplitData
    base: BaseModel
    tell: FitProgress

    def questions(self, task: Task) -> list[Question]:
        """Return the texts of a task's targets."""
        return [self.data.texts.questions[q] for q in task.target]

    def adapter(self, answers: Sequence[tuple[str, Sequence[Shown]]], make: Callable[[], Adapter]) -> Adapter:
        """Return the kept adapter that was trained on these answers with this configuration, or make it.

        Args:
            answers: what it is trained on, in parts that have names.
            make: function that trains it.
        """
        from gpo_ray.finetuning.adapters import adapter_key, kept_or_made

        texts = [
            [part, [[q.prompt, list(q.responses), [float(v) for v in share]] for q, share in some]]
            for part, some in answers
        ]
        key = adapter_key(
            method=self.name,
            model=self.base.fingerprint,
            config=self.config.model_dump(mode="json"),
            answers=texts,
        )
        return kept_or_made(key, make)


def cost_of(adapter: Adapter) -> TrainingCost:
    """Return what the training of an adapter took."""
    record = adapter.record
    return TrainingCost(record.seconds, record.steps, record.parameters, adapter.nbytes, record.kept_base)


class FittedPerGroup(Fitted, Generic[C]):
    """A method that trains an adapter for each group when its context is known."""

    def __init__(
        self,
        mine: FineTunedData[C],
        fit: Callable[[BaseModel, Sequence[Shown], C], Adapter],
        predict: Callable[[FineTunedData[C], Adapter, Sequence[Question]], list[Array]],
    ) -> None:
        self._mine, self._fit, self._predict = mine, fit, predict

    def predict(self, tasks: Sequence[Task]) -> list[TaskPrediction]:
        """Train an adapter on each task's context, and predict its targets."""
        mine, found = self._mine, []
        for done, task in enumerate(tasks):
            context = shown_answers(mine.data, task.group, task.context)
            adapter = mine.adapter([("context", context)], lambda: self._fit(mine.base, context, mine.config))  # noqa: B023
            shares = self._predict(mine, adapter, mine.questions(task))
            found.append(TaskPrediction(np.concatenate(shares), cost=cost_of(adapter)))
            mine.tell((done + 1) / len(tasks))
        return found


def fitted_sft(mine: FineTunedData[SftConfig]) -> Fitted:
    """Return ``sft`` on a split: the probabilities of option letters after training on a group's answers."""
    from gpo_ray.finetuning.sft import fit_sft

    return FittedPerGroup(mine, fit_sft, _predict_sft)


def _predict_sft(
    mine: FineTunedData[SftConfig], adapter: Adapter, questions: Sequence[Question]
) -> list[Array]:
    from gpo_ray.finetuning.base import adapted
    from gpo_ray.finetuning.sft import predict_letters

    with adapted(mine.base, adapter, mine.config.lora):
        return predict_letters(mine.base.model, questions, mine.config.prediction_orders)


def fitted_reward_model(mine: FineTunedData[RewardModelConfig]) -> Fitted:
    """Return ``reward-model`` on a split: the softmax of a group's rewards within each question."""
    from gpo_ray.finetuning.reward_model import fit_reward_model

    return FittedPerGroup(mine, fit_reward_model, _predict_rewards)


def _predict_rewards(
    mine: FineTunedData[RewardModelConfig], adapter: Adapter, questions: Sequence[Question]
) -> list[Array]:
    from gpo_ray.finetuning.base import with_weights
    from gpo_ray.finetuning.reward_model import predict_rewards, shares_of_rewards

    if adapter.record.kept_base:
        return [np.full(len(q.responses), 1 / len(q.responses)) for q in questions]
    with with_weights(mine.base, adapter, mine.config.lora, head=True) as model:
        rewards = predict_rewards(model, questions, mine.config.prediction_orders)
    return [shares_of_rewards(r, adapter.record.sharpness) for r in rewards]


class FittedInContext(Fitted):
    """``in-context-finetune`` with the adapter that was trained on a split's meta-train groups."""

    def __init__(self, mine: FineTunedData[InContextConfig]) -> None:
        from gpo_ray.finetuning.in_context import fit_in_context

        self._mine = mine
        training, validation = (
            self._answers(groups)
            for groups in (mine.data.split.train_groups, mine.data.split.validation_groups)
        )
        self._adapter = mine.adapter(
            [*training.items(), *((f"validation {g}", a) for g, a in validation.items())],
            lambda: fit_in_context(mine.base, training, validation, mine.config),
        )

    def _answers(self, groups: Sequence[str]) -> dict[str, list[Shown]]:
        """Return the answers of meta-train groups to the training questions."""
        arrays = self._mine.data.arrays[PUBLISHED_POOLING]
        questions = arrays.question_numbers(self._mine.data.split.question_order)
        return {
            name: shown_answers(
                self._mine.data, number, questions[np.isin(questions, arrays.answered[number])]
            )
            for name, number in zip(groups, arrays.group_numbers(groups), strict=True)
        }

    def predict(self, tasks: Sequence[Task]) -> list[TaskPrediction]:
        """Predict each task's targets after its context in the prompt."""
        from gpo_ray.finetuning.base import adapted
        from gpo_ray.finetuning.in_context import predict_in_context

        mine, found = self._mine, []
        with adapted(mine.base, self._adapter, mine.config.lora):
            for done, task in enumerate(tasks):
                shown = shown_answers(mine.data, task.group, task.context)
                shares, dropped = predict_in_context(
                    mine.base.model, mine.questions(task), shown, mine.config.prediction_orders
                )
                found.append(
                    TaskPrediction(
                        np.concatenate(shares), context_dropped=dropped, cost=cost_of(self._adapter)
                    )
                )
                mine.tell((done + 1) / len(tasks))
        return found
