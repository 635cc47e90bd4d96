"""Adapters of a language model: what they learn, and that the model is as before without them."""

import json

import numpy as np
import pytest
import torch
from finetuned_groups import answers, base_model, divergence, save_learner, swapped
from hypothesis import given
from hypothesis import strategies as st

from gpo_ray.embedding.template import instruction, response_text
from gpo_ray.errors import ConfigError, EmbeddingError, QuestionTooLongError
from gpo_ray.finetuning import base as base_module
from gpo_ray.finetuning.base import adapted, divide, with_weights
from gpo_ray.finetuning.config import FinetuneConfig, LoraSettings, RewardModelConfig, SftConfig
from gpo_ray.finetuning.examples import Asked, TreeCollator, passes, question_examples, rotation, texts_of
from gpo_ray.finetuning.reward_model import (
    best_sharpness,
    fit_reward_model,
    predict_rewards,
    shares_of_rewards,
)
from gpo_ray.finetuning.sft import draw_answers, fit_sft, predict_letters
from gpo_ray.finetuning.trainers import pairwise_loss
from gpo_ray.finetuning.tuned import tuned
from gpo_ray.lm.score import score_responses
from gpo_ray.preferences.dataset import Question

LORA = LoraSettings(r=16, lora_alpha=32, upper_layers=1)
LEARNS = {"learning_rate": 1e-2, "num_train_epochs": 24, "early_stopping_patience": 24, "lora": LORA}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return base_model(save_learner(tmp_path_factory.mktemp("models") / "learner"))


def questions(answered):
    return [q for q, _ in answered]


def by_sft(base, trained_on, asked, **changes):
    config = SftConfig(**LEARNS | changes)
    adapter = fit_sft(base, trained_on, config)
    with adapted(base, adapter, config.lora):
        return adapter, predict_letters(base.model, questions(asked), 3)


def by_rewards(base, trained_on, asked):
    config = RewardModelConfig(**LEARNS)
    adapter = fit_reward_model(base, trained_on, config)
    with with_weights(base, adapter, config.lora, head=True) as model:
        rewards = predict_rewards(model, questions(asked), 3)
    return adapter, [shares_of_rewards(r, adapter.record.sharpness) for r in rewards]


def test_sft_beats_the_base_model_and_with_swapped_labels_it_does_not(base):
    mine = answers()
    before = divergence(mine, predict_letters(base.model, questions(mine), 3))
    adapter, after = by_sft(base, mine, mine)
    _, other = by_sft(base, swapped(mine), mine)
    assert adapter.record.best_step > 0
    assert adapter.record.best_loss < adapter.record.base_loss
    assert divergence(mine, after) < 0.5 * before
    assert divergence(mine, other) > before
    np.testing.assert_allclose([p.sum() for p in after], 1)


def test_a_reward_model_beats_uniform_shares_and_with_swapped_labels_it_does_not(base):
    mine = answers()
    uniform = divergence(mine, [np.full(3, 1 / 3)] * len(mine))
    adapter, after = by_rewards(base, mine, mine)
    _, other = by_rewards(base, swapped(mine), mine)
    assert adapter.record.best_step > 0
    assert "score.weight" in adapter.weights
    assert divergence(mine, after) < 0.5 * uniform
    assert divergence(mine, other) > uniform


def test_answers_drawn_from_the_shares_are_learnt_with_the_usual_loss(base):
    sure = answers(shares=(1.0, 0.0, 0.0))
    before = divergence(sure, predict_letters(base.model, questions(sure), 3))
    adapter, after = by_sft(base, sure, sure, loss_type="nll")
    assert adapter.record.base_loss > adapter.record.best_loss
    assert divergence(sure, after) < 0.5 * before
    drawn = draw_answers(answers(200), seed=0)
    assert all(sorted(s) == [0, 0, 1] for _, s in drawn)
    assert np.mean([s[q.responses.index("Yes")] for q, s in drawn]) == pytest.approx(0.8, abs=0.1)


