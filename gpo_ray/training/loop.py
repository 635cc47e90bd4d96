"""The meta-training loop: plain torch, the same for one process, Ray Train workers and Tune trials.

What differs between them comes in through two seams: an :class:`Engine` (how a gradient step is
made) and a ``report(metrics, save)`` function (where metrics and checkpoints go).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from gpo_ray.config import TrainConfig
from gpo_ray.errors import ConfigError
from gpo_ray.model.episodes import Episode, Ints, PreferenceArrays, Prior, Task, build_episode, draw_tasks
from gpo_ray.model.calibration import fit_memory
from gpo_ray.model.memory import task_prior
from gpo_ray.model.predict import Forward, fixed_context_tasks, predict_tasks, score
from gpo_ray.preferences.splits import Split

Save = Callable[[Path], None]
Report = Callable[[dict[str, Any], Save], None]


class Engine(Protocol):
    """One worker's model and optimiser."""

    rank: int
    workers: int

    @property
    def forward(self) -> Forward:
        """The model, for prediction."""

    def step(self, episode: Episode, learning_rate: float) -> float:
        """One gradient step on this worker's part; returns the loss over all workers' parts."""

    def agree(self, value: float) -> float:
        """The first worker's value, on all workers."""

    def weights(self) -> dict[str, Tensor]:
        """A copy of the whole model's weights on the CPU; every worker must call it."""

    def save(self, folder: Path) -> None:
        """Write this worker's part of a checkpoint; every worker must call it."""

    def load(self, folder: Path) -> None:
        """The inverse of :meth:`save`."""


@dataclass
class Progress:
    """How far a run has come; what a checkpoint holds besides the engine's own state."""

    step: int = 0
    best_alignment: float = -np.inf
    best_step: int = 0
    stale: int = 0
    """Validations since the best one."""
    seconds: float = 0.0
    resumed: list[int] = field(default_factory=list)
    """The steps from which the run went on after an interruption."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """The metrics of every report so far."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def note_resumption(self, steps: int) -> None:
        """Record that the run goes on from here, unless it had ended."""
        if self.step < steps:
            self.resumed.append(self.step)

    def save(self, folder: Path) -> None:
        """Write ``progress.json`` and ``best.safetensors``."""
        save_file(self.best_weights, folder / "best.safetensors")
        values = {k: v for k, v in self.__dict__.items() if k != "best_weights"}
        (folder / "progress.json").write_text(json.dumps(values))

    @classmethod
    def load(cls, folder: Path) -> Progress:
        """The inverse of :meth:`save`."""
        values = json.loads((folder / "progress.json").read_text())
        return cls(**values, best_weights=load_file(folder / "best.safetensors"))


@dataclass(frozen=True)
class MetaTrainingData:
    """A data set's arrays and the parts of it that one split lets training see."""

    arrays: PreferenceArrays
    train_groups: list[int]
    validation_groups: list[int]
    questions: Ints
    """Questions of the training steps, in the split's order."""
    held_out: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Training questions kept for validation without a prior; may be none."""
    prior: Prior | None = None
    """From the training groups' answers, if the model takes one."""

    @classmethod
    def build(cls, arrays: PreferenceArrays, split: Split, config: TrainConfig) -> MetaTrainingData:
        """Look up a split's groups and questions."""
        questions = arrays.question_numbers(split.question_order)
        groups = arrays.group_numbers(split.train_groups)
        cut = len(questions) - int(config.validation.question_fraction * len(questions))
        prior = None
        if config.model.prior != "none":
            prior = task_prior(
                fit_memory(arrays, groups, questions, config.validation.context_questions), arrays
            )
        return cls(
            arrays=arrays,
            train_groups=groups,
            validation_groups=arrays.group_numbers(split.validation_groups),
            questions=questions[:cut],
            held_out=questions[cut:],
            prior=prior,
        )


