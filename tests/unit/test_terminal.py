"""Steps with elapsed and remaining time, and what libraries may say."""

import logging
import os
import pty
import re
import subprocess
import sys
import time
import warnings

import pytest

from gpo_ray.embedding.job import rate
from gpo_ray.quickstart import finding
from gpo_ray.runtime import terminal
from gpo_ray.runtime.terminal import Step, Steps, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.9, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (252, "4 min 12 s"),
        (3599.7, "1 h 00 min"),
        (3780, "1 h 03 min"),
    ],
)
def test_times_are_said_as_people_do(seconds, text):
    assert duration(seconds) == text


def test_remaining_time_is_of_what_this_run_does(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    step = Step("embed", 100, "questions", 40)  # forty were there
    assert step.remaining is None
    now[0] += 30  # the model loads, and then much comes at once
    step.advance(10)
    assert step.remaining is None
    now[0] += 10
    step.advance(5)
    assert step.remaining == pytest.approx(45 * 10 / 5)
    assert str(step) == "55 of 100 questions, 40 s, about 1 min 30 s left"
    step.reach(20)  # a repeated task begins anew: what was done stays
    assert step.done == 55


def test_tokens_per_second_are_by_the_workers_clocks():
    units = [
        {"worker": "a", "tokens": 300, "began": 1000.0, "ended": 1001.0},
        {"worker": "b", "tokens": 100, "began": 1000.5, "ended": 1002.0},
    ]
    assert rate(units) == pytest.approx(200)  # both reach the driver in the same instant


def test_steps_are_numbered_and_end_in_a_line(capsys):
    steps = Steps("embed", 3)
    with steps.step("start Ray"):
        pass
    with steps.step("embed", 2, "questions") as step:
        step.advance(2)
        step.outcome = "2 questions, 40 were there already"
    steps.skip("no bundle asked for")
    out, err = capsys.readouterr()
    assert out == ""
    assert [re.sub(r"[\d.]+ s\)", "- s)", line) for line in err.splitlines()] == [
        "embed 1/3: start Ray (- s)",
        "embed 2/3: 2 questions, 40 were there already (- s)",
        "embed 3/3: no bundle asked for",
    ]


def test_failed_step_says_nothing(capsys):
    with pytest.raises(ZeroDivisionError), Steps("embed", 1).step("embed"):
        raise ZeroDivisionError
    assert capsys.readouterr().err == ""


def test_steps_that_are_not_shown(capsys):
    with Steps("embed", 1, shown=False).step("embed") as step:
        step.advance()
    assert capsys.readouterr().err == ""


def test_long_steps_say_now_and_then_how_far_they_are(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "EVERY", 0.05)
    with Steps("train", 1).step("meta-train", 4, "steps") as step:
        step.advance()
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert lines[0].startswith("train 1/1: meta-train: 1 of 4 steps, 0.")


def test_terminal_shows_a_bar_with_times_also_where_python_redirects_standard_error():
    code = """
import contextlib, io, time
from gpo_ray.runtime.terminal import Steps, without_lines
with Steps("embed", 1).step("embed", 4, "questions") as step:
    step.advance()
    with contextlib.redirect_stderr(io.StringIO()), without_lines("x"):
        time.sleep(.7)
        step.advance()
        time.sleep(.7)
"""
    master, slave = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stderr=slave) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                seen += os.read(master, 4096)
            except OSError:  # the other end is closed
                break
    os.close(master)
    assert process.returncode == 0
    text = seen.decode()
    assert "25%|" in text
    assert re.search(r"2 of 4 questions, 1\.\d s, about [\d.]+ s left", text)
    assert re.search(r"embed 1/1: embed \(1\.\d s\)\s+$", text)


def test_lines_from_below_python_are_kept_out_and_others_not():
    code = """
import os
from gpo_ray.runtime.terminal import without_lines
with without_lines("Set ray log level"):
    os.write(2, b"[2026 I 1 1] logging.cc:303: Set ray log level from environment\\n")
    os.write(2, b"Fatal Python error: what a pity\\n")
"""
    quiet = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert quiet.stderr == "Fatal Python error: what a pity\n"
    verbose = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {terminal.VERBOSE: "1"},
    )
    assert len(verbose.stderr.splitlines()) == 2


SPEAKING = """
import logging, os, sys, warnings
from gpo_ray import cli
from gpo_ray.cli import app
@app.command()
def speak():
    warnings.warn("of a library", FutureWarning)
    for name in ("DeepSpeed", "transformers", "gpo_ray"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.info("info of %s", name)
        logger.warning("warning of %s", name)
        logger.error("error of %s", name)
    print("levels", os.environ.get("RAY_BACKEND_LOG_LEVEL"))
sys.argv = ["gpo", *ARGUMENTS]
cli.main()
"""


def spoken(*arguments):
    code = SPEAKING.replace("ARGUMENTS", repr(list(arguments)))
    settled = {"PYTHONWARNINGS", terminal.VERBOSE, *terminal.QUIET}  # by commands run in this process
    environment = {k: v for k, v in os.environ.items() if k not in settled}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.split(), done.stderr.splitlines()


def test_libraries_are_quiet_but_for_errors_and_ours_are_not():
    out, err = spoken("speak")
    assert out == ["levels", "fatal"]
    assert err == [
        "ERROR: error of DeepSpeed",
        "ERROR: error of transformers",
        "INFO: info of gpo_ray",
        "WARNING: warning of gpo_ray",
        "ERROR: error of gpo_ray",
    ]


@pytest.mark.parametrize("arguments", [("--verbose", "speak"), ("speak", "--verbose")])
def test_verbose_before_or_after_the_command_lets_them_speak(arguments):
    out, err = spoken(*arguments)
    assert out == ["levels", "None"]
    assert "INFO: info of DeepSpeed" in err
    assert any("FutureWarning: of a library" in line for line in err)


def cell(method, alignment):
    return {"method": method, "alignment": alignment}


@pytest.mark.parametrize(
    ("gpo", "said"),
    [(0.95, "0.019 less than gpo"), (0.9, "0.031 more than gpo"), (0.9312, "no difference to speak of")],
)
def test_quickstart_says_what_it_found_whichever_way(gpo, said):
    cells = [cell("gpo", gpo - 0.01), cell("gpo", gpo + 0.01), cell("uniform", 0.79), cell("uniform", 0.79)]
    text = finding(cells, [{"fraction": 0.6, "method": "ridge-mix", "alignment": 0.931}], 10)
    assert text.startswith("From 10 answers of a group that training never saw, gpo predicts")
    assert f"alignment {gpo:.3f}; the best plain baseline (ridge-mix) reaches 0.931, {said}; " in text
    assert text.endswith("gives 0.790.")
    assert ". " not in text  # one sentence


def test_nothing_is_set_for_users_of_the_library():
    code = (
        "import gpo_ray.runtime.terminal, logging, os, warnings; print('RAY_BACKEND_LOG_LEVEL' in os.environ)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str("RAY_BACKEND_LOG_LEVEL" in os.environ)
    assert logging.getLogger("DeepSpeed").filters == [] or "gpo" in sys.argv[0] or warnings.filters
