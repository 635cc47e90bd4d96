"""Define the meta-training loop: plain torch, the same for one process, Ray Train workers and Tune trials.

What differs between these is passed in: an :class:`Engine`, which takes the gradient steps, and a
``report(metrics, save)`` function, which stores metrics and checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpo_ray.config import TrainConfig
from gpo_ray.errors import ConfigError
from gpo_ray.meta_training.data import MetaTrainingData
from gpo_ray.meta_training.objective import GroupWeights
from gpo_ray.meta_training.progress import Progress
from gpo_ray.meta_training.validation import Validation
from gpo_ray.model.episodes import Episode, Task, build_episode, draw_tasks
from gpo_ray.model.predict import Forward

Save = Callable[[Path], None]
Report = Callable[[dict[str, Any], Save], None]


class Engine(Protocol):
    """The interface of one worker's model and optimiser."""

    rank: int
    workers: int

    @property
    def device(self) -> torch.device | str:
        """Device of the model, to which each episode is moved; all other data stay on the CPU."""

    @property
    def forward(self) -> Forward:
        """The model, for prediction."""

    def step(self, episode: Episode, learning_rate: float) -> tuple[float, NDArray[np.float64]]:
        """Take one gradient step on this worker's part of the drawn groups.

        A worker's part is every ``workers``-th group, starting from the one at ``rank``.

        Returns:
            The loss over all workers' parts, and the excess losses of all workers' groups, in the order
            drawn.
        """

    def agree(self, value: float) -> float:
        """Return the first worker's value on all workers."""

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the whole model's weights on the CPU; every worker must call it."""

    def save(self, folder: Path) -> None:
        """Write this worker's part of a checkpoint; every worker must call it."""

    def load(self, folder: Path) -> None:
        """Load what :meth:`save` wrote."""


def meta_train(
    engine: Engine,
    data: MetaTrainingData,
    config: TrainConfig,
    report: Report,
    progress: Progress | None = None,
    tick: Callable[[int], object] = lambda _: None,
) -> Progress:
    """Meta-train until all steps are done or validation stops improving.

    Every draw is seeded by (seed, step), so a resumed run takes the same steps as an uninterrupted one
    would have taken.

    Args:
        engine: this worker's model and optimiser.
        data: the data to learn from.
        config: configuration of meta-training.
        report: function that every worker calls every ``validation.every`` steps, and at the end.
        progress: progress of a run to continue; the engine must have loaded its state already.
        tick: function that is called after each step with the number of steps done.

    Returns:
        The progress at the end, with the best weights.
    """
    progress = progress or Progress()
    validation = Validation(data.with_cached_prior(), config)
    objective = (data.arrays, data.train_groups, data.questions, config.objective)
    weights = GroupWeights(*objective, progress.log_weights)
    losses: list[float] = []
    begun = time.monotonic() - progress.seconds
    if data.task_prior is not None and not progress.best_weights:
        _start_from_prior(engine, validation, progress)
    while progress.step < config.steps and progress.stale < _patience(config, progress):
        rate = learning_rate(config, progress.step)
        losses.append(_step(engine, data, config, weights, progress, rate))
        tick(progress.step)
        if progress.step % config.validation.every == 0 or progress.step == config.steps:
            scores = _validate(engine, validation, config, progress)
            progress.seconds = time.monotonic() - begun
            progress.log_weights = weights.log_weights.tolist()
            metrics = _metrics(progress, losses, weights.metrics() | scores, rate)
            progress.history.append(metrics)
            losses = []
            report(metrics, _saver(engine, progress))
    return progress


def _start_from_prior(engine: Engine, validation: Validation, progress: Progress) -> None:
    """Keep the first weights, which predict the same as the prior, as the best ones so far."""
    scores = {k: engine.agree(v) for k, v in validation.prior_scores.items()}
    progress.note_prior(scores)
    progress.best_weights = engine.weights()


def _step(
    engine: Engine,
    data: MetaTrainingData,
    config: TrainConfig,
    weights: GroupWeights,
    progress: Progress,
    rate: float,
) -> float:
    """Take one gradient step on newly drawn groups, and update the groups' weights by their excess losses.

    Returns:
        The loss over all workers' groups.

    Raises:
        ConfigError: if the loss is not finite, or there are more workers than groups.
    """
    tasks = weights.weighted(_draw(data, config, progress.step))
    loss, excess = engine.step(_worker_episode(engine, data, tasks), rate)
    progress.step += 1
    _check_finite(loss, progress.step)
    weights.update(tasks, excess)
    return loss


def _metrics(progress: Progress, losses: list[float], found: dict[str, Any], rate: float) -> dict[str, Any]:
    """Collect the metrics of the steps since the last report."""
    return {
        "step": progress.step,
        "loss": float(np.mean(losses)),
        "losses": losses,
        **found,
        "best_alignment": progress.best_alignment,
        "best_step": progress.best_step,
        "learning_rate": rate,
        "seconds": round(progress.seconds, 3),
    }


def _patience(config: TrainConfig, progress: Progress) -> int:
    """Return the number of validations without improvement after which training stops."""
    stands = progress.prior_alignment is not None and progress.best_step == 0
    return config.validation.prior_patience if stands else config.validation.patience


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of a step: a linear warm-up times a cosine from the full rate to zero."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    return config.learning_rate * warm * 0.5 * (1 + float(np.cos(np.pi * step / config.steps)))


def _check_finite(loss: float, step: int) -> None:
    """Raise ConfigError if training diverged."""
    if not np.isfinite(loss):
        raise ConfigError(
            f"training diverged: the loss is {loss} at step {step}; lower learning_rate or set clip_norm"
        )


def _draw(data: MetaTrainingData, config: TrainConfig, step: int) -> list[Task]:
    """Draw the groups of a step; all workers draw the same ones."""
    return draw_tasks(data.arrays, data.train_groups, data.questions, config.episodes, (config.seed, step))


def _worker_episode(engine: Engine, data: MetaTrainingData, tasks: list[Task]) -> Episode:
    """Build this worker's part of a step; raises ConfigError if there is none left for it."""
    mine: list[Task] = tasks[engine.rank :: engine.workers]
    if not mine:
        raise ConfigError(
            f"{engine.workers} workers for {len(tasks)} groups a step: use at most as many workers as groups"
        )
    return build_episode(data.arrays, mine, tasks, data.task_prior)


def _validate(
    engine: Engine, validation: Validation, config: TrainConfig, progress: Progress
) -> dict[str, float]:
    """Score the validation groups' questions, and keep the weights if the score is the best so far.

    While no weights have replaced the prior, their gain over the prior must also be larger than chance
    explains.
    """
    found, gain = validation.score(engine.forward, engine.device)
    scores = {k: engine.agree(v) for k, v in found.items()}
    certain = True
    if gain is not None and progress.best_step == 0:
        certain = bool(engine.agree(float(gain.is_certain(config.validation.confidence))))
    if progress.note_validation(scores, config.validation.min_gain, certain):
        progress.best_weights = engine.weights()
    if gain is not None:
        scores["gain"] = engine.agree(gain.mean)
        if np.isfinite(gain.error):
            scores["gain_error"] = engine.agree(gain.error)
    return scores


def _saver(engine: Engine, progress: Progress) -> Save:
    """Return a function that saves the engine and the progress in a folder, from which a run can continue."""

    def save(folder: Path) -> None:
        engine.save(folder)
        if engine.rank == 0:
            progress.save(folder)

    return save
