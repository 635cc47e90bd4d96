"""The options of the readers of surveys."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ReadOptions(BaseModel):
    """The choice of what is read from a survey; each kind of survey accepts only the options it can use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    units: Literal["groups", "individuals"] = "groups"
    """For gss and gss-panel: read shares of demographic groups, or one choice per person and question."""

    groups: Literal["all", "paper"] = "all"
    """For opinionqa and globalopinionqa: read all groups, or the 22 US groups or 14 countries of the GPO
    paper."""

    min_respondents: float = Field(default=50, ge=1, allow_inf_nan=False)
    """For gss and gss-panel with units=groups: fewest respondents behind a group's shares of a question."""

    min_questions: int = Field(default=1, ge=1)
    """For all kinds: fewest questions that a group must have answered."""

    contentious: bool = False
    """For opinionqa: read only the questions on which the publisher found groups to disagree most."""
