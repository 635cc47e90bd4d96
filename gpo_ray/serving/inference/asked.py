"""Questions of a request as the prior knows them: in its order of the responses, and back again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from gpo_ray.embedding.template import SlateTexts
from gpo_ray.model.texts import AnsweredSlate
from gpo_ray.preferences.labels import question_key, slate_key
from gpo_ray.prior.recognition import Recognition, answer_notes
from gpo_ray.serving.inference.backend import SlatePrediction, SlatePredictions
from gpo_ray.serving.inference.caching import Cache, bounded, keep
from gpo_ray.serving.inference.calls import Call, slate_texts
from gpo_ray.serving.inference.encoding import EncodedSlate

KEPT_CONTEXTS, KEPT_BYTES = 10_000, 1 << 26
"""Most contexts whose questions are kept, and their memory in bytes."""


@dataclass(frozen=True)
class Asked:
    """A question of a request, with its responses in the prior's order if the prior has seen it."""

    key: str
    """The prior's key of a seen question, else the :func:`~gpo_ray.preferences.labels.slate_key`."""
    texts: SlateTexts
    found: Recognition

    @cached_property
    def spelled(self) -> str:
        """The :func:`~gpo_ray.preferences.labels.slate_key` of ``texts``."""
        return slate_key(*self.texts)

    def encoded(self, known: Mapping[str, EncodedSlate]) -> EncodedSlate | None:
        """Return the question's embeddings: those of the seen question itself if known, else of its texts.

        They are never those of another caller's spelling.
        """
        found = known.get(self.key) or known.get(self.spelled)
        if found is None or self.spelled == self.key:
            return found
        return replace(found, key=self.key, spelled=self.spelled)

    @classmethod
    def of(
        cls, question: SlateTexts, found: Recognition, answered: Mapping[str, SlateTexts] | None = None
    ) -> Asked:
        """Bring a question into the prior's order, or an unseen one into that of the group's answer to it.

        Args:
            question: the question as it was asked.
            found: what the prior knows of it.
            answered: the questions that the group answered, by their
                :func:`~gpo_ray.preferences.labels.question_key`.
        """
        prompt, responses = question
        if found.key is not None:
            return cls(found.key, (prompt, found.in_prior_order(responses)), found)
        theirs = answered.get(question_key(prompt, responses)) if answered else None
        if theirs is not None:
            return cls(slate_key(*theirs), theirs, Recognition.of_answer(responses, theirs[1]))
        return cls(slate_key(prompt, responses), question, found)


@dataclass(frozen=True)
class Answered:
    """The questions that a group answered, by their :func:`~gpo_ray.preferences.labels.question_key`."""

    texts: Mapping[str, SlateTexts]
    nbytes: int
    """Approximate memory."""


Recognise = Callable[[str, Sequence[str]], Recognition]
"""A bundle's way to find a question among the seen ones."""


@dataclass(frozen=True)
class _Notes:
    """What to say of the answers of a context."""

    notes: tuple[str, ...]
    nbytes: int


class Recognised:
    """Recognises the questions of calls; contexts that were looked through are kept, within a bound."""

    def __init__(self) -> None:
        self._answered: Cache[Answered] = bounded(KEPT_CONTEXTS, KEPT_BYTES)
        self._notes: Cache[_Notes] = bounded(KEPT_CONTEXTS, KEPT_BYTES)

    @staticmethod
    def context(answers: Sequence[AnsweredSlate], recognise: Recognise) -> list[Asked]:
        """Return the questions that a group answered."""
        return [Asked.of(q, recognise(*q)) for q in slate_texts(answers)]

    def questions(self, call: Call, recognise: Recognise) -> list[Asked]:
        """Return the questions of a call; its context is looked through only if one of them is unseen."""
        found = [recognise(*q) for q in call.questions]
        answered = self._answers(call).texts if any(f.key is None for f in found) else None
        return [Asked.of(q, f, answered) for q, f in zip(call.questions, found, strict=True)]

    def restored(
        self, made: SlatePredictions, asked: Sequence[Asked], call: Call, recognise: Recognise
    ) -> SlatePredictions:
        """Return predictions as a call asked for them, see :func:`restored`, with notes on its context."""
        return restored(made, asked, self.notes(call, made.bundle, recognise))

    def notes(self, call: Call, bundle: str, recognise: Recognise) -> tuple[str, ...]:
        """Return the notes on a call's context, see :func:`~gpo_ray.prior.recognition.answer_notes`."""
        key = f"{bundle}:{call.context.id}"  # another bundle may know other questions
        kept = self._notes.get(key)
        if kept is None:
            answered = ((q[0], recognise(*q)) for q in slate_texts(call.context.answers))
            said = tuple(answer_notes(answered))
            kept = _Notes(said, sum(map(len, said)) + 1000)
            keep(self._notes, key, kept)
        return kept.notes

    def _answers(self, call: Call) -> Answered:
        kept = self._answered.get(call.context.id)
        if kept is None:
            texts = {question_key(*texts): texts for texts in slate_texts(call.context.answers)}
            kept = Answered(texts, 2 * len(call.context.packed) + 1000)
            keep(self._answered, call.context.id, kept)
        return kept


def restored(made: SlatePredictions, asked: Sequence[Asked], notes: tuple[str, ...] = ()) -> SlatePredictions:
    """Return predictions in the order of the responses in which the questions were asked, with notes."""
    each = [_restored(p, a.found) for p, a in zip(made.predictions, asked, strict=True)]
    return replace(made, predictions=each, notes=notes)


def _restored(made: SlatePrediction, found: Recognition) -> SlatePrediction:
    seen = None if made.interval is None else found.key is not None
    return replace(made.in_order(found.order), seen=seen, recognised=found.recognised)
