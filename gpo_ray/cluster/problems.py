"""Problems found in cluster files, and the documents of these files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError


@dataclass(frozen=True)
class FileProblem:
    """One mistake in a file."""

    file: str
    """Path of the file within the folder that was checked."""
    key: str
    """Keys and list indices from the top of the document, joined by dots."""
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.message}"


@dataclass(frozen=True)
class Document:
    """One YAML document of a file."""

    file: str
    values: dict[str, Any]

    @property
    def kind(self) -> str:
        """The document's Kubernetes kind, empty if it has none."""
        return str(self.values.get("kind", ""))

    @property
    def name(self) -> str:
        """The document's Kubernetes name, empty if it has none."""
        return str(at(self.values, "metadata", "name") or "")

    def problem(self, key: str, message: str) -> FileProblem:
        """Make a problem of this document."""
        return FileProblem(self.file, key, message)

    def invalid(self, error: ValidationError, whole: str = "") -> Iterator[FileProblem]:
        """Yield the mistakes that a schema found; a mistake without a key gets the key ``whole``."""
        for e in error.errors():
            key = ".".join(str(k) for k in e["loc"]) or whole
            yield self.problem(key, e["msg"].removeprefix("Value error, "))


def at(values: Any, *keys: str | int) -> Any:
    """Return the value that is found by following ``keys``, or None if there is none."""
    for key in keys:
        if isinstance(values, dict):
            values = values.get(key)
        elif isinstance(values, list) and isinstance(key, int) and key < len(values):
            values = values[key]
        else:
            return None
    return values


def walk(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value in ``values``, after its key."""
    yield path, values
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(values, dict):
        items = values.items()
    elif isinstance(values, list):
        items = enumerate(values)
    for key, value in items:
        yield from walk(value, f"{path}.{key}" if path else str(key))


def below(prefix: str, problems: Iterable[FileProblem]) -> Iterator[FileProblem]:
    """Turn the problems of a part of a document into problems of the document, by prefixing their keys."""
    for p in problems:
        yield replace(p, key=f"{prefix}.{p.key}" if p.key else prefix)
