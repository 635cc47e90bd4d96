"""Where a folder is: local paths, and URIs of object stores."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pyarrow import ArrowInvalid, ArrowNotImplementedError, fs

BY_FSSPEC = ("az", "memory", "oci", "oss")
"""Schemes that pyarrow does not know: object stores, which publish an object only when it is complete."""
PARTIAL = ("hdfs", "viewfs")
"""Schemes of file systems that show a file while it is being written."""


def is_uri(location: str) -> bool:
    """Whether a location is a URI, not a path."""
    return "://" in location


def locate(location: str) -> tuple[fs.FileSystem, str]:
    """The file system that a location is on, and its path there.

    Raises:
        ValueError: if there is no such file system, saying why.
        OSError: likewise.
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
    """The URI with the option that has a small object written by one request instead of three."""
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
    """A path to read, while the block lasts: of the file or folder itself, or of a copy of what a URI names.

    Raises:
        ValueError: as :func:`locate`.
        OSError: likewise, or if it cannot be read.
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
    """The location of what is called ``name`` in a folder; a URI keeps its query."""
    if not is_uri(location):
        return f"{location.rstrip('/')}/{name}"
    path, mark, query = location.partition("?")
    return f"{path if path.endswith('://') else path.rstrip('/')}/{name}{mark}{query}"


def without_password(location: str) -> str:
    """What may be printed of it."""
    try:
        password = urlsplit(location).password if is_uri(location) else None
    except ValueError:  # no URI: one that only looks like it has its secrets before the last @
        return (
            f"{location.partition('://')[0]}://...{location.rpartition('@')[2]}"
            if "@" in location
            else location
        )
    return location if password is None else location.replace(f":{password}@", ":...@", 1)


def last_name(location: str) -> str:
    """The name of a folder, without what is above it."""
    path = location.partition("?")[0] if is_uri(location) else location
    return path.rstrip("/").rsplit("/", 1)[-1]


def beside(location: str, name: str) -> str:
    """The location of what is called ``name`` beside a folder.

    Raises:
        ValueError: if nothing can be beside it, since it is a whole bucket.
    """
    if not is_uri(location):
        return os.path.join(os.path.dirname(os.path.abspath(location)), name)  # noqa: PTH120
    path, mark, query = location.partition("?")
    above = path.rstrip("/").rpartition("/")[0]
    if above.endswith(":/"):
        raise ValueError(f"{location} is a whole bucket")
    return inside(f"{above}{mark}{query}", name)
