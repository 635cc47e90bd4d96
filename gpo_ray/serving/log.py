"""The service's log: one JSON object a line, and no more lines than what admitted callers cause."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from logging import StreamHandler, getLogger
from threading import Lock

from gpo_ray.serving.bounds import ROTATION
from gpo_ray.serving.pace import RateLimit

LOG = getLogger("gpo_ray.serving")
MAX_LINES = 60
"""Most lines in a minute of one kind whose number strangers decide."""


def log_requests(level: str) -> None:
    """Write the log lines, one JSON object each, to standard error, if the process has no log of its own."""
    LOG.setLevel(level)
    if not LOG.handlers:
        LOG.addHandler(StreamHandler())
        LOG.propagate = False  # otherwise handlers of the root logger would repeat the lines


def rotate(environment: MutableMapping[str, str]) -> None:
    """Bound Ray's logs by its environment, before it starts, as far as that says nothing about it yet."""
    for name, value in ROTATION.items():
        environment.setdefault(name, value)


class BoundedLog:
    """The service's log for lines of which anybody could cause any number.

    Of each kind at most :data:`MAX_LINES` are written in any minute, so that they neither fill the disk nor
    hide the others; the next line of this log, of whatever kind, says in ``dropped`` how many were left out
    before it.
    """

    def __init__(self) -> None:
        self._limit, self._dropped = RateLimit(MAX_LINES), 0
        self._counting = Lock()  # libraries may log in any thread

    def write(self, level: int, fields: Mapping[str, object], kind: str | None) -> None:
        """Write one line, or drop it if there were too many of its kind.

        Args:
            level: level of the line.
            fields: what the line says.
            kind: name of the kind, of which there are few; None for a line that is always written.
        """
        with self._counting:
            if kind is not None and self._limit.wait(kind):
                self._dropped += 1
                return
            dropped, self._dropped = self._dropped, 0
        LOG.log(level, "%s", json.dumps({**fields, **({"dropped": dropped} if dropped else {})}))
