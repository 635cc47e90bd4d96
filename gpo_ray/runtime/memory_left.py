"""Find out how much memory this process may still take."""

from __future__ import annotations

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


def memory_left(cgroup: Path = CGROUP, meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return the bytes that are free in the machine or within the container's limit; None if unknown.

    Args:
        cgroup: folder with the container's limit, of either version of control groups.
        meminfo: the kernel's file about the machine's memory.
    """
    available = _line(meminfo, "MemAvailable:")
    found = [None if available is None else 1024 * available]
    for most, used, statistics, cached in _LIMITS:
        limit, taken = _number(cgroup / most), _number(cgroup / used)
        if limit is not None and taken is not None:
            # cached files count as taken, but make room when something needs it
            taken -= _line(cgroup / statistics, cached) or 0
            found.append(max(0, limit - taken))
    known = [f for f in found if f is not None]
    return min(known) if known else None


def _line(path: Path, name: str) -> int | None:
    """Return the number after a name at the beginning of a line."""
    try:
        words = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return None
    return next((int(w[1]) for w in words if len(w) > 1 and w[0] == name), None)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # the file holds "max" if there is no limit
        return None
