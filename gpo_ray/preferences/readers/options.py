"""Options of the readers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ReadOptions(BaseModel):
    """What to take from a survey; each kind accepts only the options that mean something to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    units: Literal["groups", "individuals"] = "groups"
    """gss, gss-panel: shares of demographic groups, or one choice per person and question."""

    groups: Literal["all", "paper"] = "all"
    """opinionqa, globalopinionqa: all groups, or the 22 US groups / 14 countries of the GPO paper."""

    min_respondents: float = Field(default=50, ge=1, allow_inf_nan=False)
    """gss, gss-panel, units=groups: fewest respondents behind a group's share of a question."""

    min_questions: int = Field(default=1, ge=1)
    """All kinds: fewest questions that a group must have answered."""

    contentious: bool = False
    """opinionqa: only the questions on which the publisher found groups to disagree most."""
