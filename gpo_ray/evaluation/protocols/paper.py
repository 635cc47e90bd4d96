"""Protocol ``paper`` (Zhao et al., section 4): held-out groups answer the training questions."""

from __future__ import annotations

from gpo_ray.evaluation.protocols.protocol import Protocol


class Paper(Protocol):
    """The published protocol: test groups are new, and their questions are the training questions."""

    name = "paper"
