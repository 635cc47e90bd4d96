"""Manifests of folders: which files belong to a result, and which names such files may have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gpo_ray.errors import GPOError
from gpo_ray.runtime.documents import parse_json

MAX_FILES = 100_000
MAX_BYTES = 2**26
"""Most bytes of a manifest."""

MAX_VALUES = 1_000_000
"""Most values in a manifest; reading more would block whatever else the process does."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_file_name(name: Any) -> bool:
    """Return whether a recorded name is a name of this package for a file directly in its folder.

    No other name that a file records is ever opened, written or removed. A name has at most 200 characters;
    it is not absolute, not hidden, and has no ``..``, no separator of any system and no control character.
    """
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def require_file_name(name: Any, where: str, error: type[GPOError], advice: str = "") -> str:
    """Return the name if :func:`is_file_name` accepts it.

    Args:
        name: the recorded name.
        where: the file that records it.
        error: the exception class that any other name raises.
        advice: what to do about it, as the message ends.

    Raises:
        GPOError: of class ``error``.
    """
    if not is_file_name(name):
        raise error(f"{where}: damaged: {str(name)[:80]!a} is not the name of a file in its folder{advice}")
    return str(name)


def parse_manifest(data: bytes, where: str, error: type[GPOError], advice: str = "") -> dict[str, Any]:
    """Return a manifest: its ``kind``, its ``format``, and ``files`` with ``bytes`` and ``sha256`` by name.

    Args:
        data: the manifest's text.
        where: the manifest's location, for messages.
        error: the exception class that problems raise.
        advice: what to do about a problem, as messages end.

    Raises:
        GPOError: of class ``error``, if the text is anything else, or names a file that is not in its folder.
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
    """Check that some keys exist, with values of the given types.

    Args:
        values: the mapping that was read.
        fields: type by key.
        where: the file, for messages.
        error: the exception class that a problem raises.
        advice: what to do about it, as the message ends.

    Raises:
        GPOError: of class ``error``, if a key is missing or its value has another type.
    """
    for name, kind in fields.items():
        if type(values.get(name)) is not kind:
            raise error(f"{where}: damaged: no {name} in it{advice}")


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or type(entry.get("bytes")) is not int or entry["bytes"] < 0:
        return False
    return isinstance(entry.get("sha256"), str) and _SHA256.fullmatch(entry["sha256"]) is not None
