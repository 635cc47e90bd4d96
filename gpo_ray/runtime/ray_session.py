"""Connect to a Ray cluster, or start a local one, and check that it can do what is asked of it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from gpo_ray.errors import ConfigError, GPOError, ResourceError
from gpo_ray.runtime import signals
from gpo_ray.runtime.resources import Capacity, Node, ResourceRequest
from gpo_ray.runtime.terminal import Steps, is_verbose, without_lines
from gpo_ray.runtime.threads import environment, environment_of_workers, threads_each

T = TypeVar("T")
Versions = dict[str, str | None]

NICENESS = "RAY_worker_niceness"
"""Environment variable with the niceness of a cluster's workers. At Ray's default of 15, workers get almost
no time on a core that anything else keeps busy; so a local cluster has 0 unless the variable is set."""
MIN_LOCAL_CPUS = 4
"""Least number of logical CPUs of a local cluster; with fewer, actor pools and trial drivers can wait for
each other."""


def _ray() -> Any:
    try:
        import ray
    except ImportError as e:
        raise ConfigError("this stage runs on Ray; install it with: pip install 'gpo-ray[all]'") from e
    return ray


@contextlib.contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """Connect to Ray while the block lasts.

    Use the connection that this process already has; otherwise join the cluster at ``address`` or
    RAY_ADDRESS; otherwise start a local cluster, which is stopped at the end.

    Raises:
        ConfigError: if Ray is not installed.
        ResourceError: if no cluster answers at the address, or a local one does not start.
    """
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    _leave_signals_alone()
    target = _target(address)
    speak = is_verbose()
    level = logging.INFO if speak else logging.ERROR
    options: dict[str, object] = {"log_to_driver": speak, "logging_level": level}
    if target is None:
        options |= {"num_cpus": _local_cpus(), "include_dashboard": False}
    else:
        _check_reachable(target)
    try:
        with warnings.catch_warnings(), without_lines("Set ray log level from environment variable"):
            warnings.simplefilter("ignore", FutureWarning)  # about a default of Ray that does not matter here
            with environment_of_workers(), environment({NICENESS: os.environ.get(NICENESS, "0")}):
                ray.init(address=target or "local", **options)
    except BaseException as e:
        ray.shutdown()  # stop the processes that it had started
        if isinstance(e, GPOError) or not isinstance(e, Exception):
            raise
        raise _not_connected(e, target) from e  # Ray raises many classes, Exception itself among them
    signals.install()  # Ray's own handler of SIGTERM leaves no time to clean up
    try:
        yield
    finally:
        ray.shutdown()


def _not_connected(error: Exception, target: str | None) -> ResourceError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if target is None:
        return ResourceError(
            f"Ray did not start on this machine: {reason[:200]}; try again, or see --address"
        )
    if reason.startswith("Version mismatch"):
        return ResourceError(
            f"the cluster at {target} cannot be joined: {reason[:300]}; install its versions here"
        )
    return ResourceError(
        f"no Ray cluster answers at {target}: {reason[:200]}; "
        "check --address or RAY_ADDRESS, or leave both out to start a local cluster"
    )


def _leave_signals_alone() -> None:
    """Keep Ray's core from installing a signal handler in this process.

    That handler takes over SIGTERM until the connection stands, prints the stack of every thread, and ends
    the process. Ray also has an environment variable for this, but workers, which keep the handler, would
    inherit it.
    """
    from ray._private import ray_constants

    ray_constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = True


def interruptibly(work: Callable[[], T]) -> T:
    """Call ``work`` in a thread and wait; in the main thread, Ray's libraries would take over the signals.

    Raises:
        BaseException: what ``work`` raises, or what a signal raises meanwhile; then ``work`` is not waited
            for.
    """
    return in_background(work).result()


def in_background(work: Callable[[], T]) -> Future[T]:
    """Call ``work`` in a thread that does not keep the process from ending, and return a future."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as e:  # noqa: BLE001 - raised again by whoever waits
            result.set_exception(e)

    threading.Thread(target=run, daemon=True).start()
    return result


@contextlib.contextmanager
def told_session(steps: Steps, address: str | None = None) -> Iterator[None]:
    """Open a :func:`ray_session`, showing a start on this machine, of some ten seconds, as a step."""
    import ray

    with contextlib.ExitStack() as stack:
        if ray.is_initialized() or _target(address) is not None:
            stack.enter_context(ray_session(address))
            steps.skip("Ray is running")
        else:
            with steps.step("start Ray on this machine"):
                stack.enter_context(ray_session(address))
        yield


def _target(address: str | None) -> str | None:
    """Return the address of the cluster to join, or None to start a local one."""
    found = address or os.environ.get("RAY_ADDRESS")
    return None if found in (None, "", "local") else found


def _local_cpus() -> int:
    return max(MIN_LOCAL_CPUS, os.cpu_count() or 1)


