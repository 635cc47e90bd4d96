"""Scores of single people, where the answer that a method thinks most probable counts first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np


def topic_accuracy(rows: Iterable[dict[str, Any]]) -> float:
    """Mean over topics of the mean ``accuracy`` over their groups; groups of no topic are one topic."""
    topics: dict[str | None, list[float]] = defaultdict(list)
    for row in rows:
        topics[row["topic"]].append(row["accuracy"])
    return float(np.mean([np.mean(values) for values in topics.values()]))


def accuracy_table(cells: Iterable[dict[str, Any]]) -> str:
    """For a terminal: a line for each method with its accuracy, and the alignment beside it.

    Args:
        cells: what :func:`gpo_ray.evaluation.summary.cells` returned.
    """
    from gpo_ray.evaluation.summary import blocks_of

    by: dict[tuple[str, float], list[dict[str, Any]]] = defaultdict(list)
    for cell in cells:
        by[cell["method"], cell["fraction"]].append(cell)
    fractions = sorted({f for _, f in by})
    found = {}
    for key, mine in by.items():
        values, aligned = [c["topic_accuracy"] for c in mine], [c["alignment"] for c in mine]
        found[key] = f"{np.mean(values):.4f} ±{np.std(values):.3f}  {np.mean(aligned):9.4f}"
    heads = {f: f"{f:.0%} of people  alignment" for f in fractions}
    return blocks_of(list(dict.fromkeys(m for m, _ in by)), fractions, heads, found, 17)
