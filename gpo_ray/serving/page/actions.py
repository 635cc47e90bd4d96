"""What a visitor of the page can do, without the elements that show it (see elements.py and views.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from gpo_ray.errors import DataError, GPOError
from gpo_ray.model.texts import AnsweredSlate, Slate
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.labels import question_key
from gpo_ray.serving.api.budget import Bounded, check_context
from gpo_ray.serving.api.schemas import (
    GROUP_ID_WORDS,
    MAX_QUESTIONS,
    GroupId,
    GroupPut,
    PredictRequest,
    Question,
)
from gpo_ray.serving.api.threads import Readers, Writers
from gpo_ray.serving.inference.backend import Backend, Overloaded, SlatePrediction
from gpo_ray.serving.pace import RateLimit
from gpo_ray.serving.registry.groups import Registry, StoredGroup
from gpo_ray.serving.registry.keys import KeyRing, Scope
from gpo_ray.serving.settings import PUBLIC, ServeSettings

M = TypeVar("M", bound=BaseModel)

MAX_LISTED_GROUPS = 300
"""Most groups that the page offers for choice, the first ones by their ids."""
MAX_LABEL_CHARACTERS = 80
"""Most characters of a group's label in the list to choose from."""


class RefusedError(GPOError):
    """The API key is unknown, or may not do what was asked."""


@dataclass(frozen=True)
class Distribution:
    """Shares over a question's responses, with their source."""

    label: str
    source: Literal["predicted", "language-model", "real"]
    share: Sequence[float]
    interval: Sequence[tuple[float, float]] | None = None


@dataclass(frozen=True)
class Shown:
    """A question with all distributions to show beside each other."""

    slate: Slate
    distributions: list[Distribution]


def taken(schema: type[M], values: dict[str, Any]) -> M:
    """Return a visitor's input as ``schema``, if the API would accept it too.

    Raises:
        DataError: if it would not; the message says in words what is wrong.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as e:
        raise DataError(_in_words(e.errors()[0])) from e


_SINGULAR = {"context": "answer", "questions": "question", "responses": "response"}
_PLURAL = {"context": "answers", "questions": "questions", "responses": "responses"}


def _in_words(error: Any) -> str:
    """Describe a validation error in a sentence, without what was sent."""
    place, limits, last = error["loc"], error.get("ctx", {}), error["loc"][-1] if error["loc"] else ""
    what = " ".join(str(p + 1) if isinstance(p, int) else _SINGULAR.get(p, p) for p in place)
    match error["type"]:
        case "too_long":
            return f"There are more than {limits['max_length']:,} {_PLURAL.get(last, last)}."
        case "too_short":
            return f"There are fewer than {limits['min_length']:,} {_PLURAL.get(last, last)}."
        case "string_pattern_mismatch" if last == "group_id":
            return f"The id must be {GROUP_ID_WORDS}."
        case "string_pattern_mismatch":
            reason = "holds a character that cannot be stored"
        case "string_too_long":
            reason = f"has more than {limits['max_length']:,} characters"
        case "string_too_short":
            reason = "is empty"
        case _:
            reason = f"is not as it must be: {error['msg'].removeprefix('Value error, ')}"
    return f"The {what or 'question'} {reason}."


class _GroupId(BaseModel):
    group_id: GroupId


def parse_slate(prompt: str, responses: str) -> Slate:
    """Return a question as typed, with one response on each line.

    Raises:
        DataError: if the prompt is empty, there are not two different responses, or the API would not accept
            them.
    """
    lines = [line.strip() for line in responses.splitlines() if line.strip()]
    if not prompt.strip():
        raise DataError("Type the question.")
    if len(lines) < 2:
        raise DataError("Type at least two responses, one on each line.")
    if len(set(lines)) < len(lines):
        raise DataError("Two responses are the same.")
    return taken(Question, {"prompt": prompt.strip(), "responses": lines})


def _label(group_id: str, description: str) -> str:
    label = f"{group_id} – {description}" if description else group_id
    return label if len(label) <= MAX_LABEL_CHARACTERS else label[: MAX_LABEL_CHARACTERS - 1] + "…"


def answer_by_choice(slate: Slate, choice: int) -> AnsweredSlate:
    """Return an answer that is one response."""
    return AnsweredSlate(prompt=slate.prompt, responses=slate.responses, choice=choice)


def answer_by_percent(slate: Slate, percent: Sequence[float | None]) -> AnsweredSlate:
    """Return an answer with a share for each response; an empty one counts as 0.

    Raises:
        DataError: if a share is negative, or they do not sum to 100 except for rounding.
    """
    values = np.asarray([p or 0 for p in percent], np.float64)
    total = values.sum()
    # rounding R shares to whole percents changes their sum by at most R/2
    if not np.isfinite(values).all() or (values < 0).any() or abs(total - 100) > len(values) / 2:
        raise DataError(f"The shares of “{slate.prompt}” must be at least 0 and sum to 100, not {total:g}.")
    return AnsweredSlate(
        prompt=slate.prompt, responses=slate.responses, share=tuple((values / total).tolist())
    )


class OfferedSurvey:
    """The questions of a survey, with the answers of its groups."""

    def __init__(self, dataset: PreferenceDataset) -> None:
        self.questions: dict[str, Slate] = {}
        self.left_out = 0
        """Number of questions that are not offered, since the API would not accept them."""
        for q in dataset.iter_questions():
            try:
                slate = taken(Question, {"prompt": q.prompt, "responses": q.responses})
            except DataError:
                self.left_out += 1
            else:
                self.questions[q.question_id] = slate
        self._rows = {q.key: i for i, q in enumerate(dataset.iter_questions())}
        self._groups = {g: i for i, g in enumerate(dataset.groups["group_id"].to_pylist())}
        self._group_of, self._question_of = dataset.group_codes(), dataset.question_codes()
        self._values, self._offsets = dataset.shares()

    def shares(self, group_id: str, slate: Slate) -> NDArray[np.float64] | None:
        """Return a group's shares (R,), or None if it did not answer or is not in the survey."""
        group = self._groups.get(group_id)
        question = self._rows.get(question_key(slate.prompt, slate.responses))
        if group is None or question is None:
            return None
        found = np.flatnonzero((self._group_of == group) & (self._question_of == question))
        return self._values[slice(*self._offsets[found[0] :][:2])] if len(found) else None


