"""Single files that commands write for others to read: checked before the work, written atomically."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpo_ray.errors import ConfigError
from gpo_ray.runtime.local_files import replacing
from gpo_ray.runtime.locations import is_uri, last_name
from gpo_ray.runtime.storage import Folder


def check_target(location: str, suffixes: Sequence[str]) -> str:
    """Check, before the work for it begins, that a file can be written.

    Args:
        location: path or URI of the file.
        suffixes: allowed ends of its name, such as ``.csv``.

    Returns:
        The end that its name has, in small letters.

    Raises:
        ConfigError: if it has another end, or is a folder, or the folder that it is to be in does not exist
            or cannot be written in.
    """
    if location.strip():
        Folder(location, ConfigError)  # refuses what is no path at all
    above, name = _parts(location)
    suffix = Path(name).suffix.lower()
    if suffix not in suffixes:
        raise ConfigError(f"{location or 'empty path'}: name a file that ends with {' or '.join(suffixes)}")
    if not is_uri(location):
        if not Path(above).is_dir():
            raise ConfigError(f"{location}: there is no folder {above}; make it, or name another file")
        if Path(location).is_dir():
            raise ConfigError(f"{location}: a folder is there; name a file")
    Folder(above, ConfigError).probe()
    return suffix


@contextlib.contextmanager
def writing(location: str) -> Iterator[Path]:
    """Give a local path to write to; when the block ends, what is there becomes the file at ``location``.

    If the block raises, an earlier file at the location stays.

    Raises:
        ConfigError: if the file cannot be written.
    """
    above, name = _parts(location)
    try:
        if is_uri(location):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, name)
                yield path
                Folder(above, ConfigError).adopt(path)
        else:
            with replacing(Path(location)) as path:
                yield path
    except OSError as e:
        raise ConfigError(f"{location}: cannot be written: {e.strerror or e}") from e


def _parts(location: str) -> tuple[str, str]:
    """Split a location into that of the folder and the name of the file in it."""
    if not is_uri(location):
        path = os.path.abspath(location)
        return os.path.dirname(path), os.path.basename(path)  # noqa: PTH119, PTH120
    path, mark, query = location.partition("?")
    return f"{path.rpartition('/')[0]}{mark}{query}", last_name(location)
