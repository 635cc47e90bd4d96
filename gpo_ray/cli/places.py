"""Make paths that were given to a command usable by all processes of a cluster."""

from __future__ import annotations

from gpo_ray.errors import ConfigError


def absolute(uri: str) -> str:
    """Return a folder as an absolute path from the command's working folder; a URI stays as it is."""
    from gpo_ray.runtime.storage import Folder

    return Folder(uri).absolute


def runs_beside(out: str) -> str:
    """Return the folder for runs beside a result.

    Raises:
        ConfigError: if nothing can be beside the result.
    """
    from gpo_ray.runtime.locations import beside

    try:
        return beside(out, "runs")
    except ValueError as e:
        raise ConfigError(f"{e}: give --storage, or a folder in it for --out") from e
