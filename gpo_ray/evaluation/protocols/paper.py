"""Protocol ``paper`` (Zhao et al., section 4): held-out groups answer the training questions."""

from __future__ import annotations

from gpo_ray.evaluation.protocols.protocol import Protocol


class Paper(Protocol):
    """As published: test groups are new, the questions are those that the meta-train groups answered."""

    name = "paper"
