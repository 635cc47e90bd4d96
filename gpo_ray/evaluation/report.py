"""The evaluation report: one HTML file with tables and figures, readable offline."""

from __future__ import annotations

import io
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from gpo_ray import __version__
from gpo_ray.evaluation.summary import TableRow, by_group, cells, curve, prompt_notes, table

COLOURS = (
    *("#1f5f8b", "#c2571a", "#4d8b31", "#8a4f9e", "#b8860b", "#5f6b73", "#a83250", "#2a8c82"),
    *("#7a5230", "#6fa8dc", "#f0a868", "#9bc77a", "#c79ad6", "#e3c75a", "#b0b9c0", "#e08aa0"),
)

_PAGE = jinja2.Environment(
    loader=jinja2.PackageLoader("gpo_ray.evaluation", "."), autoescape=True
).get_template("report.html.j2")


def render_report(title: dict[str, Any], rows: list[TableRow], statistics: dict[str, Any]) -> str:
    """Render the report as one HTML page.

    Args:
        title: ``survey, embeddings, protocol, context``, shown at the top.
        rows: the rows that :func:`gpo_ray.evaluation.scoring.evaluate_split` returned for all splits.
        statistics: the result of :func:`gpo_ray.evaluation.statistics.statistics` for these rows, and a
            ``note``, ``max_questions`` and ``language_models``.
    """
    scored = cells(rows)
    results = table(scored)
    fractions = sorted({r["fraction"] for r in results})
    methods = list(dict.fromkeys(r["method"] for r in results))
    by_size = curve(rows)
    return _PAGE.render(
        title=title,
        fractions=fractions,
        methods=methods,
        found={(r["method"], r["fraction"]): r for r in results},
        best={f: max(r["alignment"] for r in results if r["fraction"] == f) for f in fractions},
        accuracy={m: _mean(r["accuracy"] for r in results if r["method"] == m) for m in methods},
        seeds=max(r["seeds"] for r in results),
        bars=inline_svg(_bars, results, methods, fractions),
        sizes=inline_svg(_curves, by_size) if by_size else "",
        off_curve=[m for m in methods if m not in by_size],
        max_questions=statistics.get("max_questions"),
        language_models=statistics.get("language_models", {}),
        prompt_notes=prompt_notes(scored),
        groups=by_group(rows),
        baseline={b["fraction"]: b["method"] for b in statistics["best_baseline"]},
        skills={(s["method"], s["fraction"]): s for s in statistics["skills"]},
        pairs=_pairs(statistics["comparisons"]),
        percent=lambda x: "-" if x is None else f"{x:+.1%}",
        caution=statistics.get("note"),
        version=__version__,
    )


def _pairs(comparisons: list[TableRow]) -> list[TableRow]:
    """Put a pair's comparisons by metric in one row: ``fraction, method, against, rows, <metric>...``."""
    pairs: dict[tuple[Any, ...], TableRow] = {}
    for c in comparisons:
        key = (c["fraction"], c["method"], c["against"])
        pairs.setdefault(key, {k: c[k] for k in ("fraction", "method", "against", "rows")})[c["metric"]] = c
    return list(pairs.values())


def _mean(values: Any) -> float:
    kept = list(values)
    return float(sum(kept) / len(kept))


def inline_svg(draw: Any, *args: Any, height: float = 3.6) -> Any:
    """Draw a figure with ``draw(axes, *args)``, and return it as inline SVG, ``height`` inches high."""
    figure = Figure(figsize=(9, height), layout="constrained")
    draw(figure.subplots(), *args)
    out = io.BytesIO()
    figure.savefig(out, format="svg")
    text = out.getvalue().decode()
    return Markup(text[text.index("<svg") :])  # noqa: S704 - drawn here, not from input


def _bars(axes: Axes, results: list[TableRow], methods: list[str], fractions: list[float]) -> None:
    width = 0.8 / len(methods)
    for i, method in enumerate(methods):
        mine = {r["fraction"]: r for r in results if r["method"] == method}
        places = [j + i * width for j, f in enumerate(fractions) if f in mine]
        heights = [mine[f]["alignment"] for f in fractions if f in mine]
        errors = [mine[f]["seed_deviation"] for f in fractions if f in mine]
        axes.bar(places, heights, width, yerr=errors, label=method, color=COLOURS[i % len(COLOURS)])
    lowest = min(r["alignment"] - r["seed_deviation"] for r in results)
    axes.set_ylim(max(0.0, lowest - 0.03), 1.0)
    axes.set_xticks([j + 0.4 - width / 2 for j in range(len(fractions))], [f"{f:.0%}" for f in fractions])
    axes.set(xlabel="share of groups in meta-training", ylabel="alignment")
    axes.legend(ncols=1, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))


def _curves(axes: Axes, by_size: dict[str, list[tuple[int, float]]]) -> None:
    for i, (method, points) in enumerate(by_size.items()):
        sizes, values = zip(*points, strict=True)
        axes.plot(sizes, values, marker="o", markersize=3, label=method, color=COLOURS[i % len(COLOURS)])
    axes.set_xscale("log")
    axes.set_xticks(sorted({s for points in by_size.values() for s, _ in points}))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    axes.set(xlabel="context questions", ylabel="alignment")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
