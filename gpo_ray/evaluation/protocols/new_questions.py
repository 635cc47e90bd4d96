"""Protocol ``new-questions``: held-out groups, scored on questions that nobody answered in training."""

from __future__ import annotations

from gpo_ray.evaluation.protocols.protocol import Protocol


class NewQuestions(Protocol):
    """Test groups answer some training questions as context, and are scored on the new questions alone."""

    name = "new-questions"
    new_question_fraction = 0.3
    advises_context = False
