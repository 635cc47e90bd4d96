"""Locations of folders: local paths, and URIs of object stores."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pyarrow import ArrowInvalid, ArrowNotImplementedError, fs

BY_FSSPEC = ("az", "memory", "oci", "oss")
"""Schemes of object stores that pyarrow does not know; they show an object only when it is complete."""
PARTIAL = ("hdfs", "viewfs")
"""Schemes of file systems that show a file while it is being written."""


def is_uri(location: str) -> bool:
    """Return whether a location is a URI, not a path."""
    return "://" in location


def locate(location: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a location, and the location's path on it.

    Raises:
        ValueError: if there is no such file system; the message says why.
        OSError: if the file system cannot be used.
    """
    if not is_uri(location):
        return fs.LocalFileSystem(), os.path.abspath(location)
    scheme = urlsplit(location).scheme
    if urlsplit(location).password is not None:
        raise ValueError(
            "a password in a URI would end up in logs and bundles; give credentials in the environment"
        )
    if scheme in PARTIAL:
        raise ValueError("readers would see files that are still being written; mount it, or use a bucket")
    if scheme in BY_FSSPEC:
        return _by_fsspec(location)
    try:
        return fs.FileSystem.from_uri(_small_files(location) if scheme == "s3" else location)
    except (ArrowInvalid, ArrowNotImplementedError) as e:
        raise ValueError(str(e)) from e


def _small_files(uri: str) -> str:
    """Return the URI with an option by which a small object is written in one request instead of three."""
    return uri if "allow_delayed_open" in uri else f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"


def _by_fsspec(uri: str) -> tuple[fs.FileSystem, str]:
    try:
        import fsspec
    except ImportError as e:
        raise ValueError("this scheme needs a package: pip install fsspec") from e
    try:
        filesystem, path = fsspec.url_to_fs(uri)
    except ImportError as e:  # fsspec's message names the package to install
        raise ValueError(str(e)) from e
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path


@contextmanager
def local_copy(location: str) -> Iterator[Path]:
    """Yield a local path to read during the block: the file or folder itself, or a copy of a URI's contents.

    Raises:
        ValueError: as in :func:`locate`.
        OSError: as in :func:`locate`, or if the location cannot be read.
    """
    if not is_uri(location):
        yield Path(location).expanduser()
        return
    there, path = locate(location)
    found = there.get_file_info(path).type
    if found == fs.FileType.NotFound:
        raise FileNotFoundError(f"{location}: no such file or folder")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, last_name(location))
        if found == fs.FileType.Directory:
            copy.mkdir()
        fs.copy_files(path, str(copy), there, fs.LocalFileSystem())
        yield copy


def inside(location: str, name: str) -> str:
    """Return the location of ``name`` in a folder; a URI keeps its query."""
    if not is_uri(location):
        return f"{location.rstrip('/')}/{name}"
    path, mark, query = location.partition("?")
    return f"{path if path.endswith('://') else path.rstrip('/')}/{name}{mark}{query}"


def without_password(location: str) -> str:
    """Return a location without the password in it, for printing."""
    try:
        password = urlsplit(location).password if is_uri(location) else None
    except ValueError:  # not a valid URI, but what looks like one has its secrets before the last @
        return (
            f"{location.partition('://')[0]}://...{location.rpartition('@')[2]}"
            if "@" in location
            else location
        )
    return location if password is None else location.replace(f":{password}@", ":...@", 1)


def last_name(location: str) -> str:
    """Return the name of a folder, without the folders above it."""
    path = location.partition("?")[0] if is_uri(location) else location
    return path.rstrip("/").rsplit("/", 1)[-1]


def beside(location: str, name: str) -> str:
    """Return the location of ``name`` beside a folder.

    Raises:
        ValueError: if the folder is a whole bucket, which has nothing beside it.
    """
    if not is_uri(location):
        return os.path.join(os.path.dirname(os.path.abspath(location)), name)  # noqa: PTH120
    path, mark, query = location.partition("?")
    above = path.rstrip("/").rpartition("/")[0]
    if above.endswith(":/"):
        raise ValueError(f"{location} is a whole bucket")
    return inside(f"{above}{mark}{query}", name)
