"""What is wrong with a file, and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError


@dataclass(frozen=True)
class Problem:
    """One mistake."""

    file: str
    """Below the folder that was checked."""
    key: str
    """Keys and list indices from the top of the document, joined by dots."""
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.message}"


@dataclass(frozen=True)
class Document:
    """One document of a file."""

    file: str
    values: dict[str, Any]

    @property
    def kind(self) -> str:
        """Its Kubernetes kind."""
        return str(self.values.get("kind", ""))

    @property
    def name(self) -> str:
        """Its Kubernetes name."""
        return str(at(self.values, "metadata", "name") or "")

    def problem(self, key: str, message: str) -> Problem:
        """A mistake in it."""
        return Problem(self.file, key, message)

    def invalid(self, error: ValidationError, whole: str = "") -> Iterator[Problem]:
        """Mistakes that a schema found; ``whole`` is the key of those that concern no single one."""
        for e in error.errors():
            key = ".".join(str(k) for k in e["loc"]) or whole
            yield self.problem(key, e["msg"].removeprefix("Value error, "))


def at(values: Any, *keys: str | int) -> Any:
    """What is found by ``keys`` one after the other; None where there is nothing."""
    for key in keys:
        if isinstance(values, dict):
            values = values.get(key)
        elif isinstance(values, list) and isinstance(key, int) and key < len(values):
            values = values[key]
        else:
            return None
    return values


def walk(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in ``values``, with its key."""
    yield path, values
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(values, dict):
        items = values.items()
    elif isinstance(values, list):
        items = enumerate(values)
    for key, value in items:
        yield from walk(value, f"{path}.{key}" if path else str(key))


def below(prefix: str, problems: Iterable[Problem]) -> Iterator[Problem]:
    """Problems of a part of a document, as problems of the document."""
    for p in problems:
        yield replace(p, key=f"{prefix}.{p.key}" if p.key else prefix)
