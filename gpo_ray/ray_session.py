"""Connecting to a Ray cluster, or starting a local one, and checking that it can do what is asked."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import warnings
from collections.abc import Iterator

from gpo_ray.errors import GPOError, ResourceError

MIN_LOCAL_CPUS = 4
"""Logical CPUs of a local cluster: with fewer, actor pools and trial drivers can wait for each other."""


@contextlib.contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """A connection to Ray for the duration of a stage.

    Joins the connection this process already has; else the cluster at ``address`` or RAY_ADDRESS;
    else starts a local cluster, which is stopped at the end.

    Raises:
        ResourceError: if no cluster answers at the address.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, object] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address or address == "local":
        options |= {"num_cpus": max(MIN_LOCAL_CPUS, os.cpu_count() or 1), "include_dashboard": False}
        address = "local"
    else:
        _check_reachable(address)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of a Ray default that does not concern us
            ray.init(address=address, **options)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as e:
        raise ResourceError(
            f"no Ray cluster answers at {address}: {' '.join(str(e).split())[:200]}; "
            "check --address or RAY_ADDRESS, or leave both out to start a local cluster"
        ) from e
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself would go on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # "auto" and the like, which Ray looks up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as e:
        raise ResourceError(
            f"no Ray cluster answers at {address}: {e}; check --address or RAY_ADDRESS, "
            "or leave both out to start a local cluster"
        ) from e


def require(what: str, workers: int, cpus: float, gpus: float = 0) -> None:
    """Fail now, with numbers, rather than wait for resources the cluster does not have.

    Args:
        what: the stage, for the message.
        workers: processes that must run at the same time.
        cpus: logical CPUs for each.
        gpus: GPUs for each.

    Raises:
        ResourceError: if the cluster's total is too small, or no node can hold one worker.
    """
    import ray

    total = ray.cluster_resources()
    for name, each in (("CPU", cpus), ("GPU", gpus)):
        need, have = each * workers, total.get(name, 0.0)
        if need > have:
            raise ResourceError(
                f"{what}: {workers} workers with {each:g} {name} each need {need:g}, "
                f"the cluster has {have:g}; ask for fewer or smaller workers, "
                "or connect to a larger cluster with --address"
            )
        largest = max((n["Resources"].get(name, 0.0) for n in ray.nodes() if n["Alive"]), default=0.0)
        if each > largest:
            raise ResourceError(f"{what}: a worker needs {each:g} {name}, the largest node has {largest:g}")


def user_error(error: BaseException) -> GPOError | None:
    """The :class:`GPOError` that a worker raised, if that is what lies behind an error of Ray's."""
    seen: set[int] = set()
    pending: list[object] = [error]
    while pending:
        e = pending.pop()
        # what ray.get raises is of the worker's class too, with a traceback for a message
        if isinstance(e, GPOError) and not hasattr(e, "cause"):
            return e
        if isinstance(e, BaseException) and id(e) not in seen:
            seen.add(id(e))
            pending += [getattr(e, "cause", None), e.__cause__, e.__context__]
            pending += list(getattr(e, "worker_failures", {}).values())
    return None
