"""Cache converted language models, which all processes of a machine can map into memory.

A GGUF file is parsed and dequantised in pure Python, which takes half a minute of CPU time for 135 million
parameters in every process. So it is converted once, to a folder of safetensors with the same numbers, in a
cache that is keyed by the file's content. ``load.py`` does the conversion.
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

from gpo_ray.errors import ConfigError, reason_of
from gpo_ray.runtime.local_files import read_regular
from gpo_ray.runtime.locks import TEMPORARY, locked

CACHE, BOUND = "GPO_CACHE", "GPO_CACHE_GIB"
"""Environment variables with the cache's folder and its maximum size in GiB."""
DEFAULT_GIB = 20.0
RECORD = "converted.json"
"""File with the sizes of a converted model's files, by name; it is written last."""
RECORD_BYTES = 1 << 20
"""Most bytes of it."""
_RECIPE = 1
"""Version of the conversion, which is part of the folders' names."""

Convert = Callable[[Path], None]

logger = getLogger(__name__)


@dataclass(frozen=True)
class CachedModel:
    """A converted model in the cache."""

    name: str
    """Name of the file that the model was converted from."""
    folder: Path
    nbytes: int
    used: float
    """Time when the model was last loaded, in seconds since the epoch."""


def converted(name: str, digest: str, convert: Convert) -> Path | None:
    """Return the folder of a converted model, and make it with ``convert`` if it does not exist.

    If several processes need the same model at the same time, the first one converts it and the others wait.
    A cache folder that cannot be written is skipped for conversion, but the models in it are used, since a
    cache may be shared and read-only.

    Args:
        name: name of the file, for people who look at the cache.
        digest: digest of the file's content.
        convert: function that writes the model into an empty folder.

    Returns:
        The folder; None if the model is in no cache and cannot be put into one.
    """
    if cache_bytes() == 0:
        return None
    found = cached(digest)
    if found is not None:
        return found
    key, problem = _key(digest), None
    for root in _roots():
        try:
            return _convert_into(root, key, name, convert)
        except OSError as e:
            problem = f"{root}: {e.strerror or e}"
    logger.warning("%s is converted again each time it is loaded, for there is no cache (%s)", name, problem)
    return None


def cached(digest: str) -> Path | None:
    """Return the folder of a converted model that is in the cache, None if it is not.

    Args:
        digest: digest of the file's content, as for :func:`converted`.
    """
    if cache_bytes() == 0:
        return None
    for root in _roots():
        if _record(root / _key(digest)) is not None:
            return _touched(root / _key(digest))
    return None


def cache_folder() -> Path:
    """Return the folder of converted models, in GPO_CACHE or in ``gpo_ray`` in the user's cache folder."""
    return _roots()[0]


def cache_bytes() -> int:
    """Return the number of bytes that the cache may hold.

    Raises:
        ConfigError: if the environment variable is not a number that can be a size.
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
    """Return the models in the cache, the most recently used one first."""
    found = [_read(folder) for root in _roots() for folder in _folders(root)]
    return sorted((f for f in found if f is not None), key=lambda f: -f.used)


def clear_cache() -> list[CachedModel]:
    """Delete all converted models and the remains of interrupted conversions; return the deleted models.

    A process that has loaded one of the models can go on using it.

    Raises:
        ConfigError: if a folder cannot be deleted.
    """
    found = cached_models()
    for root in _roots():
        if not root.is_dir():
            continue
        try:
            with locked(root, wait=True):  # locking also removes the remains of killed conversions
                for folder in _folders(root):
                    shutil.rmtree(folder)
        except OSError as e:
            raise ConfigError(f"{root}: the cache cannot be cleared: {reason_of(e)}") from e
    return found


def _key(digest: str) -> str:
    """Return the key of a converted model, from the file's content and the versions of the packages used."""
    versions = "-".join(installed(p) for p in ("transformers", "gguf"))
    return f"{digest[:24]}-{versions}-{_RECIPE}"


@functools.cache
def installed(package: str) -> str:
    """Return the version of a package, ``none`` if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _roots() -> list[Path]:
    """Return the cache folders in the order of use; the last one is for homes that cannot be written."""
    given = os.environ.get(CACHE)
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    spare = Path(tempfile.gettempdir(), f"gpo_ray-{os.getuid()}")
    found = [Path(given) if given else Path(home, "gpo_ray")] + ([spare] if _is_own(spare) else [])
    return [folder / "models" for folder in found]


def _is_own(folder: Path) -> bool:
    """Return whether a folder, in a place open to everybody, is only this user's or does not exist yet."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return True
    return found.st_uid == os.getuid() and stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o022


def _convert_into(root: Path, key: str, name: str, convert: Convert) -> Path:
    root.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    root.mkdir(exist_ok=True)
    with locked(root, wait=True):  # locking also removes the remains of killed conversions
        if _record(root / key) is not None:  # the process that held the lock before has converted it
            return _touched(root / key)
        folder = root / f"{TEMPORARY}{uuid.uuid4().hex}"
        folder.mkdir()
        try:
            convert(folder)
            _finish(folder, name)
            if sum(f.stat().st_size for f in folder.iterdir()) > cache_bytes():
                raise OSError(f"the converted model is larger than {BOUND} allows")
            shutil.rmtree(root / key, ignore_errors=True)  # a folder without a valid record is incomplete
            folder.rename(root / key)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        _evict(root, root / key)
    return root / key


def _finish(folder: Path, name: str) -> None:
    """Flush the files to the disk, then record their sizes."""
    sizes: dict[str, int] = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as f:
            os.fsync(f.fileno())
        sizes[file.name] = file.stat().st_size
    (folder / RECORD).write_text(json.dumps({"name": name, "files": sizes}, indent=1))


def _record(folder: Path) -> dict[str, Any] | None:
    """Return the record of a folder; None if there is none or its files do not have the recorded sizes."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        _, data = read_regular(str(folder / RECORD), RECORD_BYTES)
        found = json.loads(data)
        fit = all((folder / name).stat().st_size == size for name, size in found["files"].items())
        if fit and isinstance(found["name"], str):
            return dict(found)
    return None


def _touched(folder: Path) -> Path:
    with contextlib.suppress(OSError):  # the cache may be read-only
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
    """Delete damaged models, and the least recently used ones until the rest fits into the cache."""
    room = cache_bytes()
    models = {f: _read(f) for f in _folders(root)}
    order = sorted(models, key=lambda f: (f != kept, -(m.used if (m := models[f]) else 0.0)))
    for folder in order:
        model = models[folder]
        if model is not None and (folder == kept or model.nbytes <= room):
            room -= model.nbytes
        else:
            shutil.rmtree(folder, ignore_errors=True)
