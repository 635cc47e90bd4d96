"""Several hosts on one machine: network namespaces on a bridge, a Ray node in each.

Every host has an address of its own and reaches the others only over its cable (a veth pair), so that a
host can be killed with all its processes, and its cable pulled. Files are shared. Needs root and iproute2.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[1]
PORT, DASHBOARD = 6379, 8265
TOKEN = secrets.token_hex(16)
PATIENCE = 600
"""Seconds after which something hangs; far more than anything takes, since others may use the machine."""


def why_not() -> str | None:
    """Why there can be no such hosts here, or None."""
    if os.geteuid() != 0:
        return "hosts are network namespaces, which takes root"
    if shutil.which("ip") is None:
        return "hosts are network namespaces, which takes iproute2's ip"
    name = f"gpo-{os.getpid()}-try"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        link = ("link", "add", "v0", "type", "veth", "peer", "name", "v1")
        tried = subprocess.run(["ip", "-n", name, *link], capture_output=True, text=True, check=False)
        _ip("netns", "del", name)
    return f"no network namespaces here: {tried.stderr.strip()}" if tried.returncode else None


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def _pids(namespace: str) -> list[int]:
    return [int(p) for p in _ip("netns", "pids", namespace).split()]


def _kill_all(namespace: str) -> None:
    while found := _pids(namespace):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


class Host:
    """A namespace with one cable into the bridge's."""

    def __init__(self, network: Network, number: int) -> None:
        self.name = f"{network.name}-{number}"
        self.address = f"10.97.0.{number}"
        self._bridge, self._cable = network.bridge, f"c{number}"
        # paths of sockets are short
        self.folder = Path(tempfile.mkdtemp(prefix=f"h{number}-", dir="/tmp"))
        _ip("netns", "add", self.name)
        peer = ("peer", "name", "eth0", "netns", self.name)
        _ip("-n", self._bridge, "link", "add", self._cable, "type", "veth", *peer)
        _ip("-n", self._bridge, "link", "set", self._cable, "master", "bridge", "up")
        _ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", self.name, "link", "set", device, "up")

    def start(self, *command: object, log: Path | None = None, **environment: str | None) -> subprocess.Popen:
        """A process on this host; None takes a variable out of its environment."""
        variables = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_TMPDIR": str(self.folder),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        variables.pop("RAY_ADDRESS", None)
        variables |= {k: v for k, v in environment.items() if v is not None}
        for name in [k for k, v in environment.items() if v is None]:
            variables.pop(name, None)
        with (log or Path(os.devnull)).open("a") as sink:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, *map(str, command)],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )

    def pids(self) -> list[int]:
        """Of all that runs on this host."""
        return _pids(self.name)

    def titles(self) -> str:
        """Command lines of all that runs on this host, one a line."""
        lines = []
        for pid in self.pids():
            with contextlib.suppress(OSError):
                lines.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
        return "\n".join(lines)

    def kill(self) -> None:
        """SIGKILL everything at once, as a power cut would."""
        _kill_all(self.name)

    def cut(self) -> None:
        """Pull the cable."""
        _ip("-n", self._bridge, "link", "set", self._cable, "down")

    def mend(self) -> None:
        """Plug it in again."""
        _ip("-n", self._bridge, "link", "set", self._cable, "up")


class Network:
    """A bridge in a namespace of its own, and the hosts on it."""

    def __init__(self) -> None:
        self.name = f"gpo-{os.getpid()}"
        self.bridge = f"{self.name}-bridge"
        self.hosts: list[Host] = []
        _ip("netns", "add", self.bridge)
        _ip("-n", self.bridge, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self.bridge, "link", "set", "bridge", "up")

    def add(self) -> Host:
        """One more host."""
        self.hosts.append(Host(self, len(self.hosts) + 1))
        return self.hosts[-1]

    def remove(self) -> None:
        """All hosts with their processes, and the bridge, however far they got."""
        mine = [line.split()[0] for line in _ip("netns", "list").splitlines() if line]
        for name in [n for n in mine if n.startswith(f"{self.name}-")]:
            _kill_all(name)
            _ip("netns", "del", name)
        for host in self.hosts:
            shutil.rmtree(host.folder, ignore_errors=True)


