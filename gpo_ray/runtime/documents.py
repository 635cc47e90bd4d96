"""Read JSON and YAML that somebody else may have written, within limits that are checked first.

Whatever the bytes are, the result is a value or one error that names the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from gpo_ray.errors import GPOError, reason_of
from gpo_ray.runtime.strict_json import MAX_DEPTH, check_amount, check_value, make_object

JSON_BYTES = 2**27
"""Most bytes of a JSON text; the splits of a million people take some 20 MB."""
JSON_VALUES = 5_000_000
"""Most values in a JSON text, all levels together; the splits of a million people take one or two for
each."""
YAML_BYTES = 2**20
"""Most bytes of a YAML text."""
DEPTH = MAX_DEPTH
"""Most levels of lists and objects nested in each other."""
DIGITS = 1000
"""Most digits of a number."""
KEY_DIGITS = 18
"""Most digits of a number that is a key in YAML: Python's hashes of larger ones can be made equal, and a
table of many equal hashes takes a time that grows with the square of their number."""

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNIQUE = partial(make_object, None)
_NUMBER = re.compile(r"[-+]?[0-9.][0-9a-fA-FoOxX.,:_+-]*")
_UNREADABLE = (
    yaml.YAMLError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    OverflowError,
    RecursionError,
)
"""Exceptions of PyYAML for a malformed text, or for a tag that does not fit its value, such as
``!!int ''``."""


def parse_json(
    data: bytes, where: str, error: type[GPOError], advice: str = "", most: int = JSON_VALUES
) -> Any:
    """Return the value of a JSON text in UTF-8, with NaN and infinities as Python writes them.

    Args:
        data: the text.
        where: the name of the text in messages.
        error: the exception class that problems raise.
        advice: what to do about a problem, as messages end.
        most: most values in the text, all levels together; they are counted first, which is far faster than
            parsing.

    Raises:
        GPOError: of class ``error``, if the text is too long or holds too much, is no JSON, is nested too
            deeply, repeats a key of an object, or holds an integer of more than :data:`DIGITS` digits or half
            a surrogate pair.
    """
    _check_length(data, JSON_BYTES, where, error)
    try:
        check_amount(data, most)
        value = json.loads(data.decode("utf-8-sig"), parse_int=_integer, object_pairs_hook=_UNIQUE)
        check_value(value, data)
    except (ValueError, RecursionError) as e:
        raise error(f"{where}: not a readable JSON file: {_reason(e)}{advice}") from e
    return value


def read_json(path: Path, where: str, error: type[GPOError], advice: str = "") -> Any:
    """Return the value of a JSON file on this machine, see :func:`parse_json`.

    Raises:
        GPOError: as in :func:`parse_json`, or if the file cannot be read.
    """
    return parse_json(_read(path, JSON_BYTES, where, error), where, error, advice)


def read_bytes(path: Path, where: str, error: type[GPOError]) -> bytes:
    """Return the bytes of a file on this machine that holds JSON, in whatever encoding.

    Raises:
        GPOError: of class ``error``, if the file cannot be read.
    """
    return _read(path, JSON_BYTES, where, error)


def parse_yaml(
    data: bytes | str,
    where: str,
    error: type[GPOError],
    loader: type[Any] = _Loader,
    most: int = YAML_BYTES,
) -> list[Any]:
    """Return the documents of a YAML text in UTF-8.

    Args:
        data: the text.
        where: the name of the text in messages.
        error: the exception class that problems raise; its cause may hold the line number.
        loader: a safe loader of PyYAML's.
        most: most bytes of the text.

    Raises:
        GPOError: of class ``error``, if the text is too long, is no YAML, is nested too deeply, or holds an
            alias, which could stand for any amount of text, or a number of more than :data:`DIGITS` digits.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        _check_length(text, most, where, error)
        _check_events(yaml.parse(text, Loader=_Loader))
        documents = list(yaml.load_all(text, Loader=loader))
    except UnicodeDecodeError as e:
        raise error(f"{where}: not a readable text file: {e}") from e
    except _UNREADABLE as e:
        raise error(f"{where}: not valid YAML: {_reason(e)}") from e
    return documents


def read_yaml_documents(
    path: Any,
    where: str,
    error: type[GPOError],
    loader: type[Any] = _Loader,
    most: int = YAML_BYTES,
) -> list[Any]:
    """Return the documents of a YAML file or a package's resource, see :func:`parse_yaml`.

    Raises:
        GPOError: as in :func:`parse_yaml`, or if the file cannot be read.
    """
    return parse_yaml(_read(path, most, where, error), where, error, loader, most)


def _read(path: Any, most: int, where: str, error: type[GPOError]) -> bytes:
    """Return a file's bytes, but at most one byte more than ``most``."""
    try:
        if isinstance(path, Path) and not (path.is_file() or path.is_dir()) and path.exists():
            raise error(f"{where}: not a regular file")  # a pipe might never end
        with path.open("rb") as f:
            return bytes(f.read(most + 1))
    except FileNotFoundError as e:
        raise error(f"{where}: no such file") from e
    except (OSError, ValueError) as e:
        raise error(f"{where}: not a readable file: {reason_of(e, where)}") from e


def _check_length(data: bytes | str, most: int, where: str, error: type[GPOError]) -> None:
    if len(data) > most:
        raise error(f"{where}: longer than the {most:,} bytes that are read of such a file")


def _integer(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _check_events(events: Iterator[yaml.Event]) -> None:
    key_next: list[bool | None] = []  # for each open collection: whether a key comes next; None in a list
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"{_at(event)}: *{event.anchor} is an alias; write out what it stands for")
        if isinstance(event, yaml.CollectionEndEvent):
            key_next.pop()
            continue
        is_key = bool(key_next and key_next[-1])
        if key_next and key_next[-1] is not None and isinstance(event, yaml.NodeEvent):
            key_next[-1] = not is_key
        if isinstance(event, yaml.CollectionStartEvent):
            key_next.append(True if isinstance(event, yaml.MappingStartEvent) else None)
            if len(key_next) > DEPTH:
                raise ValueError(f"{_at(event)}: nested more than {DEPTH} levels deep")
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > (KEY_DIGITS if is_key else DIGITS):
            typed = event.tag is not None and event.tag.endswith((":int", ":float"))
            if typed or (event.implicit[0] and _NUMBER.fullmatch(event.value)):
                raise ValueError(f"{_at(event)}: a number of {len(event.value):,} digits")


def _at(event: yaml.Event) -> str:
    mark = event.start_mark
    return "a line" if mark is None else f"line {mark.line + 1}"


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"nested more than {DEPTH} levels deep"
    if isinstance(error, ValueError | yaml.YAMLError):
        return " ".join(str(error).split())[:300]
    return "a value does not fit its tag"
