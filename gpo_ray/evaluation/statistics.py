"""Statistics over all splits: confidence intervals of the difference of two methods, and skill.

A method's skill over a baseline is the part of the baseline's distance to the best alignment, 1, that the
method makes up. Means over groups and seeds are in summary.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from gpo_ray.evaluation.methods import METHODS
from gpo_ray.evaluation.summary import TableRow, cells, table
from gpo_ray.preferences.slates import Array

RESAMPLES = 2000
LEVEL = 0.95
METRICS = ("alignment", "accuracy")
REFERENCE = "train-mean"
PLAIN = {name for name, method in METHODS.items() if method.plain}
"""Names of the plain baselines; the other methods are compared with the best of them."""


def statistics(rows: Sequence[TableRow]) -> dict[str, list[TableRow]]:
    """Compute the best baselines, the skills and the comparisons of methods from the scores of all splits.

    Args:
        rows: the rows that :func:`gpo_ray.evaluation.scoring.evaluate_split` returned for all splits.

    Returns:
        ``best_baseline``: a row for each fraction, ``fraction, method, alignment``: the plain baseline with
        the highest mean alignment. It is chosen on the test groups themselves, which favours baselines.

        ``skills``: a row for each fraction and method, ``fraction, method, over_best_baseline,
        over_train_mean``: the part of the baseline's distance to 1 that the method makes up; None if the
        baseline cannot answer or is perfect.

        ``comparisons``: rows ``fraction, method, against, metric, difference, low, high, rows``, of
        ``gpo`` against every other method and of ``paper`` against the best baseline; ``low`` and
        ``high`` are the ends of the :func:`interval`, and ``rows`` is the number of pairs.
    """
    means = table(cells(rows))
    best = [_best(fraction, means) for fraction in sorted({r["fraction"] for r in means})]
    found = [b for b in best if b is not None]
    return {
        "best_baseline": found,
        "skills": _skills(means, {b["fraction"]: b["method"] for b in found}),
        "comparisons": _comparisons(rows, means, {b["fraction"]: b["method"] for b in found}),
    }


def interval(differences: Sequence[Array], resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """Return the ends of the 95 % bootstrap interval of the mean over seeds of the mean over groups.

    Rows of one seed share a split and a trained model, so they are not independent draws: seeds are
    resampled first and then, within each seed, its groups (a two-stage cluster bootstrap: Davison and
    Hinkley, Bootstrap Methods and their Application, 3.8). A group that is held out under several seeds
    counts as a new group in each; a survey has few groups, and the interval is about groups like them. With
    a single seed only groups are resampled, and the interval leaves out the variation between seeds.

    Args:
        differences: for each seed the differences (groups,) between two methods on the same groups.
        resamples: number of resamples.
        seed: seed of the resampling; the same seed gives the same interval.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(differences), size=(resamples, len(differences)))
    means = np.empty(drawn.shape)
    for number, values in enumerate(differences):
        where = drawn == number
        means[where] = values[rng.integers(len(values), size=(int(where.sum()), len(values)))].mean(1)
    low, high = np.quantile(means.mean(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def compare(rows: Sequence[TableRow], method: str, against: str, metric: str) -> TableRow | None:
    """Compare two methods on the groups and seeds that both have; return None if there are none.

    Args:
        rows: scores of one fraction.
        method: name of the first method.
        against: name of the second method, whose score is subtracted.
        metric: ``alignment`` or ``accuracy``.
    """
    values: dict[str, dict[tuple[int, str], float]] = {method: {}, against: {}}
    for row in rows:
        if row["method"] in values and not row["curve"] and row["alignment"] is not None:
            values[row["method"]][row["seed"], row["group_id"]] = row[metric]
    pairs: dict[int, list[float]] = defaultdict(list)
    for key in sorted(values[method].keys() & values[against].keys()):
        pairs[key[0]].append(values[method][key] - values[against][key])
    if not pairs:
        return None
    differences = [np.asarray(d) for d in pairs.values()]
    low, high = interval(differences)
    return {
        "method": method,
        "against": against,
        "metric": metric,
        "difference": float(np.mean([d.mean() for d in differences])),
        "low": low,
        "high": high,
        "rows": sum(len(d) for d in differences),
    }


def _best(fraction: float, means: list[TableRow]) -> TableRow | None:
    plain = [r for r in means if r["fraction"] == fraction and r["method"] in PLAIN]
    if not plain:
        return None
    best = max(plain, key=lambda r: float(r["alignment"]))
    return {k: best[k] for k in ("fraction", "method", "alignment")}


def _skills(means: list[TableRow], best: dict[float, str]) -> list[TableRow]:
    alignment = {(r["fraction"], r["method"]): r["alignment"] for r in means}

    def skill(fraction: float, method: str, other: str | None) -> float | None:
        reference = alignment.get((fraction, other), 1.0)
        return None if reference >= 1 else (alignment[fraction, method] - reference) / (1 - reference)

    return [
        {
            "fraction": fraction,
            "method": method,
            "over_best_baseline": skill(fraction, method, best.get(fraction)),
            "over_train_mean": skill(fraction, method, REFERENCE),
        }
        for fraction, method in sorted(alignment, key=lambda key: key[0])
    ]


def _comparisons(rows: Sequence[TableRow], means: list[TableRow], best: dict[float, str]) -> list[TableRow]:
    result = []
    for fraction in sorted({r["fraction"] for r in means}):
        mine = [r for r in rows if r["fraction"] == fraction]
        present = [r["method"] for r in means if r["fraction"] == fraction]
        pairs = [("gpo", m) for m in present if m != "gpo"] if "gpo" in present else []
        if "paper" in present and fraction in best:
            pairs.append(("paper", best[fraction]))
        for method, against in pairs:
            for metric in METRICS:
                compared = compare(mine, method, against, metric)
                if compared is not None:
                    result.append({"fraction": fraction} | compared)
    return result