class Cluster:
    """A Ray cluster: a head that computes nothing, workers, and a client that is not part of it.

    Args:
        logs: folder for what the processes print.
        cpus: logical CPUs of each worker.
        workers: how many.
    """

    def __init__(self, logs: Path, cpus: int = 1, workers: int = 2) -> None:
        self.logs, self._cpus = logs, cpus
        self.network = Network()
        try:
            self.head = self.network.add()
            self.workers = [self.network.add() for _ in range(workers)]
            self.client = self.network.add()
        except BaseException:
            self.network.remove()
            raise
        self.address = f"{self.head.address}:{PORT}"
        self.dashboard = f"http://{self.head.address}:{DASHBOARD}"

    def up(self) -> None:
        """Start every node; returns when all are there."""
        self._settle(self.head, self._start_head(), self._start_head)
        started = [(w, self.join(w)) for w in self.workers]
        for worker, process in started:
            self._settle(worker, process, partial(self.join, worker))

    def _settle(self, host: Host, process: subprocess.Popen, again: Callable[[], subprocess.Popen]) -> None:
        """Wait for a node; Ray gives up after 30 s, which is short where others use the machine."""
        if process.wait() != 0:
            host.kill()
            process = again()
        assert process.wait() == 0, self.printed()

    def _start_head(self) -> subprocess.Popen:
        options = ("--head", f"--port={PORT}", f"--dashboard-host={self.head.address}")
        return self._ray(self.head, 0, *options)

    def join(self, worker: Host) -> subprocess.Popen:
        """Start a worker's Ray node, for the first time or again."""
        return self._ray(worker, self._cpus, f"--address={self.address}")

    def _ray(self, host: Host, cpus: int, *options: str) -> subprocess.Popen:
        command = [BIN / "ray", "start", *options, f"--node-ip-address={host.address}"]
        command += [f"--temp-dir={host.folder}", f"--num-cpus={cpus}", "--object-store-memory=100000000"]
        return host.start(*command, "--disable-usage-stats", log=self.logs / f"{host.name}.txt")

    def submit(
        self, name: str, *command: object, runtime: dict | None = None, **environment: str | None
    ) -> Job:
        """``ray job submit`` on the client, of a ``gpo`` command with a runtime environment."""
        log = self.logs / f"{name}.txt"
        submit = [BIN / "ray", "job", "submit", "--address", self.dashboard]
        submit += [] if runtime is None else ["--runtime-env-json", json.dumps(runtime)]
        return Job(self.client.start(*submit, "--", BIN / "gpo", *command, log=log, **environment), log)

    def printed(self) -> str:
        """The ends of all that was printed."""
        return "\n".join(f"--- {p.name}\n{p.read_text()[-1500:]}" for p in sorted(self.logs.glob("*.txt")))

    def down(self) -> None:
        """Stop everything."""
        self.network.remove()


class Job:
    """A submitted job, as the client that waits for it sees it."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self.process, self.log = process, log
        self.started = time.monotonic()

    def wait_until(self, condition, seconds: float, what: str) -> float:
        """Poll while the job runs; returns the seconds that it took."""
        started = time.monotonic()
        while not condition():
            assert self.process.poll() is None, f"ended before {what}:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() - started < seconds, (
                f"no {what} in {seconds} s:\n{self.log.read_text()[-3000:]}"
            )
            time.sleep(0.1)
        return time.monotonic() - started

    def wait(self, seconds: float = 1200) -> str:
        """What it printed, once it has succeeded."""
        code = self.process.wait(timeout=seconds)
        text = self.log.read_text()
        assert code == 0, text[-5000:]
        return text


class Strike:
    """A worker host is lost, and comes back at once."""

    def __init__(self, cluster: Cluster, job: Job, host: Host, title: str) -> None:
        self._job, self._host, self._title = job, host, title
        job.wait_until(self.works, PATIENCE, f"work of {title} on {host.name}")
        self._cluster = cluster

    def works(self) -> bool:
        """Whether a process of the stage's kind is on the host."""
        return bool(self.processes())

    def processes(self) -> list[str]:
        """Command lines of the stage's processes on the host."""
        return [line for line in self._host.titles().splitlines() if self._title in line]

    def fall(self, comes_back: bool = True) -> None:
        """Lose the host."""
        self.at = time.monotonic()
        self._host.kill()
        if comes_back:
            self._node = self._cluster.join(self._host)

    def recovered(self, seconds: float = PATIENCE) -> float | None:
        """Seconds from the loss until the host works again; None if the others did the rest."""
        deadline = time.monotonic() + seconds
        while not (works := self.works()) and self._job.process.poll() is None:
            assert time.monotonic() < deadline, f"no {self._title} on {self._host.name} again"
            time.sleep(0.1)
        took = round(time.monotonic() - self.at, 1)
        assert self._node.wait() == 0
        return took if works else None
