"""A command line as a process that can be watched and killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

GPO = str(Path(sys.executable).with_name("gpo"))


class Command:
    """One running ``gpo`` command with a Ray cluster of its own."""

    def __init__(self, *arguments, log):
        self.log = log
        environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
        environment.pop("RAY_ADDRESS", None)
        with log.open("w") as sink:
            self.process = subprocess.Popen(
                [GPO, *map(str, arguments)], stdout=sink, stderr=subprocess.STDOUT, env=environment
            )

    def workers(self, title):
        """Processes below this command whose title holds ``title``, oldest first."""
        found = []
        for p in psutil.process_iter(["cmdline", "create_time"]):
            line = " ".join(p.info["cmdline"] or [])
            if title in line and self._is_mine(p):
                found.append(p)
        return sorted(found, key=lambda p: p.info["create_time"])

    def _is_mine(self, process):
        try:
            return any(p.pid == self.process.pid for p in process.parents())
        except psutil.NoSuchProcess:
            return False

    def wait_until(self, condition, seconds, what):
        """Poll ``condition`` while the command runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"ended before {what}:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, (
                f"no {what} after {seconds} s:\n{self.log.read_text()[-3000:]}"
            )
            time.sleep(0.1)

    def result(self, seconds=300):
        """Wait for success and return the JSON object on the last line."""
        code = self.process.wait(timeout=seconds)
        text = self.log.read_text()
        assert code == 0, text[-3000:]
        return json.loads(text.strip().splitlines()[-1])

    def kill_all(self):
        """SIGKILL the command and everything below it, as a lost machine would."""
        family = [self.process.pid]
        with contextlib.suppress(psutil.NoSuchProcess):
            family += [p.pid for p in psutil.Process(self.process.pid).children(recursive=True)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
