"""A service that is told to stop has done what it was started for."""

import signal
import subprocess
import sys

import pytest

CODE = """
import sys, time
from gpo_ray import cli
from gpo_ray.runtime import signals
from gpo_ray.cli import app
@app.command()
def waits():
    if SERVES:
        signals.serves()
    print("waiting", flush=True)
    time.sleep(60)
sys.argv = ["gpo", "waits"]
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("serves", [True, False])
def test_exit_code_and_words(serves, number):
    process = subprocess.Popen(
        [sys.executable, "-c", CODE.replace("SERVES", str(serves))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job, as a test may be one, has Ctrl-C ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == (0 if serves else 128 + number)
    assert ("the same command goes on" in err) != serves
