"""Supervised fine-tuning on one group's answers, and the probabilities of option letters as predictions.

Shapes: R responses of a question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gpo_ray.finetuning.adapters import Adapter
from gpo_ray.finetuning.base import BaseModel, adapter_of, divide, training_set, untrained
from gpo_ray.finetuning.config import SftConfig
from gpo_ray.finetuning.examples import Asked, texts_of
from gpo_ray.finetuning.tuned import tuned
from gpo_ray.guesses.asking import cyclic_orders
from gpo_ray.guesses.few_shot import Shown
from gpo_ray.lm.model import LanguageModel
from gpo_ray.lm.score import score_responses
from gpo_ray.preferences.dataset import Question
from gpo_ray.preferences.slates import Array

READ_TOGETHER = 64
"""Number of questions that are read in one go, as in embedding."""


def fit_sft(base: BaseModel, answered: Sequence[Shown], config: SftConfig) -> Adapter:
    """Train an adapter on a group's answers.

    Each pass shows a question with its options in another cyclic order, so that letters are not learnt. A
    part of the answers is held back; the best step by the loss on them is kept, the base model if none is
    better, or if there are fewer than :data:`gpo_ray.finetuning.base.MIN_ANSWERS` answers.

    Args:
        base: the language model, frozen.
        answered: the questions that the group answered, with its shares (R,).
        config: how to train.

    Raises:
        EmbeddingError: if a question is too long for the model, or the model cannot be trained here.
        ConfigError: if training diverged.
    """
    training, held_back = divide(len(answered), config)
    if not held_back:
        return untrained()
    shown = [answered[i] for i in training]
    if config.loss_type == "nll":
        shown = draw_answers(shown, config.seed)
    beside = [answered[i] for i in held_back]
    with tuned(base.model, base.source, config.lora, config.seed) as model:
        data = training_set(base, shown, beside, config, letters=True)
        data = replace(data, whole_vocabulary=config.loss_type == "nll")
        return adapter_of(model, model.train(config, data))


def draw_answers(answered: Sequence[Shown], seed: int) -> list[Shown]:
    """Return the questions with one answer each, drawn from the group's shares (R,), as shares (R,)."""
    rng = np.random.default_rng([seed, 1])
    return [
        (question, rng.multinomial(1, np.asarray(share) / np.sum(share)).astype(np.float64))
        for question, share in answered
    ]


def predict_letters(model: LanguageModel, questions: Sequence[Question], orders: int) -> list[Array]:
    """Return the probabilities (R,) of the option letters of each question, normalised over the letters.

    They are those of :mod:`gpo_ray.lm.score`, averaged over cyclic orders of the options.

    Args:
        model: the language model, with or without an adapter.
        questions: the questions.
        orders: number of orders; each question has at most as many as it has options.
    """
    return mean_over_orders(
        model, [[Asked(q, order) for order in cyclic_orders(len(q.responses), orders)] for q in questions]
    )


def mean_over_orders(model: LanguageModel, asked: Sequence[Sequence[Asked]]) -> list[Array]:
    """Return the letters' probabilities (R,) of each question, averaged over the orders it is asked in."""
    found: list[Array] = []
    for start in range(0, len(asked), READ_TOGETHER):
        some = asked[start : start + READ_TOGETHER]
        flat = [a for orders in some for a in orders]
        scores = iter(score_responses(model, texts_of(model, flat, letters=True)))
        for orders in some:
            total = np.zeros(len(orders[0].order))
            for a in orders:
                total[list(a.order)] += np.exp(next(scores).first_token, dtype=np.float64)
            found.append(total / total.sum())
    return found
