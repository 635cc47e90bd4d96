"""Hyperparameters of the prior."""

from __future__ import annotations

from dataclasses import replace

from pydantic import ConfigDict, Field, NonNegativeFloat
from pydantic.dataclasses import dataclass as pydantic_dataclass


@pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class PriorScales:
    """Hyperparameters of the prior; see :func:`gpo_ray.model.calibration.calibrated`."""

    noise: float = Field(default=0.03, gt=0)
    """Variance of an answer's error, in units of m (1 - m) where m is the mean share."""
    semantic: float = Field(default=0.02, ge=0)
    """Variance of a group's deviations that only the embeddings explain."""
    new_noise: float | None = Field(default=None, gt=0)
    """The noise, where the question predicted is new; None: the same."""
    new_semantic: float | None = Field(default=None, ge=0)
    """The semantic variance, where the question predicted is new; None: the same."""
    threshold: float = Field(default=0.0, ge=0)
    """Standard errors taken off the correlations between responses, and with it, correlations over those
    who answered both: for many people who each answer a few questions. 0: covariances as they are."""
    evidence: float = Field(default=0.0, ge=0)
    """Groups' answers for which the estimate from other questions counts in a question's mean."""
    stretch: float = Field(default=1.0, gt=0)
    """Factor on the deviations of groups where single people are in memory too: groups differ as their
    members do, but by less."""
    traits: float = Field(default=0.0, ge=0, le=1)
    """Weight of the nominal response model in the shares of questions that were answered; 0 without one."""
    widths: tuple[NonNegativeFloat, NonNegativeFloat] = (1.645, 1.645)
    """Half width of a 90 % interval in standard deviations: on questions in memory, and on new ones."""

    @property
    def for_new(self) -> PriorScales:
        """The scales for predicting new questions."""
        noise = self.noise if self.new_noise is None else self.new_noise
        semantic = self.semantic if self.new_semantic is None else self.new_semantic
        return replace(self, noise=noise, semantic=semantic)

    @property
    def alike(self) -> bool:
        """Whether known and new questions are predicted with the same scales."""
        return self.new_noise in (None, self.noise) and self.new_semantic in (None, self.semantic)
