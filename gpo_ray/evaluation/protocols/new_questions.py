"""Protocol ``new-questions``: held-out groups are scored on questions that training does not use."""

from __future__ import annotations

from gpo_ray.evaluation.protocols.protocol import Protocol


class NewQuestions(Protocol):
    """A protocol in which test groups' contexts are training questions and their targets new questions."""

    name = "new-questions"
    new_question_fraction = 0.3
    advises_context = False
