"""Draw episodes, the contexts and targets of the groups of one step, and make tensors from them.

Shapes: B groups, C context points, T target points, M real target points of all groups, end to end,
N' distinct responses of an episode, E embedding width. The transformer that reads the tensors is in
``transformer.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpo_ray.config import EpisodeConfig
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.model.transformer import Points
from gpo_ray.preferences.slates import Array, Ints
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.posterior import Posterior


@dataclass(frozen=True)
class Episode:
    """The contexts and targets of some groups, as tensors for the transformer.

    ``x`` (N', E) are the embeddings of the distinct responses; ``context`` (B, C) and ``target`` (B, T) are
    the points. For each of the M real target points, end to end, ``position`` (M,) is its position in the
    flattened (B, T), ``slate`` (M,) is the number of its slate, and ``y`` (M,) is its share. ``slates`` is
    the number of slates. For each group, ``weight`` (B,) is its weight in the loss, and ``answers`` (B,) is
    its number of slates. ``total_points``, ``total_slates`` and ``total_groups`` are the numbers of points,
    slates and groups of all workers together.
    """

    x: Tensor
    context: Points
    target: Points
    position: Tensor
    slate: Tensor
    slates: int
    y: Tensor
    weight: Tensor
    answers: Tensor
    total_points: int
    total_slates: int
    total_groups: int

    def to(self, device: torch.device | str) -> Episode:
        """Return the episode on another device."""

        def move(value: object) -> object:
            if isinstance(value, Tensor):
                return value.to(device)
            if isinstance(value, Points):
                return Points(*(move(getattr(value, k)) for k in value.__dataclass_fields__))  # type: ignore[arg-type]
            return value

        return Episode(**{k: move(getattr(self, k)) for k in self.__dataclass_fields__})  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Task:
    """One group's part of an episode: which questions are context and which are targets.

    Two tasks are equal only if they are the same object.
    """

    group: int
    context: Ints
    target: Ints
    masked: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Target questions whose answers by the meta-train groups are withheld from the prior."""
    weight: float = 1.0
    """Weight of the group in the loss."""


def draw_tasks(
    arrays: PreferenceArrays,
    groups: Sequence[int],
    questions: Ints,
    config: EpisodeConfig,
    seed: Sequence[int],
) -> list[Task]:
    """Draw one meta-training step, as the published code does it, but for each step instead of each epoch.

    One order of the questions and one pair of sizes is drawn for all groups, so that groups which
    answered the same questions share context and targets. A group with fewer answers than the drawn sizes
    divides its answers in the same proportion.

    Args:
        arrays: the data.
        groups: numbers of the groups to draw from.
        questions: numbers of the questions to draw from.
        config: ranges of the sizes, number of groups, and fraction of masked questions.
        seed: seed of this step; the same seed draws the same step on every worker.
    """
    rng = np.random.default_rng(list(seed))
    contexts = int(rng.integers(*config.context_questions, endpoint=True))
    targets = int(rng.integers(*config.target_questions, endpoint=True))
    order = rng.permutation(questions)
    masked = questions[rng.random(len(questions)) < config.masked_fraction]
    chosen = list(groups)
    if len(chosen) > config.groups:
        chosen = [chosen[i] for i in rng.choice(len(chosen), config.groups, replace=False)]
    tasks = []
    for g in chosen:
        mine = order[np.isin(order, arrays.answered[g], assume_unique=True)]
        if len(mine) < 2:
            continue
        c, t = contexts, targets
        if c + t > len(mine):
            c = min(max(1, round(len(mine) * c / (c + t))), len(mine) - 1)
            t = len(mine) - c
        target = mine[c : c + t]
        tasks.append(Task(g, mine[:c], target, target[np.isin(target, masked)]))
    return tasks


TaskPrior = Callable[[Task], tuple[NDArray[np.float64], NDArray[np.bool_]]]
"""Function from a task to the prior's log-shares over the responses of its targets, and whether each of them
rests on meta-train groups' answers to the question itself."""


def build_episode(
    arrays: PreferenceArrays,
    tasks: Sequence[Task],
    all_tasks: Sequence[Task] = (),
    task_prior: TaskPrior | None = None,
) -> Episode:
    """Make the tensors for some groups' tasks.

    Args:
        arrays: the data.
        tasks: this worker's tasks.
        all_tasks: all workers' tasks, by default ``tasks``.
        task_prior: the prior of the target responses, for a model with a prior.
    """
    context_rows = [arrays.rows(t.context) for t in tasks]
    target_rows = [arrays.rows(t.target) for t in tasks]
    distinct, inverse = np.unique(np.concatenate(context_rows + target_rows), return_inverse=True)
    cuts = np.cumsum([len(r) for r in context_rows + target_rows])[:-1]
    index = np.split(inverse, cuts)
    context_y = [arrays.shares_of(t.group, t.context) for t in tasks]
    sizes = np.diff(arrays.offsets)
    slate_sizes = np.concatenate([sizes[t.target] for t in tasks])
    target, position = _pad(index[len(tasks) :])
    everyone = all_tasks or tasks
    targets = Points(target)
    if task_prior is not None:
        targets = _with_prior(target, position, [task_prior(t) for t in tasks])
    return Episode(
        x=arrays.x[torch.from_numpy(distinct)],
        context=_context(index[: len(tasks)], context_y, arrays.x.dtype),
        target=targets,
        position=position,
        slate=torch.from_numpy(np.repeat(np.arange(len(slate_sizes)), slate_sizes)),
        slates=len(slate_sizes),
        y=torch.from_numpy(np.concatenate([arrays.shares_of(t.group, t.target) for t in tasks])).to(
            arrays.x.dtype
        ),
        weight=torch.tensor([t.weight for t in tasks], dtype=arrays.x.dtype),
        answers=torch.tensor([len(t.target) for t in tasks]),
        total_points=int(sum(sizes[t.target].sum() for t in everyone)),
        total_slates=sum(len(t.target) for t in everyone),
        total_groups=len(everyone),
    )


def _context(index: Sequence[Ints], y: Sequence[NDArray[np.float64]], dtype: torch.dtype) -> Points:
    padded, position = _pad(index)
    values = torch.zeros(padded.numel(), dtype=dtype)
    values[position] = torch.from_numpy(np.concatenate(y)).to(dtype)
    mask = torch.zeros(padded.numel(), dtype=torch.bool)
    mask[position] = True
    return Points(padded, values.view_as(padded), None if mask.all() else mask.view_as(padded))


def _with_prior(
    target: Tensor, position: Tensor, given: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]
) -> Points:
    values, seen = torch.zeros(target.numel()), torch.zeros(target.numel(), dtype=torch.bool)
    values[position] = torch.from_numpy(np.concatenate([log_shares for log_shares, _ in given])).float()
    seen[position] = torch.from_numpy(np.concatenate([seen for _, seen in given]))
    return Points(target, prior_log_share=values.view_as(target), seen=seen.view_as(target))


