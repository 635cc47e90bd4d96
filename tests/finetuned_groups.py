"""A group that answers by what responses say, and language models to fine-tune towards it."""

import numpy as np
from tiny_model import save_tiny_model

from gpo_ray.finetuning.base import BaseModel
from gpo_ray.lm.find import find_model
from gpo_ray.lm.model import LanguageModel
from gpo_ray.preferences.dataset import Question

RESPONSES = ("Yes", "No", "Maybe")
SHARES = (0.8, 0.15, 0.05)


def save_learner(folder):
    """Save a model that is just large enough to learn which letter a liked response stands at."""
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 4}
    return save_tiny_model(folder, initializer_range=0.1, **sizes)


def base_model(folder):
    """A language model with its files."""
    source = find_model(str(folder))
    return BaseModel(LanguageModel(source), source)


def answers(count=16, shares=SHARES):
    """Answers to questions that differ; the group likes one response wherever it stands."""
    made = []
    for i in range(count):
        order = [(i + k) % len(RESPONSES) for k in range(len(RESPONSES))]
        question = Question(f"q{i}", "made", f"Is {i} good?", tuple(RESPONSES[k] for k in order))
        made.append((question, np.array([shares[k] for k in order])))
    return made


def divergence(answered, predicted):
    """Mean forward divergence of predicted shares from a group's, in nats."""
    each = [
        float(np.sum(s * np.log(np.maximum(s, 1e-12) / np.maximum(p, 1e-12))))
        for (_, s), p in zip(answered, predicted, strict=True)
    ]
    return float(np.mean(each))


def swapped(answered):
    """The same answers with the labels of the first two of the responses interchanged."""
    exchange = {"Yes": "No", "No": "Yes"}
    found = []
    for question, share in answered:
        others = [exchange.get(r, r) for r in question.responses]
        found.append((question, np.array([share[question.responses.index(r)] for r in others])))
    return found
