"""``gpo preflight``: check the resources of a cluster, and which stages fit on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpo_ray.errors import ConfigError, GPOError
from gpo_ray.runtime.ray_session import Versions, joined, node_versions, unused, versions
from gpo_ray.runtime.resources import (
    Capacity,
    Node,
    ResourceRequest,
    evaluate_request,
    train_request,
    tune_request,
)

if TYPE_CHECKING:
    from gpo_ray.runtime.storage import Folder

Options = dict[str, Any]
OPTIONS = {
    "embed": ("actors", "cpus_per_actor", "gpus_per_actor"),
    "train": ("workers", "gpus_per_worker"),
    "tune": ("config", "concurrent"),
    "evaluate": (),
    "serve": ("config",),
}
"""The options of each stage that change what it needs."""


def examine(
    requests: list[Callable[[Capacity], ResourceRequest]],
    storage: str | None = None,
    address: str | None = None,
) -> dict[str, Any]:
    """Examine a cluster, or this machine if there is no cluster to join.

    Args:
        requests: functions that return what each stage asks for, given the cluster's capacity.
        storage: folder or URI that must be writable.
        address: address of the cluster.

    Returns:
        ``where``; ``nodes``: ``name, alive, cpus, gpus, memory, object_store`` (bytes) and ``versions`` of
        each node; ``unused`` CPUs and GPUs; ``versions`` and ``cuda`` of this process; ``versions_match``:
        None if there is no cluster to compare with; ``storage``; ``stages``: ``stage, needs, fits, problem``
        of each stage; ``problems``: all problems found.

    Raises:
        GPOError: if no cluster answers, or ``storage`` is not a location.
    """
    from gpo_ray.runtime.storage import Folder

    place = None if storage is None else Folder(storage)
    with joined(address) as capacity:
        is_cluster = capacity.is_cluster
        found = node_versions() if is_cluster else {}
        free = unused() if is_cluster else {"cpus": capacity.cpus, "gpus": capacity.gpus}
    mine = versions()
    stages = [_judged(request(capacity), capacity) for request in requests]
    stored = None if place is None else _storage(place)
    strange = _strange(capacity, found, mine)
    problems = [f"{s['stage']}: {s['problem']}" for s in stages if s["problem"]] + strange
    if stored is not None and stored["problem"]:
        problems.append(stored["problem"])
    return {
        "where": capacity.where,
        "nodes": [_described(n) | {"versions": found.get(n.key)} for n in capacity.nodes],
        "unused": free,
        "versions": mine,
        "cuda": _cuda(),
        "versions_match": not strange if is_cluster else None,
        "storage": stored,
        "stages": stages,
        "problems": problems,
    }


def stage_requests(stage: str | None, options: Options) -> list[Callable[[Capacity], ResourceRequest]]:
    """Return functions that return what the chosen stage, or each stage, needs with these options.

    Raises:
        ConfigError: if the stage is unknown or has no such option.
    """
    if stage is not None and stage not in OPTIONS:
        raise ConfigError(f"stage {stage!r} is not one of {', '.join(OPTIONS)}")
    for name in options:
        if stage is None or name not in OPTIONS[stage]:
            of = " or ".join(s for s, names in OPTIONS.items() if name in names)
            raise ConfigError(f"--{name.replace('_', '-')} is for --stage {of}, not {stage or 'all stages'}")
    kinds = {"embed": _embed, "train": _train, "tune": _tune, "evaluate": _evaluate, "serve": _serve}
    return [kinds[s](options) for s in ([stage] if stage else OPTIONS)]


def _embed(options: Options) -> Callable[[Capacity], ResourceRequest]:
    from gpo_ray.config import parse
    from gpo_ray.embedding.job import EmbedConfig

    return parse(EmbedConfig, options, "embed").resource_request


def _train(options: Options) -> Callable[[Capacity], ResourceRequest]:
    request = train_request(options.get("workers", 1), options.get("gpus_per_worker", 0))
    return lambda _: request


def _tune(options: Options) -> Callable[[Capacity], ResourceRequest]:
    from gpo_ray.tuning.space import SearchConfig, load_search

    if "config" in options:
        search, _ = load_search(options["config"], concurrent=options.get("concurrent"))
    else:
        search = SearchConfig.model_construct(**options)
    request = tune_request(search)
    return lambda _: request


def _evaluate(_: Options) -> Callable[[Capacity], ResourceRequest]:
    request = evaluate_request()
    return lambda _: request


def _serve(options: Options) -> Callable[[Capacity], ResourceRequest]:
    from gpo_ray.serving.settings import load_settings

    path = Path(options["config"]) if "config" in options else None
    request = load_settings(
        path, {"bundle": "none"}
    ).resource_request()  # the needs do not depend on the bundle
    return lambda _: request


def _judged(request: ResourceRequest, capacity: Capacity) -> dict[str, Any]:
    problem = capacity.problem(request)
    return {"stage": request.stage, "needs": str(request), "fits": problem is None, "problem": problem}


def _described(node: Node) -> dict[str, Any]:
    return {k: getattr(node, k) for k in ("name", "alive", "cpus", "gpus", "memory", "object_store")}


def _strange(capacity: Capacity, found: dict[str, Versions | None], mine: Versions) -> list[str]:
    """Return problems about nodes whose versions of packages differ from this process."""
    problems = []
    for node in (n for n in capacity.nodes if n.key in found):
        theirs = found[node.key]
        if theirs is None:
            problems.append(f"node {node.name} did not run a task that asks for nothing")
            continue
        problems += [
            f"node {node.name} has {package} {version or 'not installed'}, this process {mine[package]}"
            for package, version in theirs.items()
            if _release(version) != _release(mine[package])
        ]
    return problems


def _release(version: str | None) -> str | None:
    """Strip the build from a version, since PyTorch may be a CPU build here and a GPU build on the nodes."""
    return version and version.partition("+")[0]


def _storage(folder: Folder) -> dict[str, Any]:
    """Check whether a folder can be written, and find its free bytes if it is local.

    For a folder that does not exist yet, the nearest existing folder above it is checked.
    """
    from gpo_ray.runtime.storage import Folder

    path = folder.local_path
    while path is not None and not path.exists():
        path = path.parent
    result: dict[str, Any] = {"uri": str(folder), "free": None, "problem": None}
    try:
        (folder if path is None else Folder(path)).probe()
    except GPOError as e:
        result["problem"] = f"storage: {e}"
    if path is not None:
        result["free"] = shutil.disk_usage(path).free
    return result


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
