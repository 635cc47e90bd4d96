"""Draw the learning curves of a run."""

from __future__ import annotations

import io
from typing import Any


def learning_curve(history: list[dict[str, Any]]) -> bytes:
    """Draw training loss and validation alignment over steps, as SVG; return no bytes without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return b""
    steps = [m["step"] for m in history]
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2),
        ("loss", "validation_alignment"),
        ("training loss", "validation alignment"),
        strict=True,
    ):
        axes.plot(steps, [m[key] for m in history], color="#1f5f8b")
        axes.set(xlabel="step", ylabel=label)
        axes.grid(alpha=0.3)
    out = io.BytesIO()
    figure.savefig(out, format="svg")
    return out.getvalue()