def meta_train(
    engine: Engine,
    data: MetaTrainingData,
    config: TrainConfig,
    report: Report,
    progress: Progress | None = None,
    tick: Callable[[int], object] = lambda _: None,
) -> Progress:
    """Meta-train until the steps are done or validation stops getting better.

    Every draw is seeded by (seed, step), so a resumed run takes the steps that an undisturbed one
    would have taken.

    Args:
        engine: this worker's model and optimiser.
        data: what to learn from.
        config: how.
        report: called every ``validation.every`` steps, and at the end, by every worker.
        progress: where to go on from, with the engine's state loaded already.
        tick: called with the number of steps done after each step.

    Returns:
        The progress at the end, with the best weights.
    """
    progress = progress or Progress()
    validation = _validation_tasks(data, config)
    losses: list[float] = []
    begun = time.monotonic() - progress.seconds
    while progress.step < config.steps and progress.stale < config.validation.patience:
        episode = _worker_episode(engine, data, config, progress.step)
        rate = learning_rate(config, progress.step)
        losses.append(engine.step(episode, rate))
        progress.step += 1
        if not np.isfinite(losses[-1]):
            raise ConfigError(
                f"training diverged: the loss is {losses[-1]} at step {progress.step}; "
                "lower learning_rate or set clip_norm"
            )
        tick(progress.step)
        if progress.step % config.validation.every == 0 or progress.step == config.steps:
            _validate(engine, data, validation, progress)
            progress.seconds = time.monotonic() - begun
            metrics = {
                "step": progress.step,
                "loss": float(np.mean(losses)),
                "losses": losses,
                "validation_alignment": progress.history[-1]["validation_alignment"],
                "best_alignment": progress.best_alignment,
                "best_step": progress.best_step,
                "learning_rate": rate,
                "seconds": round(progress.seconds, 3),
            }
            progress.history[-1] = metrics
            losses = []
            report(metrics, _saver(engine, progress))
    return progress


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine from ``learning_rate`` to zero over ``steps``."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    return config.learning_rate * warm * 0.5 * (1 + float(np.cos(np.pi * step / config.steps)))


def _worker_episode(engine: Engine, data: MetaTrainingData, config: TrainConfig, step: int) -> Episode:
    """This worker's groups of the step that all workers draw alike."""
    tasks = draw_tasks(data.arrays, data.train_groups, data.questions, config.episodes, (config.seed, step))
    mine: list[Task] = tasks[engine.rank :: engine.workers]
    if not mine:
        raise ConfigError(
            f"{engine.workers} workers for {len(tasks)} groups a step: use at most as many workers as groups"
        )
    return build_episode(data.arrays, mine, tasks, data.prior)


def _validation_tasks(data: MetaTrainingData, config: TrainConfig) -> list[Task]:
    groups, context = data.validation_groups, config.validation.context_questions
    tasks = fixed_context_tasks(data.arrays, groups, data.questions, context)
    if len(data.held_out):
        new = fixed_context_tasks(data.arrays, groups, data.questions, context, data.held_out)
        tasks += [Task(t.group, t.context, t.target, t.target) for t in new]
    if not tasks:
        raise ConfigError("no validation group answered two of the training questions; use another --seed")
    return tasks


def _validate(engine: Engine, data: MetaTrainingData, tasks: list[Task], progress: Progress) -> None:
    """Mean alignment over the validation groups' questions; keeps the weights if it is the best yet."""
    predictions = predict_tasks(engine.forward, data.arrays, tasks, data.arrays.x.device, data.prior)
    scores = [score(data.arrays, t, p) for t, p in zip(tasks, predictions, strict=True)]
    means = [s[np.isfinite(s)].mean() for s in scores if np.isfinite(s).any()]
    if not means:
        raise ConfigError(
            "no validation group answered a question whose alignment is defined; use another seed"
        )
    value = engine.agree(float(np.mean(means)))
    progress.history.append({"validation_alignment": value})
    if value > progress.best_alignment:
        progress.best_alignment, progress.best_step, progress.stale = value, progress.step, 0
        progress.best_weights = engine.weights()
    else:
        progress.stale += 1


def _saver(engine: Engine, progress: Progress) -> Save:
    def save(folder: Path) -> None:
        engine.save(folder)
        if engine.rank == 0:
            progress.save(folder)

    return save
