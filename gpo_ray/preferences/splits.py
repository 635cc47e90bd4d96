"""Splits: which groups and questions are for training, validation and test; drawn once and saved."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from gpo_ray.errors import ConfigError
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.join import OtherSurvey

Protocol = Literal["paper", "new-questions", "new-attribute", "new-survey", "individuals"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
NEW_QUESTION_FRACTION = 0.3


@dataclass(frozen=True)
class SplitPlan:
    """Which splits an evaluation draws: one for each fraction and seed."""

    protocol: Protocol
    """How they are drawn; see :class:`Split`."""
    fractions: Sequence[float]
    """Shares of the groups for meta-training."""
    seeds: int
    """Splits for each fraction."""
    max_test_groups: int | None = None
    """Most test groups of a split."""


class Split(BaseModel):
    """One division of a data set, shared by all methods that are compared on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Protocol
    """``paper``: test groups answer the training questions; ``new-questions``: also new questions;
    ``new-attribute``: no test group shares an attribute with a meta-train group; ``new-survey``: test
    groups and questions are another survey's; ``individuals``: single people, divided within topics;
    groups of other kinds are all for training."""
    fraction: float
    """Share that is for meta-training: of the attributes (``new-attribute``), of each topic's people
    (``individuals``), of the first survey's groups (``new-survey``), else of all groups."""
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
    """Questions kept from meta-training, which alone are scored; only in ``new-questions``."""
    test_order: tuple[str, ...] = ()
    """The other survey's questions, shuffled, which take the place of ``question_order`` for test
    groups; only in ``new-survey``."""
    test_topics: tuple[str, ...] = ()
    """Topic of each test group, where each answers questions of one topic; only in ``individuals``."""

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
        if bool(self.test_order) != (self.protocol == "new-survey"):
            raise ValueError("test_order is for protocol new-survey, which cannot do without")
        if self.test_topics and len(self.test_topics) != len(self.test_groups):
            raise ValueError(f"{len(self.test_topics)} topics for {len(self.test_groups)} test groups")
        return self

    @property
    def meta_train_groups(self) -> tuple[str, ...]:
        """Training and validation groups: all that a method may learn from."""
        return self.train_groups + self.validation_groups

    @property
    def context_order(self) -> tuple[str, ...]:
        """Questions from which test groups' contexts are taken, in this order."""
        return self.test_order or self.question_order


class _Parts(NamedTuple):
    """The groups of each part of a split."""

    train: list[str]
    validation: list[str]
    test: list[str]


def draw_split(
    dataset: PreferenceDataset,
    fraction: float,
    seed: int,
    protocol: Protocol = "paper",
    validation_fraction: float = 0.2,
    other: OtherSurvey | None = None,
    max_test_groups: int | None = None,
) -> Split:
    """Draw a split, which is the same wherever the arguments are the same.

    Args:
        dataset: whose groups and questions to divide.
        fraction: share for meta-training (see :class:`Split`), rounded down as published; 1 keeps all.
        seed: of the random draw.
        protocol: see :class:`Split`.
        validation_fraction: share of the meta-train groups (``individuals``: people) for validation; at
            least one. In ``new-attribute`` it is a whole attribute where two or more are for meta-training.
        other: the part of ``dataset`` to test on; for ``new-survey``, and only for it.
        max_test_groups: most groups to test on, drawn from those there would be.

    Raises:
        ConfigError: if there are too few groups, attributes or questions to divide, or groups are not
            of the kind that the protocol is about.
    """
    _check_plan(fraction, protocol, other, max_test_groups)
    rng = np.random.default_rng([seed, *hashlib.sha256(b"split").digest()[:4]])
    beside = _groups_beside_people(dataset) if protocol == "individuals" else []
    groups = _shuffled(rng, dataset.groups["group_id"].to_pylist(), other.groups if other else beside)
    questions = _shuffled(rng, dataset.questions["question_id"].to_pylist(), other.questions if other else ())
    topics = _topics(dataset, set(groups)) if protocol == "individuals" else {}
    parts = _divided(rng, groups, topics, protocol, fraction, validation_fraction)
    test = _shuffled(rng, other.groups) if other else parts.test
    test_order = _shuffled(rng, other.new_questions) if other else []
    new = int(NEW_QUESTION_FRACTION * len(questions)) if protocol == "new-questions" else 0
    _check_questions(protocol, len(questions), new, len(test_order))
    test = test[:max_test_groups]
    return Split(
        protocol=protocol,
        fraction=fraction,
        seed=seed,
        # drawn last, so that people are drawn as they would be without groups of other kinds
        train_groups=(*parts.train, *_shuffled(rng, beside)),
        validation_groups=tuple(parts.validation),
        test_groups=tuple(test),
        question_order=tuple(questions[new:]),
        new_questions=tuple(questions[:new]),
        test_order=tuple(test_order),
        test_topics=tuple(topics[g] for g in test) if topics else (),
    )


