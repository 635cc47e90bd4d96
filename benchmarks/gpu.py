"""Measure embedding, training and prediction on a GPU, beside the CPU's numbers and the GPU's own peak.

Run, on a machine with a GPU that nothing else uses::

    python benchmarks/gpu.py --survey SURVEY [--only encoder,large,step,predict] [--seconds 3] [--profile]

The parts are:

- ``encoder``: SmolLM2 reads the first ``--sample`` questions in each dtype. ``errors`` are relative to the
  CPU's float32: the norm of the difference of all vectors of a pooling together, divided by the norm of the
  CPU's; ``letter_logprob_most`` is the largest absolute difference of a log-probability. Then it reads as
  many questions as it can in some seconds, in batches of each of ``--batches`` tokens.
- ``large``: language models with random weights, in bfloat16 and of the shapes ``--shapes``, read as many
  questions as they can.
- ``step``: a meta-training step of the published recipe, for several widths of the embeddings and numbers of
  groups. ``losses_differ`` is the largest absolute difference of the first eight losses from the CPU's.
- ``predict``: five questions of each of 1, 32 and 256 adapted groups are predicted, on the CPU and on the
  GPU. ``shares_differ`` is the largest absolute difference of a share.

Times (``_ms`` in milliseconds) are wall-clock times, medians over ``--seconds`` seconds of repetitions after
a warm-up, and end when the GPU's work has ended. ``gib`` is the most GPU memory that was allocated, in GiB.
``peak_tflops`` is what a square product reaches in this process, in 10^12 operations a second;
``share_of_peak`` is a part's rate divided by the one of its dtype, with the operations of the matrix products
only (of a language model 2 for each weight and token, without attention). ``copy_gb_per_second`` counts 10^9
bytes read and written. ``--profile`` also prints which kernels and functions take the time. The last line is
a JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import matmul_flop, product_weights
from predict import CONTEXT, QUESTIONS_EACH, bundle_of, random_slates
from training_step import random_arrays, tasks_of_step

from gpo_ray.config import load_train_config
from gpo_ray.embedding.encoder import Encoder, SlateTexts
from gpo_ray.lm.find import find_model
from gpo_ray.lm.load import load
from gpo_ray.meta_training.engine import LocalEngine, new_model
from gpo_ray.model.episodes import build_episode
from gpo_ray.model.estimator import GroupPreferenceModel
from gpo_ray.preferences.dataset import PreferenceDataset

SHAPES = {
    "1.7B": (2048, 8192, 24, 32, 32),
    "8B": (4096, 14336, 32, 32, 8),
}
"""The width, the width of the feed-forward layers, and the numbers of layers, heads and key-value heads of
language models, by name."""
POOLINGS = ("mean", "answer_mean", "last", "opinion", "person")
PEAK_SIZE = 8192
"""The rows and columns of the matrices whose product gives the peak."""


def main() -> None:
    options = _arguments()
    figures: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        figures[f"peak_tflops_{_name(dtype)}"] = round(_peak(dtype) / 1e12, 1)
    figures["copy_gb_per_second"] = round(_copy_rate() / 1e9)
    print(figures, flush=True)
    parts = {"encoder": _encoder, "large": _large, "step": _step, "predict": _predict}
    for name in options.only:
        figures[name] = parts[name](options, figures)
        print(name, json.dumps(figures[name], indent=1), flush=True)
    print(json.dumps(figures))


def _arguments() -> argparse.Namespace:
    def words(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--survey", required=True)
    parser.add_argument("--only", type=words, default=["encoder", "large", "step", "predict"])
    parser.add_argument("--sample", type=int, default=64)
    parser.add_argument("--shapes", type=words, default=list(SHAPES))
    parser.add_argument(
        "--batches", type=lambda t: [int(n) for n in t.split(",")], default=[4096, 16384, 65536]
    )
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _peak(dtype: torch.dtype) -> float:
    """Return the most operations per second that a square product of random matrices reaches."""
    a, b = (torch.randn(PEAK_SIZE, PEAK_SIZE, device="cuda", dtype=dtype) for _ in range(2))
    return 2 * PEAK_SIZE**3 / min(_seconds(lambda: a @ b) for _ in range(8))


def _copy_rate() -> float:
    """Return how many bytes a large copy reads and writes per second."""
    a = torch.randn(1 << 28, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.nbytes / min(_seconds(lambda: b.copy_(a)) for _ in range(8))


def _seconds(work: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def _repeated(work: Callable[[], Any], seconds: float) -> float:
    """Return the median wall-clock seconds of a piece of work, repeated for some seconds after a warm-up."""
    work()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 3:
        taken.append(_seconds(work))
    return statistics.median(taken)


def _questions(survey: str) -> list[SlateTexts]:
    dataset = PreferenceDataset.load(survey, answers=False)
    return [(q.prompt, q.responses) for q in dataset.iter_questions()]


def _encoder(options: argparse.Namespace, figures: dict[str, Any]) -> dict[str, Any]:
    slates, source = _questions(options.survey), find_model("smollm2")
    sample = slates[: options.sample]
    begun = time.perf_counter()
    wanted = Encoder(source, device="cpu").encode(sample)
    cells: dict[str, Any] = {"cpu_seconds_of_sample": round(time.perf_counter() - begun, 2), "errors": {}}
    for dtype in ("float32", "bfloat16", "float16"):
        encoder = Encoder(source, dtype, "cuda")
        found = encoder.encode(sample)
        errors = {
            p: _error([getattr(e, p) for e in found], [getattr(e, p) for e in wanted]) for p in POOLINGS
        }
        letters = [
            np.abs(f.letter_logprob - w.letter_logprob).max() for f, w in zip(found, wanted, strict=True)
        ]
        errors |= {
            "letter_logprob_most": round(float(max(letters)), 5),
            "reads_trees": not encoder.language_model.alone,
        }
        cells["errors"][dtype] = errors
        print(dtype, errors, flush=True)
        for batch in options.batches:
            encoder = Encoder(source, dtype, "cuda", batch_tokens=batch)
            cells[f"{dtype}_{batch}"] = _throughput(encoder, slates, figures[f"peak_tflops_{dtype}"], options)
            print(dtype, batch, cells[f"{dtype}_{batch}"], flush=True)
    return cells


def _error(found: Sequence[Any], wanted: Sequence[Any]) -> float:
    f, w = (np.concatenate(v).astype(np.float64) for v in (found, wanted))
    return float(f"{np.linalg.norm(f - w) / np.linalg.norm(w):.2g}")


def _throughput(
    encoder: Encoder, slates: list[SlateTexts], peak_tflops: float, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure how fast an encoder reads questions, as many in a call as take a quarter of the time."""
    per_call = 64
    encoder.encode(slates[:per_call])  # kernels are chosen and loaded in the first call
    while per_call < len(slates):
        begun = time.perf_counter()
        encoder.encode(slates[:per_call])
        if time.perf_counter() - begun > options.seconds / 4:
            break
        per_call *= 2
    some = slates[:per_call]
    torch.cuda.reset_peak_memory_stats()
    taken = _repeated(lambda: encoder.encode(some), options.seconds)
    memory = torch.cuda.max_memory_allocated()
    tokens = sum(e.tokens for e in encoder.encode(some))
    flop = 2 * product_weights(encoder.language_model.model) * tokens
    if options.profile:
        _profile(lambda: encoder.encode(some))
    return {
        "questions": len(some),
        "tokens_per_second": round(tokens / taken),
        "questions_per_second": round(len(some) / taken, 1),
        "share_of_peak": round(flop / taken / peak_tflops / 1e12, 3),
        "gib": round(memory / 2**30, 2),
    }


