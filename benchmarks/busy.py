"""Measure how long commands take beside a process that keeps a core busy, and alone.

Run::

    python benchmarks/busy.py [--survey DIR --embeddings DIR] [--commands quickstart,evaluate,train,tune]

Each command is started as a user would start it, alone and beside the busy process by turns. Without
``--survey`` and ``--embeddings`` a quickstart runs first, whose survey and embeddings are used. Each command
prints a JSON object: ``alone`` and ``beside`` are wall-clock seconds from start to end, medians over the
rounds; ``ratio`` is beside / alone, which is 1 for a command that the busy process does not slow down.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SPIN = "while True: pass"
SEARCH = Path(__file__).parents[1] / "tune_configs" / "smoke.yaml"


@contextmanager
def spinning(processes: int) -> Iterator[None]:
    """Keep some processes running that do nothing but use a core each."""
    started = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def seconds(arguments: list[str]) -> float:
    """Return the wall-clock seconds that a command takes from start to end."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "gpo_ray", *arguments, "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"gpo {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.monotonic() - begun


def command(name: str, survey: str, embeddings: str, out: Path, steps: str | None) -> list[str]:
    """Return the arguments of a command that finds nothing of an earlier run."""
    if name == "quickstart":
        return ["quickstart", "--out", str(out)]
    places = ["--survey", survey, "--embeddings", embeddings, "--out", str(out)]
    return [name, *places] + {
        "evaluate": ["--fractions", "0.6", "--seeds", "2", *(["--steps", steps] if steps else [])],
        "train": ["--fraction", "0.6"],
        "tune": ["--config", str(SEARCH)],
    }[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--survey")
    parser.add_argument("--embeddings")
    parser.add_argument("--commands", default="quickstart,evaluate,train,tune")
    parser.add_argument("--steps", help="of meta-training in evaluate, instead of the presets' own")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--spinning", type=int, default=1, help="processes beside")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where, survey, embeddings = Path(folder), options.survey, options.embeddings
        if survey is None or embeddings is None:
            seconds(["quickstart", "--out", str(where / "first")])
            survey, embeddings = str(where / "first" / "survey"), str(where / "first" / "embeddings")
        print(f"{os.cpu_count()} cores, {options.spinning} spinning; seconds, medians of {options.rounds}")
        for name in options.commands.split(","):
            taken: dict[int, list[float]] = {0: [], options.spinning: []}
            for round_ in range(options.rounds):
                for beside in taken:
                    with spinning(beside):
                        out = where / f"{name}-{round_}-{beside}"
                        taken[beside].append(seconds(command(name, survey, embeddings, out, options.steps)))
            alone, beside = (round(statistics.median(t), 1) for t in taken.values())
            found = {"command": name, "alone": alone, "beside": beside, "ratio": round(beside / alone, 2)}
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
