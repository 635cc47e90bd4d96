"""Summaries of the scores of groups: cells (one for each method and split), means, curves and tables.

Intervals and skills are computed in statistics.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np

COLUMNS = 80
"""Number of columns that a terminal is assumed to have."""
TableRow = dict[str, Any]
"""A row of scores, or of a table made from them: values by the name of their column."""


def cells(rows: Iterable[TableRow]) -> list[TableRow]:
    """Summarise the rows of each method and split in one cell.

    A cell has ``alignment`` (mean over test groups), ``worst_group`` (the lowest alignment of a test group),
    ``worst_group_id``, ``group_spread`` (standard deviation over test groups), ``accuracy`` (of the most
    probable response), ``topic_accuracy`` (the mean over topics of the mean over their groups), ``coverage``
    (share of responses within their 90 % intervals, None without intervals), ``groups``, ``questions``,
    ``without_distribution`` (the questions that were predicted uniform since a language model gave no
    distribution), ``context_dropped`` (mean over test groups, see
    :class:`~gpo_ray.evaluation.methods.method.TaskPrediction`) and ``cost`` (of the training of adapters, see
    :class:`~gpo_ray.evaluation.methods.method.TrainingCost`: means over test groups, and the number of those
    whose base model is kept; None if there was none).
    """
    split: dict[tuple[Any, ...], list[TableRow]] = defaultdict(list)
    for row in rows:
        if not row["curve"] and row["alignment"] is not None:
            split[row["method"], row["protocol"], row["fraction"], row["seed"]].append(row)
    result = []
    for (method, protocol, fraction, seed), groups in split.items():
        worst = min(groups, key=lambda r: float(r["alignment"]))
        result.append(
            {
                "method": method,
                "protocol": protocol,
                "fraction": fraction,
                "seed": seed,
                "alignment": float(np.mean([g["alignment"] for g in groups])),
                "worst_group": worst["alignment"],
                "worst_group_id": worst["group_id"],
                "group_spread": float(np.std([g["alignment"] for g in groups])),
                "accuracy": float(np.mean([g["accuracy"] for g in groups])),
                "topic_accuracy": topic_accuracy(groups),
                "coverage": _mean([g.get("coverage") for g in groups]),
                "groups": len(groups),
                "questions": sum(g["questions"] for g in groups),
                "without_distribution": sum(g.get("without_distribution", 0) for g in groups),
                "context_dropped": float(np.mean([g.get("context_dropped", 0.0) for g in groups])),
                "cost": _mean_cost([g["cost"] for g in groups if g.get("cost")]),
            }
        )
    return result


def _mean(values: list[float | None]) -> float | None:
    given = [v for v in values if v is not None]
    return float(np.mean(given)) if given else None


def _mean_cost(costs: list[dict[str, Any]]) -> dict[str, float] | None:
    """Return the means of what trainings took, and the number of groups whose base model is kept."""
    if not costs:
        return None
    means = {k: float(np.mean([c[k] for c in costs])) for k in ("seconds", "steps", "parameters", "nbytes")}
    return means | {"kept_base": sum(c["kept_base"] for c in costs)}


def prompt_notes(results: Iterable[TableRow]) -> list[str]:
    """Return what is to be known of the methods that ask a language model, a sentence each.

    Args:
        results: the result of :func:`cells`.
    """
    by: dict[str, list[TableRow]] = defaultdict(list)
    for cell in results:
        by[cell["method"]].append(cell)
    notes = []
    for method, mine in by.items():
        without, every = (sum(c[k] for c in mine) for k in ("without_distribution", "questions"))
        if without:
            notes.append(
                f"{method}: {without} of {every} questions brought no distribution and count as uniform"
            )
        dropped = float(np.mean([c["context_dropped"] for c in mine]))
        if dropped:
            notes.append(f"{method}: prompts had no room for {dropped:.1f} of the context questions (mean)")
        kept = sum(c["cost"]["kept_base"] for c in mine if c.get("cost"))
        if kept:
            notes.append(
                f"{method}: for {kept} of {sum(c['groups'] for c in mine)} groups no step of training was "
                "better on held-back answers, and the base model is kept"
            )
    return notes


def table(results: list[TableRow]) -> list[TableRow]:
    """Summarise the cells of each method and fraction in a row.

    A row has means over the seeds, and ``seed_deviation``, the standard deviation over seeds of the cells'
    alignment.
    """
    by: dict[tuple[str, float], list[TableRow]] = defaultdict(list)
    for cell in results:
        by[cell["method"], cell["fraction"]].append(cell)
    return [
        {
            "method": method,
            "fraction": fraction,
            "alignment": float(np.mean([c["alignment"] for c in group])),
            "seed_deviation": float(np.std([c["alignment"] for c in group])),
            "worst_group": float(np.mean([c["worst_group"] for c in group])),
            "group_spread": float(np.mean([c["group_spread"] for c in group])),
            "accuracy": float(np.mean([c["accuracy"] for c in group])),
            "seeds": len(group),
        }
        for (method, fraction), group in by.items()
    ]


def curve(rows: Iterable[TableRow]) -> dict[str, list[tuple[int, float]]]:
    """Return each method's mean alignment by context size, over all splits and test groups."""
    by: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows:
        if row["curve"] and row["alignment"] is not None:
            by[row["method"], row["context"]].append(row["alignment"])
    result: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for (method, size), values in sorted(by.items(), key=lambda item: item[0][1]):
        result[method].append((size, float(np.mean(values))))
    return dict(result)


