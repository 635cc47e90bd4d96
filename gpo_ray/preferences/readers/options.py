"""The options of the readers of surveys."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ReadOptions(BaseModel):
    """The choice of what is read from a survey; each kind of survey accepts only the options it can use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    units: Literal["groups", "individuals", "both"] = "groups"
    """For gss, gss-panel, table and respondents: read shares of groups, or one choice per person and
    question; respondents also takes both."""

    groups: str = "all"
    """For opinionqa and globalopinionqa: ``all`` groups, or ``paper``, the 22 US groups or 14 countries of
    the GPO paper. For respondents: names of demographics, separated by commas, whose levels are the groups;
    ``A*B`` crosses the levels of two."""

    bins: tuple[str, ...] = ()
    """For respondents: where to cut a number into levels, such as ``AGE=18,30,50,65``."""

    codebook: str | None = None
    """For respondents: file of the codebook (``gpo survey codebook``); by default the proposal is used."""

    min_respondents: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    """For gss, gss-panel, table and respondents with groups: fewest respondents behind a group's shares of a
    question; by default 50, and 1 for a table."""

    min_questions: int = Field(default=1, ge=1)
    """For all kinds: fewest questions that a group must have answered."""

    contentious: bool = False
    """For opinionqa: read only the questions on which the publisher found groups to disagree most."""

    encoding: str | None = None
    """For table and respondents: encoding of a text file, if it is neither UTF-8 nor UTF-16 with a byte order
    mark."""

    decimal: Literal[".", ","] | None = None
    """For table and respondents: the decimal sign of numbers, where it is not certain."""

    thousands: Literal[".", ",", "'", " "] | None = None
    """For table and respondents: the sign between thousands of numbers, where it is not certain."""

    repeated: Literal["refuse", "last"] = "refuse"
    """For table: whether a person's second answer to a question is refused, or replaces the first."""

    merge_case: bool = False
    """For table and respondents: whether texts that differ in case alone are one, in its first spelling."""
