"""SIGTERM and Ctrl-C at several moments of commands that start a Ray cluster; and what such a run prints."""

import re
import signal
import time

import psutil
import pytest
import yaml
from synthetic import TINY_MODEL, survey, tiny_config

pytestmark = [pytest.mark.slow, pytest.mark.minutes]
LINE = "interrupted; the same command goes on from what is complete"
FOREIGN = re.compile(r"\.cc:\d+|\(raylet|\(pid=|\[(INFO|WARNING)\]|Warning:|Traceback|terminate called|ray::")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A survey and a training configuration."""
    folder = tmp_path_factory.mktemp("interrupted")
    survey(groups=8, count=60).save(folder / "survey")
    every = {"context_questions": 2, "every": 10, "patience": 1000}
    config = tiny_config(steps=400, validation=every, model=TINY_MODEL)
    (folder / "c.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return folder


def interrupt(command, number):
    """Send a signal; the exit code, and that everything which the command started is gone."""
    family = psutil.Process(command.process.pid).children(recursive=True)
    before = time.monotonic()
    command.process.send_signal(number)
    code = command.process.wait(timeout=60)
    assert time.monotonic() - before <= 10
    _, left = psutil.wait_procs(family, timeout=10)
    assert left == []
    lines = command.log.read_text().splitlines()
    assert lines[-1] == LINE
    assert lines.count(LINE) == 1
    assert not [line for line in lines if FOREIGN.search(line)]
    return code


def embed(gpo, root, tiny_language_model, *arguments):
    places = ("--survey", root / "survey", "--out", root / "store", "--model", tiny_language_model)
    return gpo("embed", *places, *arguments)


def test_embedding_and_training_end_when_told_and_go_on(gpo, root, tiny_language_model):
    command = embed(gpo, root, tiny_language_model)
    command.wait_until(lambda: command.workers("gcs_server"), 120, "start of Ray")
    assert interrupt(command, signal.SIGTERM) == 143
    command = embed(gpo, root, tiny_language_model)
    shards = (root / "store").glob
    command.wait_until(lambda: list(shards("shard-*")) or command.workers("_MapWorker"), 300, "embedding")
    assert interrupt(command, signal.SIGINT) == 130
    command = embed(gpo, root, tiny_language_model, "--json")
    assert command.result(300)["questions"] == 60
    train = ("train", "--survey", root / "survey", "--embeddings", root / "store", "--out", root / "out")
    train = (*train, "--config", root / "c.yaml", "--workers", 2, "--fraction", 0.8)
    command = gpo(*train)
    metrics = root / "runs" / "out" / "metrics.jsonl"
    command.wait_until(metrics.exists, 400, "training")
    assert interrupt(command, signal.SIGTERM) == 143
    result = gpo(*train, "--json").result(500)
    assert result["steps"] == 400
    assert result["resumed"]


def test_normal_runs_print_only_our_lines(gpo, root, tiny_language_model):
    embed(gpo, root, tiny_language_model, "--json").result(300)
    places = ("--survey", root / "survey", "--embeddings", root / "store")
    quick = ("--methods", "gpo,uniform", "--fractions", 0.6, "--seeds", 2, "--context", 5, "--steps", 20)
    command = gpo("evaluate", *places, "--out", root / "evaluation", *quick)
    assert command.process.wait(timeout=500) == 0
    lines = command.log.read_text().splitlines()
    assert [line.partition(":")[0] for line in lines if line.startswith("evaluate ")][-1] == "evaluate 2/2"
    assert not [line for line in lines if FOREIGN.search(line)]
    assert max(map(len, lines[:-1])) <= 120
