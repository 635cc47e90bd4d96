"""Paths that a command was given, as the processes of a cluster find them."""

from __future__ import annotations

from gpo_ray.errors import ConfigError


def absolute(uri: str) -> str:
    """A folder or URI, a relative one from where the command runs."""
    from gpo_ray.runtime.storage import Folder

    return Folder(uri).absolute


def runs_beside(out: str) -> str:
    """The folder for runs beside a result.

    Raises:
        ConfigError: if there is nothing beside it.
    """
    from gpo_ray.runtime.locations import beside

    try:
        return beside(out, "runs")
    except ValueError as e:
        raise ConfigError(f"{e}: give --storage, or a folder in it for --out") from e
