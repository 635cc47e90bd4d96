"""Connecting to a Ray cluster, or starting a local one, and checking that it can do what is asked."""

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
"""Environment variable: the niceness of a cluster's workers. With Ray's own, 15, they get next to no time on
a core that anything else keeps busy, so that a local cluster has 0 unless it is said otherwise."""
MIN_LOCAL_CPUS = 4
"""Logical CPUs of a local cluster: with fewer, actor pools and trial drivers can wait for each other."""


def _ray() -> Any:
    try:
        import ray
    except ImportError as e:
        raise ConfigError("this stage runs on Ray; install it with: pip install 'gpo-ray[all]'") from e
    return ray


@contextlib.contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """A connection to Ray for the duration of a stage.

    Joins the connection this process already has; else the cluster at ``address`` or RAY_ADDRESS;
    else starts a local cluster, which is stopped at the end.

    Raises:
        ConfigError: if Ray is not installed.
        ResourceError: if no cluster answers at the address.
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
            warnings.simplefilter("ignore", FutureWarning)  # of a Ray default that does not concern us
            with environment_of_workers(), environment({NICENESS: os.environ.get(NICENESS, "0")}):
                ray.init(address=target or "local", **options)
    except KeyboardInterrupt:
        ray.shutdown()  # of what it had started
        raise
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as e:
        reason = " ".join(str(e).split())
        if reason.startswith("Version mismatch"):
            raise ResourceError(
                f"the cluster at {target} cannot be joined: {reason[:300]}; install its versions here"
            ) from e
        raise ResourceError(
            f"no Ray cluster answers at {target or 'local'}: {reason[:200]}; "
            "check --address or RAY_ADDRESS, or leave both out to start a local cluster"
        ) from e
    signals.install()  # Ray's own handler of SIGTERM leaves no time to clean up
    try:
        yield
    finally:
        ray.shutdown()


def _leave_signals_alone() -> None:
    """Have Ray's core install no handler of its own in this process.

    It takes SIGTERM over until the connection is there, prints where every thread is, and ends the process.
    Ray reads its switch from the environment as it is imported, which workers would inherit: they keep it.
    """
    from ray._private import ray_constants

    ray_constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = True


def interruptibly(work: Callable[[], T]) -> T:
    """Call ``work`` in a thread, and wait: Ray's libraries take signals over, but only in the main thread.

    Raises:
        BaseException: what ``work`` raises, or a signal does meanwhile; nobody then waits for ``work``.
    """
    return in_background(work).result()


def in_background(work: Callable[[], T]) -> Future[T]:
    """Call ``work`` in a thread that does not keep the process from ending."""
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
    """:func:`ray_session`, whose start on this machine, of some ten seconds, is a step of its own."""
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
    """The cluster to join, or None to start a local one."""
    found = address or os.environ.get("RAY_ADDRESS")
    return None if found in (None, "", "local") else found


def _local_cpus() -> int:
    return max(MIN_LOCAL_CPUS, os.cpu_count() or 1)


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


def require(need: ResourceRequest) -> None:
    """Fail now, with numbers, rather than wait for resources that the connected cluster does not have.

    Raises:
        ResourceError: as :meth:`Capacity.check`.
    """
    cluster_capacity().check(need)


@contextlib.contextmanager
def joined(address: str | None = None) -> Iterator[Capacity]:
    """What there will be to run on, known before anything is loaded.

    Connects to the cluster that :func:`ray_session` would join, until the end; where it would start a
    local one, nothing is started.

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
    """The nodes of the cluster that this process is connected to."""
    import ray

    nodes = (Node.of(n["NodeName"], n["Resources"], n["Alive"], n["NodeID"]) for n in ray.nodes())
    return Capacity(tuple(nodes))


def worker_threads(processes: int, cpus: float = 1) -> int:
    """Threads of each of some processes that compute at the same time on the connected cluster.

    One machine's cores are shared out among them, whatever it says it has; of several machines each process
    has the CPUs that it asks for. Where nothing is connected, this machine counts.

    Args:
        processes: of all machines.
        cpus: that each asks for.
    """
    import ray

    if not ray.is_initialized() or len(cluster_capacity().alive) == 1:
        return max(int(cpus), threads_each(processes))
    return max(1, int(cpus))


def unused() -> dict[str, float]:
    """CPUs and GPUs of the connected cluster that nobody holds at the moment."""
    import ray

    free = ray.available_resources()
    return {"cpus": free.get("CPU", 0.0), "gpus": free.get("GPU", 0.0)}


def machine_capacity() -> Capacity:
    """This machine as the node that a local cluster would have; Ray itself looks for GPUs.

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
    """Versions of what all nodes should have alike; None for what is not installed."""
    return _looker()()


def node_versions(seconds: float = 30) -> dict[str, Versions | None]:
    """:func:`versions` as each node of the connected cluster that works finds them, by Ray's id of it.

    Args:
        seconds: to wait for them; None stands for a node that did not answer.
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
    """What :func:`versions` calls; it travels whole, so that it also runs on nodes without this package."""

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
    """Have Ray Data, in this process, say nothing of its own, unless that was asked for."""
    import ray.data

    if is_verbose():
        return

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def stalled() -> tuple[type[Exception], ...]:
    """What Ray Data raises, from 2.60 on, when nothing has moved for half an hour.

    Its setting is ``RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S``: it waits for the hosts that it started with
    to come back.
    """
    import ray.data.exceptions

    found = getattr(ray.data.exceptions, "ExecutionTimeoutError", None)
    return () if found is None else (found,)


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