def _pad(rows: Sequence[Ints]) -> tuple[Tensor, Tensor]:
    """Pad rows to one (B, longest) tensor; also return the entries' positions in the flattened tensor."""
    longest = max(len(r) for r in rows)
    padded = np.zeros((len(rows), longest), np.int64)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    position = np.concatenate([i * longest + np.arange(len(r)) for i, r in enumerate(rows)])
    return torch.from_numpy(padded), torch.from_numpy(position)


def task_posterior(at_questions: PriorAtQuestions, arrays: PreferenceArrays, task: Task) -> Posterior:
    """Return the prior's posterior for a task's targets, given its context; the group itself is left out."""
    y = arrays.shares_of(task.group, task.context)
    sampling = arrays.sampling_of(task.group, task.context)
    return at_questions.posterior(task.context, y, task.target, task.group, task.masked, sampling)


def log_shares_and_seen(posterior: Posterior) -> tuple[Array, NDArray[np.bool_]]:
    """Return the parts of a posterior that the transformer needs; see :data:`TaskPrior`."""
    return np.log(posterior.shares), posterior.seen


def make_task_prior(at_questions: PriorAtQuestions, arrays: PreferenceArrays) -> TaskPrior:
    """Return the function that computes the prior's log-shares of a task's targets; see :data:`TaskPrior`."""
    return lambda task: log_shares_and_seen(task_posterior(at_questions, arrays, task))
