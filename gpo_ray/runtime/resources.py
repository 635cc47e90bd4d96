"""State what each Ray stage needs at the same time, and check whether a cluster has room for it.

Ray waits without a message for resources that no node has. So every stage states its request as plain data,
which is compared with the existing nodes before anything is loaded. This module starts nothing; see
ray_session.py for the connection to Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gpo_ray.errors import ConfigError, ResourceError

_PARTS = 10_000
"""Parts that Ray divides one unit of a resource into; it counts in ten-thousandths."""


def device_of(gpus: float) -> str:
    """Return the PyTorch device of a process that asked for so many GPUs.

    It has to be said: Ray shows a node's GPUs also to a process that asked for none.
    """
    return "cuda" if gpus else "cpu"


@dataclass(frozen=True)
class PlacementBundle:
    """Processes of one kind that run at the same time, each of them on a single node.

    What one of them needs is a bundle in the sense of Ray's placement groups, as opposed to a bundle in
    which a trained model is saved.
    """

    name: str
    """The name of one of the processes, such as ``worker``."""
    count: int
    cpus: float
    """Logical CPUs that each process needs."""
    gpus: float = 0
    """GPUs that each process needs; less than 1 is a share of one GPU."""

    def __post_init__(self) -> None:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ConfigError(f"{self.name}: {self.gpus:g} GPUs each: more than one come whole")

    def __str__(self) -> str:
        gpus = f", {self.gpus:g} GPU" if self.gpus else ""
        return self.asking(f"{self.cpus:g} CPU{gpus}")

    def asking(self, what: str) -> str:
        """Say in words how many processes these are, and what each of them asks for."""
        return (
            f"1 {self.name} with {what}" if self.count == 1 else f"{self.count} {self.name}s with {what} each"
        )


@dataclass(frozen=True)
class ResourceRequest:
    """The processes that must find room before a stage can begin."""

    stage: str
    """The name of the stage, as in ``gpo STAGE``."""
    bundles: tuple[PlacementBundle, ...]
    lower: str = ""
    """The options or configuration keys to lower so that the stage needs less; empty if there are none."""

    def __str__(self) -> str:
        return "; ".join(map(str, self.bundles))


@dataclass(frozen=True)
class Node:
    """The resources of one machine that Ray can use."""

    name: str
    cpus: float
    """Logical CPUs."""
    gpus: float = 0
    memory: int = 0
    """Bytes of memory that Ray counts for processes."""
    object_store: int = 0
    """Bytes of the shared-memory object store."""
    alive: bool = True
    key: str = ""
    """Ray's id of the node; a lost node and its replacement may have the same name."""

    @classmethod
    def of(cls, name: str, resources: Mapping[str, float], alive: bool = True, key: str = "") -> Node:
        """Make a node from a mapping with Ray's names of resources."""
        return cls(
            name,
            float(resources.get("CPU", 0)),
            float(resources.get("GPU", 0)),
            int(resources.get("memory", 0)),
            int(resources.get("object_store_memory", 0)),
            alive,
            key,
        )


@dataclass(frozen=True)
class Capacity:
    """All nodes of a cluster, or the machine that a local one would be started on."""

    nodes: tuple[Node, ...]
    is_cluster: bool = True

    @property
    def where(self) -> str:
        """Return how messages call the cluster or machine."""
        return "the cluster" if self.is_cluster else "this machine"

    @property
    def alive(self) -> tuple[Node, ...]:
        """Return the nodes that work."""
        return tuple(n for n in self.nodes if n.alive)

    @property
    def cpus(self) -> float:
        """Return the number of logical CPUs of all nodes that work."""
        return sum(n.cpus for n in self.alive)

    @property
    def gpus(self) -> float:
        """Return the number of GPUs of all nodes that work."""
        return sum(n.gpus for n in self.alive)

    def check(self, request: ResourceRequest) -> None:
        """Fail now, with numbers, rather than wait for resources that are not there.

        Raises:
            ResourceError: saying what is asked for, what there is, and what to lower.
        """
        problem = self.problem(request)
        if problem is not None:
            lower = f"lower {request.lower}, or " if request.lower else ""
            raise ResourceError(f"{request.stage}: {problem}; {lower}join a larger cluster with --address")

    def problem(self, request: ResourceRequest) -> str | None:
        """Return why even an idle cluster cannot meet the request, or None if it can.

        An accepted request can be placed. A refused one cannot be placed if its processes are all the same.
        If they differ, the largest are placed first, each on the node that it fills most; this almost always
        finds a placement if there is one.
        """
        return self._too_much(request) or self._too_large(request) or self._not_placed(request)

    def room(self, bundle: PlacementBundle, most: int) -> int:
        """Return how many such processes fit at the same time, up to ``most``."""
        return _place((replace(bundle, count=most),), self.alive)[0]

    def _too_much(self, request: ResourceRequest) -> str | None:
        problems = []
        for unit, have in (("CPU", self.cpus), ("GPU", self.gpus)):
            asked = [(b, b.cpus if unit == "CPU" else b.gpus) for b in request.bundles]
            total = sum(b.count * each for b, each in asked)
            if _parts(total) > _parts(have):
                parts = " and ".join(b.asking(f"{each:g} {unit}") for b, each in asked if each)
                problems.append(f"{parts}: {total:g} {unit} in all, {self.where} has {have:g}")
        return "; ".join(problems) or None

    def _too_large(self, request: ResourceRequest) -> str | None:
        for bundle in request.bundles:
            if bundle.count and not self.room(bundle, 1):
                one = replace(bundle, count=1)
                return f"{one} must fit on a single node, {self.where} has {self._shapes()}"
        return None

    def _not_placed(self, request: ResourceRequest) -> str | None:
        for bundle, placed in zip(request.bundles, _place(request.bundles, self.alive), strict=True):
            if placed < bundle.count:
                beside = " beside the others" if len(request.bundles) > 1 else ""
                return f"{bundle}: only {placed} fit{beside} on the nodes of {self.where}, {self._shapes()}"
        return None

    def _shapes(self) -> str:
        """Return the sizes of the nodes in words, the largest first."""
        shapes = [(n.gpus, n.cpus) for n in self.alive]
        return ", ".join(
            f"{shapes.count((gpus, cpus))} with {cpus:g} CPU" + (f", {gpus:g} GPU" if gpus else "")
            for gpus, cpus in sorted(set(shapes), reverse=True)
        )