def test_the_same_seed_gives_the_same_adapter_and_leaves_the_model_as_it_was(base):
    mine, causal = answers(8), base.model.model
    asked = questions(mine)
    before, config = predict_letters(base.model, asked, 2), causal.config.to_dict()
    generation, state = causal.generation_config.to_dict(), torch.get_rng_state()
    few = SftConfig(learning_rate=1e-2)
    first, second = (fit_sft(base, mine, few) for _ in range(2))
    other = fit_sft(base, mine, few.model_copy(update={"seed": 1}))
    assert first.weights.keys() == second.weights.keys()
    assert all(torch.equal(first.weights[k], second.weights[k]) for k in first.weights)
    assert any(not torch.equal(first.weights[k], other.weights[k]) for k in other.weights)
    np.testing.assert_array_equal(
        np.concatenate(before), np.concatenate(predict_letters(base.model, asked, 2))
    )
    assert causal.config.to_dict() == config
    assert causal.generation_config.to_dict() == generation
    assert torch.equal(torch.get_rng_state(), state)
    assert "forward" not in vars(causal)
    assert not any(p.requires_grad for p in causal.parameters())
    assert not causal.training
    assert not hasattr(causal, "peft_config")


def test_training_says_nothing(base, capfd):
    fit_sft(base, answers(8), SftConfig())
    fit_reward_model(base, answers(8), RewardModelConfig())
    out, err = capfd.readouterr()
    assert out == ""
    assert [line for line in err.splitlines() if "real_accelerator" not in line] == []


def test_without_a_gain_on_held_back_answers_the_base_model_is_kept(base):
    config = SftConfig(learning_rate=1.0, num_train_epochs=1)  # so large that it harms
    nothing = answers(8)
    adapter = fit_sft(base, nothing, config)
    assert adapter.record.kept_base
    assert adapter.weights == {}
    assert adapter.record.best_loss == adapter.record.base_loss
    few = fit_sft(base, nothing[: base_module.MIN_ANSWERS - 1], config)
    assert (few.record.kept_base, few.record.steps, few.nbytes) == (True, 0, 0)
    with adapted(base, few, config.lora):
        kept = predict_letters(base.model, questions(nothing), 1)
    alone = predict_letters(base.model, questions(nothing), 1)
    np.testing.assert_array_equal(np.concatenate(kept), np.concatenate(alone))
    lost = fit_reward_model(base, nothing[:2], RewardModelConfig())
    assert (lost.record.kept_base, lost.record.sharpness) == (True, 0)


def test_a_tree_of_prompts_has_the_probabilities_of_prompts_read_alone(base):
    mine = answers(5)
    batch = TreeCollator(torch.float32, letters=True)(
        question_examples(base.model, mine, range(5), letters=True)
    )
    read = {k: batch[k] for k in ("input_ids", "attention_mask", "position_ids")}
    with torch.inference_mode():
        logits = base.model.model(**read, logits_to_keep=batch["ends"]).logits[0]
    found = logits.gather(1, batch["options"]).softmax(1).numpy()
    asked = [Asked(q, rotation(3, i)) for i, (q, _) in enumerate(mine)]
    for a, shares, own in zip(asked, batch["shares"], found, strict=True):
        (score,) = score_responses(base.model, texts_of(base.model, [a], letters=True))
        np.testing.assert_allclose(own, np.exp(score.first_token), atol=1e-5)
        true = dict(zip(*(next((q.responses, s) for q, s in mine if q is a.question)), strict=True))
        np.testing.assert_allclose(shares, [true[r] for r in a.responses], atol=1e-6)
    together = sum(len(t.prompt) for t in texts_of(base.model, asked, letters=True))
    assert batch["input_ids"].shape[1] < together  # what prompts begin with is there once


def test_the_ends_of_responses_are_those_of_whole_texts(base):
    mine = answers(3)
    batch = TreeCollator(torch.float32, letters=False)(
        question_examples(base.model, mine, [0, 0, 0], letters=False)
    )
    read = {k: batch[k] for k in ("input_ids", "attention_mask", "position_ids")}
    with torch.inference_mode():
        hidden = base.model.model.base_model(**read).last_hidden_state[0][batch["ends"]]
    for (question, _), states in zip(mine, hidden, strict=True):
        (prompt,) = base.model.chat_tokens([instruction(question.prompt, question.responses)])
        for i, response in enumerate(question.responses):
            (tokens,) = base.model.tokens([response_text(i, response)])
            with torch.inference_mode():
                alone = base.model.model.base_model(
                    input_ids=torch.tensor([prompt + tokens])
                ).last_hidden_state
            np.testing.assert_allclose(states[i], alone[0, -1], atol=1e-4)


