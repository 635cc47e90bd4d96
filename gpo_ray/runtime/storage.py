"""Folders with a manifest, through which every stage hands its result to the next.

A folder (a local path, or a URI of an object store, such as ``s3://bucket/key``) is
complete if and only if it has a ``manifest.json``: data files are written first, each atomically, and the
manifest with their sizes and SHA-256 last.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from gpo_ray.errors import ConfigError, GPOError, reason_of
from gpo_ray.runtime import strict_json
from gpo_ray.runtime.documents import parse_json
from gpo_ray.runtime.local_files import read_regular, replacing
from gpo_ray.runtime.locations import inside, locate, without_password
from gpo_ray.runtime.locks import LOCK, TEMPORARY, TakenError, holds, locked
from gpo_ray.runtime.manifests import MAX_BYTES, parse_manifest, require_fields
from gpo_ray.runtime.tables import ParquetSource

MANIFEST = "manifest.json"
FORMATS = {"bundle": 3}
"""Format of each kind of result; kinds that are not listed have format 1. All earlier formats can be read."""
JSON_VALUES = 3_000_000
"""Most values in a JSON file of a result; a longer one would block a service that reads it."""
JOB_COPY = "/runtime_resources/working_dir_files/"
"""A part of the path of a job's working folder, which is Ray's copy of what was submitted."""


class Folder:
    """A folder of files on a local or remote file system.

    Args:
        uri: a local path, or a URI as :mod:`gpo_ray.runtime.locations` understands it.
        error: the exception class that reading problems raise.
    """

    def __init__(self, uri: str | os.PathLike[str], error: type[GPOError] = ConfigError) -> None:
        self.uri = str(uri)
        self.error = error
        if not self.uri.strip():
            raise error("an empty path was given; name a folder")
        try:
            self._fs, self._path = locate(self.uri)
        except (ValueError, OSError) as e:
            raise error(f"{_shown(self.uri)}: not a usable location: {e}") from e
        try:
            f"{self.uri}{self._path}".encode()
        except UnicodeEncodeError as e:  # Python's surrogates for bytes that are not text
            raise error(f"{self.uri!a}: a path that is not UTF-8; give another name") from e
        if "\0" in self.uri:
            raise error(f"{self.uri!a}: not a path; give another name")
        self.is_local = isinstance(self._fs, fs.LocalFileSystem)

    def __str__(self) -> str:
        return self.uri

    @property
    def absolute(self) -> str:
        """Return the location as any process may use it: an absolute path, or the URI."""
        return self._path if self.is_local else self.uri

    @property
    def local_path(self) -> Path | None:
        """Return the path on this machine's file system, or None for a remote folder."""
        return Path(self._path) if self.is_local else None

    @property
    def location(self) -> tuple[fs.FileSystem | None, str]:
        """Return the file system and the path on it; the file system is None for a local path."""
        return None if self.is_local else self._fs, self._path

    def where(self, name: str) -> str:
        """Return the location of a file or folder inside this one, as the user may write it."""
        return inside(self.uri, name)

    def child(self, name: str) -> Folder:
        """Return a folder inside this one."""
        return Folder(self.where(name), self.error)

    def exists(self, name: str | None = None) -> bool:
        """Return whether the folder, or the file ``name`` in it, exists."""
        path = f"{self._path}/{name}" if name else self._path
        with self._guard(self.where(name) if name else self.uri, "looked at"):
            return self._fs.get_file_info(path).type != fs.FileType.NotFound

    def names(self) -> list[str]:
        """Return the sorted names of the files directly inside, without temporary files and the lock."""
        return [i.base_name for i in self._listed() if i.is_file and i.base_name != LOCK]

    def folders(self) -> list[str]:
        """Return the sorted names of the folders directly inside."""
        return [i.base_name for i in self._listed() if i.type == fs.FileType.Directory]

    def _listed(self) -> list[fs.FileInfo]:
        with self._guard(self.uri, "listed"):
            infos = self._fs.get_file_info(fs.FileSelector(self._path, allow_not_found=True))
        return sorted((i for i in infos if not i.base_name.startswith(TEMPORARY)), key=lambda i: i.base_name)

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return the bytes of one file, of which there may be at most ``most``.

        Raises:
            GPOError: of class ``self.error``, naming the file, if it cannot be read, is no regular file (a
                pipe would never end), or has more than ``most`` bytes.
        """
        size, data = self._read(name, most)
        if most is not None and size > most:
            raise self._too_large(name, size, most)
        return data

    def _read(self, name: str, most: int | None) -> tuple[int, bytes]:
        """Return the size of a file and its bytes; no bytes if there are more than ``most``."""
        with self._guard(self.where(name), "read"):
            if self.is_local:
                return read_regular(f"{self._path}/{name}", most)
            with self._fs.open_input_file(f"{self._path}/{name}") as f:
                size = f.size()
                return size, b"" if most is not None and size > most else bytes(f.readall())

    def write(self, name: str, data: bytes) -> dict[str, Any]:
        """Write one file atomically: a reader sees either the old bytes or the new ones, never a part.

        Returns:
            The file's manifest entry: ``{"bytes": int, "sha256": str}``.
        """
        target = f"{self._path}/{name}"
        self._refuse_job_copy()
        with self._guard(self.where(name), "written"):
            if self.is_local:
                with replacing(Path(target)) as temporary:
                    temporary.write_bytes(data)
            else:  # an object store shows an object only when its upload is complete
                with self._fs.open_output_stream(target) as f:
                    f.write(data)
        return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def _refuse_job_copy(self) -> None:
        if self.is_local and JOB_COPY in f"{self._path}/":
            raise ConfigError(
                f"{self.uri}: a path in the working folder of a Ray job, which Ray deletes after the job; "
                "give an absolute path on shared storage, or a URI"
            )

    @contextlib.contextmanager
    def writing(self, wait: bool = False) -> Iterator[None]:
        """Be the only writer in this folder while the block lasts, if the file system has locks.

        Object stores have no locks, so nothing is locked on them.

        Args:
            wait: whether to wait for another writer to end.

        Raises:
            ConfigError: if the folder cannot be written, or if another process writes in it and ``wait`` is
                false.
        """
        with contextlib.ExitStack() as stack:
            if self.is_local:
                self._refuse_job_copy()
                try:
                    with self._guard(self.uri, "written"):
                        stack.enter_context(locked(Path(self._path), wait))
                except TakenError as e:
                    advice = "wait for it to end, then run the same command again"
                    raise ConfigError(f"{self.uri}: {e} is writing here; {advice}") from e
            yield

    def adopt(self, file: Path) -> dict[str, Any]:
        """Move a local file of any size into this folder, atomically and under the same name.

        Returns:
            The file's manifest entry.
        """
        with self._guard(self.where(file.name), "written"):
            with file.open("rb") as f:
                sha256 = hashlib.file_digest(f, "sha256").hexdigest()
            entry = {"bytes": file.stat().st_size, "sha256": sha256}
            if self.is_local:
                with replacing(Path(self._path, file.name)) as temporary:
                    shutil.move(file, temporary)
            else:
                fs.copy_files(str(file), f"{self._path}/{file.name}", fs.LocalFileSystem(), self._fs)
                file.unlink()
        return entry

    def remove(self, name: str) -> None:
        """Delete one file if it exists."""
        if self.exists(name):
            with self._guard(self.where(name), "removed"):
                self._fs.delete_file(f"{self._path}/{name}")

    def remove_all(self) -> None:
        """Delete the folder and all that is in it; a folder held by :meth:`writing` stays, but empty."""
        with self._guard(self.uri, "removed"):
            if self.is_local and holds(Path(self._path)):
                for path in Path(self._path).iterdir():
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path)
                    elif path.name != LOCK:
                        path.unlink()
            elif self.exists():
                self._fs.delete_dir(self._path)

    def claim(self, kind: str) -> None:
        """Check, before long work begins, that a result of ``kind`` can be written here.

        Raises:
            GPOError: of class ``self.error``, if the folder holds something else or cannot be written.
        """
        self._refuse_other(kind)
        self.probe()

    def probe(self) -> None:
        """Check that files can be written in this folder.

        Raises:
            ConfigError: if they cannot.
        """
        name = f"{TEMPORARY}{uuid.uuid4().hex}"
        self.write(name, b"")
        self.remove(name)

    def identify(
        self,
        name: str,
        identity: dict[str, Any],
        hint: str,
        updated: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> list[str]:
        """Record which job writes in this folder, unless another job was begun in it.

        Args:
            name: name of the file for the record.
            identity: values that distinguish the job from others; JSON must preserve them.
            hint: what to do about a damaged record.
            updated: function that turns a record of an earlier version into one of this version.

        Returns:
            The keys in which an earlier job differs; if there are any, the earlier record is kept.

        Raises:
            GPOError: of class ``self.error``, if the record is damaged or cannot be written.
        """
        if self.exists(name):
            before = parse_json(self.read(name), f"{self.where(name)}: damaged", self.error, f"; {hint}")
            if not isinstance(before, dict):
                raise self.error(f"{self.where(name)}: damaged; {hint}")
            before = updated(before)
            different = [k for k in identity if before.get(k) != identity[k]]
            if different:
                return different
        self.write(name, json.dumps(identity, indent=1).encode())
        return []

    def publish(self, kind: str, contents: dict[str, bytes], **meta: Any) -> None:
        """Write all files of a result and last its manifest, replacing an earlier result of the same kind."""
        with self.writing():
            self.begin(kind)
            files = {name: self.write(name, data) for name, data in contents.items()}
            self.write_manifest(kind, files, **meta)

    def begin(self, kind: str) -> None:
        """Prepare for writing a result's files, which replace an earlier result of the same kind."""
        self._refuse_other(kind)
        self.remove(MANIFEST)  # the folder is not complete while its files change

    def _refuse_other(self, kind: str) -> None:
        if self.exists(MANIFEST):
            self.read_manifest(kind, hint="give another folder for this result")

    @contextlib.contextmanager
    def _guard(self, where: str, action: str) -> Iterator[None]:
        error = ConfigError if action == "written" else self.error
        try:
            yield
        except FileNotFoundError as e:
            raise error(f"{where}: no such file") from e
        except (OSError, pa.ArrowException) as e:
            raise error(f"{where}: cannot be {action}: {reason_of(e, where)}") from e

    def write_manifest(self, kind: str, files: dict[str, dict[str, Any]], **meta: Any) -> None:
        """Mark the folder as complete; call this after every data file has been written."""
        manifest = {"kind": kind, "format": FORMATS.get(kind, 1), "files": files, **meta}
        self.write(MANIFEST, json.dumps(manifest, indent=1, allow_nan=False).encode())

    def read_manifest(
        self, kind: str, hint: str = "", fields: Mapping[str, type] | None = None
    ) -> dict[str, Any]:
        """Return the manifest, checked to be of ``kind`` and of a known format, see :func:`parse_manifest`.

        Args:
            kind: expected kind of result.
            hint: what to do if the manifest is missing or damaged, as the message ends.
            fields: types of further keys that a manifest of this kind must have.

        Raises:
            GPOError: of class ``self.error``, if it is absent, unreadable or of another kind.
        """
        advice = f"; {hint}" if hint else ""
        if not self.exists():
            raise self.error(f"{self.uri}: no such folder{advice}")
        if not self.exists(MANIFEST):
            raise self.error(f"{self.uri}: no {MANIFEST}, so nothing complete is here{advice}")
        where = self.where(MANIFEST)
        manifest = parse_manifest(self.read(MANIFEST, MAX_BYTES), where, self.error, advice)
        found, version = manifest["kind"], manifest["format"]
        if found != kind:
            raise self.error(f"{self.uri}: holds {found!r}, expected {kind!r}{advice}")
        if not 1 <= version <= FORMATS.get(kind, 1):
            raise self.error(f"{self.uri}: format {version} is not known to this version of gpo_ray{advice}")
        require_fields(manifest, fields or {}, where, self.error, advice)
        return manifest

    def check_size(self, name: str, manifest: dict[str, Any]) -> None:
        """Check that a file has the size in its manifest; for files that are too large to read for a check.

        Raises:
            GPOError: of class ``self.error``, if it is missing or has another size.
        """
        entry = self._entry(name, manifest)
        with self._guard(self.where(name), "read"):
            found = self._fs.get_file_info(f"{self._path}/{name}").size
        if found != entry["bytes"]:
            raise self._mismatch(name, f"has {found or 0} of {entry['bytes']} bytes")

    def read_checked(self, name: str, manifest: dict[str, Any], most: int | None = None) -> bytes:
        """Return the bytes of a file, checked against the size and SHA-256 in its manifest.

        Raises:
            GPOError: of class ``self.error``, if it cannot be read, differs from its manifest or is too
                large.
        """
        entry = self._entry(name, manifest)
        if most is not None and entry["bytes"] > most:
            raise self._too_large(name, entry["bytes"], most)
        size, data = self._read(name, entry["bytes"])
        if max(size, len(data)) != entry["bytes"]:
            raise self._mismatch(name, f"has {size} of {entry['bytes']} bytes")
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise self._mismatch(name, "was changed")
        return data

    def _entry(self, name: str, manifest: dict[str, Any]) -> dict[str, Any]:
        entry = manifest["files"].get(name)
        if entry is None:
            raise self.error(f"{self.where(MANIFEST)}: does not list {name}")
        return dict(entry)

    def read_json(self, name: str, manifest: dict[str, Any], most: int) -> Any:
        """Return the value of a JSON file, checked as by :meth:`read_checked`.

        Raises:
            GPOError: of class ``self.error``, also if it is not strict JSON, is nested too deeply or holds
                too much.
        """
        data = self.read_checked(name, manifest, most)
        try:
            return strict_json.parse_strict_json(data, JSON_VALUES)
        except ValueError as e:
            raise self.error(f"{self.where(name)}: not JSON that can be understood: {e}") from e

    def _too_large(self, name: str, size: int, most: int) -> GPOError:
        return self.error(f"{self.where(name)}: has {size} bytes, more than the {most} that it may have")

    def _mismatch(self, name: str, how: str) -> GPOError:
        return self.error(f"{self.where(name)}: does not match its manifest: it {how}; make it again")


def _shown(uri: str) -> str:
    """Return a location as messages may show it."""
    return without_password(uri).encode(errors="backslashreplace").decode()


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    text = [f.name for f in table.schema if pa.types.is_string(f.type)]
    # floats hardly repeat, so that a dictionary of them would be as long again as the floats themselves
    pq.write_table(table, sink, compression="zstd", use_dictionary=text or False)
    return sink.getvalue()


def read_parquet_bytes(data: bytes, where: str, error: type[GPOError]) -> pa.Table:
    """Read a table from bytes of :func:`parquet_bytes`, by :class:`~gpo_ray.runtime.tables.ParquetSource`."""
    return ParquetSource(data, where, error).read()
