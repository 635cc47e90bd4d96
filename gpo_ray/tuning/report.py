"""The report of a search: one HTML file with tables and figures, readable offline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import rankdata

from gpo_ray import __version__
from gpo_ray.evaluation.report import inline_svg
from gpo_ray.tuning.ledger import Ledger, TrialRecord
from gpo_ray.tuning.space import Dimension, Space

COLOUR, MUTED = "#1f5f8b", "#b0b9c0"
CLASSES = 4

_PAGE = jinja2.Environment(loader=jinja2.PackageLoader("gpo_ray.tuning", "."), autoescape=True).get_template(
    "report.html.j2"
)


def render_report(ledger: Ledger, space: Space, result: dict[str, Any]) -> str:
    """Render the report as one HTML page.

    Args:
        ledger: the trials.
        space: the space of hyperparameters.
        result: the result of :func:`gpo_ray.tuning.job.run_search`.
    """
    ranked = ledger.ranked()
    return _PAGE.render(
        result=result,
        trials=ledger.ended(),
        keys=[d.key for d in space.dimensions],
        values=lambda r: [_short(v) for v in space.values(r.sample).values()],
        number=lambda v: "-" if v is None else f"{v:.4f}",
        history=inline_svg(_history, ledger.ended(), height=4),
        coordinates=inline_svg(_coordinates, ranked, space, height=4),
        importance=inline_svg(_bars, importance(ranked, space), height=4),
        version=__version__,
    )


def importance(records: Sequence[TrialRecord], space: Space) -> dict[str, float]:
    """Return the part of the variance of the trials' ranks that each hyperparameter explains by itself.

    It is the correlation ratio, for which numbers are put in :data:`CLASSES` classes of equal count; it is 0
    if all trials have the same rank.
    """
    ranks = np.asarray(rankdata([r.score for r in records]), np.float64)
    total = float(((ranks - ranks.mean()) ** 2).sum())
    found = {}
    for d in space.dimensions:
        labels = _classes(d, np.asarray([r.sample[d.key] for r in records], np.float64))
        between = sum(
            float((labels == c).sum() * (ranks[labels == c].mean() - ranks.mean()) ** 2)
            for c in np.unique(labels)
        )
        found[d.key] = between / total if total > 0 else 0.0
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _classes(dimension: Dimension, sampled: NDArray[np.float64]) -> NDArray[np.float64]:
    if dimension.kind == "choice" or len(np.unique(sampled)) <= CLASSES:
        return sampled
    cuts = np.quantile(sampled, np.arange(1, CLASSES) / CLASSES)
    return np.searchsorted(cuts, sampled).astype(np.float64)


def _history(axes: Axes, records: list[TrialRecord]) -> None:
    scored = [(r.number, r.score, r.status) for r in records if r.score is not None]
    numbers, values, statuses = zip(*scored, strict=True)
    colours = [MUTED if s == "stopped" else COLOUR for s in statuses]
    axes.scatter(numbers, values, c=colours, s=24, label="trial (grey: stopped early)")
    axes.plot(numbers, np.maximum.accumulate(values), color="#c2571a", label="best so far")
    axes.set(xlabel="trial", ylabel="alignment after training")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _coordinates(axes: Axes, ranked: list[TrialRecord], space: Space) -> None:
    places = {d.key: _places(d, [r.sample[d.key] for r in ranked]) for d in space.dimensions}
    for i, _ in reversed(list(enumerate(ranked))):  # drawn last, the best trial is on top
        colour = colormaps["viridis_r"](i / max(1, len(ranked) - 1))
        axes.plot([places[d.key][i] for d in space.dimensions], color=colour, alpha=0.7)
    axes.set_xticks(range(len(space.dimensions)), [d.key for d in space.dimensions], rotation=60, ha="right")
    axes.set_yticks([0, 1], ["least", "most"])
    axes.grid(alpha=0.3, axis="x")


def _places(dimension: Dimension, sampled: Sequence[float]) -> NDArray[np.float64]:
    """Return the positions of values between the ends of a dimension, from 0 to 1."""
    values = np.asarray(sampled, np.float64)
    if dimension.kind == "choice":
        return values / max(1, len(dimension.arguments) - 1)
    low, high = dimension.arguments[:2]
    if "log" in dimension.kind:
        low, high, values = np.log(low), np.log(high), np.log(values)
    return np.asarray((values - low) / (high - low), np.float64)


def _bars(axes: Axes, parts: dict[str, float]) -> None:
    axes.barh(list(parts)[::-1], list(parts.values())[::-1], color=COLOUR)
    axes.set(xlim=(0, 1), xlabel="part of the variance of ranks")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
