"""How much memory this process may still take."""

from __future__ import annotations

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def memory_left(cgroup: Path = CGROUP, meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that the machine, or the container's limit, has free; None where that cannot be known.

    Args:
        cgroup: where the container's own limit is, of either version of control groups.
        meminfo: what the kernel says of the machine.
    """
    found = [_available(meminfo)]
    for most, used in _LIMITS:
        limit, taken = _number(cgroup / most), _number(cgroup / used)
        if limit is not None and taken is not None:
            found.append(max(0, limit - taken))
    known = [f for f in found if f is not None]
    return min(known) if known else None


def _available(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max" where there is no limit
        return None
