"""Measure what embedding OpinionQA's questions takes, beside the plain loop and batches of whole texts.

Run::

    python benchmarks/embedding.py --questions FILE [--model smollm2] [--sample 40] [--rounds 1]

Each line of FILE is a question, as a JSON object with the keys ``question`` and ``options``. Tokens and
padding are counted for all questions. Time is measured on a sample (evenly spaced runs of eight neighbours,
since surveys ask questions in batteries), in each round of these ways:

- ``plain``: the loop of transformers, which reads one text for each response, with its whole prompt
- ``batched``: the same texts in batches of 32 by length, padded, as sentence-transformers does
- ``ours``: the encoder without its readings; ``ours_with_readings``: with them

It fails unless all ways give the same vectors, to 1e-4 of the largest number in them. Times are CPU seconds
of one thread, medians over the rounds. ``share_of_peak`` is a rate divided by the most that a square float32
product reaches in this process: the operations per CPU-second of the products with weights that real tokens
need (2 for each weight and token; attention and padding do not count). ``_over_ours`` is a way's time divided
by that of ``ours``. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import cpu_seconds, matmul_peak, product_weights

from gpo_ray.embedding.encoder import Encoder, SlateTexts
from gpo_ray.lm.find import find_model
from gpo_ray.lm.load import load
from gpo_ray.lm.prefix_tree import Text

BATCH = 32  # sentence-transformers' default
NEIGHBOURS = 8


def main() -> None:
    options = _arguments()
    torch.set_num_threads(1)
    lines = [json.loads(line) for line in Path(options.questions).read_text(encoding="utf-8").splitlines()]
    slates = [(q["question"], q["options"]) for q in lines]
    source = find_model(options.model)
    encoder = Encoder(source, device="cpu", readings=False)
    texts = encoder.texts(slates)
    figures: dict[str, Any] = {"questions": len(slates), "responses": sum(len(t.responses) for t in texts)}
    figures |= _tokens(encoder, texts, encoder.opinion_texts(slates))
    print(figures, flush=True)
    starts = np.linspace(0, len(slates) - NEIGHBOURS, options.sample // NEIGHBOURS).astype(int)
    chosen = [int(i) for start in starts for i in range(start, start + NEIGHBOURS)]
    print(
        json.dumps(
            figures | _times(options, encoder, [slates[i] for i in chosen], [texts[i] for i in chosen])
        )
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--questions", required=True)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--sample", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=1)
    return parser.parse_args()


def _tokens(encoder: Encoder, texts: Sequence[Text], again: Sequence[Text]) -> dict[str, Any]:
    plain = sum(len(t.prompt) * len(t.responses) + sum(map(len, t.responses)) for t in texts)
    by_question = sum(len(t.prompt) + sum(map(len, t.responses)) for t in texts)
    ours, padded = _planned(encoder, texts)
    readings, padded_readings = _planned(encoder, again)
    lengths = sorted(len(t.prompt) + len(r) for t in texts for r in t.responses)
    in_batches = sum(len(b) * b[-1] for b in (lengths[i : i + BATCH] for i in range(0, len(lengths), BATCH)))
    return {
        "plain_tokens": plain,
        "tokens_with_a_prefix_a_question": by_question,
        "tokens": ours,
        "tokens_over_plain": round(ours / plain, 4),
        "padding_waste": round(padded / ours - 1, 4),
        "batched_padding_waste": round(in_batches / plain - 1, 4),
        "readings_tokens": readings,
        "readings_padding_waste": round(padded_readings / readings - 1, 4),
    }


def _planned(encoder: Encoder, texts: Sequence[Text]) -> tuple[int, int]:
    """Count the tokens that the encoder reads for some questions, without and with padding."""
    stem, batches = encoder.language_model.plan(texts)
    padded = sum(len(rows) * max(len(row.ids) for row in rows) for rows in batches)
    return stem + sum(len(row.ids) for rows in batches for row in rows), stem + padded


def _times(
    options: argparse.Namespace, encoder: Encoder, slates: Sequence[SlateTexts], texts: Sequence[Text]
) -> dict[str, Any]:
    source = find_model(options.model)
    reader = Encoder(source, device="cpu")
    _, model = load(source, "float32", "cpu")
    weights = product_weights(model)
    whole = [t.prompt + r for t in texts for r in t.responses]
    ways: dict[str, Callable[[], Any]] = {
        "plain": lambda: np.stack([_mean(model, [ids])[0] for ids in whole]),
        "batched": lambda: _in_batches(model, whole),
        "ours": lambda: encoder.encode(slates),
        "ours_with_readings": lambda: reader.encode(slates),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Any] = {}
    peak = matmul_peak()
    for _ in range(options.rounds):
        for name, work in ways.items():
            seconds[name].append(cpu_seconds(lambda name=name, work=work: found.update({name: work()})))
            peak = max(peak, matmul_peak())
    vectors = {
        k: v if k in ("plain", "batched") else np.concatenate([e.mean for e in v]) for k, v in found.items()
    }
    size = np.abs(vectors["plain"]).max()
    for name, got in vectors.items():
        np.testing.assert_allclose(got, vectors["plain"], atol=1e-4 * size, rtol=0, err_msg=name)
    tokens = {"plain": sum(map(len, whole)), "batched": sum(map(len, whole))}
    tokens |= {k: sum(e.tokens for e in found[k]) for k in ("ours", "ours_with_readings")}
    figures: dict[str, Any] = {"sample": len(slates), "peak_gflops": round(peak / 1e9, 1)}
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        figures[f"{name}_sample_tokens"] = tokens[name]
        figures[f"{name}_responses_per_second"] = round(len(whole) / middle, 2)
        figures[f"{name}_share_of_peak"] = round(2 * weights * tokens[name] / middle / peak, 3)
    for name in ("plain", "batched"):
        ratios = [p / o for p, o in zip(seconds[name], seconds["ours"], strict=True)]
        figures[f"{name}_over_ours"] = round(statistics.median(ratios), 2)
    return figures


@torch.inference_mode()
def _mean(model: Any, texts: Sequence[list[int]]) -> np.ndarray:
    """Return the means (number of texts, E) of each text's last hidden states."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(t) for t in texts], batch_first=True)
    real = torch.arange(ids.shape[1]) < torch.tensor([len(t) for t in texts])[:, None]
    hidden = model.base_model(input_ids=ids, attention_mask=real.long(), use_cache=False).last_hidden_state
    return ((hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True)).numpy()


def _in_batches(model: Any, texts: Sequence[list[int]]) -> np.ndarray:
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    found = [_mean(model, [texts[i] for i in order[a : a + BATCH]]) for a in range(0, len(order), BATCH)]
    return np.concatenate(found)[np.argsort(order)]


if __name__ == "__main__":
    main()
