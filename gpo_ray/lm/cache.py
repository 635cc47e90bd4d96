"""Language models converted once, for all processes of a machine to map into memory.

A GGUF file is parsed and dequantised in pure Python, half a minute of CPU time for 135 million parameters
and in every process anew. So it is converted once: to a folder of safetensors with the same numbers, in a
cache that is keyed by the file's content.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from logging import getLogger
from pathlib import Path
from typing import Any

from gpo_ray.errors import ConfigError
from gpo_ray.runtime.locks import TEMPORARY, locked

CACHE, BOUND = "GPO_CACHE", "GPO_CACHE_GIB"
"""Environment variables: the cache's folder, and how much it may hold."""
DEFAULT_GIB = 20.0
RECORD = "converted.json"
"""Written last: the sizes of a converted model's files, by name."""
_RECIPE = 1
"""Of the conversion; another one makes other folders."""

Convert = Callable[[Path], None]

logger = getLogger(__name__)


@dataclass(frozen=True)
class CachedModel:
    """A converted model in the cache."""

    name: str
    """Of the file that it was made from."""
    folder: Path
    nbytes: int
    used: float
    """When it was last loaded, in seconds since the epoch."""


def converted(name: str, digest: str, convert: Convert) -> Path | None:
    """The folder of a converted model, made by ``convert`` if it is not there.

    Processes that ask at the same time wait for the first. A folder that cannot be written is passed over:
    the cache may be shared and read-only, and its models still be used.

    Args:
        name: of the file, for people who look at the cache.
        digest: of the file's content.
        convert: writes the model into an empty folder.

    Returns:
        None if it is in no cache and there is no room for it in any; the caller then does without.
    """
    if cache_bytes() == 0:
        return None
    key, problem = _key(digest), None
    for root in _roots():
        if _record(root / key) is not None:
            return _touched(root / key)
    for root in _roots():
        try:
            return _convert_into(root, key, name, convert)
        except OSError as e:
            problem = f"{root}: {e.strerror or e}"
    logger.warning("%s is converted again each time it is loaded, for there is no cache (%s)", name, problem)
    return None


def cache_folder() -> Path:
    """Where converted models are kept: GPO_CACHE, or ``gpo_ray`` in the user's cache folder."""
    return _roots()[0]


def cache_bytes() -> int:
    """Bytes that the cache may hold.

    Raises:
        ConfigError: if the environment says something else than a number.
    """
    text = os.environ.get(BOUND, str(DEFAULT_GIB))
    try:
        gib = float(text)
    except ValueError:
        gib = -1.0
    if not 0 <= gib < 1e9:
        raise ConfigError(f"{BOUND}={text!r}: give the cache's size in GiB, such as {DEFAULT_GIB:g}")
    return int(gib * 2**30)


def cached_models() -> list[CachedModel]:
    """What the cache holds, most recently used first."""
    found = [_read(folder) for root in _roots() for folder in _folders(root)]
    return sorted((f for f in found if f is not None), key=lambda f: -f.used)


def clear_cache() -> list[CachedModel]:
    """Delete all converted models, and what interrupted conversions left; returns what was deleted.

    A process that has one loaded keeps it.

    Raises:
        ConfigError: if a folder cannot be deleted.
    """
    found = cached_models()
    for root in _roots():
        if not root.is_dir():
            continue
        try:
            with locked(root, wait=True):  # which also removes what killed conversions left
                for folder in _folders(root):
                    shutil.rmtree(folder)
        except OSError as e:
            raise ConfigError(f"{root}: the cache cannot be cleared: {e}") from e
    return found


def _key(digest: str) -> str:
    """What the numbers depend on: the file's content, and who read it."""
    versions = "-".join(installed(p) for p in ("transformers", "gguf"))
    return f"{digest[:24]}-{versions}-{_RECIPE}"


@functools.cache
def installed(package: str) -> str:
    """The version of a package, ``none`` if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _roots() -> list[Path]:
    """Folders to look in, in this order; the last is for homes that cannot be written."""
    given = os.environ.get(CACHE)
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    spare = Path(tempfile.gettempdir(), f"gpo_ray-{os.getuid()}")
    found = [Path(given) if given else Path(home, "gpo_ray")] + ([spare] if _is_own(spare) else [])
    return [folder / "models" for folder in found]


def _is_own(folder: Path) -> bool:
    """Whether a folder, in a place where everybody may write, is this user's alone, or can become so."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return True
    return found.st_uid == os.getuid() and stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o022


def _convert_into(root: Path, key: str, name: str, convert: Convert) -> Path:
    root.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    root.mkdir(exist_ok=True)
    with locked(root, wait=True):  # which also removes what killed conversions left
        if _record(root / key) is not None:  # by whoever held the lock before
            return _touched(root / key)
        folder = root / f"{TEMPORARY}{uuid.uuid4().hex}"
        folder.mkdir()
        try:
            convert(folder)
            _finish(folder, name)
            if sum(f.stat().st_size for f in folder.iterdir()) > cache_bytes():
                raise OSError(f"the converted model is larger than {BOUND} allows")
            shutil.rmtree(root / key, ignore_errors=True)  # incomplete, or it would have been taken
            folder.rename(root / key)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        _evict(root, root / key)
    return root / key


def _finish(folder: Path, name: str) -> None:
    """See the files onto the disk, then record their sizes."""
    sizes: dict[str, int] = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as f:
            os.fsync(f.fileno())
        sizes[file.name] = file.stat().st_size
    (folder / RECORD).write_text(json.dumps({"name": name, "files": sizes}, indent=1))


def _record(folder: Path) -> dict[str, Any] | None:
    """What was recorded of a folder, if its files are as they were."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found = json.loads((folder / RECORD).read_text())
        if all((folder / name).stat().st_size == size for name, size in found["files"].items()):
            return dict(found)
    return None


def _touched(folder: Path) -> Path:
    with contextlib.suppress(OSError):  # a cache may be read-only
        os.utime(folder / RECORD)
    return folder


def _folders(root: Path) -> Iterator[Path]:
    if root.is_dir():
        yield from (f for f in sorted(root.iterdir()) if f.is_dir() and not f.name.startswith(TEMPORARY))


def _read(folder: Path) -> CachedModel | None:
    found = _record(folder)
    if found is None:
        return None
    nbytes = sum(found["files"].values())
    return CachedModel(str(found["name"]), folder, nbytes, (folder / RECORD).stat().st_mtime)


def _evict(root: Path, kept: Path) -> None:
    """Delete what was not used for longest, until the rest is within bounds, and what is damaged."""
    room = cache_bytes()
    models = {f: _read(f) for f in _folders(root)}
    order = sorted(models, key=lambda f: (f != kept, -(m.used if (m := models[f]) else 0.0)))
    for folder in order:
        model = models[folder]
        if model is not None and (folder == kept or model.nbytes <= room):
            room -= model.nbytes
        else:
            shutil.rmtree(folder, ignore_errors=True)
