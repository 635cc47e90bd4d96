"""What a protocol says of an evaluation: how the survey is divided, and how the scores are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpo_ray.evaluation.summary import text_table
from gpo_ray.preferences.splits import SplitRule


class Protocol(SplitRule):
    """Which groups and questions methods are evaluated on; a subclass overrides what differs."""

    advises_context: bool = True
    """Whether an evaluation that scores few answers advises a smaller context."""

    def table(self, result: Mapping[str, Any]) -> str:
        """The scores for a terminal: by default alignment, and ``gpo`` against the best plain baseline.

        Args:
            result: ``cells``, and what :func:`gpo_ray.evaluation.statistics.statistics` returned.
        """
        return text_table(result["cells"], dict(result))
