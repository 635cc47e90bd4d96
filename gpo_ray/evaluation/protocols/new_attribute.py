"""Protocol ``new-attribute``: whole attributes are held out."""

from __future__ import annotations

from collections import defaultdict

from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.protocols.protocol import Protocol
from gpo_ray.preferences.splits import Draw, Parts, shuffled


class NewAttribute(Protocol):
    """No test group shares an attribute with a meta-train group.

    Groups of one attribute (sex, age, ...) are the same people divided; those of another attribute are
    these people once more. ``fraction`` is the share of the attributes that is for meta-training.
    """

    name = "new-attribute"

    def divide(self, draw: Draw) -> Parts:
        """Whole attributes; where two or more are for meta-training, one of them is for validation.

        So early stopping measures what the test does.

        Raises:
            ConfigError: if a group's id has no attribute, such as ``SEX=Female``, or attributes are too few.
        """
        members = _members(draw.groups)
        drawn = shuffled(draw.rng, members)
        count = max(1, draw.meta_train_size(len(drawn)))
        meta_train = [g for a in drawn[:count] for g in members[a]]
        if len(meta_train) < 2 or (draw.fraction < 1 and count == len(drawn)):
            raise ConfigError(
                f"{len(drawn)} attributes cannot be divided at fraction {draw.fraction:g}: meta-training "
                "needs at least 2 groups (one of them for validation) and evaluation another attribute"
            )
        if count == 1:
            validation = meta_train[: draw.validation_size(len(meta_train))]
        else:  # the smallest attribute always leaves half of the groups to train on
            validation = next(members[a] for a in drawn[:count] if 2 * len(members[a]) <= len(meta_train))
        return Parts(
            train=[g for g in meta_train if g not in validation],
            validation=validation,
            test=[g for a in drawn[count:] for g in members[a]],
        )


def _members(groups: list[str]) -> dict[str, list[str]]:
    """The groups of each attribute."""
    members: dict[str, list[str]] = defaultdict(list)
    for g in groups:
        attribute, equals, _ = g.partition("=")
        if not equals:
            raise ConfigError(
                f"protocol 'new-attribute' needs groups of attributes, with ids like 'SEX=Female'; "
                f"group {g!r} has none"
            )
        members[attribute].append(g)
    return members
