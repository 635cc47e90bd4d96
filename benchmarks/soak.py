"""Measure the service under constant load, and under four times the requests that it can answer.

Run::

    python benchmarks/soak.py --bundle DIR --survey DIR --embeddings DIR [--seconds 150] [--overload 60]

This starts ``gpo serve`` as a user would, without keys. Ten clients ask without a pause for ``--seconds``
seconds (``load``; its figures are those of ``benchmarks/serving.py``). Then requests are sent at four times
that rate for ``--overload`` seconds, whatever the answers: ``statuses`` counts them (0 stands for no answer),
``memory_mib`` is the memory of the service at the end in MiB, and ``growth_second_half`` is the part by which
it grew over the second half. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from serving import bodies, load, register

PORT = 8124
CLIENTS = 10


async def overload(
    url: str, body: dict[str, Any], rate: float, seconds: float, process: int
) -> dict[str, Any]:
    """Send requests at a rate, whatever the answers; count the statuses and watch the memory of the service.

    Args:
        url: URL to send to.
        body: body of each request.
        rate: requests per second.
        seconds: seconds for which to send.
        process: id of the process that started the service.
    """
    statuses: Counter[int] = Counter()
    memory: list[float] = []
    waiting: set[asyncio.Task[None]] = set()

    async def one(session: aiohttp.ClientSession) -> None:
        try:
            async with session.post(url, json=body) as reply:
                await reply.read()
                statuses[reply.status] += 1
        except aiohttp.ClientError:
            statuses[0] += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=400)) as session:
        begun = time.perf_counter()
        sampled = sent = 0
        while (elapsed := time.perf_counter() - begun) < seconds:
            for _ in range(int(elapsed * rate) - sent):
                if len(waiting) < 400:  # connections that a client machine can hold
                    task = asyncio.create_task(one(session))
                    waiting.add(task)
                    task.add_done_callback(waiting.discard)
                sent += 1
            if elapsed > sampled:
                memory.append(resident(process))
                sampled += 1
            await asyncio.sleep(0.01)
        await asyncio.gather(*waiting)
    half = memory[len(memory) // 2 :]
    return {
        "offered_per_second": round(rate, 1),
        "statuses": {str(k): v for k, v in sorted(statuses.items())},
        "answered_per_second": round(statuses[200] / seconds, 1),
        "memory_mib": round(half[-1]),
        "growth_second_half": round(half[-1] / half[0] - 1, 4),
    }


def resident(process: int) -> float:
    """Return the resident memory of the service's own processes (replicas and proxy) in MiB."""
    total = 0
    for child in psutil.Process(process).children(recursive=True):
        try:
            if "ServeReplica" in " ".join(child.cmdline()) or "ProxyActor" in " ".join(child.cmdline()):
                total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


async def wait_ready(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(180):
            try:
                async with session.get(f"{url}/readyz") as reply:
                    if reply.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(1)
    raise SystemExit("the service did not start")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("--bundle", "--survey", "--embeddings"):
        parser.add_argument(name, required=True)
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--overload", type=float, default=60)
    options = parser.parse_args()
    context, targets = bodies(options.survey)
    url = f"http://127.0.0.1:{PORT}"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "serve.yaml"
        config.write_text(
            json.dumps({"bundle": options.bundle, "limits": {"requests_per_minute": 10_000_000}})
        )
        command = [str(Path(sys.executable).with_name("gpo")), "serve", "--config", str(config)]
        command += ["--embeddings", options.embeddings, "--survey", options.survey]
        command += ["--database", f"sqlite:///{folder}/groups.sqlite", "--port", str(PORT)]
        service = subprocess.Popen(command)
        try:
            asyncio.run(wait_ready(url))
            asyncio.run(register(f"{url}/v1/groups/bench", context))
            target, body = f"{url}/v1/groups/bench/predict", {"questions": targets}
            result: dict[str, Any] = {"load": asyncio.run(load(target, body, CLIENTS, options.seconds))}
            print(json.dumps(result), flush=True)
            rate = 4 * result["load"]["requests_per_second"]
            result["overload"] = asyncio.run(overload(target, body, rate, options.overload, service.pid))
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(timeout=60)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
