"""What the readers' tests share: where real surveys lie, how small ones are written, what was read."""

import csv
import os
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared"
DATA = Path(os.environ.get("GPO_RAY_DATA", SHARED / "data"))
"""Surveys that are not in the repository, on a machine that has them."""


def write_csv(path, rows):
    """Rows with the same keys, the first row's as header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def prefs(dataset):
    """Preferences by group and question."""
    return {(p["group_id"], p["question_id"]): p for p in dataset.preferences.to_pylist()}