def _profile(work: Callable[[], Any]) -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        _seconds(work)
    for by in ("self_cuda_time_total", "self_cpu_time_total"):
        print(found.key_averages().table(sort_by=by, row_limit=14, max_name_column_width=50))


def _large(options: argparse.Namespace, figures: dict[str, Any]) -> dict[str, Any]:
    slates, cells = _questions(options.survey), {}
    with tempfile.TemporaryDirectory() as folder:
        for shape in options.shapes:
            place = _random_model(Path(folder) / shape, *SHAPES[shape])
            for batch in options.batches:
                encoder = Encoder(find_model(str(place)), "bfloat16", "cuda", batch_tokens=batch)
                peak = figures["peak_tflops_bfloat16"]
                cells[f"{shape}_{batch}"] = _throughput(encoder, slates, peak, options)
                print(shape, batch, cells[f"{shape}_{batch}"], flush=True)
                del encoder
    return cells


def _random_model(
    place: Path, width: int, feedforward: int, layers: int, heads: int, key_value_heads: int
) -> Path:
    """Write a language model with SmolLM2's tokenizer and random weights, and return its folder."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    tokenizer, _ = load(find_model("smollm2"), "float32", "cpu")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=feedforward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        dtype="bfloat16",
    )
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    tokenizer.save_pretrained(place)
    model.save_pretrained(place)
    return place


def _step(options: argparse.Namespace, figures: dict[str, Any]) -> dict[str, Any]:
    cells = {}
    for width, groups in ((576, 17), (576, 64), (4096, 17), (4096, 64), (4096, 256)):
        cells[f"{width}_{groups}"] = _steps(width, groups, options, figures["peak_tflops_float32"])
        print(width, groups, cells[f"{width}_{groups}"], flush=True)
    return cells


def _steps(width: int, groups: int, options: argparse.Namespace, peak_tflops: float) -> dict[str, Any]:
    config, arrays = load_train_config("paper"), random_arrays(width, groups)
    engines, losses = {}, {}
    for device in ("cpu", "cuda") if groups <= 17 else ("cuda",):
        engine = engines[device] = LocalEngine(new_model(width, config), config, device)
        losses[device] = [
            engine.step(build_episode(arrays, tasks_of_step(groups, s)), config.learning_rate)[0]
            for s in range(8)
        ]
    engine, episode = engines["cuda"], build_episode(arrays, tasks_of_step(groups, 0))

    def step() -> None:
        engine.step(episode, 0.0)

    taken = _repeated(step, options.seconds)
    whole = _repeated(
        lambda: engine.step(build_episode(arrays, tasks_of_step(groups, 0)), 0.0), options.seconds
    )
    if options.profile and (width, groups) == (4096, 64):
        _profile(step)
    cell = {
        "step_ms": round(1e3 * taken, 2),
        "with_the_episode_made_ms": round(1e3 * whole, 2),
        "share_of_peak": round(matmul_flop(step) / taken / peak_tflops / 1e12, 3),
    }
    if len(losses) == 2:
        cell["losses_differ"] = float(np.abs(np.subtract(losses["cpu"], losses["cuda"])).max())
    return cell


def _predict(options: argparse.Namespace, _: dict[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    on_cpu, on_gpu = (_predictions(device, options, cells) for device in ("cpu", "cuda"))
    return cells | {"shares_differ": float(np.abs(on_cpu - on_gpu).max())}


def _predictions(device: str, options: argparse.Namespace, cells: dict[str, Any]) -> np.ndarray:
    """Return the shares that are predicted for 256 groups, end to end, and note the times in ``cells``."""
    width, rng = 4096, np.random.default_rng(1)
    model = GroupPreferenceModel(bundle_of(new_model(width, load_train_config("paper")), width), device)
    context, asked = (
        model.prepare(random_slates(rng, 200, width)),
        model.prepare(random_slates(rng, 50, width)),
    )
    groups = []
    for _ in range(256):
        mine = [context[i] for i in rng.choice(len(context), CONTEXT, replace=False)]
        groups.append(model.adapt_prepared(mine, [rng.dirichlet(np.ones(q.size)) for q in mine]))
    requests = [(g, [asked[i] for i in rng.choice(len(asked), QUESTIONS_EACH)]) for g in groups]
    for together in (1, 32, 256):
        some = requests[:together]
        taken = _repeated(lambda some=some: model.predict_prepared(some), options.seconds / 2)
        cells[f"{device}_{together}_groups"] = {
            "ms": round(1e3 * taken, 2),
            "predictions_per_second": round(together * QUESTIONS_EACH / taken),
        }
    return np.concatenate([np.concatenate(p.shares) for p in model.predict_prepared(requests)])


if __name__ == "__main__":
    main()
