"""Splits, which say which groups and questions are for training, validation and test.

A split is drawn once and saved. A protocol is a rule by which splits are drawn: the rule in this module holds
groups out, and the protocols of :mod:`gpo_ray.evaluation.protocols` extend it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from gpo_ray.errors import ConfigError
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.join import OtherSurvey
from gpo_ray.preferences.twins import Twins, find_twins


class Split(BaseModel):
    """One division of a data set, shared by all methods that are compared on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str
    """Name of the protocol that drew the split, from :data:`gpo_ray.evaluation.protocols.PROTOCOLS`."""
    fraction: float
    """Share, usually of the groups, that is for meta-training; the protocol says what is divided."""
    seed: int
    train_groups: tuple[str, ...]
    """Groups to meta-train on, without the validation groups."""
    validation_groups: tuple[str, ...]
    """Groups taken out of the meta-train groups for early stopping."""
    test_groups: tuple[str, ...]
    """Groups to evaluate on, whose answers nothing uses before the evaluation."""
    question_order: tuple[str, ...]
    """The training questions, shuffled; a group's context is the first of them that it has answered."""
    new_questions: tuple[str, ...] = ()
    """Questions kept from meta-training; if there are any, only they are scored."""
    test_order: tuple[str, ...] = ()
    """Questions of another survey, shuffled, which replace ``question_order`` for the test groups; empty
    unless the test groups are another survey's."""
    test_topics: tuple[str, ...] = ()
    """Topic of each test group, if the protocol divides people within topics."""

    @model_validator(mode="after")
    def _training_and_test_are_apart(self) -> Split:
        for what, ids in (
            ("group", self.meta_train_groups + self.test_groups),
            ("question", self.question_order + self.new_questions + self.test_order),
        ):
            seen: set[str] = set()
            for i in ids:
                if i in seen:
                    raise ValueError(f"{what} {i!r} is in two parts of the split")
                seen.add(i)
        if self.test_topics and len(self.test_topics) != len(self.test_groups):
            raise ValueError(f"{len(self.test_topics)} topics for {len(self.test_groups)} test groups")
        return self

    @property
    def meta_train_groups(self) -> tuple[str, ...]:
        """The training and validation groups, which are all that a method may learn from."""
        return self.train_groups + self.validation_groups

    @property
    def context_order(self) -> tuple[str, ...]:
        """The questions from which test groups' contexts are taken, in this order."""
        return self.test_order or self.question_order


@dataclass(frozen=True)
class Parts:
    """The groups of one survey, divided into training, validation and test groups."""

    train: list[str]
    validation: list[str]
    test: list[str]
    topics: dict[str, str] = field(default_factory=dict)
    """Topic of each group, if the protocol divides within topics and each group answers one topic only."""


@dataclass(frozen=True)
class Draw:
    """The data that a :class:`SplitRule` is given to divide the groups of a survey."""

    dataset: PreferenceDataset
    groups: list[str]
    """Ids of the groups to divide, shuffled; of twins only one, whose part the others join."""
    fraction: float
    """Share of the groups that is for meta-training."""
    validation_fraction: float
    """Share of the meta-train groups that is for validation."""
    rng: np.random.Generator
    """Random numbers for further draws of the rule."""
    twins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The other twins of a group in ``groups``, where it has any."""

    def meta_train_size(self, count: int) -> int:
        """Return ``fraction`` of ``count``, rounded down except where only float error makes it less."""
        return int(self.fraction * count + 1e-9)

    def validation_size(self, meta_train: int) -> int:
        """Return how many of the meta-train groups are for validation, at least one."""
        return max(1, round(self.validation_fraction * meta_train))


class SplitRule:
    """A rule of dividing groups and questions, by which test groups answer the training questions.

    Protocols override what differs, so that :func:`draw_split` can draw the splits of all of them.
    """

    name: str = "paper"
    kind: str | None = None
    """Kind of the groups that are divided, None for all kinds; all other groups are for meta-training."""
    new_question_fraction: float = 0.0
    """Share of the questions that is kept from meta-training; if above 0, only these are scored."""
    another_survey: bool = False
    """Whether the test groups and the questions that they are asked come from another survey."""

    def divide(self, draw: Draw) -> Parts:
        """Divide the groups: the first are for validation, the next for training, the last for test.

        Raises:
            ConfigError: if there are too few groups.
        """
        groups = draw.groups
        meta_train = draw.meta_train_size(len(groups))
        validation = draw.validation_size(meta_train)
        if meta_train - validation < 1 or (draw.fraction < 1 and meta_train == len(groups)):
            raise ConfigError(
                f"{len(groups)} groups cannot be divided at fraction {draw.fraction:g}: meta-training needs "
                "at least 2 groups (one of them for validation) and evaluation at least 1"
            )
        return Parts(groups[validation:meta_train], groups[:validation], groups[meta_train:])

    def new_questions(self, count: int) -> int:
        """Return how many of ``count`` questions are kept from meta-training."""
        return int(self.new_question_fraction * count)


HELD_OUT_GROUPS = SplitRule()


def draw_split(
    dataset: PreferenceDataset,
    fraction: float,
    seed: int,
    rule: SplitRule = HELD_OUT_GROUPS,
    validation_fraction: float = 0.2,
    other: OtherSurvey | None = None,
    max_test_groups: int | None = None,
    twins: Twins | None = None,
) -> Split:
    """Draw a split, with twins in one part; the same arguments give the same split everywhere.

    Args:
        dataset: the data set whose groups and questions to divide.
        fraction: share for meta-training (see :class:`Split`), rounded down as published; 1 keeps all.
        seed: seed of the random draw.
        rule: the rule that says what is divided, and how.
        validation_fraction: share of the meta-train groups for validation, at least one; a rule may round it.
        other: the part of ``dataset`` to test on, if and only if the rule tests on another survey.
        max_test_groups: most groups to test on; if there are more, they are drawn at random.
        twins: the result of :func:`~gpo_ray.preferences.twins.find_twins`, if it is known.

    Raises:
        ConfigError: if there are too few groups or questions to divide, or no groups of the rule's kind.
    """
    _check_request(rule, fraction, other, max_test_groups)
    rng = np.random.default_rng([seed, *hashlib.sha256(b"split").digest()[:4]])
    beside = _groups_beside(dataset, rule)
    groups = shuffled(rng, dataset.groups["group_id"].to_pylist(), other.groups if other else beside)
    questions = shuffled(rng, dataset.questions["question_id"].to_pylist(), other.questions if other else ())
    new = rule.new_questions(len(questions))
    _check_questions(rule, len(questions), new, len(other.new_questions) if other else 0)
    found = find_twins(dataset) if twins is None else twins
    groups = _without_twins_of(groups, other.groups if other else (), found)
    parts = _divide(rule, Draw(dataset, groups, fraction, validation_fraction, rng), found)
    test = shuffled(rng, other.groups) if other else parts.test
    test_order = shuffled(rng, other.new_questions) if other else []
    test = test[:max_test_groups]
    return Split(
        protocol=rule.name,
        fraction=fraction,
        seed=seed,
        train_groups=(*parts.train, *shuffled(rng, beside)),  # last, so that it changes no draw before
        validation_groups=tuple(parts.validation),
        test_groups=tuple(test),
        question_order=tuple(questions[new:]),
        new_questions=tuple(questions[:new]),
        test_order=tuple(test_order),
        test_topics=tuple(parts.topics[g] for g in test) if parts.topics else (),
    )


def _divide(rule: SplitRule, draw: Draw, twins: Twins) -> Parts:
    """Divide the groups by a rule that is shown one of each set of twins; the others join its part.

    Without twins, the draw is what it would be if there were no such thing.
    """
    drawn = set(draw.groups)
    sets = ([g for g in some if g in drawn] for some in twins)
    others = {some[0]: tuple(some[1:]) for some in sets if len(some) > 1}
    if not others:
        return rule.divide(draw)
    hidden = {g for rest in others.values() for g in rest}
    try:
        parts = rule.divide(replace(draw, groups=[g for g in draw.groups if g not in hidden], twins=others))
    except ConfigError as e:
        one, same = next(iter(others.items()))
        raise ConfigError(
            f"{e}; groups with nearly the same answers, such as {one!r} and {same[0]!r}, count as one"
        ) from e

    def together(groups: list[str]) -> list[str]:
        return [member for g in groups for member in (g, *others.get(g, ()))]

    return replace(
        parts,
        train=together(parts.train),
        validation=together(parts.validation),
        test=together(parts.test),
    )


def _without_twins_of(groups: list[str], tested: Iterable[str], twins: Twins) -> list[str]:
    """Return the groups that have no twin among those that are tested."""
    test = set(tested)
    known = {g for some in twins if not test.isdisjoint(some) for g in some}
    return [g for g in groups if g not in known]


def shuffled(rng: np.random.Generator, ids: Iterable[str], without: Iterable[str] = ()) -> list[str]:
    """Shuffle the ids, less those in ``without``; the result does not depend on the order given."""
    return list(rng.permutation(sorted(set(ids) - set(without))).tolist())


def _groups_beside(dataset: PreferenceDataset, rule: SplitRule) -> list[str]:
    """Return the groups of other kinds than the rule divides.

    Raises:
        ConfigError: if the survey has no groups of the rule's kind.
    """
    if rule.kind is None:
        return []
    kinds = zip(*(dataset.groups[c].to_pylist() for c in ("group_id", "kind")), strict=True)
    beside = [g for g, kind in kinds if kind != rule.kind]
    if len(beside) == dataset.groups.num_rows:
        raise ConfigError(f"protocol {rule.name!r} needs groups of kind {rule.kind!r}; the survey has none")
    return beside


def _check_request(
    rule: SplitRule, fraction: float, other: OtherSurvey | None, max_test_groups: int | None
) -> None:
    if not 0 < fraction <= 1:
        raise ConfigError(f"fraction must be in (0, 1], not {fraction:g}")
    if (other is not None) != rule.another_survey:
        told = "needs another survey to test on" if rule.another_survey else "tests on no other survey"
        raise ConfigError(f"protocol {rule.name!r} {told}")
    if max_test_groups is not None and max_test_groups < 1:
        raise ConfigError(f"the most groups to test on must be at least 1, not {max_test_groups}")


def _check_questions(rule: SplitRule, questions: int, new: int, other: int) -> None:
    if questions - new < 2 or (rule.new_question_fraction and new < 1):
        raise ConfigError(f"{questions} questions are too few for protocol {rule.name!r}")
    if rule.another_survey and other < 2:
        raise ConfigError(
            f"the survey to test on asks {other} questions that the other does not; protocol "
            f"{rule.name!r} needs at least 2"
        )
