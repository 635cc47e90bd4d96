"""The public API for texts: load a bundle, adapt it to a group's answers, predict and rank responses.

Everything here is also importable from :mod:`gpo_ray`. If you have embeddings of your own, use
:class:`gpo_ray.model.GroupPreferenceModel`, which takes arrays.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gpo_ray.errors import DataError
from gpo_ray.model import AdaptedGroup, GroupPreferenceModel
from gpo_ray.model.texts import (
    AnsweredSlate,
    Slate,
    VectorsByKey,
    bundle_language_model,
    encoded_vectors,
    first_problem,
    stored_vectors,
)
from gpo_ray.preferences.dataset import question_key
from gpo_ray.runtime.documents import read_json
from gpo_ray.runtime.locations import local_copy


@dataclass(frozen=True)
class Question:
    """A question to predict: a prompt with at least two different responses."""

    prompt: str
    """The text of the question."""
    responses: Sequence[str]
    """The possible responses."""


@dataclass(frozen=True)
class Answer(Question):
    """A question with a group's answer: exactly one of ``share`` and ``choice`` is given."""

    share: Sequence[float] | None = None
    """The group's shares over the R responses, (R,); they sum to 1."""
    choice: int | None = None
    """Index of the one response that a single person gave."""


@dataclass(frozen=True)
class Prediction:
    """The predicted answer of a group to a question with R responses."""

    prompt: str
    responses: tuple[str, ...]
    share: tuple[float, ...]
    """Predicted shares of the responses, (R,); they sum to 1."""
    interval: tuple[tuple[float, float], ...] | None
    """Ends of the 90 % intervals of the shares, (R, 2); None for a model without a prior."""
    seen: bool | None
    """Whether meta-train groups answered the question; None for a model without a prior."""

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """Return the responses with their shares, the most preferred one first."""
        return sorted(zip(self.responses, self.share, strict=True), key=lambda pair: -pair[1])


class TextModel:
    """A bundle together with the language model that it was trained with; :func:`load` makes it."""

    def __init__(
        self, estimator: GroupPreferenceModel, bundle: str, model: str | None, embeddings: str | None
    ) -> None:
        self.estimator = estimator
        """The model that takes arrays of embeddings."""
        self._bundle, self._model, self._embeddings = bundle, model, embeddings
        self._vectors: VectorsByKey = {}

    def adapt(self, answers: Iterable[Answer]) -> TextGroup:
        """Adapt the model to a group, without a gradient step.

        Args:
            answers: at least one answer of the group.

        Raises:
            DataError: if there is no answer, or one is malformed.
            EmbeddingError: if the language model or the embedding store cannot be used.
            BundleError: if the language model is not the one that the bundle was trained with.
        """
        checked = [_checked(AnsweredSlate, i, a) for i, a in enumerate(answers)]
        if not checked:
            raise DataError("answers: the list is empty: give at least one answered question")
        return self.adapt_checked(checked)

    def adapt_checked(self, answers: Sequence[AnsweredSlate]) -> TextGroup:
        """Do the same as :meth:`adapt`, from answers that were checked before."""
        vectors = self.vectors(answers)
        keys = [_key(a) for a in answers]
        known = [(vectors[k], a.shares()) for k, a in zip(keys, answers, strict=True)]
        return TextGroup(self, self.estimator.adapt(known, keys))

    def vectors(self, slates: Sequence[Slate], progress: bool = False) -> Mapping[str, Any]:
        """Return the embeddings (R, E) of questions by their keys; each question is read only once.

        Args:
            slates: the questions.
            progress: whether to show progress on standard error.
        """
        wanted = {_key(s): s for s in slates}
        config = self.estimator.config
        missing = {k: s for k, s in wanted.items() if k not in self._vectors}
        if missing and self._embeddings is not None:
            self._vectors |= stored_vectors(self._embeddings, config, list(missing))
            missing = {k: s for k, s in missing.items() if k not in self._vectors}
        if missing:
            source = bundle_language_model(config, self._model, self._bundle)
            self._vectors |= encoded_vectors(missing, source, config, progress)
        return {k: self._vectors[k] for k in wanted}


