"""Small JSON files in ``GPO_CACHE``, one for each answer, named by the hash of all that it depends on.

Each is written atomically, so that a killed process leaves none that is cut off, and processes need not wait
for one another.
"""

from __future__ import annotations

import contextlib
import json
from logging import getLogger
from pathlib import Path
from typing import Any

from gpo_ray.lm.cache import cache_bytes, cache_folder
from gpo_ray.runtime.local_files import replacing

UNREADABLE = (OSError, ValueError, TypeError, LookupError, RecursionError)
"""Exceptions of a file that is missing, damaged or of another layout."""

logger = getLogger(__name__)


class AnswerCache:
    """The answers of one kind.

    Args:
        name: name of their folder.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def folder(self) -> Path:
        """The folder, in GPO_CACHE or in ``gpo_ray`` in the user's cache folder."""
        return cache_folder().parent / self._name

    def get(self, content: str) -> Any:
        """Return what was kept under a hash; None if there is nothing that can be read."""
        if cache_bytes() == 0:
            return None
        with contextlib.suppress(*UNREADABLE):
            return json.loads(self._file(content).read_text(encoding="utf-8"))
        return None

    def put(self, content: str, body: Any) -> None:
        """Keep a value of JSON; where the cache cannot be written, it is asked for again."""
        if cache_bytes() == 0:
            return
        file = self._file(content)
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(body), encoding="utf-8")
        except OSError as e:
            logger.warning("%s cannot be kept (%s)", self._name, e.strerror or e)

    def _file(self, content: str) -> Path:
        return self.folder / content[:2] / f"{content}.json"
