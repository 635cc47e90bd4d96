"""A Ray head with its job server, as a machine of a cluster would run it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
TOKEN = "a-token-of-at-least-thirty-two-characters"


class JobCluster:
    """One node that takes jobs, with token authentication on; ``remove`` it."""

    def __init__(self, cpus=4):
        self._temp = tempfile.mkdtemp(prefix="job", dir="/tmp")  # sockets below it have short names at most
        port, self._dashboard = _free_ports(2)
        self.address = f"http://127.0.0.1:{self._dashboard}"
        self.environment = os.environ | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.environment.pop("RAY_ADDRESS", None)
        self._log = Path(self._temp, "head.log")
        with self._log.open("w") as sink:
            self._head = subprocess.Popen(
                [
                    str(BIN / "ray"),
                    *("start", "--head", "--block", "--disable-usage-stats"),
                    *("--node-ip-address", "127.0.0.1", "--port", str(port), "--num-cpus", str(cpus)),
                    *("--dashboard-port", str(self._dashboard), "--temp-dir", self._temp),
                ],
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + 120
        while True:
            assert self._head.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            if self.ray("job", "list").returncode == 0:
                return
            time.sleep(1)

    def ray(self, *arguments, cwd=None):
        """Run ``ray ...`` against this cluster's job server."""
        command = [str(BIN / "ray"), *arguments[:2], "--address", self.address, *arguments[2:]]
        return subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=400
        )

    def submit(self, job, clone, *entrypoint, wait=True):
        """``ray job submit``, as docs/cluster.md has it, from ``clone``."""
        options = ["--submission-id", job, "--runtime-env", "cluster/jobs/runtime_env.yaml"]
        options += [] if wait else ["--no-wait"]
        return self.ray("job", "submit", *options, "--", *map(str, entrypoint), cwd=clone)

    def result(self, job, clone, *entrypoint):
        """Submit, wait for success, and return the JSON object of its last line."""
        done = self.submit(job, clone, *entrypoint, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "succeeded" in self.status(job)
        return json.loads([line for line in self.logs(job).splitlines() if line.startswith("{")][-1])

    def status(self, job):
        """What ``ray job status`` says."""
        done = self.ray("job", "status", job)
        return done.stdout + done.stderr

    def logs(self, job):
        """What the job has printed."""
        return self.ray("job", "logs", job).stdout

    def remove(self):
        """End the node and all its processes."""
        family = [*psutil.Process(self._head.pid).children(recursive=True), psutil.Process(self._head.pid)]
        self._head.terminate()
        psutil.wait_procs(family, timeout=30)
        for process in family:
            if process.is_running():
                process.kill()
        self._head.wait()
        shutil.rmtree(self._temp, ignore_errors=True)


def _free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports
