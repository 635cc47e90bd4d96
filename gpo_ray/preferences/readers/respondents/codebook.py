"""The codebook of a file of respondents: which variables are questions, demographics and the weight."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from gpo_ray.config import StrictConfig
from gpo_ray.errors import ConfigError
from gpo_ray.preferences.labels import normal_label
from gpo_ray.preferences.readers.respondents.case import two_cases
from gpo_ray.preferences.readers.respondents.levels import labelled
from gpo_ray.preferences.readers.respondents.table import Column, RespondentTable, Value, shown_value


def _label(value: Any) -> Any:
    """Return a label in its normal form; a number that YAML sees in it is a text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = shown_value(float(value))
    return normal_label(value) if isinstance(value, str) else value


def _coded(value: Any) -> Any:
    """Return labels by codes; in a list each label is its own code."""
    if isinstance(value, list):
        if len({str(v) for v in value}) < len(value):
            raise ValueError("a response is listed twice")
        value = {v: v for v in value}
    if not isinstance(value, dict):
        return value
    return {float(k) if isinstance(k, int | float) else k: v for k, v in value.items()}


Label = Annotated[str, BeforeValidator(_label), Field(min_length=1)]
Labels = Annotated[dict[float | str, Label], BeforeValidator(_coded)]


class QuestionEntry(StrictConfig):
    """A question of the codebook."""

    prompt: Label
    """The text of the question."""
    responses: Labels
    """Response of each code, in their order; codes with the same response are one response."""
    missing: Labels = Field(default_factory=dict)
    """Codes that are no answers: refusals, "don't know", not asked."""
    blank: Label | None = None
    """In a set "mark all that apply": the response of those who marked another question of the set, and for
    whom the file holds nothing here."""
    ordered: bool = False
    """Whether the responses are in the order of a scale."""
    scale: tuple[float, ...] | None = None
    """Value of each response on the scale, if these are not the codes."""
    topic: Label | None = None
    """The topic, by which the results of an evaluation may be told apart."""

    @model_validator(mode="after")
    def _responses_are_usable(self) -> QuestionEntry:
        distinct = len(self.slate())
        if distinct < 2:
            raise ValueError(f"responses: {distinct} different responses; a question needs at least 2")
        both = [c for c in self.responses if c in self.missing]
        if both:
            raise ValueError(f"code {shown_value(both[0])} is in responses and in missing; remove one")
        if self.scale is not None and not self.ordered:
            raise ValueError("scale is given and ordered is false; set ordered: true or remove scale")
        if self.scale is not None and len(self.scale) != distinct:
            raise ValueError(f"scale: {len(self.scale)} values for {distinct} responses; give each one")
        return self

    def slate(self) -> tuple[str, ...]:
        """Return the different responses in their order."""
        last = () if self.blank is None else (self.blank,)
        return tuple(dict.fromkeys((*self.responses.values(), *last)))

    def ordinal(self) -> tuple[float, ...] | None:
        """Return the responses' values on the scale, None if they are not ordered.

        They are the scale that is given; else the codes, if these are equally spaced numbers in order; else
        1, 2, 3, ...
        """
        if not self.ordered:
            return None
        if self.scale is not None:
            return self.scale
        first = {label: code for code, label in reversed(self.responses.items())}
        codes = [first.get(label) for label in self.slate()]
        numbers = [c for c in codes if isinstance(c, float)]
        steps = {b - a for a, b in pairwise(numbers)}
        if len(numbers) == len(codes) and len(steps) == 1 and 0 not in steps:
            return tuple(numbers)
        return tuple(float(i) for i in range(1, len(codes) + 1))


class DemographicEntry(StrictConfig):
    """A variable whose levels are groups of people."""

    label: Label
    """What the variable is, for the descriptions of groups."""
    levels: Labels = Field(default_factory=dict)
    """Name of each code's level; codes with the same name are one level, other codes belong to no group.
    Empty for a number that is cut into levels."""
    bins: tuple[float, ...] = ()
    """Where a number is cut: 18, 30, 50 makes "18-29", "30-49" and "50+"."""

    @model_validator(mode="after")
    def _has_levels_or_bins(self) -> DemographicEntry:
        if bool(self.levels) == bool(self.bins):
            raise ValueError("give levels, or bins for a number")
        if any(b <= a for a, b in pairwise(self.bins)):
            raise ValueError("bins: the numbers must ascend")
        return self


class Codebook(StrictConfig):
    """What the variables of a file of respondents are."""

    weight: str | None = None
    """Variable of the survey weight; None if all respondents count the same."""
    id: str | None = None
    """Variable that identifies respondents; None to number the rows."""
    demographics: dict[str, DemographicEntry] = Field(default_factory=dict)
    """By the names of their variables."""
    questions: dict[str, QuestionEntry] = Field(min_length=1)
    """By the names of their variables."""
    sets: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Questions "mark all that apply" of which the file holds the marks alone: a name, and the questions of
    the set."""

    @model_validator(mode="after")
    def _names_agree(self) -> Codebook:
        for name in self.questions:
            if name in self.demographics:
                raise ValueError(f"{name} is in questions and in demographics; remove one")
        members = {name for each in self.sets.values() for name in each}
        unknown = sorted(members - {*self.questions})
        if unknown:
            raise ValueError(f"sets: {unknown[0]} is not among the questions; add it or leave it out")
        alone = [name for name, q in self.questions.items() if q.blank is not None and name not in members]
        if alone:
            raise ValueError(
                f"questions.{alone[0]}.blank is given and the question is in no set; list it in sets"
            )
        return self


def check_codebook(codebook: Codebook, table: RespondentTable, where: str) -> None:
    """Check that the variables and codes of a codebook are those of a file.

    Raises:
        ConfigError: naming the first key that does not fit.
    """
    for key, name in (("weight", codebook.weight), ("id", codebook.id)):
        if name is not None:
            column = _variable(name, table, f"{where}: {key}")
            if key == "weight":
                _require_weight(column, f"{where}: {key}")
    for name, demographic in codebook.demographics.items():
        at = f"{where}: demographics.{name}"
        column = _variable(name, table, at)
        _check_codes(demographic.levels, column, f"{at}.levels")
        _require_one_case(demographic.levels.values(), f"{at}.levels")
        if demographic.bins and not any(isinstance(v, float) for v in column.values):
            raise ConfigError(f"{at}.bins: {name} is not a number; give levels instead")
    for name, question in codebook.questions.items():
        at = f"{where}: questions.{name}"
        column = _variable(name, table, at)
        _check_codes(question.responses, column, f"{at}.responses")
        _require_one_case(question.slate(), f"{at}.responses")
        _check_codes(question.missing, column, f"{at}.missing")


def _variable(name: str, table: RespondentTable, at: str) -> Column:
    column = table.columns.get(name)
    if column is None:
        near = difflib.get_close_matches(name.casefold(), [n.casefold() for n in table.columns], 1)
        known = [n for n in table.columns if n.casefold() in near]
        hint = f"did you mean {known[0]}?" if known else "see the file's variables"
        raise ConfigError(f"{at}: {table.path.name} has no variable {name!r}; {hint}")
    if column.problem is not None and not column.labels:  # labels of the file give way to the codebook's
        raise ConfigError(f"{at}: {table.path.name}: {name}: {column.problem}")
    return column


def _require_one_case(labels: Iterable[str], at: str) -> None:
    """Check that labels which differ in case, quotes or dashes alone are not two responses or levels.

    Raises:
        ConfigError: naming two labels that do.
    """
    for label, first in two_cases(labels):
        raise ConfigError(
            f"{at}: {first!r} and {label!r} differ in case, quotes or dashes alone; write them alike"
        )


def _require_weight(column: Column, at: str) -> None:
    """Check that a variable is not one of codes, such as a respondent's sex.

    Raises:
        ConfigError: if all of its values have labels, or are two whole numbers.
    """
    known = [v for v in column.values if v not in column.missing]
    named = len(known) > 1 and all(v in column.labels for v in known)
    codes = len(known) == 2 and all(isinstance(v, float) and v.is_integer() for v in known)
    if named or codes:
        values = ", ".join(f"{shown_value(v)} {column.labels.get(v, '')}".strip() for v in known[:3])
        raise ConfigError(
            f"{at}: {column.name} holds codes ({values}), no weights; name another variable, or null for none"
        )


def _check_codes(codes: Iterable[Value], column: Column, at: str) -> None:
    known = {*column.known(), *labelled(column).answers}  # points of a scale that nobody chose are known too
    for code in codes:
        if code not in known:
            values = ", ".join(shown_value(v) for v in sorted(known, key=column.order)[:12])
            raise ConfigError(
                f"{at}: {shown_value(code)} is not a value of {column.name}; its values: {values or 'none'}"
            )