def by_group(rows: Iterable[TableRow]) -> dict[str, dict[str, float]]:
    """Return the mean alignment of each test group by method, over the splits in which it was held out."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if not row["curve"] and row["alignment"] is not None:
            values[row["group_id"]][row["method"]].append(row["alignment"])
    return {g: {m: float(np.mean(v)) for m, v in methods.items()} for g, methods in sorted(values.items())}


def text_table(results: list[TableRow], statistics: TableRow | None = None) -> str:
    """Format the results for a terminal, with a line for each method and a column for each fraction.

    Args:
        results: the cells.
        statistics: the result of :func:`gpo_ray.evaluation.statistics.statistics`, which may have more keys;
            if given, lines that compare gpo with the best baseline follow the table.
    """
    rows = table(results)
    methods = list(dict.fromkeys(r["method"] for r in rows))
    width = max([16, *(len(m) for m in methods)]) + 1
    fractions = sorted({r["fraction"] for r in rows})
    found = {}
    for r in rows:
        mean = f"{r['alignment']:.4f} ±{r['seed_deviation']:.3f}"
        found[r["method"], r["fraction"]] = f"{mean}  {r['worst_group']:.3f}"
    heads = {f: f"{f:.0%} of groups  worst" for f in fractions}
    blocks = blocks_of(methods, fractions, heads, found, width)
    return "\n".join([blocks, *(_against_best(statistics) if statistics else [])])


def blocks_of(
    methods: Sequence[str],
    fractions: Sequence[float],
    heads: Mapping[float, str],
    found: Mapping[tuple[str, float], str],
    width: int,
) -> str:
    """Format a table for a terminal, in blocks beneath one another that fit 80 columns.

    Args:
        methods: the methods, one a line.
        fractions: the fractions, one a column.
        heads: the head of each column.
        found: the text for each method and fraction; where it is missing, the table is blank.
        width: width of the methods' column, in characters.
    """
    column = 1 + max(len(text) for text in (*heads.values(), *found.values()))
    most = max(1, (COLUMNS - width) // column)
    lines: list[str] = []
    for i in range(0, len(fractions), most):
        some = fractions[i : i + most]
        head = "method".ljust(width) + "".join(heads[f].rjust(column) for f in some)
        lines += [""] * bool(lines) + [head, "-" * len(head)]
        lines += [
            m.ljust(width) + "".join(found.get((m, f), "").rjust(column) for f in some) for m in methods
        ]
    return "\n".join(lines)


def _against_best(statistics: TableRow) -> list[str]:
    best = {b["fraction"]: b["method"] for b in statistics["best_baseline"]}
    skill = {(s["fraction"], s["method"]): s["over_best_baseline"] for s in statistics["skills"]}
    lines = []
    for c in statistics["comparisons"]:
        fraction = c["fraction"]
        if c["method"] == "gpo" and c["metric"] == "alignment" and c["against"] == best.get(fraction):
            gained = skill[fraction, "gpo"]
            lines += wrap(
                f"{fraction:.0%} of groups: gpo {c['difference']:+.4f} against {c['against']}, the best "
                f"plain baseline (95 % interval {c['low']:+.4f} to {c['high']:+.4f}"
                + (f", skill {gained:+.1%})" if gained is not None else ")"),
                COLUMNS - 1,
                subsequent_indent="  ",
            )
    return ["", *lines] if lines else []


def topic_accuracy(rows: Iterable[dict[str, Any]]) -> float:
    """Return the mean over topics of the mean ``accuracy`` of their groups; no topic counts as a topic."""
    topics: dict[str | None, list[float]] = defaultdict(list)
    for row in rows:
        topics[row["topic"]].append(row["accuracy"])
    return float(np.mean([np.mean(values) for values in topics.values()]))


def accuracy_table(cells: Iterable[dict[str, Any]]) -> str:
    """Format for a terminal a line for each method with its accuracy and, beside it, its alignment.

    Args:
        cells: the result of :func:`cells`.
    """
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
