"""Checkpoints of a run in one process: each a folder, complete when its manifest is there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpo_ray.storage import MANIFEST, Folder
from gpo_ray.training.loop import Save

KIND, PREFIX = "checkpoint", "checkpoint-"


class Checkpoints:
    """The checkpoints of one run; only the newest is kept.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def _all(self) -> list[Folder]:
        return [self._folder.child(n) for n in self._folder.folders() if n.startswith(PREFIX)]

    @contextmanager
    def newest(self) -> Iterator[Path | None]:
        """A local copy of the newest complete one, while the block lasts; None if there is none.

        Raises:
            ConfigError: if a file of it is not what its manifest says.
        """
        found = next((c for c in reversed(self._all()) if c.exists(MANIFEST)), None)
        if found is None:
            yield None
            return
        manifest = found.read_manifest(KIND, hint="--restart forgets the run")
        with tempfile.TemporaryDirectory() as copy:
            for name in manifest["files"]:
                Path(copy, name).write_bytes(found.read_checked(name, manifest))
            yield Path(copy)

    def write(self, step: int, save: Save) -> None:
        """Keep what ``save`` writes, and nothing older."""
        target = self._folder.child(f"{PREFIX}{step:09d}")
        with tempfile.TemporaryDirectory() as copy:
            save(Path(copy))
            target.publish(KIND, {p.name: p.read_bytes() for p in sorted(Path(copy).iterdir())})
        for other in self._all():
            if other.uri != target.uri:
                other.remove_all()
