"""Protocol ``new-attribute``: whole attributes are held out."""

from __future__ import annotations

from collections import defaultdict

from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.protocols.protocol import Protocol
from gpo_ray.preferences.attributes import attributes_of
from gpo_ray.preferences.splits import Draw, Parts, shuffled


class NewAttribute(Protocol):
    """A protocol in which no test group shares an attribute with a meta-train group.

    The groups of one attribute (sex, age, ...) divide the survey's people; the groups of another attribute
    divide the same people in another way. ``fraction`` is the share of the attributes that is for
    meta-training. Attributes with twins among their groups count as one. A group that crosses attributes is
    in the part that has all of these; if they are in several parts, it is in none.
    """

    name = "new-attribute"

    def divide(self, draw: Draw) -> Parts:
        """Divide whole attributes; if two or more are for meta-training, one of them is for validation.

        Validation groups then share no attribute with training groups, as test groups do not.

        Raises:
            ConfigError: if a group's id does not name an attribute, as ``SEX=Female`` does, or there are too
                few attributes.
        """
        members, crossing = _members(draw)
        drawn = shuffled(draw.rng, members)
        count = max(1, draw.meta_train_size(len(drawn)))
        meta_train = [g for a in drawn[:count] for g in members[a]]
        if len(meta_train) < 2 or (draw.fraction < 1 and count >= len(drawn)):
            raise ConfigError(
                f"{len(drawn)} attributes cannot be divided at fraction {draw.fraction:g}: meta-training "
                "needs at least 2 groups (one of them for validation) and evaluation another attribute"
            )
        kept = set(drawn[:count])
        if count == 1:
            validation = meta_train[: draw.validation_size(len(meta_train))]
        else:  # there is always such an attribute: the smallest one leaves half of the groups to train on
            chosen = next(a for a in drawn[:count] if 2 * len(members[a]) <= len(meta_train))
            validation = members[chosen]
            kept.remove(chosen)
        test = [g for a in drawn[count:] for g in members[a]]
        return Parts(
            train=[g for g in meta_train if g not in validation] + _within(crossing, kept),
            validation=validation,
            test=test + _within(crossing, set(drawn[count:])),
        )


def _within(crossing: dict[str, set[str]], attributes: set[str]) -> list[str]:
    """Return the groups that cross no other attributes than these."""
    return [g for g, crossed in crossing.items() if crossed <= attributes]


def _members(draw: Draw) -> tuple[dict[str, list[str]], dict[str, set[str]]]:
    """Return the groups of each attribute, and the attributes of each group that crosses several.

    Attributes that have twins among their groups are one, under the first one's name.

    Raises:
        ConfigError: if a group's id does not name an attribute.
    """
    named = {g: [_attributes(twin) for twin in (g, *draw.twins.get(g, ()))] for g in draw.groups}
    united = {a: {a} for some in named.values() for each in some for a in each}
    for some in named.values():
        if all(len(each) == 1 for each in some):
            together = set().union(*(united[a] for (a,) in some))
            united |= dict.fromkeys(together, together)
    members: dict[str, list[str]] = defaultdict(list)
    crossing: dict[str, set[str]] = {}
    for g, some in named.items():
        own = {min(united[a]) for each in some for a in each}
        if len(own) == 1:
            members[own.pop()].append(g)
        else:
            crossing[g] = own
    return members, crossing


def _attributes(group: str) -> tuple[str, ...]:
    found = attributes_of(group)
    if not found:
        raise ConfigError(
            f"protocol 'new-attribute' needs groups of attributes, with ids like 'SEX=Female'; "
            f"group {group!r} has none"
        )
    return found
