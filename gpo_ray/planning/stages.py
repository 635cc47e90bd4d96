"""The cost model: what each stage computes, holds, reads and writes, given the sizes of data and model.

Counts follow the code that runs. The encoder runs the beginning that all prompts share once, then the rest of
each prompt once, followed by its responses; the same holds for the readings. Training holds all embeddings in
every worker. The prior of preset ``gpo`` factorises a matrix over the responses, up to some thousands of
them. Rates that no data sheet states were fitted on CPU cores by benchmarks/plan.py. Training is in
training.py, the sizes of the data in workload.py.

Symbols: Q questions, R responses of all of them, G groups, p and a tokens of a prompt and a response,
E width of the language model, D model width, L layers of the language model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from gpo_ray.config import StrictConfig, load_train_config
from gpo_ray.embedding.encoder import POOLINGS, needs_prompt_eol
from gpo_ray.embedding.template import PROMPT_EOL
from gpo_ray.planning.hardware import CORE, GIB, Processor
from gpo_ray.planning.language_model import Shape
from gpo_ray.planning.training import Training
from gpo_ray.planning.workload import Texts, Workload
from gpo_ray.serving.inference.caching import CACHED_BYTES
from gpo_ray.serving.settings import ServeSettings

MEMORY_SHARE = 0.9
"""Share of a processor's memory that a plan may use."""
BANDWIDTH_SHARE = 0.6
"""Share of a processor's bandwidth that is reached."""
FACTOR_EFFICIENCY = 0.5
"""Share of ``tflops`` that factorisations in float64 reach."""
START_SECONDS = 30.0
"""Seconds that workers take to start and to import their modules."""
READ_RATE, WRITE_RATE = 1e9, 1e8
"""Bytes a second at which a worker reads weights, and writes vectors to shared storage."""
UNITS, UNIT_BATCHES = 8, 64
"""Least number of units of work for each copy of the language model, and most batches in a unit."""
CACHED_QUESTIONS = int(ServeSettings.model_fields["cached_questions"].default)
"""Number of questions whose embeddings each predictor of the service keeps."""
QUESTION_BYTES = 6_000.0
"""Bytes of a question in the driver's memory, as objects and as part of a unit of work."""
TRAIN_EFFICIENCY, VALIDATION_EFFICIENCY = 0.6, 0.2
"""Shares of a core's ``tflops`` that the small transformer reaches in steps, and in validation with its many
targets."""
STEP_SECONDS = 0.012
"""Seconds of a step that do not depend on the step's size."""
POINT_SECONDS = 2e-6
"""Seconds to build each context or target row of an episode."""
SCAN_SECONDS = 2.5e-8
"""Seconds to find out whether a group answered a question."""


class Stage(StrictConfig):
    """The estimated resources, time and cost of one stage."""

    name: Literal["embed", "train", "serve"]
    tokens: float = 0
    """Number of tokens that the language model reads."""
    flops: float = 0
    """Number of floating-point operations."""
    memory: float
    """GiB that each worker takes on its processors, or in its pod if these are cores."""
    host_memory: float = 0
    """GiB that each worker takes in its pod beside ``memory``: vectors that are not written yet."""
    driver_memory: float = 0
    """GiB that the stage's driver process takes."""
    stored: float = 0
    """GiB that the stage writes."""
    workers: int
    """Number of workers that run at the same time."""
    processors: int
    """Number of GPUs, or cores, of all workers together."""
    seconds: dict[str, float]
    """Seconds of each part of the stage's time, by the name of the part."""
    price: float
    """Price of a processor in US dollars an hour."""
    problems: tuple[str, ...] = ()
    """Reasons why the stage cannot run in this way."""

    @property
    def hours(self) -> float:
        """The hours from the start of the stage to its end."""
        return sum(self.seconds.values()) / 3600

    @property
    def cost(self) -> float:
        """The cost of the stage in US dollars."""
        return self.hours * self.processors * self.price

    @property
    def bottleneck(self) -> str:
        """Name of the part that takes the longest time."""
        return max(self.seconds, key=self.seconds.__getitem__) if self.seconds else "none"


