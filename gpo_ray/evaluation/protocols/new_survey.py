"""Protocol ``new-survey``: methods are meta-trained on one survey, and scored on the groups of another."""

from __future__ import annotations

from gpo_ray.evaluation.protocols.protocol import Protocol


class NewSurvey(Protocol):
    """A protocol in which test groups, their contexts and their target questions come from another survey.

    ``fraction`` is the share of the first survey's groups that is for meta-training. All questions of a
    context are unseen, and the prior is fitted for such contexts (``with_cross_survey`` of
    :func:`gpo_ray.prior.calibration.fit_prior`).
    """

    name = "new-survey"
    another_survey = True
