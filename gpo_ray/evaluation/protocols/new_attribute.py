"""Protocol ``new-attribute``: whole attributes are held out."""

from __future__ import annotations

from collections import defaultdict

from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.protocols.protocol import Protocol
from gpo_ray.preferences.splits import Draw, Parts, shuffled


class NewAttribute(Protocol):
    """A protocol in which no test group shares an attribute with a meta-train group.

    The groups of one attribute (sex, age, ...) divide the survey's people; the groups of another attribute
    divide the same people in another way. ``fraction`` is the share of the attributes that is for
    meta-training.
    """

    name = "new-attribute"

    def divide(self, draw: Draw) -> Parts:
        """Divide whole attributes; if two or more are for meta-training, one of them is for validation.

        Validation groups then share no attribute with training groups, as test groups do not.

        Raises:
            ConfigError: if a group's id does not name an attribute, as ``SEX=Female`` does, or there are too
                few attributes.
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
        else:  # there is always such an attribute: the smallest one leaves half of the groups to train on
            validation = next(members[a] for a in drawn[:count] if 2 * len(members[a]) <= len(meta_train))
        return Parts(
            train=[g for g in meta_train if g not in validation],
            validation=validation,
            test=[g for a in drawn[count:] for g in members[a]],
        )


def _members(groups: list[str]) -> dict[str, list[str]]:
    """Return the groups of each attribute; raise ConfigError if a group's id does not name an attribute."""
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
