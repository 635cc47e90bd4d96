"""Define the hyperparameters of the prior; ``calibration.py`` chooses their values."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from pydantic import ConfigDict, Field, NonNegativeFloat
from pydantic.dataclasses import dataclass as pydantic_dataclass

_RESPONSE_MODEL_WEIGHT = "traits"
"""The name of ``response_model_weight`` in a bundle."""


@pydantic_dataclass(
    frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False, validate_by_name=True)
)
class PriorScales:
    """Hyperparameters of the prior; see :func:`gpo_ray.prior.calibration.calibrated`."""

    noise: float = Field(default=0.03, gt=0)
    """Variance of an answer's error, in units of m (1 - m) where m is the mean share."""
    outputscale: float = Field(default=0.02, ge=0)
    """Variance of that part of a group's deviations which only the embeddings explain."""
    unseen_noise: float | None = Field(default=None, gt=0)
    """The ``noise`` for predicting unseen questions; None means the same as for seen questions."""
    unseen_outputscale: float | None = Field(default=None, ge=0)
    """The ``outputscale`` for predicting unseen questions; None means the same as for seen questions."""
    soft_threshold: float = Field(default=0.0, ge=0)
    """Number of standard errors by which covariances between responses are shrunk towards 0. If it is
    positive, covariances are moreover averages over only those who answered both questions, which suits many
    people who each answer a few questions. 0 leaves covariances as they are."""
    pseudo_count: float = Field(default=0.0, ge=0)
    """Number of answers that the extrapolated mean of a question counts as, in addition to the groups'
    answers."""
    group_scale: float = Field(default=1.0, gt=0)
    """Factor on the deviations of groups where people are in the prior too: groups differ in the same
    directions as people do, but by less."""
    response_model_weight: float = Field(default=0.0, ge=0, le=1, validation_alias=_RESPONSE_MODEL_WEIGHT)
    """Weight of the nominal response model in the predicted shares of seen questions; 0 if there is no
    model."""
    simulated_weight: float = Field(default=0.0, ge=0, le=1)
    """Weight of the simulated groups, as which a language model was asked, relative to the meta-train groups;
    0 if there are none."""
    role_weight: float = Field(default=0.0, ge=0, le=1)
    """Part of a simulated group's deviation that joins the mean of the group that it simulates, for
    predicting unseen questions; 0 if there are none."""
    widths: tuple[NonNegativeFloat, NonNegativeFloat] = (1.645, 1.645)
    """Half width of a 90 % interval in standard deviations, for seen and for unseen questions."""

    def to_state(self) -> dict[str, Any]:
        """Return the values that are stored, by name; pydantic reads them with the same names."""
        stored = {"response_model_weight": _RESPONSE_MODEL_WEIGHT}
        values = {stored.get(name, name): value for name, value in asdict(self).items()}
        for name in ("simulated_weight", "role_weight"):  # a prior without guesses is stored as ever
            if not values[name]:
                del values[name]
        return values

    @property
    def for_unseen(self) -> PriorScales:
        """The hyperparameters for predicting unseen questions."""
        noise = self.noise if self.unseen_noise is None else self.unseen_noise
        outputscale = self.outputscale if self.unseen_outputscale is None else self.unseen_outputscale
        return replace(self, noise=noise, outputscale=outputscale)

    @property
    def same_for_unseen(self) -> bool:
        """Whether seen and unseen questions are predicted with the same hyperparameters."""
        same = self.unseen_noise in (None, self.noise) and self.unseen_outputscale in (None, self.outputscale)
        return same and not self.role_weight
