"""A reward model of one group: a scalar of each response, whose softmax within a question predicts shares.

Shapes: R responses of a question.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from gpo_ray.finetuning.adapters import Adapter
from gpo_ray.finetuning.base import BaseModel, adapter_of, divide, training_set, untrained
from gpo_ray.finetuning.config import RewardModelConfig
from gpo_ray.finetuning.examples import Asked, texts_of
from gpo_ray.finetuning.sft import READ_TOGETHER
from gpo_ray.finetuning.tuned import Tuned, tuned
from gpo_ray.guesses.asking import cyclic_orders
from gpo_ray.guesses.few_shot import Shown
from gpo_ray.lm.model import ReadRow
from gpo_ray.preferences.dataset import Question
from gpo_ray.preferences.slates import Array

MAX_SHARPNESS = 10.0
"""Largest factor on rewards before their softmax."""


def fit_reward_model(base: BaseModel, answered: Sequence[Shown], config: RewardModelConfig) -> Adapter:
    """Train a reward model on a group's answers (Bradley-Terry, all pairs of a question's responses).

    A part of the answers is held back: the best step by the loss on them is kept, and the temperature of the
    softmax is the one that predicts them best. Where rewards say nothing of them, predictions are uniform;
    so they are with fewer than :data:`gpo_ray.finetuning.base.MIN_ANSWERS` answers.

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
        return untrained(sharpness=0)
    beside = [answered[i] for i in held_back]
    with tuned(base.model, base.source, config.lora, config.seed, head=True) as model:
        data = training_set(base, [answered[i] for i in training], beside, config, letters=False)
        trained = model.train(config, data)
        sharpness = 0.0
        if trained.best_step:
            rewards = predict_rewards(model, [q for q, _ in beside], config.prediction_orders)
            sharpness = best_sharpness(rewards, [share for _, share in beside])
        return adapter_of(model, trained, sharpness)


def predict_rewards(model: Tuned, questions: Sequence[Question], orders: int) -> list[Array]:
    """Return the rewards (R,) of each question's responses, averaged over cyclic orders of the options.

    Args:
        model: the language model with the reward model's adapter and head.
        questions: the questions.
        orders: number of orders; each question has at most as many as it has options.
    """
    head, language_model = model.reward, model.model

    def pool(read: ReadRow) -> list[Array]:
        return [head.rewards(read.hidden[ends]).double().cpu().numpy() for ends in read.row.response_ends]

    found: list[Array] = []
    for start in range(0, len(questions), READ_TOGETHER):
        some = questions[start : start + READ_TOGETHER]
        asked = [[Asked(q, o) for o in cyclic_orders(len(q.responses), orders)] for q in some]
        texts = texts_of(language_model, [a for each in asked for a in each], letters=False)
        rewards = iter(language_model.read(texts, pool)[0])
        for each in asked:
            total = np.zeros(len(each[0].order))
            for a in each:
                total[list(a.order)] += next(rewards)
            found.append(total / len(each))
    return found


def shares_of_rewards(rewards: Array, sharpness: float) -> Array:
    """Return the softmax (R,) of a question's rewards (R,) times a factor."""
    scaled = sharpness * (rewards - rewards.max())
    return np.asarray(np.exp(scaled) / np.exp(scaled).sum())


def best_sharpness(rewards: Sequence[Array], shares: Sequence[Array]) -> float:
    """Return the factor on rewards (R,) whose softmax has the least cross-entropy with the shares (R,).

    It is between 0 and :data:`MAX_SHARPNESS`; the cross-entropy is convex in it.
    """

    def cross_entropy(sharpness: float) -> float:
        return -sum(
            float(np.asarray(s) @ np.log(shares_of_rewards(r, sharpness)))
            for r, s in zip(rewards, shares, strict=True)
        )

    found = minimize_scalar(cross_entropy, bounds=(0.0, MAX_SHARPNESS), method="bounded")
    return float(found.x) if cross_entropy(float(found.x)) < cross_entropy(0.0) else 0.0