def test_passes_show_the_options_in_other_orders(base):
    (answered,) = answers(1)
    made = passes(base.model, [answered], 3, letters=True)
    assert len({tuple(e["prompts"][0]) for e in made}) == 3
    assert sorted(tuple(e["shares"][0]) for e in made) == sorted(
        tuple(answered[1][list(rotation(3, k))]) for k in range(3)
    )


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6))
def test_rewards_are_best_where_their_softmax_are_the_shares(weights):
    shares = torch.tensor([weights], dtype=torch.float64)
    shares = shares / shares.sum()
    rewards = torch.log(shares).requires_grad_()
    loss = pairwise_loss(rewards, shares, torch.ones_like(shares, dtype=torch.bool))
    (slope,) = torch.autograd.grad(loss, rewards)
    assert float(slope.abs().max()) < 1e-9


def test_responses_that_are_not_there_add_nothing_to_the_loss():
    rewards, shares = torch.tensor([[0.3, -0.2, 9.0]]), torch.tensor([[0.6, 0.4, 0.0]])
    padded = pairwise_loss(rewards, shares, torch.tensor([[True, True, False]]))
    alone = pairwise_loss(rewards[:, :2], shares[:, :2], torch.ones(1, 2, dtype=torch.bool))
    assert float(padded) == pytest.approx(float(alone))


def test_sharpness_is_zero_where_rewards_say_nothing():
    rewards = [np.array([1.0, -1.0, 0.0])]
    assert best_sharpness(rewards, [np.array([0.2, 0.6, 0.2])]) == 0
    found = best_sharpness(rewards, [shares_of_rewards(rewards[0], 2.5)])
    assert found == pytest.approx(2.5, abs=1e-3)


@given(st.integers(0, 300), st.floats(0.01, 0.99), st.integers(0, 5))
def test_answers_are_divided_into_two_parts_of_which_none_is_empty(count, fraction, seed):
    training, held_back = divide(count, FinetuneConfig(validation_fraction=fraction, seed=seed))
    assert sorted(training + held_back) == list(range(count))
    assert bool(held_back) == (count >= base_module.MIN_ANSWERS)
    assert bool(training) == (count > 0)


def test_what_does_not_fit_is_one_error(base, tiny_language_model):
    long = Question("long", "made", "a" * 600, ("Yes", "No"))
    with pytest.raises(QuestionTooLongError, match="reads 512"):
        texts_of(base.model, [Asked(long, (0, 1))], letters=True)
    nowhere = tuned(base.model, base.source, LoraSettings(target_modules=("nowhere",)), seed=0)
    with pytest.raises(ConfigError, match=r"target_modules: .*nowhere"), nowhere:
        pass
    other = fit_sft(base, answers(8), SftConfig(lora={"r": 2}, learning_rate=1e-3))
    assert other.weights
    with pytest.raises(ConfigError, match="another model or configuration"), with_weights(base, other, LORA):
        pass
    alone = base_model(tiny_language_model)
    alone.model.alone = True
    with pytest.raises(EmbeddingError, match="as one tree"):
        fit_sft(alone, answers(8), SftConfig())


# peft's own way of loading looks at a name that transformers gave up
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_adapters_are_read_by_peft(base, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from gpo_ray.errors import BundleError
    from gpo_ray.finetuning.adapters import read_adapter, write_adapter
    from gpo_ray.runtime.storage import Folder

    adapter = fit_sft(base, answers(8), SftConfig(learning_rate=1e-3, lora=LORA))
    assert adapter.weights
    folder = Folder(tmp_path / "adapter", BundleError)
    write_adapter(folder, adapter)
    assert read_adapter(folder).record == adapter.record
    shape = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (shape["r"], shape["peft_type"]) == (LORA.r, "LORA")
    theirs = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base.source.path), tmp_path / "adapter"
    )
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode(), with_weights(base, adapter, LORA):
        np.testing.assert_allclose(
            theirs(input_ids=ids).logits, base.model.model(input_ids=ids).logits, atol=1e-5
        )
