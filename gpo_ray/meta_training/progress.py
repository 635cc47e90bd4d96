"""Define the progress of a training run, which a checkpoint holds beside the engine's own state."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, NonNegativeInt, TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor
from typing_extensions import TypedDict

from gpo_ray.errors import ConfigError
from gpo_ray.runtime.documents import read_json


class _State(TypedDict):
    """The contents of ``progress.json``: all fields of :class:`Progress` except the weights."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    step: NonNegativeInt
    best_alignment: float
    best_score: float
    best_step: NonNegativeInt
    stale: NonNegativeInt
    leading: float
    prior_alignment: float | None
    seconds: float
    resumed: list[int]
    history: list[dict[str, Any]]
    log_weights: list[float]


_STATE = TypeAdapter(_State)


@dataclass
class Progress:
    """The state of a run between two steps."""

    step: int = 0
    best_alignment: float = -np.inf
    """Mean validation alignment of the best step."""
    best_score: float = -np.inf
    """``validation_score`` of the best step (:func:`~gpo_ray.meta_training.objective.validation_scores`)."""
    best_step: int = 0
    stale: int = 0
    """Number of validations since the leading one."""
    leading: float = -np.inf
    """``validation_score`` of the leading validation: that of the best step, or a higher one whose gain over
    the prior may be chance."""
    prior_alignment: float | None = None
    """Mean validation alignment of the prior alone, None for a model without one."""
    seconds: float = 0.0
    resumed: list[int] = field(default_factory=list)
    """The steps from which the run continued after an interruption."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """The metrics of every report so far."""
    log_weights: list[float] = field(default_factory=list)
    """Log-weights of the training groups; see :class:`~gpo_ray.meta_training.objective.GroupWeights`."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def kept(self) -> str:
        """``prior`` if the bundle predicts with the prior alone, else ``transformer``."""
        return "prior" if self.prior_alignment is not None and self.best_step == 0 else "transformer"

    def note_resumption(self, steps: int) -> None:
        """Record that the run continues from the present step, unless it had ended."""
        if self.step < steps:
            self.resumed.append(self.step)

    def note_prior(self, scores: dict[str, float]) -> None:
        """Record the scores of the prior alone, which are also those of the model before its first step."""
        self.best_score = self.leading = scores["validation_score"]
        self.best_alignment = self.prior_alignment = scores["validation_alignment"]

    def note_validation(self, scores: dict[str, float], min_gain: float = 0.0, certain: bool = True) -> bool:
        """Record a validation's scores, and return whether they are the best so far and the weights are kept.

        Args:
            scores: the scores of the present step.
            min_gain: amount by which the score must be higher than the best one.
            certain: whether the gain is larger than chance explains; if not, the best step stays, but the
                validation still counts as an improvement, so that training goes on.
        """
        score = scores["validation_score"]
        if score > self.leading + min_gain:
            self.leading, self.stale = score, 0
        else:
            self.stale += 1
        if score <= self.best_score + min_gain or not certain:
            return False
        self.best_score, self.best_alignment = score, scores["validation_alignment"]
        self.best_step = self.step
        return True

    def save(self, folder: Path) -> None:
        """Write ``progress.json`` and ``best.safetensors``."""
        save_file(self.best_weights, folder / "best.safetensors")
        values = {k: v for k, v in self.__dict__.items() if k != "best_weights"}
        (folder / "progress.json").write_text(json.dumps(values))

    @classmethod
    def load(cls, folder: Path) -> Progress:
        """Load what :meth:`save` wrote.

        Raises:
            ConfigError: if ``progress.json`` is not JSON.
            ValueError: if ``progress.json`` does not hold a progress.
            OSError: if a file is missing.
            safetensors.SafetensorError: if the weights cannot be read.
        """
        values = read_json(folder / "progress.json", "progress.json", ConfigError)
        _STATE.validate_python(values, strict=True)
        return cls(**values, best_weights=load_file(folder / "best.safetensors"))