def _check_plan(
    fraction: float, protocol: Protocol, other: OtherSurvey | None, max_test_groups: int | None
) -> None:
    """Refuse arguments of :func:`draw_split` that contradict each other or are out of range."""
    if not 0 < fraction <= 1:
        raise ConfigError(f"fraction must be in (0, 1], not {fraction:g}")
    if (other is not None) != (protocol == "new-survey"):
        raise ConfigError("protocol 'new-survey' needs another survey to test on, and no other protocol does")
    if max_test_groups is not None and max_test_groups < 1:
        raise ConfigError(f"the most groups to test on must be at least 1, not {max_test_groups}")


def _divided(
    rng: np.random.Generator,
    groups: list[str],
    topics: dict[str, str],
    protocol: Protocol,
    fraction: float,
    validation_fraction: float,
) -> _Parts:
    """Divide shuffled groups as the protocol says; only ``individuals`` reads the topics."""
    if protocol == "new-attribute":
        return _by_attribute(rng, groups, fraction, validation_fraction)
    if protocol == "individuals":
        return _by_topic(groups, topics, fraction, validation_fraction)
    return _by_group(groups, fraction, validation_fraction)


def _shuffled(rng: np.random.Generator, ids: Iterable[str], without: Iterable[str] = ()) -> list[str]:
    """Shuffle the ids, so that their order does not depend on the one given."""
    return list(rng.permutation(sorted(set(ids) - set(without))).tolist())


def _by_group(groups: list[str], fraction: float, validation_fraction: float) -> _Parts:
    """Take the first groups for validation, the next for training and the rest for test."""
    meta_train = _share(fraction, len(groups))
    validation = _validation_size(validation_fraction, meta_train)
    if meta_train - validation < 1 or (fraction < 1 and meta_train == len(groups)):
        raise ConfigError(
            f"{len(groups)} groups cannot be divided at fraction {fraction:g}: meta-training needs at least "
            "2 groups (one of them for validation) and evaluation at least 1"
        )
    return _Parts(groups[validation:meta_train], groups[:validation], groups[meta_train:])


def _by_attribute(
    rng: np.random.Generator, groups: list[str], fraction: float, validation_fraction: float
) -> _Parts:
    """Divide whole attributes; one is for validation, so that early stopping measures what the test does."""
    members: dict[str, list[str]] = defaultdict(list)
    for g in groups:
        attribute, equals, _ = g.partition("=")
        if not equals:
            raise ConfigError(
                f"protocol 'new-attribute' needs groups of attributes, with ids like 'SEX=Female'; "
                f"group {g!r} has none"
            )
        members[attribute].append(g)
    drawn = _shuffled(rng, members)
    count = max(1, _share(fraction, len(drawn)))
    meta_train = [g for a in drawn[:count] for g in members[a]]
    if len(meta_train) < 2 or (fraction < 1 and count == len(drawn)):
        raise ConfigError(
            f"{len(drawn)} attributes cannot be divided at fraction {fraction:g}: meta-training needs at "
            "least 2 groups (one of them for validation) and evaluation another attribute"
        )
    if count == 1:
        validation = meta_train[: _validation_size(validation_fraction, len(meta_train))]
    else:  # the smallest attribute always leaves half of the groups to train on
        validation = next(members[a] for a in drawn[:count] if 2 * len(members[a]) <= len(meta_train))
    return _Parts(
        train=[g for g in meta_train if g not in validation],
        validation=validation,
        test=[g for a in drawn[count:] for g in members[a]],
    )


