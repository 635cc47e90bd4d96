"""Scores of responses against plain passes of the language model, one text at a time."""

import numpy as np
import pytest
import torch
from tiny_model import save_tiny_model

from gpo_ray.lm import score
from gpo_ray.lm.find import find_model
from gpo_ray.lm.model import LanguageModel, shared_model
from gpo_ray.lm.prefix_tree import Text
from gpo_ray.lm.score import score_responses

ASKED = [
    ("What is best?", ["A. Parks", "B. Roads and parks", "B. Roads"]),
    ("What is best? And why?", ["yes", "yes, because", "no"]),
    ("Something else entirely", ["1", "2"]),
]
MODELS = {
    "llama": {},
    "softcap": {
        "config_class": "Gemma2Config", "head_dim": 8, "final_logit_softcapping": 3.0,
        "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
    },
    "alone": {"config_class": "BloomConfig", "n_layer": 2, "n_head": 2},
}  # fmt: skip


def plain(folder, texts):
    """The log-probability of every token of each response after the prompt."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    found = []
    with torch.inference_mode():
        for text in texts:
            found.append([])
            for response in text.responses:
                logits = model(torch.tensor([text.prompt + response])).logits[0].float()
                before = logits[len(text.prompt) - 1 : -1]
                found[-1].append(before.log_softmax(-1)[range(len(response)), response].numpy())
    return found


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("block", [2, 64])
def test_scores_are_those_of_plain_passes(name, block, tmp_path, monkeypatch):
    monkeypatch.setattr(score, "ROWS_OF_LOGITS", block)
    folder = save_tiny_model(tmp_path / "model", **MODELS[name])
    model = LanguageModel(find_model(str(folder)), device="cpu")
    assert model.alone == (name == "alone")
    prompts = model.chat_tokens([prompt for prompt, _ in ASKED])
    texts = [Text(p, model.tokens(r)) for p, (_, r) in zip(prompts, ASKED, strict=True)]
    scores = score_responses(model, texts)
    for got, text, want in zip(scores, texts, plain(folder, texts), strict=True):
        np.testing.assert_allclose(got.whole, [w.sum() for w in want], rtol=1e-4)
        first = np.array([w[0] for w in want])
        np.testing.assert_allclose(got.first_token, first - np.log(np.exp(first).sum()), atol=1e-5)
        assert got.tokens.tolist() == [len(r) for r in text.responses]
    assert score_responses(model, []) == []


def test_a_process_keeps_the_model_that_it_asked_for_last(tiny_language_model, tiny_base_model):
    chat, base = find_model(str(tiny_language_model)), find_model(str(tiny_base_model))
    first = shared_model(chat)
    assert shared_model(chat) is first
    other = shared_model(base)
    assert shared_model(base) is other
    assert shared_model(chat) is not first
