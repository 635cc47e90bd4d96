"""Measure time and memory of importing a file of respondents.

Run::

    python benchmarks/survey_import.py [--respondents 100000] [--variables 300] [--kinds sav,csv,parquet]
        [--units groups] [--most-seconds 60] [--most-gib 2]

Random respondents with labelled answers to many questions (a third of them asked of a half, and refusals),
ten demographics and a weight are written as a file of each kind. Then ``gpo survey import respondents`` reads
it, as a process of its own on one core; ``seconds`` are its wall-clock seconds, ``cpu`` its processor's, and
``gib`` is its largest resident size in GiB. The benchmark fails if one took more than ``--most-seconds`` of
processor time or more than ``--most-gib``. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SCALE = ("Strongly agree", "Agree", "Neither agree nor disagree", "Disagree", "Strongly disagree", "Refused")
LEVELS = ("First", "Second", "Third", "Fourth")
DEMOGRAPHICS, GIB = 10, 2**20  # ru_maxrss is in KiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--respondents", type=int, default=100_000)
    parser.add_argument("--variables", type=int, default=300)
    parser.add_argument("--kinds", default="sav,csv,parquet")
    parser.add_argument("--units", default="groups")
    parser.add_argument("--most-seconds", type=float, default=60)
    parser.add_argument("--most-gib", type=float, default=2)
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        data = _people(options.respondents, options.variables)
        for kind in options.kinds.split(","):
            path = Path(folder, f"people.{kind}")
            _write(path, data)
            found[kind] = _measured(path, options.units)
            print(kind, json.dumps(found[kind]), flush=True)
    print(json.dumps(found))
    over = [k for k, f in found.items() if f["cpu"] > options.most_seconds or f["gib"] > options.most_gib]
    if over:
        sys.exit(f"over the limits: {', '.join(over)}")


def _people(respondents: int, variables: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    data = {}
    for i in range(variables - DEMOGRAPHICS - 1):
        answers = rng.integers(1, len(SCALE) + 1, respondents).astype(float)
        answers[rng.random(respondents) < (0.5 if i % 3 == 0 else 0)] = np.nan
        data[f"Q{i}"] = answers
    for i in range(DEMOGRAPHICS):
        data[f"F_GROUP{i}"] = rng.integers(1, len(LEVELS) + 1, respondents).astype(float)
    data["WEIGHT"] = rng.lognormal(0, 0.5, respondents)
    return data


def _labels(name: str) -> tuple[str, ...]:
    return SCALE if name.startswith("Q") else LEVELS if name.startswith("F_") else ()


def _write(path: Path, data: dict[str, np.ndarray]) -> None:
    if path.suffix == ".sav":
        import pyreadstat

        labels = {n: {float(i): t for i, t in enumerate(_labels(n), 1)} for n in data if _labels(n)}
        columns = {n: f"{n}. Is statement {n} right?" if n.startswith("Q") else f"Group {n}" for n in data}
        pyreadstat.write_sav(
            pd.DataFrame(data),
            str(path),
            row_compress=True,
            column_labels=columns,
            variable_value_labels=labels,
        )
        return
    table = {}
    for name, values in data.items():
        texts = _labels(name)
        if texts:
            known = ~np.isnan(values)
            code = pa.array(np.where(known, values - 1, 0).astype(np.int32), mask=~known)
            values = pa.DictionaryArray.from_arrays(code, pa.array(texts)).cast(pa.string())
        table[f"Is statement {name} right?" if name.startswith("Q") else name] = values
    whole = pa.table(table)
    if path.suffix == ".parquet":
        pq.write_table(whole, path)
    else:
        import pyarrow.csv

        pyarrow.csv.write_csv(whole, path)


def _measured(path: Path, units: str) -> dict[str, float]:
    core = min(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "gpo_ray", "survey", "import", "respondents", "--from", str(path)]
    command += ["--units", units, "--out", str(path.with_suffix(".survey")), "--json"]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, {core}), text=True
    )
    assert process.stdout is not None
    last = process.stdout.read().splitlines()[-1:]
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"the import of {path.name} failed")
    result = json.loads(last[0])
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu": round(usage.ru_utime + usage.ru_stime, 1),
        "gib": round(usage.ru_maxrss / GIB, 2),
        "mib": round(path.stat().st_size / 2**20),
        **{k: result[k] for k in ("questions", "groups", "preferences")},
    }


if __name__ == "__main__":
    main()
