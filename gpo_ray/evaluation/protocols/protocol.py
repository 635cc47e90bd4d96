"""The base class of protocols, which decide how a survey is divided and how the scores are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpo_ray.evaluation.summary import text_table
from gpo_ray.preferences.splits import SplitRule


class Protocol(SplitRule):
    """A rule of which groups and questions methods are evaluated on; a subclass overrides what differs."""

    advises_context: bool = True
    """Whether an evaluation that scores few answers advises a smaller context.

    This helps only where a context and its targets are taken from the same answers of a group.
    """

    def table(self, result: Mapping[str, Any]) -> str:
        """Format the scores for a terminal: by default alignment, and ``gpo`` against the best baseline.

        Args:
            result: ``cells``, and the result of :func:`gpo_ray.evaluation.statistics.statistics`.
        """
        return text_table(result["cells"], dict(result))