def _check_reachable(address: str) -> None:
    """Fail soon if nothing answers at the address; Ray itself would go on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # "auto" and the like, which Ray resolves
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as e:
        raise ResourceError(
            f"no Ray cluster answers at {address}: {e}; check --address or RAY_ADDRESS, "
            "or leave both out to start a local cluster"
        ) from e


def require(request: ResourceRequest) -> None:
    """Fail now, with numbers, rather than wait for resources that the connected cluster does not have.

    Raises:
        ResourceError: as described in :meth:`Capacity.check`.
    """
    cluster_capacity().check(request)


@contextlib.contextmanager
def joined(address: str | None = None) -> Iterator[Capacity]:
    """Yield the nodes that a stage will run on, known before anything is loaded.

    Connect, during the block, to the cluster that :func:`ray_session` would join. Where it would start a
    local cluster, nothing is started.

    Raises:
        ConfigError: if Ray is not installed.
        ResourceError: if no cluster answers at the address.
    """
    if not _ray().is_initialized() and _target(address) is None:
        yield machine_capacity()
        return
    with ray_session(address):
        yield cluster_capacity()


def cluster_capacity() -> Capacity:
    """Return the nodes of the cluster that this process is connected to."""
    import ray

    nodes = (Node.of(n["NodeName"], n["Resources"], n["Alive"], n["NodeID"]) for n in ray.nodes())
    return Capacity(tuple(nodes))


def worker_threads(processes: int, cpus: float = 1) -> int:
    """Return the number of threads for each of several processes that compute at the same time.

    If the connected cluster is one machine, its physical cores are divided among the processes, whatever
    number of CPUs it has in Ray; in a larger cluster each process has the CPUs that it asks for. Without a
    connection, this machine's cores are divided.

    Args:
        processes: number of processes on all machines.
        cpus: logical CPUs that each process asks for.
    """
    import ray

    if not ray.is_initialized() or len(cluster_capacity().alive) == 1:
        return max(int(cpus), threads_each(processes))
    return max(1, int(cpus))


def unused() -> dict[str, float]:
    """Return the CPUs and GPUs of the connected cluster that are free at the moment."""
    import ray

    free = ray.available_resources()
    return {"cpus": free.get("CPU", 0.0), "gpus": free.get("GPU", 0.0)}


def machine_capacity() -> Capacity:
    """Return this machine as the node that a local cluster would have; Ray itself looks for GPUs.

    Raises:
        ResourceError: if Ray's settings in the environment contradict each other.
    """
    from ray._private.resource_and_label_spec import ResourceAndLabelSpec

    spec = ResourceAndLabelSpec(num_cpus=_local_cpus())
    try:
        spec.resolve(is_head=True, node_ip_address="127.0.0.1")
    except ValueError as e:
        raise ResourceError(f"a local Ray cluster cannot be started: {e}; see --address") from e
    return Capacity((Node.of("this machine", spec.to_resource_dict()),), is_cluster=False)


def versions() -> Versions:
    """Return versions that should be equal on all nodes; None for a package that is not installed."""
    return _looker()()


def node_versions(seconds: float = 30) -> dict[str, Versions | None]:
    """Return :func:`versions` as found on each working node of the connected cluster, by Ray's node id.

    Args:
        seconds: how long to wait; a node that has not answered by then has None.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(_looker())
    asked = {
        n.key: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(n.key, soft=False)).remote()
        for n in cluster_capacity().alive
    }
    done, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds)
    found: dict[str, Versions | None] = dict.fromkeys(asked)
    for key, reference in asked.items():
        if reference in done:
            with contextlib.suppress(ray.exceptions.RayError):
                found[key] = ray.get(reference)
    return found


def _looker() -> Callable[[], Versions]:
    """Return the function behind :func:`versions`, serialised by value for nodes without this package."""

    def look() -> Versions:
        import platform
        from importlib import metadata

        found: Versions = {"python": platform.python_version()}
        for package in ("ray", "gpo-ray", "torch"):
            try:
                found[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                found[package] = None
        return found

    return look


def quiet_ray_data() -> None:
    """Silence Ray Data in this process, unless ``--verbose`` was given."""
    import ray.data

    if is_verbose():
        return

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def stalled() -> tuple[type[Exception], ...]:
    """Return the exceptions that Ray Data raises, from 2.60 on, when nothing has moved for half an hour.

    The time is set by ``RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S``. Meanwhile Ray Data waits for the hosts
    that it started with to come back.
    """
    import ray.data.exceptions

    found = getattr(ray.data.exceptions, "ExecutionTimeoutError", None)
    return () if found is None else (found,)


def user_error(error: BaseException) -> GPOError | None:
    """Return the :class:`GPOError` that a worker raised, if it is the cause of one of Ray's errors."""
    seen: set[int] = set()
    pending: list[object] = [error]
    while pending:
        e = pending.pop()
        # ray.get raises an error that is also of the worker's class, with a traceback as its message
        if isinstance(e, GPOError) and not hasattr(e, "cause"):
            return e
        if isinstance(e, BaseException) and id(e) not in seen:
            seen.add(id(e))
            pending += [getattr(e, "cause", None), e.__cause__, e.__context__]
            pending += list(getattr(e, "worker_failures", {}).values())
    return None
