"""Questions of a request as the prior knows them: in its order of the responses, and back again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gpo_ray.embedding.template import SlateTexts
from gpo_ray.preferences.labels import slate_key
from gpo_ray.prior.recognition import Recognition
from gpo_ray.serving.inference.backend import SlatePrediction, SlatePredictions
from gpo_ray.serving.inference.encoding import EncodedSlate


@dataclass(frozen=True)
class Asked:
    """A question of a request, with its responses in the prior's order if the prior has seen it."""

    key: str
    """The prior's key of a seen question, else the :func:`~gpo_ray.preferences.labels.slate_key`."""
    texts: SlateTexts
    found: Recognition

    @classmethod
    def of(cls, question: SlateTexts, found: Recognition) -> Asked:
        """Bring a question into the prior's order."""
        prompt, responses = question
        if found.key is None:
            return cls(slate_key(prompt, responses), question, found)
        return cls(found.key, (prompt, found.in_prior_order(responses)), found)


def with_keys(encoded: Iterable[EncodedSlate], asked: dict[str, SlateTexts]) -> list[EncodedSlate]:
    """Give encoded questions the keys of ``asked`` instead of those of their texts."""
    keys = {slate_key(*texts): key for key, texts in asked.items()}
    return [e if (key := keys.get(e.key, e.key)) == e.key else replace(e, key=key) for e in encoded]


def restored(made: SlatePredictions, asked: Sequence[Asked]) -> SlatePredictions:
    """Return predictions in the order of the responses in which the questions were asked."""
    each = [_restored(p, a.found) for p, a in zip(made.predictions, asked, strict=True)]
    return SlatePredictions(each, made.bundle)


def _restored(made: SlatePrediction, found: Recognition) -> SlatePrediction:
    seen = None if made.interval is None else found.key is not None
    return replace(made.in_order(found.order), seen=seen, other_responses=found.other_responses)
