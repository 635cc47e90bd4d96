"""Manifests of folders: which files belong to a result, and what names such a file may have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gpo_ray.errors import GPOError
from gpo_ray.runtime.documents import parse_json

MAX_FILES = 100_000
MAX_BYTES = 2**26
"""Of a manifest itself."""

MAX_VALUES = 1_000_000
"""Likewise: to read more would hold up whatever else the process does."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_file_name(name: Any) -> bool:
    """Whether a recorded name is one of a file directly in its folder, as this package names them.

    Nothing else is ever opened, written or removed because some file says so: no absolute name, no ``..``,
    no separator of any system, no control character, nothing hidden, at most 200 letters.
    """
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def require_file_name(name: Any, where: str, error: type[GPOError], advice: str = "") -> str:
    """The name, if :func:`is_file_name`.

    Args:
        name: as it was recorded.
        where: the file that records it.
        error: the exception class that another name raises.
        advice: what to do about it, as the message ends.

    Raises:
        GPOError: of class ``error``.
    """
    if not is_file_name(name):
        raise error(f"{where}: damaged: {str(name)[:80]!a} is not the name of a file in its folder{advice}")
    return str(name)


def parse_manifest(data: bytes, where: str, error: type[GPOError], advice: str = "") -> dict[str, Any]:
    """A manifest, with ``kind`` (str), ``format`` (int) and ``files``: by name, ``bytes`` and ``sha256``.

    Args:
        data: its text.
        where: its location, for messages.
        error: the exception class that problems raise.
        advice: what to do about one, as messages end.

    Raises:
        GPOError: of class ``error``, if it is anything else, or names a file that is not in its folder.
    """
    manifest = parse_json(data, f"{where}: damaged", error, advice, MAX_VALUES)
    if not isinstance(manifest, dict):
        raise error(f"{where}: damaged{advice}")
    require_fields(manifest, {"kind": str, "format": int, "files": dict}, where, error, advice)
    files = manifest["files"]
    if len(files) > MAX_FILES:
        raise error(f"{where}: damaged: lists {len(files):,} files, at most {MAX_FILES:,} are read{advice}")
    for name, entry in files.items():
        require_file_name(name, where, error, advice)
        if not _is_entry(entry):
            raise error(f"{where}: damaged: no size and SHA-256 of {name}{advice}")
    return manifest


def require_fields(
    values: Mapping[str, Any], fields: Mapping[str, type], where: str, error: type[GPOError], advice: str = ""
) -> None:
    """Check that some keys are there, with values of their types.

    Args:
        values: what was read.
        fields: type by key.
        where: the file, for messages.
        error: the exception class that a problem raises.
        advice: what to do about it, as the message ends.

    Raises:
        GPOError: of class ``error``.
    """
    for name, kind in fields.items():
        if type(values.get(name)) is not kind:
            raise error(f"{where}: damaged: no {name} in it{advice}")


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or type(entry.get("bytes")) is not int or entry["bytes"] < 0:
        return False
    return isinstance(entry.get("sha256"), str) and _SHA256.fullmatch(entry["sha256"]) is not None
