"""Measure memory and time of meta-training on people whose answers stay on disk.

Run::

    python benchmarks/out_of_core.py [--people 10000,100000,1000000] [--questions 1000] [--answers 100]
        [--workers 0] [--steps 100] [--config gpo] [--width 64] [--most-gib 4]

Random people, each of whom chose answers to some of the questions, are written as a survey of many Parquet
files, with random embeddings. Then ``gpo train --on-disk`` sorts the answers with Ray Data and trains, as a
process of its own with a cluster of its own; ``seconds`` are its wall-clock seconds. All its processes are
looked at every quarter of a second: ``gib`` is the largest resident size of one of a kind in GiB, without the
pages that it shares with others (those of the object store, and those of mapped files, which the system may
drop at any time), and ``with_shared_gib`` with them. The benchmark fails if a process took more than
``--most-gib``. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from gpo_ray.embedding.encoder import EncodedQuestion
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.preferences.dataset import Group, Question
from gpo_ray.preferences.large import write_survey
from gpo_ray.preferences.tables import PREFERENCES

RESPONSES, BATCH, GIB = 4, 20_000, 2**30
SHOWN = 4
"""Number of kinds of processes that are reported: the command's, and the largest others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--people", default="10000,100000,1000000")
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--answers", type=int, default=100)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--config", default="gpo")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--most-gib", type=float, default=4.0)
    options = parser.parse_args()
    found = {}
    for people in map(int, options.people.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            found[str(people)] = _measured(Path(folder), people, options)
        print(people, json.dumps(found[str(people)]), flush=True)
    print(json.dumps(found))
    most = max(p["gib"] for one in found.values() for p in one["processes"].values())
    if most > options.most_gib:
        sys.exit(f"a process took {most} GiB, more than {options.most_gib:g}")


def _measured(folder: Path, people: int, options: argparse.Namespace) -> dict[str, object]:
    questions = [
        Question(f"q{i}", "synthetic", f"Question {i}?", ("a", "b", "c", "d"), ordinal=(1.0, 2.0, 3.0, 4.0))
        for i in range(options.questions)
    ]
    _embed(folder / "store", questions, options.width)
    groups = (Group(f"p{i}", "individual") for i in range(people))
    begun = time.monotonic()
    write_survey(folder / "survey", questions, groups, _answers(people, options))
    written = time.monotonic() - begun
    command = [sys.executable, "-m", "gpo_ray", "train", "--survey", folder / "survey", "--on-disk", "--json"]
    command += ["--embeddings", folder / "store", "--out", folder / "bundle", "--config", options.config]
    command += ["--steps", options.steps, "--workers", options.workers]
    begun = time.monotonic()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=log, text=True)
        seen = _watch(process)
    if process.returncode:
        sys.exit((folder / "log").read_text()[-3000:])
    assert process.stdout is not None
    result = json.loads(process.stdout.read().strip().splitlines()[-1])
    parquet = sum(f.stat().st_size for f in (folder / "survey").glob("preferences*"))
    answers = next((folder / "runs").glob("answers-*"))
    return {
        "answers": people * options.answers,
        "parquet_gib": round(parquet / GIB, 3),
        "sorted_gib": round(sum(f.stat().st_size for f in answers.iterdir()) / GIB, 3),
        "write_seconds": round(written, 1),
        "seconds": round(time.monotonic() - begun, 1),
        "steps": result["steps"],
        "training_seconds": result["seconds"],
        "processes": seen,
    }


def _embed(folder: Path, questions: list[Question], width: int) -> None:
    rng = np.random.default_rng(0)

    def vectors() -> np.ndarray:
        return rng.normal(size=(RESPONSES, width)).astype(np.float32)

    even = np.log(np.full(RESPONSES, 1 / RESPONSES, np.float32))
    made = [
        EncodedQuestion(vectors(), vectors(), vectors(), even, 1, opinion=vectors(), person=vectors())
        for _ in questions
    ]
    store = EmbeddingStore(folder)
    name, entry = store.write_shard(questions, made, "random@0/float32")
    store.commit("random@0/float32", {name: entry}, model="random", dtype="float32")


def _answers(people: int, options: argparse.Namespace) -> Iterator[pa.Table]:
    """Yield tables of choices that depend on the question and on one trait of the person."""
    rng = np.random.default_rng(0)
    slope, base = rng.normal(size=(2, options.questions))
    names = pa.array([f"q{i}" for i in range(options.questions)])
    for first in range(0, people, BATCH):
        count = min(BATCH, people - first)
        start = rng.integers(0, options.questions, count)
        asked = ((start[:, None] + np.arange(options.answers) * 37) % options.questions).ravel()
        trait = np.repeat(rng.normal(size=count), options.answers)
        score = base[asked] + slope[asked] * trait + rng.normal(size=len(asked))
        choice = np.digitize(score, (-1.0, 0.0, 1.0))
        ids = pa.array(np.char.add("p", np.arange(first, first + count).astype(str)))
        columns = {
            "group_id": ids.take(pa.array(np.repeat(np.arange(count), options.answers))),
            "question_id": names.take(pa.array(asked)),
            "share": pa.nulls(len(asked), PREFERENCES.field("share").type),
            "choice": pa.array(choice, pa.int32()),
            "n": pa.nulls(len(asked), pa.float64()),
        }
        yield pa.table(columns, schema=PREFERENCES)


def _watch(process: subprocess.Popen[str]) -> dict[str, dict[str, float]]:
    """Return the largest sizes in GiB of a process and its descendants, by kind, until the process ends."""
    most: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    root = psutil.Process(process.pid)
    while process.poll() is None:
        for one in [root, *root.children(recursive=True)]:
            try:
                memory, name = one.memory_info(), "train" if one == root else " ".join(one.cmdline()[:1])
            except psutil.Error:
                continue
            own = (memory.rss - memory.shared, memory.rss)
            kind = name.rsplit("/", 1)[-1]
            most[kind] = max(most[kind][0], own[0]), max(most[kind][1], own[1])
        time.sleep(0.25)
    largest = sorted(most, key=lambda name: (name == "train", most[name]), reverse=True)[:SHOWN]
    return {
        name: {"gib": round(most[name][0] / GIB, 3), "with_shared_gib": round(most[name][1] / GIB, 3)}
        for name in largest
    }


if __name__ == "__main__":
    main()
