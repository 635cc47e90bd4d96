"""From scores of groups to cells and tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from gpo_ray.evaluation.individuals import topic_accuracy

Row = dict[str, Any]


def cells(rows: Iterable[Row]) -> list[Row]:
    """One cell for each method and split: ``alignment`` (mean over test groups), ``worst_group``.

    Also ``accuracy`` (of the most probable response), ``topic_accuracy`` (the mean over topics of the
    mean over their groups), ``worst_group_id``, ``group_spread`` (standard deviation over test groups),
    ``coverage`` (share of responses within their 90 % intervals, None without intervals), ``groups``,
    ``questions``.
    """
    split: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
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
            }
        )
    return result


def _mean(values: list[float | None]) -> float | None:
    given = [v for v in values if v is not None]
    return float(np.mean(given)) if given else None


def table(results: list[Row]) -> list[Row]:
    """One row for each method and fraction over all seeds: means, spread over seeds and over groups."""
    by: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for cell in results:
        by[cell["method"], cell["fraction"]].append(cell)
    return [
        {
            "method": method,
            "fraction": fraction,
            "alignment": float(np.mean([c["alignment"] for c in group])),
            "spread": float(np.std([c["alignment"] for c in group])),
            "worst_group": float(np.mean([c["worst_group"] for c in group])),
            "group_spread": float(np.mean([c["group_spread"] for c in group])),
            "accuracy": float(np.mean([c["accuracy"] for c in group])),
            "seeds": len(group),
        }
        for (method, fraction), group in by.items()
    ]


def curve(rows: Iterable[Row]) -> dict[str, list[tuple[int, float]]]:
    """Mean alignment by context size for each method, over all splits and test groups."""
    by: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows:
        if row["curve"] and row["alignment"] is not None:
            by[row["method"], row["context"]].append(row["alignment"])
    result: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for (method, size), values in sorted(by.items(), key=lambda item: item[0][1]):
        result[method].append((size, float(np.mean(values))))
    return dict(result)


def by_group(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Mean alignment of each test group by method, over the splits in which it was held out."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if not row["curve"] and row["alignment"] is not None:
            values[row["group_id"]][row["method"]].append(row["alignment"])
    return {g: {m: float(np.mean(v)) for m, v in methods.items()} for g, methods in sorted(values.items())}


def text_table(results: list[Row], statistics: Row | None = None) -> str:
    """The table for a terminal: a line for each method, a column for each fraction.

    Args:
        results: the cells.
        statistics: what :func:`gpo_ray.evaluation.statistics.statistics` returned (more keys are free);
            if given, lines on gpo against the best baseline follow the table.
    """
    rows = table(results)
    width = max([16, *(len(r["method"]) + 2 for r in rows)])
    fractions = sorted({r["fraction"] for r in rows})
    methods = list(dict.fromkeys(r["method"] for r in rows))
    found = {(r["method"], r["fraction"]): r for r in rows}
    head = "method".ljust(width) + "".join(f"{f:>8.0%} of groups  worst" for f in fractions)
    lines = [head, "-" * len(head)]
    for method in methods:
        line = method.ljust(width)
        for fraction in fractions:
            r = found.get((method, fraction))
            line += (
                f"{r['alignment']:.4f} ±{r['spread']:.3f}  {r['worst_group']:.3f}".rjust(24)
                if r
                else " " * 24
            )
        lines.append(line)
    return "\n".join(lines + (_against_best(statistics) if statistics else []))


def _against_best(statistics: Row) -> list[str]:
    best = {b["fraction"]: b["method"] for b in statistics["best_baseline"]}
    skill = {(s["fraction"], s["method"]): s["over_best_baseline"] for s in statistics["skills"]}
    lines = []
    for c in statistics["comparisons"]:
        fraction = c["fraction"]
        if c["method"] == "gpo" and c["metric"] == "alignment" and c["against"] == best.get(fraction):
            gained = skill[fraction, "gpo"]
            lines.append(
                f"{fraction:.0%} of groups: gpo {c['difference']:+.4f} against {c['against']}, the best "
                f"plain baseline (95 % interval {c['low']:+.4f} to {c['high']:+.4f}"
                + (f", skill {gained:+.1%})" if gained is not None else ")")
            )
    return ["", *lines] if lines else []