class TextGroup:
    """A group whose answers a model was adapted to; :meth:`TextModel.adapt` makes it."""

    def __init__(self, model: TextModel, group: AdaptedGroup) -> None:
        self._model = model
        self.group = group
        """The adapted group of the model that takes arrays."""

    def predict(self, questions: Iterable[Question]) -> list[Prediction]:
        """Predict what the group answers to some questions.

        Args:
            questions: the questions to predict; an :class:`Answer` counts as the question that it answers.

        Returns:
            A prediction for each question, in the same order.

        Raises:
            DataError: if a question is malformed.
            EmbeddingError: if the language model or the embedding store cannot be used.
            BundleError: if the language model is not the one that the bundle was trained with.
        """
        return self.predict_checked([_checked(Slate, i, q) for i, q in enumerate(questions)])

    def predict_checked(self, slates: Sequence[Slate]) -> list[Prediction]:
        """Do the same as :meth:`predict`, for questions that were checked before."""
        if not slates:
            return []
        by_key = self._model.vectors(slates)
        keys = [_key(s) for s in slates]
        vectors = [by_key[k] for k in keys]
        estimator = self._model.estimator
        predicted = self.group.ask(vectors, keys)
        intervals: Sequence[Any] = [None] * len(slates)
        if predicted.intervals is not None:
            intervals = [tuple(map(tuple, ends.tolist())) for ends in predicted.intervals]
        seen: Sequence[bool | None] = estimator.seen(keys, [len(s.responses) for s in slates]) or (
            [None] * len(slates)
        )
        return [
            Prediction(s.prompt, s.responses, tuple(share.tolist()), interval, was_seen)
            for s, share, interval, was_seen in zip(slates, predicted.shares, intervals, seen, strict=True)
        ]


def load(
    bundle: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    embeddings: str | os.PathLike[str] | None = None,
) -> TextModel:
    """Load a bundle to predict groups' preferences from texts.

    The language model is loaded at the first question that it has not read before on this machine (see
    ``gpo cache list``); this needs the packages of ``pip install 'gpo-ray[embed]'``.

    Args:
        bundle: folder or URI that ``gpo train`` wrote.
        model: language model to use instead of the one named in the bundle; it must have the same weights.
        embeddings: folder or URI of an embedding store (``gpo embed``); the questions that it holds need no
            language model.

    Raises:
        BundleError: if the bundle is missing or damaged.
    """
    where = os.fspath(bundle)
    other, store = (None if place is None else os.fspath(place) for place in (model, embeddings))
    return TextModel(GroupPreferenceModel.load(where), where, other, store)


def predict_file(
    bundle: str,
    context: str,
    questions: str,
    model: str | None = None,
    embeddings: str | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Predict a group's preferences from files.

    Args:
        bundle: the bundle's folder or URI.
        context: JSON file, a list of :class:`gpo_ray.model.texts.AnsweredSlate`.
        questions: JSON file, a list of :class:`gpo_ray.model.texts.Slate`.
        model: the language model, by default the one the bundle was trained with.
        embeddings: folder or URI of an embedding store; where it holds all questions, no language model is
            loaded.
        progress: whether to show progress.

    Returns:
        ``predictions``: a list of ``{prompt, responses, share, interval, seen}``; ``interval`` holds the ends
        of a 90 % interval for each response, ``seen`` says whether meta-train groups answered the question;
        both are None for a model without a prior.

    Raises:
        GPOError: if a file is malformed, or the language model or the store is not the bundle's.
    """
    loaded = load(bundle, model=model, embeddings=embeddings)
    answers = _read(context, TypeAdapter(list[AnsweredSlate]))
    slates = _read(questions, TypeAdapter(list[Slate]))
    loaded.vectors([*answers, *slates], progress)  # so that common beginnings are read once
    predicted = loaded.adapt_checked(answers).predict_checked(slates)
    return {
        "predictions": [
            {
                "prompt": p.prompt,
                "responses": list(p.responses),
                "share": list(p.share),
                "interval": None if p.interval is None else [list(ends) for ends in p.interval],
                "seen": p.seen,
            }
            for p in predicted
        ]
    }


def _key(slate: Slate) -> str:
    return question_key(slate.prompt, slate.responses)


def _checked(kind: type[Any], number: int, item: Question) -> Any:
    """Return a question or answer of the public API as a checked object of the package's own class."""
    values: dict[str, Any] = {"prompt": item.prompt, "responses": tuple(item.responses)}
    if kind is AnsweredSlate:
        if not isinstance(item, Answer):
            raise DataError(f"answers: item {number} is a {type(item).__name__}, expected an Answer")
        share = None if item.share is None else tuple(float(s) for s in item.share)
        values |= {"share": share, "choice": item.choice}
    try:
        return kind.model_validate(values)
    except ValidationError as e:
        what = "answers" if kind is AnsweredSlate else "questions"
        raise DataError(f"{what}: item {number}: {first_problem(e)}") from e


def _read(path: str, schema: TypeAdapter[Any]) -> Any:
    try:
        with local_copy(path) as file:
            values = read_json(file, path, DataError)
    except FileNotFoundError as e:
        raise DataError(f"{path}: no such file") from e
    except (OSError, ValueError) as e:
        raise DataError(f"{path}: not a readable file: {e}") from e
    try:
        items = schema.validate_python(values, strict=False)
    except ValidationError as e:
        raise DataError(f"{path}: item {first_problem(e)}") from e
    if not items:
        raise DataError(f"{path}: the list is empty")
    return items
