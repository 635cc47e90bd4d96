"""The protocols, which say on which groups and questions methods are evaluated; each has its own file."""

from __future__ import annotations

from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.protocols.individuals import Individuals
from gpo_ray.evaluation.protocols.new_attribute import NewAttribute
from gpo_ray.evaluation.protocols.new_questions import NewQuestions
from gpo_ray.evaluation.protocols.new_survey import NewSurvey
from gpo_ray.evaluation.protocols.paper import Paper
from gpo_ray.evaluation.protocols.protocol import Protocol
from gpo_ray.preferences.splits import Split

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Paper(),
        NewQuestions(),
        NewAttribute(),
        NewSurvey(),
        Individuals(),
    )
}
"""All protocols by name."""

__all__ = ["PROTOCOLS", "Protocol", "protocol_named", "protocol_of"]


def protocol_named(name: str) -> Protocol:
    """Return the protocol of a name.

    Raises:
        ConfigError: if there is no protocol of that name.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"protocol {name!r} is not one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def protocol_of(split: Split) -> Protocol:
    """Return the protocol by which a split was drawn.

    Raises:
        ConfigError: if there is no protocol of that name, or only one of protocol and split tests on another
            survey.
    """
    protocol = protocol_named(split.protocol)
    if bool(split.test_order) != protocol.another_survey:
        raise ConfigError(
            f"protocol {protocol.name!r} {'needs' if protocol.another_survey else 'has no'} test_order"
        )
    return protocol
