"""The test groups' tasks, at the evaluation's context size and at the sizes of a context-size curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.errors import ConfigError
from gpo_ray.model.episodes import Task
from gpo_ray.model.predict import fixed_context_tasks
from gpo_ray.preferences.slates import Ints
from gpo_ray.preferences.splits import Split

CURVE = (1, 2, 5, 10, 20, 50, 100, 200)
"""Context sizes of the context-size curve, up to half of the answers of a typical test group."""


def split_tasks(
    arrays: PreferenceArrays,
    split: Split,
    context: int,
    sizes: Sequence[int] | None = None,
    max_questions: int | None = None,
) -> tuple[list[Task], list[tuple[int, list[Task]]]]:
    """Make the test groups' tasks.

    Args:
        arrays: the data.
        split: the division.
        context: number of context questions of each test group.
        sizes: context sizes of the curve, in place of :data:`CURVE`.
        max_questions: most target questions of a task; None sets no limit. They are the first ones in the
            split's order, and so drawn at random by its seed.

    Returns:
        The tasks at the given context size; and each size of the curve with its tasks.

    Raises:
        ConfigError: if no test group answered any target question.
    """
    groups = arrays.group_numbers(split.test_groups)
    order = arrays.question_numbers(split.context_order)
    new = arrays.question_numbers(split.new_questions) if split.new_questions else None
    main = fixed_context_tasks(arrays, groups, order, context, new)
    if not main:
        raise ConfigError(f"split {split.fraction:g}/{split.seed}: no test group has answers to predict")
    curve = _curve(arrays, groups, order, new, sizes)
    return _first(main, max_questions), [(n, _first(tasks, max_questions)) for n, tasks in curve]


def _first(tasks: Sequence[Task], most: int | None) -> list[Task]:
    return [Task(t.group, t.context, t.target[:most]) for t in tasks]


def _curve(
    arrays: PreferenceArrays,
    groups: Sequence[int],
    order: Ints,
    new: Ints | None,
    sizes: Sequence[int] | None,
) -> list[tuple[int, list[Task]]]:
    """Make the tasks at each context size that the answers of a typical (median) group allow.

    A group's contexts are the first questions of ``order`` that it answered; its targets are ``new``, or, if
    that is None, the questions that it answered after the largest context. Groups with too few answers are
    left out at every size, so that along the curve only the context grows and the groups stay the same.
    """
    answers = [order[np.isin(order, arrays.answered[g])] for g in groups]
    typical = float(np.median([len(a) for a in answers]))
    most = typical / 2 if sizes is None else typical - (new is None)
    kept = sorted({n for n in (CURVE if sizes is None else sizes) if n <= most})
    if not kept:
        return []
    full: list[tuple[int, Ints, Ints]] = []
    for g, mine in zip(groups, answers, strict=True):
        target = mine[kept[-1] :] if new is None else new[np.isin(new, arrays.answered[g])]
        if len(mine) >= kept[-1] and len(target):
            full.append((g, mine, target))
    return [(n, [Task(g, mine[:n], target) for g, mine, target in full]) for n in kept]