def _by_topic(
    people: list[str], topics: dict[str, str], fraction: float, validation_fraction: float
) -> _Parts:
    """Take the same share of each topic's people; every part runs evenly through the topics."""
    strata: dict[str, list[str]] = defaultdict(list)
    for g in people:
        strata[topics.get(g, "")].append(g)
    cuts = {t: _share(fraction, len(strata[t])) for t in sorted(strata)}
    meta_train = _evenly([strata[t][:cut] for t, cut in cuts.items()])
    test = _evenly([strata[t][cut:] for t, cut in cuts.items()])
    validation = _validation_size(validation_fraction, len(meta_train))
    if len(meta_train) - validation < 1 or (fraction < 1 and not test):
        raise ConfigError(
            f"{len(people)} people on {len(strata)} topics cannot be divided at fraction {fraction:g}: "
            "meta-training needs at least 2 (one of them for validation) and evaluation at least 1"
        )
    return _Parts(meta_train[validation:], meta_train[:validation], test)


def _evenly(lists: list[list[str]]) -> list[str]:
    """Merge lists into one whose beginning, however long, holds about the same share of each of them."""
    placed = [((i + 0.5) / len(items), item) for items in lists for i, item in enumerate(items)]
    return [item for _, item in sorted(placed, key=lambda p: p[0])]


def _groups_beside_people(dataset: PreferenceDataset) -> list[str]:
    """List the groups that are not single people; raises ConfigError if no group is one."""
    kinds = zip(*(dataset.groups[c].to_pylist() for c in ("group_id", "kind")), strict=True)
    beside = [g for g, kind in kinds if kind != "individual"]
    if len(beside) == dataset.groups.num_rows:
        raise ConfigError("protocol 'individuals' needs groups of kind 'individual'; the survey has none")
    return beside


def _topics(dataset: PreferenceDataset, people: set[str]) -> dict[str, str]:
    """Find each person's topic; the result is empty unless each answered questions of one topic only."""
    names = np.asarray([t or "" for t in dataset.questions["topic"].to_pylist()])
    ids = np.asarray(dataset.groups["group_id"].to_pylist())
    known, code = np.unique(names, return_inverse=True)
    pairs = np.unique(np.stack([dataset.group_codes(), code[dataset.question_codes()]]), axis=1)
    found = [(str(ids[g]), str(known[t])) for g, t in pairs.T if ids[g] in people]
    topics = dict(found)
    return topics if len(found) == len(people) == len(topics) and all(topics.values()) else {}


def _share(fraction: float, count: int) -> int:
    """Round ``fraction`` of ``count`` down, unless it is a whole number that floats just fall short of."""
    return int(fraction * count + 1e-9)


def _validation_size(fraction: float, meta_train: int) -> int:
    """Return how many of the meta-train groups are for validation: at least one."""
    return max(1, round(fraction * meta_train))


def _check_questions(protocol: Protocol, questions: int, new: int, other: int) -> None:
    """Refuse a survey with too few questions to train on, or too few new ones to test on."""
    if questions - new < 2 or (protocol == "new-questions" and new < 1):
        raise ConfigError(f"{questions} questions are too few for protocol {protocol!r}")
    if protocol == "new-survey" and other < 2:
        raise ConfigError(
            f"the survey to test on asks {other} questions that the other does not; protocol "
            "'new-survey' needs at least 2"
        )
