"""SmolLM2 embeddings against ones made independently of this project."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from survey_sources import SHARED

from gpo_ray.embedding.encoder import POOLINGS, Encoder
from gpo_ray.embedding.template import PROMPT_EOL
from gpo_ray.lm.find import find_model

REFERENCE = Path(os.environ.get("GPO_RAY_REFERENCE", SHARED / "reference"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.minutes,
    pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"no reference embeddings at {REFERENCE}"),
]


def test_smollm2_equals_the_independent_reference():
    reference = np.load(REFERENCE / "oqa_smollm2_sample.npz")
    lines = (REFERENCE / "oqa_questions.jsonl").read_text().splitlines()[:40]
    slates = [(q["question"], q["options"]) for q in map(json.loads, lines)]
    encoded = Encoder(find_model("smollm2"), batch_tokens=2048).encode(slates)
    for pooling in [p for p in POOLINGS if p not in PROMPT_EOL]:
        ours = np.concatenate([getattr(e, pooling) for e in encoded])
        assert abs(ours - reference[pooling]).max() < 2e-4, pooling
    for i, e in enumerate(encoded):
        logits = reference["letter_logit"][reference["row"][:, 0] == i].astype(np.float64)
        shares = np.exp(logits - logits.max())
        assert abs(np.exp(e.letter_logprob) - shares / shares.sum()).max() < 1e-4
