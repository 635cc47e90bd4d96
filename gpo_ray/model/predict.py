"""Compute losses and predictions of a transformer on episodes, for both training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.likelihoods import LIKELIHOODS
from gpo_ray.likelihoods.shares import divergence, slate_log_softmax
from gpo_ray.model.episodes import Episode, Task, TaskPrior, build_episode
from gpo_ray.model.transformer import Points
from gpo_ray.preferences.metrics import alignment
from gpo_ray.preferences.slates import Ints

Forward = Callable[[Tensor, Points, Points], tuple[Tensor, Tensor]]
TARGET_CHUNK = 64  # maximum number of groups that are predicted together, which limits memory


def episode_loss(
    forward: Forward, episode: Episode, likelihood: str, workers: int = 1
) -> tuple[Tensor, Tensor]:
    """Compute the loss, and how far each group's predictions are from the best possible ones.

    The loss is the mean over the target points or the slates of all workers, depending on the likelihood's
    ``mean_over``; the points of a group are multiplied by the group's weight.

    Args:
        forward: the transformer.
        episode: this worker's part of the episode.
        likelihood: name of one of :data:`~gpo_ray.likelihoods.LIKELIHOODS`.
        workers: number of workers that share a step.

    Returns:
        The loss (), whose mean over the workers is the loss of the step; and the groups' excess losses (B,),
        without gradient. These are the divergence of the true from the predicted shares, in nats, for every
        likelihood, averaged over the group's slates.
    """
    mean, log_std = forward(episode.x, episode.context, episode.target)
    log_share = slate_log_softmax(mean.flatten()[episode.position], episode.slate, episode.slates)
    chosen = LIKELIHOODS[likelihood]
    losses = chosen.loss(log_share, log_std.flatten()[episode.position], episode.y)
    total = episode.total_points if chosen.mean_over == "points" else episode.total_slates
    group = episode.position // episode.target.index.shape[1]
    loss = (losses * episode.weight[group]).sum() * (workers / total)
    short = divergence(log_share.detach(), episode.y)
    return loss, torch.zeros_like(episode.weight).index_add(0, group, short) / episode.answers


@torch.inference_mode()
def predict_tasks(
    forward: Forward,
    arrays: PreferenceArrays,
    tasks: Sequence[Task],
    device: torch.device | str = "cpu",
    task_prior: TaskPrior | None = None,
) -> list[NDArray[np.float64]]:
    """Predict the shares over the responses of each task's target questions, end to end."""
    predictions: list[NDArray[np.float64]] = []
    for start in range(0, len(tasks), TARGET_CHUNK):
        chunk = tasks[start : start + TARGET_CHUNK]
        episode = build_episode(arrays, chunk, task_prior=task_prior).to(device)
        mean, _ = forward(episode.x, episode.context, episode.target)
        log_share = slate_log_softmax(mean.flatten()[episode.position], episode.slate, episode.slates)
        shares = log_share.exp().double().cpu().numpy()
        sizes = [len(arrays.rows(t.target)) for t in chunk]
        predictions += np.split(shares, np.cumsum(sizes)[:-1])
    return predictions


def fixed_context_tasks(
    arrays: PreferenceArrays, groups: Sequence[int], order: Ints, context: int, targets: Ints | None = None
) -> list[Task]:
    """Make a task for each group, with the first questions of ``order`` that it answered as the context.

    The context has ``context`` questions or, if the group answered fewer, as many as there are. The targets
    are ``targets`` or, by default, the rest of ``order``, as far as the group answered them; in the latter
    case at least one question stays a target. Groups without a context question or a target are left out.
    """
    tasks = []
    for g in groups:
        mine = order[np.isin(order, arrays.answered[g])]
        if targets is None:
            c = min(context, len(mine) - 1)
            rest = mine[c:]
        else:
            c = min(context, len(mine))
            rest = targets[np.isin(targets, arrays.answered[g])]
        if c >= 1 and len(rest) >= 1:
            tasks.append(Task(g, mine[:c], rest))
    return tasks


def score(arrays: PreferenceArrays, task: Task, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the alignment of each of a task's target questions, NaN where it is not defined."""
    sizes = np.diff(arrays.offsets)[task.target]
    return alignment(
        predicted,
        arrays.shares_of(task.group, task.target),
        np.concatenate([[0], np.cumsum(sizes)]),
        arrays.ordinal[arrays.rows(task.target)],
    )
