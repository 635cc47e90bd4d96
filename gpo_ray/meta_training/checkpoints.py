"""Write and read the checkpoints of a run in one process; each is a folder, complete with its manifest."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import safetensors

from gpo_ray.errors import ConfigError
from gpo_ray.meta_training.loop import Save
from gpo_ray.meta_training.progress import Progress
from gpo_ray.runtime.storage import MANIFEST, Folder

KIND, PREFIX = "checkpoint", "checkpoint-"


RESTART = "--restart forgets the run"

_NOT_OURS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
    OSError,
    pickle.UnpicklingError,
    safetensors.SafetensorError,
)
"""Errors that torch, DeepSpeed and safetensors raise for contents that do not fit."""


class Loads(Protocol):
    """An engine that can load its state from a checkpoint."""

    def load(self, folder: Path) -> None:
        """Load the state that the engine saved in ``folder``."""


def resume(engine: Loads, folder: Path, where: str) -> Progress:
    """Load an engine's state and the progress of the run from a checkpoint.

    Args:
        engine: the engine that loads its state.
        folder: the checkpoint.
        where: name of the checkpoint in error messages.

    Raises:
        ConfigError: if the checkpoint does not fit this run, or a file in it cannot be understood.
    """
    try:
        engine.load(folder)
        return Progress.load(folder)
    except (*_NOT_OURS, ConfigError) as e:
        reason = " ".join(str(e).split())[:300]
        raise ConfigError(f"{where}: a checkpoint that cannot be understood: {reason}; {RESTART}") from e


class Checkpoints:
    """The checkpoints of one run; only the newest is kept.

    Args:
        folder: the folder of the run.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def _all(self) -> list[Folder]:
        return [self._folder.child(n) for n in self._folder.folders() if n.startswith(PREFIX)]

    @contextmanager
    def newest(self) -> Iterator[Path | None]:
        """Provide a local copy of the newest complete checkpoint in a ``with`` block; None if there is none.

        Raises:
            ConfigError: if a file of the checkpoint does not match its manifest.
        """
        found = next((c for c in reversed(self._all()) if c.exists(MANIFEST)), None)
        if found is None:
            yield None
            return
        manifest = found.read_manifest(KIND, hint=RESTART)
        with tempfile.TemporaryDirectory() as copy:
            for name in manifest["files"]:
                Path(copy, name).write_bytes(found.read_checked(name, manifest))
            yield Path(copy)

    def write(self, step: int, save: Save) -> None:
        """Write a checkpoint with the files that ``save`` writes, and delete the older ones."""
        target = self._folder.child(f"{PREFIX}{step:09d}")
        with tempfile.TemporaryDirectory() as copy:
            save(Path(copy))
            target.publish(KIND, {p.name: p.read_bytes() for p in sorted(Path(copy).iterdir())})
        for other in self._all():
            if other.uri != target.uri:
                other.remove_all()