class Search(Protocol):
    """The part of a search's configuration that says how many trials need which resources."""

    @property
    def concurrent(self) -> int:
        """Return how many trials run at the same time."""

    @property
    def workers(self) -> int:
        """Return the number of processes of each trial."""

    @property
    def cpus(self) -> float:
        """Return the logical CPUs of each process."""

    @property
    def gpus(self) -> float:
        """Return the GPUs of each process."""


def embed_request(actors: int | None, cpus: float, gpus: float) -> ResourceRequest:
    """Ask for copies of the language model; by default there are as many as fit, and one must fit."""
    bundle = PlacementBundle("actor", actors or 1, cpus, gpus)
    return ResourceRequest("embed", (bundle,), "--actors, --cpus-per-actor or --gpus-per-actor")


def train_request(workers: int, gpus: float = 0) -> ResourceRequest:
    """Ask for Ray Train workers; with 0 workers, the calling process trains and nothing is asked for."""
    bundle = PlacementBundle("worker", workers, 1, gpus)
    return ResourceRequest("train", (bundle,), "--workers or --gpus-per-worker")


def tune_request(search: Search) -> ResourceRequest:
    """Ask for concurrent trials, or for one if it has several workers; others follow as there is room."""
    keys = "cpus or gpus of --config"
    if search.workers == 1:
        trials = PlacementBundle("trial", search.concurrent, search.cpus, search.gpus)
        return ResourceRequest("tune", (trials,), f"concurrent, {keys}")
    workers = PlacementBundle("trial worker", search.workers, search.cpus, search.gpus)
    return ResourceRequest("tune", (workers,), f"workers, {keys}")


def evaluate_request(cpus: float = 1, gpus: float = 0) -> ResourceRequest:
    """Ask for one of many tasks; the others follow as there is room."""
    return ResourceRequest("evaluate", (PlacementBundle("task", 1, cpus, gpus),))


def serve_request(replicas: Mapping[str, tuple[int, float, float]]) -> ResourceRequest:
    """Ask for the smallest number of replicas of each deployment.

    Args:
        replicas: (count, CPUs each, GPUs each) by the deployment's name.
    """
    bundles = tuple(PlacementBundle(f"{name} replica", *each) for name, each in replicas.items())
    keys = ", ".join(f"{name}.min" for name in replicas)
    return ResourceRequest("serve", bundles, f"{keys}, or their cpus or gpus, of --config")


def _parts(amount: float) -> int:
    """Return an amount of a resource as Ray counts it."""
    return round(amount * _PARTS)


class _Free:
    """The free resources of a node; a process that needs less than one GPU must find its share on one GPU."""

    def __init__(self, node: Node) -> None:
        self.cpus = _parts(node.cpus)
        self.gpus = [_PARTS] * int(node.gpus)

    def rank(self) -> tuple[int, int]:
        """Return the key to fill nodes by: first those without GPUs, then those with the least free."""
        return sum(self.gpus), self.cpus

    def take(self, bundle: PlacementBundle) -> bool:
        """Take what one process of the bundle needs, and return whether it was free."""
        cpus, gpus = _parts(bundle.cpus), _parts(bundle.gpus)
        devices, each = (gpus // _PARTS, _PARTS) if gpus > _PARTS else (int(gpus > 0), gpus)
        found = sorted((free, i) for i, free in enumerate(self.gpus) if free >= each)[:devices]
        if cpus > self.cpus or len(found) < devices:
            return False
        self.cpus -= cpus
        for _, i in found:
            self.gpus[i] -= each
        return True


def _place(bundles: Sequence[PlacementBundle], nodes: Sequence[Node]) -> list[int]:
    """Return how many processes of each bundle find a place on the nodes."""
    free = [_Free(n) for n in nodes]
    placed = [0] * len(bundles)
    order = sorted(range(len(bundles)), key=lambda i: (bundles[i].gpus, bundles[i].cpus), reverse=True)
    for i in order:
        for _ in range(bundles[i].count):
            if not any(node.take(bundles[i]) for node in sorted(free, key=_Free.rank)):
                break
            placed[i] += 1
    return placed
