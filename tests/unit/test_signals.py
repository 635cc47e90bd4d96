"""SIGTERM and Ctrl-C end a command in order: 143 or 130, one line, and the same command goes on."""

import json
import signal
import subprocess
import sys
import time

import pytest
import yaml
from synthetic import survey, tiny_config, write_store

LINE = "interrupted; the same command goes on from what is complete"


@pytest.fixture
def start():
    """Start ``gpo`` or other code; what is left of it is killed at the end."""
    begun = []

    def run(*arguments, code=None):
        command = ["-m", "gpo_ray", *map(str, arguments)] if code is None else ["-c", code]
        process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        begun.append(process)
        return process

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def ended(process, within=10):
    """Exit code and standard error of a process that was told to end."""
    before = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - before < within
    return process.returncode, err.strip().splitlines()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.minutes)],
)
def test_training_is_interrupted_and_goes_on(start, tmp_path, number, code):
    dataset = survey(groups=8, count=12)
    dataset.save(tmp_path / "survey")
    write_store(tmp_path / "store", list(dataset.iter_questions()))
    every = {"context_questions": 2, "every": 40, "patience": 1000}
    config = tiny_config(steps=600, validation=every).model_dump(mode="json")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    places = ("--survey", tmp_path / "survey", "--embeddings", tmp_path / "store", "--out", tmp_path / "out")
    arguments = ("train", *places, "--config", tmp_path / "c.yaml", "--json")
    first = start(*arguments)
    metrics = tmp_path / "runs" / "out" / "metrics.jsonl"
    while not metrics.exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    first.send_signal(number)
    assert ended(first) == (code, [LINE])
    second = start(*arguments)
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    result = json.loads(out)
    assert result["steps"] == 600
    assert result["resumed"]


@pytest.mark.parametrize("after", [0.6, 1.2, 2.4])
def test_signal_while_libraries_are_imported(start, tmp_path, after):
    survey().save(tmp_path / "survey")
    process = start("embed", "--survey", tmp_path / "survey", "--model", "./none", "--out", tmp_path / "out")
    time.sleep(after)
    process.send_signal(signal.SIGTERM)
    code, err = ended(process)
    # before anything of ours runs the system itself ends the process, which a shell calls 143 too;
    # and on a quick machine the command may have come to its own error by then
    told = [line[:6] for line in err]
    assert (code, told) in [
        (143, [LINE[:6]]),
        (-signal.SIGTERM, []),
        (2, ["error:"]),
        (-signal.SIGTERM, ["error:"]),
    ]


STUBBORN = """
import signal, sys, time, typer
from gpo_ray.runtime import signals
from gpo_ray.cli import app, main
signals.PATIENCE = 1.0
@app.command()
def work():
    print("ready", flush=True)
    HOW
sys.argv = ["gpo", "work"]
main()
"""


@pytest.mark.parametrize(
    "how",
    [
        "import ctypes; ctypes.CDLL(None).sleep(60)",  # no Python for a minute
        "signal.signal(signal.SIGTERM, lambda *_: None); [time.sleep(1) for _ in range(60)]",
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)); time.sleep(60)",
        "type('T', (), {'__del__': lambda _: time.sleep(5)})(); time.sleep(60)",
        "import threading; threading.Thread(target=time.sleep, args=(60,)).start(); time.sleep(60)",
    ],
    ids=["in C", "taken by a library", "ended by a library", "in a destructor", "with a thread left"],
)
def test_whatever_the_command_does_it_ends(start, how):
    process = start(code=STUBBORN.replace("HOW", how))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process, within=5) == (143, [LINE])


def test_second_signal_ends_it_at_once(start):
    how = "signal.signal(signal.SIGINT, lambda *_: None); [time.sleep(1) for _ in range(60)]"
    process = start(code=STUBBORN.replace("HOW", how).replace("= 1.0", "= 60.0"))
    assert process.stdout.readline() == "ready\n"
    time.sleep(1)  # until the handler is taken
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert ended(process, within=5) == (130, [LINE])


def test_an_error_of_ours_and_a_bug_still_show(start):
    bug = start(code=STUBBORN.replace("HOW", "1 / 0"))
    _, err = bug.communicate(timeout=60)
    assert bug.returncode == 1
    assert "ZeroDivisionError" in err
    wrong = start("survey", "show", "/nowhere/at/all")
    _, err = wrong.communicate(timeout=60)
    assert wrong.returncode == 2
    assert err.startswith("error: ")


def test_crash_below_python_still_shows(start):
    how = "import faulthandler; faulthandler.enable(); import os; os.abort()"
    process = start(code=STUBBORN.replace("HOW", how))
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in err


def test_handlers_are_put_back():
    from gpo_ray.runtime import signals

    before = signal.getsignal(signal.SIGINT)
    with signals.noted() as noted:
        assert signal.getsignal(signal.SIGINT) is not before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert noted.number == signal.SIGINT
        noted.number = None
        signals.install()
    assert signal.getsignal(signal.SIGINT) is before
