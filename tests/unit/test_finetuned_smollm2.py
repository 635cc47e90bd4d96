"""What SmolLM2 learns of a group, and in what time."""

import time

import numpy as np
import pytest
from finetuned_groups import answers, divergence, swapped

from gpo_ray.finetuning.base import BaseModel, adapted, with_weights
from gpo_ray.finetuning.config import InContextConfig, RewardModelConfig, SftConfig
from gpo_ray.finetuning.in_context import fit_in_context, predict_in_context
from gpo_ray.finetuning.reward_model import fit_reward_model, predict_rewards, shares_of_rewards
from gpo_ray.finetuning.sft import fit_sft, predict_letters
from gpo_ray.lm.find import find_model
from gpo_ray.lm.model import LanguageModel
from gpo_ray.preferences.dataset import Question

pytestmark = pytest.mark.minutes


@pytest.fixture(scope="module")
def base():
    source = find_model("smollm2")
    return BaseModel(LanguageModel(source, device="cpu"), source)


def by_sft(base, learnt, asked):
    config = SftConfig(num_train_epochs=6)
    with adapted(base, fit_sft(base, learnt, config), config.lora):
        return predict_letters(base.model, asked, 3)


def by_rewards(base, learnt, asked):
    config = RewardModelConfig(num_train_epochs=6)
    adapter = fit_reward_model(base, learnt, config)
    if adapter.record.kept_base:
        return [np.full(len(q.responses), 1 / len(q.responses)) for q in asked]
    with with_weights(base, adapter, config.lora, head=True) as model:
        return [shares_of_rewards(r, adapter.record.sharpness) for r in predict_rewards(model, asked, 3)]


def in_context(base, learnt, asked):
    config = InContextConfig(max_steps=24, shown=(1, 3), targets=4, validation_stems=2)
    adapter = fit_in_context(base, {"a": learnt, "b": learnt}, {"c": learnt}, config)
    with adapted(base, adapter, config.lora):
        return predict_in_context(base.model, asked, learnt[:2], 3)[0]


@pytest.mark.parametrize("method", [by_sft, by_rewards, in_context])
def test_it_beats_the_base_model_on_its_own_questions_and_with_swapped_labels_it_does_not(base, method):
    mine = answers(12)
    asked = [q for q, _ in mine]
    before = divergence(mine, predict_letters(base.model, asked, 3))
    assert divergence(mine, method(base, mine, asked)) < 0.7 * before
    # the base model favours letters so much that it is worse than uniform shares; those need no labels
    uniform = divergence(mine, [np.full(3, 1 / 3)] * len(mine))
    assert divergence(mine, method(base, swapped(mine), asked)) > uniform


def test_a_group_of_twenty_questions_takes_at_most_a_minute_of_one_core(base):
    mine = [
        (Question(q.question_id, q.source, " ".join(["As far as you know,", q.prompt] * 6), q.responses), s)
        for q, s in answers(20)
    ]
    for fit, config in ((fit_sft, SftConfig()), (fit_reward_model, RewardModelConfig())):
        started = time.process_time()
        adapter = fit(base, mine, config)
        assert time.process_time() - started <= 60
        assert adapter.record.steps <= 12
        assert adapter.nbytes < 2**23
