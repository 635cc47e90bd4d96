"""Measure requests per second of the service, of a no-op behind the same ingress, and of the bare estimator.

Run::

    python benchmarks/serving.py --bundle DIR --survey DIR --embeddings DIR [--clients 1,8,32] [--seconds 10]

A request asks for five questions of a registered group with 20 answers. The no-op is this service's own
ingress (HTTP, validation, keys, registry) with a deployment behind it that answers at once; ``plain`` is a
FastAPI route on Serve with nothing behind it. All run by turns in one Ray cluster, so that the ratios are of
one machine in one state; figures are medians over the turns.

``p50_ms`` and ``p99_ms`` are the median and the 99th percentile of a request's wall-clock time in
milliseconds. ``cpu_ms`` is the CPU time of a request in milliseconds on all cores, the clients' too, which
other processes do not change. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from typing import Any

import aiohttp
import numpy as np
import psutil
import ray
from fastapi import FastAPI
from ray import serve

from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.model.estimator import GroupPreferenceModel
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.serving.app import build_app
from gpo_ray.serving.deployments import Ingress, options
from gpo_ray.serving.inference.backend import BackendReadiness, SlatePrediction, SlatePredictions
from gpo_ray.serving.inference.calls import Call
from gpo_ray.serving.settings import ServeSettings

CONTEXT, QUESTIONS = 20, 5
PORT = 8123
ROUNDS = 3


class NoOp:
    """A stand-in for the predictor that answers at once, with predictions of the right shape."""

    async def predict_quickly(self, calls: list[Call]) -> list[SlatePredictions]:
        return [SlatePredictions([self._share(len(r)) for _, r in c.questions], "none") for c in calls]

    @staticmethod
    def _share(count: int) -> SlatePrediction:
        return SlatePrediction([1 / count] * count, None, [1 / count] * count)

    async def ready(self) -> BackendReadiness:
        return BackendReadiness(True, "none")


plain_api = FastAPI()


@serve.deployment
@serve.ingress(plain_api)
class Plain:
    """The least that Serve can do: a route that returns a constant."""

    @plain_api.post("/")
    async def answer(self) -> dict[str, int]:
        return {"answer": 1}


async def load(url: str, body: dict[str, Any], clients: int, seconds: float) -> dict[str, float]:
    """Measure requests per second, latencies and failures while some clients ask without a pause."""
    latencies: list[float] = []
    failed = 0
    stop = time.perf_counter() + seconds

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal failed
        while (start := time.perf_counter()) < stop:
            async with session.post(url, json=body) as reply:
                await reply.read()
                failed += reply.status != 200
            latencies.append(time.perf_counter() - start)

    connector = aiohttp.TCPConnector(limit=clients)
    async with aiohttp.ClientSession(connector=connector) as session:
        begun, used = time.perf_counter(), cpu_seconds()
        await asyncio.gather(*(client(session) for _ in range(clients)))
        elapsed, used = time.perf_counter() - begun, cpu_seconds() - used
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "requests_per_second": len(latencies) / elapsed,
        "p50_ms": 1000 * cuts[49],
        "p99_ms": 1000 * cuts[98],
        "cpu_ms": 1000 * used / len(latencies),
        "failed": failed,
    }


def cpu_seconds() -> float:
    """Return the CPU seconds that this process and its descendants, the cluster's among them, have used."""
    total = 0.0
    for process in [me := psutil.Process(), *me.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def bodies(survey: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a group's answers to the first questions of a survey, and the next questions to predict."""
    dataset = PreferenceDataset.load(survey)
    asked = list(dataset.iter_questions())
    rng = np.random.default_rng(0)
    context = [
        {"prompt": q.prompt, "responses": list(q.responses), "choice": int(rng.integers(len(q.responses)))}
        for q in asked[:CONTEXT]
    ]
    targets = [
        {"prompt": q.prompt, "responses": list(q.responses)} for q in asked[CONTEXT : CONTEXT + QUESTIONS]
    ]
    return context, targets


def estimator_rate(bundle: str, survey: str, embeddings: str, seconds: float) -> float:
    """Return how often per second an adapted group predicts ``QUESTIONS`` questions in one process."""
    model = GroupPreferenceModel.load(bundle)
    dataset = PreferenceDataset.load(survey)
    found = EmbeddingStore(embeddings).load(dataset, model.config.model.pooling)
    x = np.split(found.vectors, found.offsets[1:-1])
    keys = [q.slate_key for q in dataset.iter_questions()]
    context = [(v, np.eye(len(v))[0]) for v in x[:CONTEXT]]
    group = model.adapt(context, keys[:CONTEXT])
    asked = slice(CONTEXT, CONTEXT + QUESTIONS)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        group.predict(x[asked], keys[asked])
        count += 1
    return count / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("--bundle", "--survey", "--embeddings"):
        parser.add_argument(name, required=True)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument(
        "--separate", action="store_true", help="ingress and predictor in processes of their own"
    )
    options_ = parser.parse_args()
    context, targets = bodies(options_.survey)
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = measure(options_, context, targets, f"sqlite:///{folder}/groups.sqlite")
    finally:
        serve.shutdown()
        ray.shutdown()
    print(json.dumps(result))


def measure(
    options_: argparse.Namespace, context: list[dict[str, Any]], targets: list[dict[str, Any]], database: str
) -> dict[str, Any]:
    settings = ServeSettings(
        bundle=options_.bundle,
        embeddings=options_.embeddings,
        database=database,
        require_keys=False,
        page=False,
        limits={"requests_per_minute": 10_000_000},
        one_process=not options_.separate,
    )
    serve.start(http_options={"port": PORT})
    serve.run(build_app(settings), name="gpo", route_prefix="/gpo")
    noop = serve.deployment(NoOp, name="NoOp").options(**options(settings.predictor, ongoing=64))
    same = serve.deployment(Ingress, name="Ingress").options(**options(settings.ingress, ongoing=64))
    apart = settings.model_copy(update={"one_process": False})
    serve.run(same.bind(apart, noop.bind()), name="noop", route_prefix="/noop")
    serve.run(Plain.bind(), name="plain", route_prefix="/plain")
    url = f"http://127.0.0.1:{PORT}"
    asyncio.run(register(f"{url}/gpo/v1/groups/bench", context))
    rows = []
    for clients in (int(c) for c in options_.clients.split(",")):
        row: dict[str, Any] = {"clients": clients}
        found: dict[str, list[dict[str, float]]] = {"service": [], "noop": [], "plain": []}
        for _ in range(ROUNDS):
            for name, path in (
                ("service", "gpo/v1/groups/bench/predict"),
                ("noop", "noop/v1/groups/bench/predict"),
                ("plain", "plain/"),
            ):
                seconds = options_.seconds / ROUNDS
                found[name].append(
                    asyncio.run(load(f"{url}/{path}", {"questions": targets}, clients, seconds))
                )
        for name, runs in found.items():
            row[name] = {k: round(statistics.median(r[k] for r in runs), 2) for k in runs[0]}
            row[name]["failed"] = sum(r["failed"] for r in runs)
        for other in ("noop", "plain"):
            pairs = zip(found["service"], found[other], strict=True)
            ratios = [s["requests_per_second"] / o["requests_per_second"] for s, o in pairs]
            row[f"service_over_{other}"] = round(statistics.median(ratios), 3)
        print(json.dumps(row), flush=True)
        rows.append(row)
    bare = estimator_rate(options_.bundle, options_.survey, options_.embeddings, options_.seconds)
    return {"questions": QUESTIONS, "context": CONTEXT, "loads": rows, "estimator_per_second": round(bare, 1)}


async def register(url: str, context: list[dict[str, Any]]) -> None:
    async with aiohttp.ClientSession() as session, session.put(url, json={"context": context}) as reply:
        assert reply.status in {200, 201}, await reply.text()


if __name__ == "__main__":
    main()
