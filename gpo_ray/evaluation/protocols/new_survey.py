"""Protocol ``new-survey``: trained on one survey, adapted and scored on another."""

from __future__ import annotations

from gpo_ray.evaluation.protocols.protocol import Protocol


class NewSurvey(Protocol):
    """Test groups, their contexts and their target questions are another survey's.

    ``fraction`` is the share of the first survey's groups that is for meta-training. No question of a
    context is seen, so that the prior is fitted for that (``cross_survey`` of
    :func:`gpo_ray.prior.calibration.fit_prior`).
    """

    name = "new-survey"
    another_survey = True
    advises_context = False
