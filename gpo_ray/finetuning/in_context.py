"""Fine-tuning on few-shot prompts of many groups: the model learns to answer as those whose answers it reads.

Shapes: R responses of a question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gpo_ray.errors import ConfigError
from gpo_ray.finetuning.adapters import Adapter
from gpo_ray.finetuning.base import BaseModel, adapter_of
from gpo_ray.finetuning.config import InContextConfig
from gpo_ray.finetuning.examples import Asked, Example, example, rotation, texts_of
from gpo_ray.finetuning.sft import mean_over_orders
from gpo_ray.finetuning.tuned import TrainingSet, tuned
from gpo_ray.guesses.asking import cyclic_orders
from gpo_ray.guesses.few_shot import Shown, few_shot_prompt
from gpo_ray.lm.model import LanguageModel
from gpo_ray.preferences.dataset import Question
from gpo_ray.preferences.slates import Array


@dataclass(frozen=True)
class Stem:
    """The answers of a group that prompts show, and the questions that follow them, each in a prompt."""

    shown: tuple[Shown, ...]
    targets: tuple[Shown, ...]
    starts: tuple[int, ...]
    """For each target the option that its cyclic order begins with (modulo their number)."""


def draw_stems(
    groups: Mapping[str, Sequence[Shown]], count: int, config: InContextConfig, seed: Sequence[int]
) -> list[Stem]:
    """Draw stems of groups in turn, with as many shown answers and targets as the configuration says.

    Args:
        groups: each group's answered questions with its shares (R,); groups with fewer than two answers are
            left out.
        count: number of stems.
        config: how many answers and targets.
        seed: seed of the draw.
    """
    rng = np.random.default_rng([*seed, config.seed])
    names = [name for name in sorted(groups) if len(groups[name]) > 1]
    turns: list[str] = []
    while names and len(turns) < count:
        turns += [names[i] for i in rng.permutation(len(names))]
    stems = []
    for name in turns[:count]:
        answers = groups[name]
        shown = min(int(rng.integers(config.shown[0], config.shown[1] + 1)), len(answers) - 1)
        order = rng.permutation(len(answers))
        targets = order[shown : shown + config.targets]
        starts = tuple(int(rng.integers(len(answers[i][0].responses))) for i in targets)
        stems.append(
            Stem(tuple(answers[i] for i in order[:shown]), tuple(answers[i] for i in targets), starts)
        )
    return stems


def stem_example(model: LanguageModel, stem: Stem) -> Example:
    """Return a stem's prompts as one example, in which the shown answers are read once.

    Raises:
        QuestionTooLongError: if a target is longer than the model can read, without any shown answer.
    """
    asked = [
        asked_after(model, question, stem.shown, rotation(len(question.responses), start))[0]
        for (question, _), start in zip(stem.targets, stem.starts, strict=True)
    ]
    shares = [np.asarray(s, np.float64)[list(a.order)] for a, (_, s) in zip(asked, stem.targets, strict=True)]
    return example(texts_of(model, asked, letters=True), shares)


def asked_after(
    model: LanguageModel, question: Question, shown: Sequence[Shown], order: tuple[int, ...]
) -> tuple[Asked, int]:
    """Return a question as it is asked after a group's answers, and how many of these did not fit.

    Shown answers that do not fit into what the model reads are left out from the last one on; the question is
    never cut. If it alone does not fit, it is asked alone, and reading it raises an error.
    """
    found = few_shot_prompt(
        question.in_order(order), shown, lambda text: len(model.chat_tokens([text])[0]), readable(model)
    )
    if found is None:
        return Asked(question, order), len(shown)
    return Asked(question, order, found.text), found.dropped


def readable(model: LanguageModel) -> int | None:
    """Return the most tokens of a text that the model reads as a part of a tree; None for no limit."""
    return min((n for n in (model.window, model.max_tokens) if n is not None), default=None)


def fit_in_context(
    base: BaseModel,
    groups: Mapping[str, Sequence[Shown]],
    validation: Mapping[str, Sequence[Shown]],
    config: InContextConfig,
) -> Adapter:
    """Train an adapter on few-shot prompts of training groups, and stop by those of validation groups.

    The loss is the forward divergence from the groups' shares to the probabilities of the option letters.

    Args:
        base: the language model, frozen.
        groups: the training groups' answered questions with their shares (R,).
        validation: those of the validation groups, by which the best step is chosen.
        config: how to train.

    Raises:
        EmbeddingError: if a question is too long for the model, or the model cannot be trained here.
        ConfigError: if training diverged, or no group has two answers.
    """
    data = in_context_examples(base.model, groups, validation, config)
    with tuned(base.model, base.source, config.lora, config.seed) as model:
        return adapter_of(model, model.train(config, data))


def in_context_examples(
    model: LanguageModel,
    groups: Mapping[str, Sequence[Shown]],
    validation: Mapping[str, Sequence[Shown]],
    config: InContextConfig,
    workers: int = 1,
) -> TrainingSet:
    """Return the prompts that are trained on, and those by which training is stopped.

    Args:
        model: the language model.
        groups: the training groups' answered questions with their shares (R,).
        validation: those of the validation groups.
        config: how to train.
        workers: number of processes that share the steps.

    Raises:
        EmbeddingError: if a question is too long for the model, or the model cannot be trained here.
        ConfigError: if no group has two answers.
    """
    count = config.max_steps * config.per_device_train_batch_size * workers
    stems = draw_stems(groups, count, config, [2])
    held_back = draw_stems(validation, config.validation_stems, config, [3])
    if not stems or not held_back:
        raise ConfigError(
            "in-context-finetune needs training and validation groups with two answers at least"
        )
    return TrainingSet(
        [stem_example(model, s) for s in stems],
        [stem_example(model, s) for s in held_back],
        config.eval_steps,
    )


def predict_in_context(
    model: LanguageModel, questions: Sequence[Question], shown: Sequence[Shown], orders: int
) -> tuple[list[Array], float]:
    """Return the letters' probabilities (R,) of each question after a group's answers.

    Args:
        model: the language model, with or without an adapter.
        questions: the questions.
        shown: the questions that the group has answered, with its shares (R,), the most useful first.
        orders: number of cyclic orders of the options over which predictions are averaged.

    Returns:
        The probabilities, and the mean number of answers for which a prompt had no room.
    """
    asked: list[list[Asked]] = []
    dropped: list[int] = []
    for q in questions:
        mine = [asked_after(model, q, shown, o) for o in cyclic_orders(len(q.responses), orders)]
        asked.append([a for a, _ in mine])
        dropped += [d for _, d in mine]
    return mean_over_orders(model, asked), float(np.mean(dropped))
