"""A Ray head with its dashboard, as an operator would start it, on ports nobody else has."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import yaml

BIN = Path(sys.executable).parent
PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
    "runtime-env-agent-port",
    "ray-client-server-port",
)


def free_ports(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


class Head:
    """Started by ``ray start``; use as a context manager, or close it."""

    def __init__(self, **environment):
        # a short path: sockets live below it
        self.folder = Path(tempfile.mkdtemp(prefix="gpo-ray-"))
        *values, self.http_port = free_ports(len(PORTS) + 1)
        self.ports = dict(zip(PORTS, values, strict=True))
        self.dashboard = f"http://127.0.0.1:{self.ports['dashboard-port']}"
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
            "RAY_DASHBOARD_ADDRESS": self.dashboard,
            **environment,
        }
        self.log = self.folder / "ray-start.log"
        command = [
            BIN / "ray", "start", "--head", "--block", "--num-cpus", "4", "--node-ip-address", "127.0.0.1",
            "--include-dashboard", "true", "--temp-dir", self.folder / "ray", "--min-worker-port", "0",
            "--max-worker-port", "0", "--object-store-memory", "200000000",
            *(part for name, port in self.ports.items() for part in (f"--{name}", port)),
        ]  # fmt: skip
        with self.log.open("w") as sink:
            self.process = subprocess.Popen(
                list(map(str, command)), stdout=sink, stderr=subprocess.STDOUT, env=self.environment
            )
        wait_for(lambda: self._answers() is not None, 60, "dashboard")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        family = [self.process]
        with contextlib.suppress(psutil.NoSuchProcess):
            family += psutil.Process(self.process.pid).children(recursive=True)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self):
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        with contextlib.suppress(httpx.HTTPError, json.JSONDecodeError):
            reply = httpx.get(f"{self.dashboard}/api/serve/applications/", timeout=20)
            return reply.json() if reply.status_code == 200 else None
        return None

    def application(self):
        """What the REST interface says of the service; empty before it is known."""
        found = self._answers() or {}
        return found.get("applications", {}).get("gpo", {})

    def command(self, *arguments):
        """Output of a ``serve`` command that succeeds."""
        done = subprocess.run(
            [BIN / "serve", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deploy(self, config):
        """``serve deploy`` a configuration."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        self.command("deploy", path)

    def metrics(self):
        """The node's export for Prometheus."""
        reply = httpx.get(f"http://127.0.0.1:{self.ports['metrics-export-port']}/metrics", timeout=20)
        return reply.text


def wait_for(condition, seconds, what):
    """Poll ``condition``; gives its first true value."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        shown = what() if callable(what) else what
        assert time.monotonic() < deadline, f"no {shown} after {seconds} s"
        time.sleep(0.3)
    return found
