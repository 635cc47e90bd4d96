"""The ledger of a search's trials, from which the search resumes.

Each trial has a small file, which is written atomically.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import ConfigDict, FiniteFloat, NonNegativeInt, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from gpo_ray.config import present_keys
from gpo_ray.errors import ConfigError
from gpo_ray.runtime.documents import parse_json
from gpo_ray.runtime.storage import Folder
from gpo_ray.tuning.space import Sample

FORGET = "--restart forgets this search"
RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped", "failed"


@dataclass
class TrialRecord:
    """The record of one trial, which is kept from the trial's start."""

    number: int
    sample: Sample
    status: str = RUNNING
    """``running`` (also if interrupted), ``finished``, ``stopped`` by the scheduler, or ``failed``."""
    reason: str = ""
    """The reason why the trial failed, empty if it did not."""
    lost: int = 0
    """How often the trial lost its process or its host."""
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    """The reports of the trial's validations, each with the keys :data:`gpo_ray.tuning.trial.REPORTED`."""

    @property
    def file(self) -> str:
        """Name of the record's file in the ledger."""
        return f"{self.number:05d}.json"

    @property
    def steps(self) -> int:
        """Number of optimiser steps that the trial reported last."""
        return int(self.history[-1]["step"]) if self.history else 0

    @property
    def alignment(self) -> float | None:
        """Validation alignment with the weights that a bundle would get.

        These may be the weights before the first step, which leave a prior unchanged. None for a trial that
        failed or reported nothing.
        """
        return self._last("best_alignment")

    @property
    def score(self) -> float | None:
        """The value that the search maximises; None for a trial that failed or reported nothing."""
        return self._last("trained_alignment")

    def _last(self, key: str) -> float | None:
        if self.status == FAILED or not self.history:
            return None
        return float(self.history[-1][key])


class _StoredReport(TypedDict):
    """The values of a report that are read, among others."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    step: NonNegativeInt
    best_alignment: FiniteFloat
    trained_alignment: FiniteFloat


class _Record(TypedDict):
    """A record in the form in which it is written."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    number: NonNegativeInt
    sample: Sample
    status: Literal["running", "finished", "stopped", "failed"]
    reason: str
    lost: int
    seconds: FiniteFloat
    history: list[_StoredReport]


_RECORD = TypeAdapter(_Record)


class Ledger:
    """The records of one search's trials, by number.

    Args:
        folder: folder with a file for each trial.
        values: function that decodes a sample of the search; it raises LookupError, ArithmeticError or
            ValueError for a sample that the search cannot have drawn.

    Raises:
        ConfigError: if a record is damaged.
    """

    def __init__(self, folder: Folder, values: Callable[[Sample], object] = dict) -> None:
        self._folder = folder
        self.records: dict[int, TrialRecord] = {}
        for name in folder.names():
            where = f"{folder.where(name)}: damaged"
            kept = parse_json(folder.read(name), where, ConfigError, f"; {FORGET}")
            try:
                _RECORD.validate_python(kept, strict=True)
                record = TrialRecord(**present_keys(kept))
                values(record.sample)
            except (ValidationError, LookupError, ArithmeticError, ValueError) as e:
                raise ConfigError(f"{where}; {FORGET}") from e
            if name != record.file:
                raise ConfigError(f"{where}: holds trial {record.number}; {FORGET}")
            self.records[record.number] = record

    def __iter__(self) -> Iterator[TrialRecord]:
        return iter(sorted(self.records.values(), key=lambda r: r.number))

    def ended(self) -> list[TrialRecord]:
        """Return the trials that have ended and are not run again."""
        return [r for r in self if r.status != RUNNING]

    def interrupted(self) -> list[TrialRecord]:
        """Return the trials that were started and did not end."""
        return [r for r in self if r.status == RUNNING]

    def ranked(self) -> list[TrialRecord]:
        """Return the trials with an alignment, best first; ties are ordered by their score, best first."""
        found = [(r.alignment, r.score, r) for r in self.ended()]
        scored = [(a, s, r) for a, s, r in found if a is not None and s is not None]
        return [r for _, _, r in sorted(scored, key=lambda f: (-f[0], -f[1]))]

    def start(self, sample: Sample) -> TrialRecord:
        """Make and write the record of a new trial, with the next number."""
        record = TrialRecord(max(self.records, default=-1) + 1, sample)
        self.records[record.number] = record
        self.write(record)
        return record

    def write(self, record: TrialRecord) -> None:
        """Write the present state of a record to its file."""
        self._folder.write(record.file, json.dumps(asdict(record)).encode())
