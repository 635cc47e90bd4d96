"""Small files of respondents in the layouts of large surveys, written with pyreadstat."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "data" / "survey_layouts"
"""Layouts of large surveys, a line a variable: name, role, values, label, labels, missing values."""


@dataclass
class V:
    """A variable: label, labels of values, declared missing values, other values, level of measurement."""

    label: str | None = None
    labels: dict = field(default_factory=dict)
    missing: list = field(default_factory=list)
    values: object = None
    measure: str | None = None
    role: str = "other"


def scale(label, *texts, missing=None, measure=None, role="question", start=1):
    """A variable of labelled codes from ``start``, and labelled missing values."""
    refused = missing or {}
    labels = {start + i: t for i, t in enumerate(texts)} | refused
    return V(label, labels, [c for c in refused if not isinstance(c, str)], None, measure, role)


def demographic(label, *texts, missing=None, **more):
    return scale(label, *texts, missing=missing, role="demographic", **more)


def frame(variables, n=200, seed=0):
    import pandas as pd

    rng = np.random.default_rng(seed)
    columns = {}
    for name, v in variables.items():
        if v.values is not None:
            columns[name] = v.values(rng, n) if callable(v.values) else v.values
        else:
            codes = [c for c in v.labels if not isinstance(c, str)]
            columns[name] = rng.choice(np.array(codes, float), n)
    return pd.DataFrame(columns)


def write(path: Path, variables, n=200, seed=0):
    """Write a .sav, .zsav or .dta file; returns the data."""
    import pyreadstat

    data = frame(variables, n, seed)
    labels = {name: v.label for name, v in variables.items() if v.label}
    values = {name: {float(c): t for c, t in v.labels.items()} for name, v in variables.items() if v.labels}
    if path.suffix == ".dta":
        coded = {name: {int(c): t for c, t in each.items()} for name, each in values.items()}
        for name in values:
            data[name] = data[name].astype("Int64")
        pyreadstat.write_dta(data, str(path), column_labels=labels, variable_value_labels=coded)
    else:
        pyreadstat.write_sav(
            data,
            str(path),
            compress=path.suffix == ".zsav",
            column_labels=labels,
            variable_value_labels=values,
            missing_ranges={name: v.missing[:3] for name, v in variables.items() if v.missing},
            variable_measure={name: v.measure for name, v in variables.items() if v.measure},
        )
    return data


def weights(label="Weight"):
    return V(label, values=lambda rng, n: np.round(rng.lognormal(0, 0.5, n), 6), role="weight")


def ids(label=None):
    return V(label, values=lambda rng, n: np.arange(100001, 100001 + n, dtype=float), role="id")


def numbers(label, low, high, role="other"):
    return V(label, values=lambda rng, n: rng.integers(low, high, n).astype(float), role=role)


def read_layout(name):
    """The variables of a layout in FOLDER."""
    found = {}
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        cells = [*line.split(" | "), "", "", "", "", ""]
        variable, role, values, label, labels, missing = cells[:6]
        pairs = (each.split("=", 1) for each in labels.split("; ") if each)
        found[variable] = V(
            label or None,
            {int(code): text for code, text in pairs},
            [float(code) for code in missing.split()],
            _values(values),
            role=role,
        )
    return found


def _values(spec):
    kind, _, rest = spec.partition(" ")
    if kind == "texts":
        return lambda rng, n: rng.choice(rest.split(","), n)
    if kind == "numbers":
        low, high = map(int, rest.split())
        return numbers(None, low, high + 1).values
    return {"ids": ids().values, "weights": weights().values}.get(kind)