class PageActions:
    """All that the page does; visitors are known by an API key's secret, or by None if none is needed.

    Every method raises :class:`RefusedError` for a key that is unknown, revoked or lacks the scope, and
    :class:`Overloaded` for a visitor with too many requests. A key is looked up at each call, so that
    revoking it also affects open pages.
    """

    def __init__(
        self, settings: ServeSettings, backend: Backend, registry: Registry, keys: KeyRing | None
    ) -> None:
        self.requires_key = settings.require_keys
        self.survey = OfferedSurvey(PreferenceDataset.load(settings.survey)) if settings.survey else None
        self._limits = settings.limits
        self._backend = Bounded(backend, settings.limits)
        self._registry, self._keys = registry, keys
        self._readers, self._writers = Readers(), Writers()
        self._limit = RateLimit(settings.limits.requests_per_minute)

    async def groups(self, secret: str | None) -> dict[str, str]:
        """Return the ids of the visitor's groups, with the labels that the page shows."""
        tenant = await self._tenant(secret, "read")
        listed = partial(self._registry.list, tenant, limit=MAX_LISTED_GROUPS)
        found = await self._readers.run(tenant, listed)
        return {g.group_id: _label(g.group_id, g.description) for g in found}

    async def register(
        self,
        secret: str | None,
        group_id: str,
        description: str,
        answers: Sequence[AnsweredSlate],
        replace: bool = False,
    ) -> str:
        """Store a group and return its id.

        Raises:
            DataError: if there are no answers, or the API would not accept something.
            VersionConflict: if the group exists and ``replace`` is false.
        """
        tenant = await self._tenant(secret, "write")
        wanted = group_id.strip()
        if not wanted:
            raise DataError("Type an id for the group.")
        if not answers:
            raise DataError("Answer at least one question.")
        wanted = taken(_GroupId, {"group_id": wanted}).group_id
        context = [a.model_dump(exclude_none=True) for a in answers]
        group = taken(GroupPut, {"description": description.strip(), "context": context})
        check_context(answers, self._limits)
        put = partial(self._registry.put, must_be_new=not replace)
        await self._writers.run(tenant, partial(put, tenant, wanted, group.description, group.context))
        return wanted

    async def predict(
        self, secret: str | None, group_ids: Sequence[str], slates: Sequence[Slate]
    ) -> list[Shown]:
        """Predict questions for groups; add the language model's and, where known, the real distributions.

        Raises:
            UnknownGroupError: if a group is not registered.
            DataError: if there are no groups or questions, or too many questions.
            GPOError: if a question cannot be predicted.
        """
        tenant = await self._tenant(secret, "read")
        if not group_ids:
            raise DataError("Choose a group.")
        if not 0 < len(slates) <= MAX_QUESTIONS:
            raise DataError(f"Choose 1 to {MAX_QUESTIONS} questions.")
        slates = taken(PredictRequest, {"questions": [s.model_dump() for s in slates]}).questions
        reads = (partial(self._registry.get, tenant, g) for g in dict.fromkeys(group_ids))
        groups = [await self._readers.run(tenant, read) for read in reads]
        predicted = await asyncio.gather(*(self._backend.predict(g.context, slates, tenant) for g in groups))
        shown = []
        for i, slate in enumerate(slates):
            found: list[Distribution] = []
            for group, result in zip(groups, predicted, strict=True):
                found += self._of_group(group, slate, result.predictions[i])
            base = predicted[0].predictions[i].language_model
            shown.append(Shown(slate, [*found, Distribution("Language model alone", "language-model", base)]))
        return shown

    async def rank(self, secret: str | None, group_id: str | None, slate: Slate) -> list[tuple[str, float]]:
        """Return responses with their predicted shares, the most preferred one first.

        Raises:
            GPOError: as in :meth:`predict`.
        """
        shown = await self.predict(secret, [group_id] if group_id else [], [slate])
        pairs = zip(slate.responses, shown[0].distributions[0].share, strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])

    async def _tenant(self, secret: str | None, scope: Scope) -> str:
        """Return the tenant whose groups a visitor sees."""
        key = None
        if self._keys is not None and self.requires_key:
            key = await asyncio.to_thread(self._keys.find, secret or "")
            if key is None:
                raise RefusedError("The API key is not known.")
            if not key.may(scope):
                raise RefusedError(f"The API key may not {scope}.")
        if self._limit.wait(key.key_id if key else PUBLIC):
            raise Overloaded("too many requests")
        return key.tenant if key else PUBLIC

    def _of_group(self, group: StoredGroup, slate: Slate, made: SlatePrediction) -> list[Distribution]:
        """Return the predicted distribution and, if known, the real one."""
        name = group.group_id
        found = [Distribution(f"{name}, predicted", "predicted", made.share, made.interval)]
        key = question_key(slate.prompt, slate.responses)
        real = self.survey.shares(name, slate) if self.survey else None
        for answer in group.context:
            if question_key(answer.prompt, answer.responses) == key:
                real = answer.shares()
        if real is not None:
            found.append(Distribution(f"{name}, real", "real", real.tolist()))
        return found