def embed_stage(
    work: Workload,
    model: Shape,
    processor: Processor,
    count: int,
    batch_tokens: int,
    store_bytes: int = 4,
    node_memory: float = 64,
    readings: bool = True,
) -> Stage:
    """Estimate ``gpo embed`` on ``count`` processors.

    Args:
        work: the survey.
        model: the language model.
        processor: a GPU, or a core.
        count: number of processors.
        batch_tokens: tokens of a batch, the value of ``--batch-tokens``.
        store_bytes: bytes of a number in the store.
        node_memory: GiB of a worker's pod, and of the driver's.
        readings: whether the texts of :data:`~gpo_ray.embedding.template.PROMPT_EOL` are read too.
    """
    texts, weight = work.texts(readings), processor.bytes_per_weight
    memory = _copy_bytes(model, weight, max(t.batch(batch_tokens) for t in texts))
    each = math.ceil(memory / GIB / (processor.memory * MEMORY_SHARE))
    copies = max(1, count // each)
    vectors = model.width * (len(POOLINGS) - (0 if readings else len(PROMPT_EOL)))  # numbers for a response
    stored = work.responses * vectors * store_bytes
    # The vectors of a unit are held as computed, as a table, and as the bytes of a file.
    unit = _unit_share(texts[0].tokens, copies, batch_tokens)
    host = work.responses * unit * vectors * (4 + 2 * store_bytes) / GIB
    driver = work.questions * QUESTION_BYTES / GIB
    return Stage(
        name="embed",
        tokens=sum(t.tokens for t in texts),
        flops=sum(t.flops(model) for t in texts),
        memory=memory / GIB,
        host_memory=host,
        driver_memory=driver,
        stored=stored / GIB,
        workers=copies,
        processors=copies * each,
        seconds={
            "starting": START_SECONDS + model.parameters * weight / READ_RATE,
            **_reading_seconds(texts, model, processor, copies, batch_tokens),
            "writing the store": stored / WRITE_RATE / copies,
        },
        price=processor.price,
        problems=_embed_problems(processor, each, count, host, driver, node_memory),
    )


def _copy_bytes(model: Shape, weight: float, batch: float) -> float:
    """Return the bytes that one copy of the language model takes while it reads ``batch`` tokens.

    Args:
        model: the language model.
        weight: bytes of a weight.
        batch: tokens that are read at once.
    """
    keys = 2.0 * model.layers * model.key_width * weight  # bytes of a token's keys and values
    return model.parameters * weight + batch * (2 * keys + 16.0 * model.width * weight)


def _reading_seconds(
    texts: Sequence[Texts], model: Shape, processor: Processor, copies: int, batch_tokens: int
) -> dict[str, float]:
    """Estimate how long the copies of the language model take to read all texts, by their bottleneck.

    A copy computes, and reads its weights from memory once for each batch; the slower of the two determines
    the time. If a copy's layers are spread over several GPUs, these work in turn, so that the copy is as fast
    as one GPU.
    """
    passes = sum(max(copies, math.ceil(t.tokens / t.batch(batch_tokens))) for t in texts)
    traffic = passes * model.body * processor.bytes_per_weight
    compute = sum(t.flops(model) for t in texts) / (processor.tflops * 1e12 * processor.efficiency)
    moved = traffic / (processor.bandwidth * 1e9 * BANDWIDTH_SHARE)
    slowest = "computing" if compute >= moved else "memory bandwidth"
    return {slowest: max(compute, moved) / copies}


def _embed_problems(
    processor: Processor, each: int, count: int, host: float, driver: float, node_memory: float
) -> tuple[str, ...]:
    """List what of ``gpo embed`` does not fit: a copy of the language model, or a process in its pod.

    Args:
        processor: a GPU, or a core.
        each: number of processors that a copy takes.
        count: number of all processors.
        host: GiB of vectors that a worker holds.
        driver: GiB that the driver holds.
        node_memory: GiB of a worker's pod, and of the driver's.
    """
    problems = []
    if each > count:
        problems.append(f"a copy of the model needs {each} x {processor.name}, there are {count}")
    if host > node_memory:
        problems.append(f"a worker holds {host:,.0f} GiB of vectors; lower --batch-tokens")
    if driver > node_memory:
        problems.append(f"the driver holds all questions: {driver:,.0f} GiB; embed the survey in parts")
    return tuple(problems)


def _unit_share(tokens: float, copies: int, batch_tokens: int) -> float:
    """Return the share of all work that is in one unit, whose results are written at once.

    Units are divided by the tokens of prompts and responses only, without those of the readings.
    """
    unit = max(tokens / (UNITS * copies), batch_tokens / 4)
    return min(unit, UNIT_BATCHES * batch_tokens, tokens) / tokens


def train_stage(
    work: Workload,
    width: int,
    workers: int = 1,
    preset: str = "gpo",
    steps: int | None = None,
    core: Processor = CORE,
    node_memory: float = 64,
    readings: bool = True,
) -> Stage:
    """Estimate ``gpo train`` on cores up to its last step; early stopping often ends it earlier."""
    config = load_train_config(preset, steps=steps)
    shape = Training.of(work, width, config)
    rate = core.tflops * 1e12
    steps, checks = config.steps, shape.validations
    scanned = shape.step_groups * work.questions
    seconds = {
        "starting": START_SECONDS / 2 if workers > 1 else 3.0,
        "steps": steps * (STEP_SECONDS + shape.step_flops / (rate * TRAIN_EFFICIENCY) / workers),
        "drawing episodes": steps * (shape.step_points * POINT_SECONDS / workers + scanned * SCAN_SECONDS),
        "validation": checks
        * (shape.validation_flops / (rate * VALIDATION_EFFICIENCY) + shape.validation_points * POINT_SECONDS),
    }
    flops = steps * shape.step_flops + checks * shape.validation_flops
    memory = shape.array_bytes
    problems = []
    if not readings and needs_prompt_eol(config.model.pooling):
        problems.append(f"--config {preset} needs the readings ({config.model.pooling})")
    if config.model.prior != "none":
        seconds |= shape.prior_seconds(rate * FACTOR_EFFICIENCY, workers)
        flops += sum(shape.prior_flops(*fit) for fit in shape.fits)
        memory += shape.prior_bytes
    if memory / GIB > node_memory:
        problems.append(f"each worker holds {memory / GIB:,.0f} GiB, its node has {node_memory:g}")
        if config.model.prior != "none" and shape.array_bytes / GIB <= node_memory:
            problems.append("--config paper, which has no prior, would fit")
    return Stage(
        name="train",
        flops=flops,
        memory=memory / GIB,
        stored=(shape.bundle_bytes + config.model.width * 4.0 * shape.width) / GIB,
        workers=workers,
        processors=workers,
        seconds=seconds,
        price=core.price,
        problems=tuple(problems),
    )


def serve_stage(work: Workload, model: Shape, processor: Processor, preset: str = "gpo") -> Stage:
    """Estimate the memory of a replica of the service; as a service has no end, its cost is for one hour."""
    config = load_train_config(preset)
    shape = Training.of(work, model.width, config)
    encoder = model.parameters * processor.bytes_per_weight
    questions = min(min(work.questions, CACHED_QUESTIONS) * work.slate * 4.0 * shape.width, CACHED_BYTES)
    predictor = shape.predictor_bytes + questions + 2 * GIB
    each = math.ceil(encoder / GIB / (processor.memory * MEMORY_SHARE))
    return Stage(
        name="serve",
        memory=encoder / GIB,
        driver_memory=predictor / GIB,
        workers=1,
        processors=each,
        seconds={"an hour": 3600},
        price=processor.price,
    )
