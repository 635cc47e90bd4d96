"""Splits: which groups and questions are for training, validation and test; drawn once and saved."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from gpo_ray.errors import ConfigError
from gpo_ray.preferences.dataset import PreferenceDataset

Protocol = Literal["paper", "new-questions"]
NEW_QUESTION_FRACTION = 0.3


class Split(BaseModel):
    """One division of a data set, shared by all methods that are compared on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Protocol
    """``paper``: test groups answer the training questions; ``new-questions``: also new questions."""
    fraction: float
    """Share of all groups that is for meta-training."""
    seed: int
    train_groups: tuple[str, ...]
    """Groups to meta-train on, the validation groups not among them."""
    validation_groups: tuple[str, ...]
    """Taken out of the meta-train groups, for early stopping."""
    test_groups: tuple[str, ...]
    """Never looked at before evaluation."""
    question_order: tuple[str, ...]
    """The training questions, shuffled: a group's context is the first ones it has answered."""
    new_questions: tuple[str, ...] = ()
    """Questions kept from meta-training, which alone are scored; empty in protocol ``paper``."""

    @property
    def meta_train_groups(self) -> tuple[str, ...]:
        """Training and validation groups: all that a method may learn from."""
        return self.train_groups + self.validation_groups


def draw_split(
    dataset: PreferenceDataset,
    fraction: float,
    seed: int,
    protocol: Protocol = "paper",
    validation_fraction: float = 0.2,
) -> Split:
    """Draw a split; the same arguments give the same split everywhere.

    Args:
        dataset: whose groups and questions to divide.
        fraction: share of the groups for meta-training, rounded down as published; 1 keeps all.
        seed: of the random draw.
        protocol: see :class:`Split`.
        validation_fraction: share of the meta-train groups for validation; at least one group.

    Raises:
        ConfigError: if there are too few groups or questions to divide.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"fraction must be in (0, 1], not {fraction:g}")
    rng = np.random.default_rng([seed, *hashlib.sha256(b"split").digest()[:4]])
    groups = rng.permutation(sorted(dataset.groups["group_id"].to_pylist())).tolist()
    questions = rng.permutation(sorted(dataset.questions["question_id"].to_pylist())).tolist()
    meta_train = int(fraction * len(groups) + 1e-9)
    validation = max(1, round(validation_fraction * meta_train))
    if meta_train - validation < 1 or (fraction < 1 and meta_train == len(groups)):
        raise ConfigError(
            f"{len(groups)} groups cannot be divided at fraction {fraction:g}: meta-training needs at least "
            "2 groups (one of them for validation) and evaluation at least 1"
        )
    new = int(NEW_QUESTION_FRACTION * len(questions)) if protocol == "new-questions" else 0
    if len(questions) - new < 2 or (protocol == "new-questions" and new < 1):
        raise ConfigError(f"{len(questions)} questions are too few for protocol {protocol!r}")
    return Split(
        protocol=protocol,
        fraction=fraction,
        seed=seed,
        train_groups=tuple(groups[validation:meta_train]),
        validation_groups=tuple(groups[:validation]),
        test_groups=tuple(groups[meta_train:]),
        question_order=tuple(questions[new:]),
        new_questions=tuple(questions[:new]),
    )
