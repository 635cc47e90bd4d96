"""The public API for texts: load a bundle, adapt it to a group's answers, predict and rank responses.

Everything here is also importable from :mod:`gpo_ray`. If you have embeddings of your own, use
:class:`gpo_ray.model.GroupPreferenceModel`, which takes arrays.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from gpo_ray.answer_files import check_distinct, read_answers_file, read_questions_file
from gpo_ray.errors import BundleError, DataError
from gpo_ray.guesses.features import NO_GUESS, guess_features, reads_letters, way_name
from gpo_ray.guesses.one_model import load_one_model
from gpo_ray.guesses.table import GuessTable
from gpo_ray.model import AdaptedGroup, GroupPreferenceModel
from gpo_ray.model.texts import (
    AnsweredSlate,
    EncodedByKey,
    Slate,
    bundle_language_model,
    encoded_texts,
    first_problem,
    stored_texts,
)
from gpo_ray.preferences.dataset import Question as PreferenceQuestion
from gpo_ray.preferences.guess_features import GuessFeatures
from gpo_ray.preferences.labels import question_key, slate_key
from gpo_ray.prior.recognition import EARLIER_BUNDLE, OTHER_RESPONSES, Recognition, answer_notes


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
    n: float | None = None
    """Number of people behind the shares, if it is known: the fewer, the less is made of them."""


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
    """Whether meta-train groups answered the question, in whatever order and spelling of its responses; None
    for a model without a prior."""
    recognised: bool | None = None
    """True for a seen question and for one that the group itself answered; False where the prompt is known to
    the bundle but not with these responses, so that the question is taken as unseen; None where the prompt is
    not known either."""
    note: str | None = None
    """What to know about the prediction, in words."""

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """Return the responses with their shares, the most preferred one first."""
        return sorted(zip(self.responses, self.share, strict=True), key=lambda pair: -pair[1])


class TextModel:
    """A bundle together with the language model that it was trained with; :func:`load` makes it."""

    def __init__(
        self,
        estimator: GroupPreferenceModel,
        bundle: str,
        model: str | None,
        embeddings: str | None,
        guesses: GuessTable | None = None,
    ) -> None:
        self.estimator = estimator
        """The model that takes arrays of embeddings."""
        self._guesses = guesses
        self._bundle, self._model, self._embeddings = bundle, model, embeddings
        self._read: EncodedByKey = {}

    def adapt(self, answers: Iterable[Answer], role: str | None = None) -> TextGroup:
        """Adapt the model to a group, without a gradient step.

        Args:
            answers: at least one answer of the group.
            role: the group as which a language model guesses for this one, one of the bundle's
                (``estimator.roles``); None if there is none.

        Raises:
            DataError: if there is no answer, one is malformed, a question is answered twice, or the bundle
                has no such role.
            EmbeddingError: if the language model or the embedding store cannot be used.
            BundleError: if the language model is not the one that the bundle was trained with.
        """
        checked = [_checked(AnsweredSlate, i, a) for i, a in enumerate(answers)]
        if not checked:
            raise DataError("answers: the list is empty: give at least one answered question")
        check_distinct(checked, "answers: item {}".format)
        return self.adapt_checked(checked, self.recognise(checked), role)

    def adapt_checked(
        self, answers: Sequence[AnsweredSlate], found: Sequence[Recognition], role: str | None = None
    ) -> TextGroup:
        """Do the same as :meth:`adapt`, from answers that were checked and recognised before."""
        shares = [r.to_prior(a.shares()) for a, r in zip(answers, found, strict=True)]
        vectors = self.embeddings_of(answers, found)
        group = self.estimator.adapt(
            [*zip(vectors, shares, strict=True)],
            [r.key for r in found],
            [a.n for a in answers],
            self.guesses_of(answers, found),
            role,
        )
        notes = answer_notes((a.prompt, r) for a, r in zip(answers, found, strict=True))
        if any(r.key is None for r in found) and not self.estimator.knows_texts:
            notes.append(EARLIER_BUNDLE)
        unseen = [a for a, r in zip(answers, found, strict=True) if r.key is None]
        return TextGroup(self, group, notes, unseen)

    def recognise(self, slates: Iterable[Slate]) -> list[Recognition]:
        """Find questions among the seen ones, whatever the order and the spelling of their responses."""
        return [self.estimator.recognise(s.prompt, s.responses) for s in slates]

    def embeddings_of(self, slates: Sequence[Slate], found: Sequence[Recognition]) -> list[Any]:
        """Return the embeddings (R, E) of questions; the model itself keeps those of the seen ones."""
        read = self.read([s for s, r in zip(slates, found, strict=True) if r.key is None])
        return [
            read[_key(s)][0] if r.key is None else self.estimator.vectors(r.key)
            for s, r in zip(slates, found, strict=True)
        ]

    def guesses_of(self, slates: Sequence[Slate], found: Sequence[Recognition]) -> GuessFeatures | None:
        """Return a language model's guesses of questions, None if there are none or none join the prior.

        Those of the seen questions are in the bundle, in its order of their responses, and left out here.
        """
        ways, roles = self.estimator.guess_ways, self.estimator.roles
        if self._guesses is None and not reads_letters(ways):
            return None
        read = self.read([s for s, r in zip(slates, found, strict=True) if r.key is None])
        asked = [
            PreferenceQuestion("", "", s.prompt if r.key is None else "", s.responses)
            for s, r in zip(slates, found, strict=True)
        ]
        letters = [read[_key(s)][1] if r.key is None else None for s, r in zip(slates, found, strict=True)]
        return guess_features(self._guesses, asked, ways, roles, letters)

    def read(self, slates: Sequence[Slate], progress: bool = False) -> EncodedByKey:
        """Return what the language model makes of questions as they are written; each is read only once.

        Args:
            slates: the questions.
            progress: whether to show progress on standard error.

        Returns:
            The embeddings (R, E) and the log-probabilities (R,) of option letters, by
            :func:`~gpo_ray.preferences.labels.slate_key`.
        """
        wanted = {_key(s): s for s in slates}
        config = self.estimator.config
        missing = {k: s for k, s in wanted.items() if k not in self._read}
        if missing and self._embeddings is not None:
            self._read |= stored_texts(self._embeddings, config, list(missing))
            missing = {k: s for k, s in missing.items() if k not in self._read}
        if missing:
            source = bundle_language_model(config, self._model, self._bundle)
            self._read |= encoded_texts(missing, source, config, progress)
        return {k: self._read[k] for k in wanted}


class TextGroup:
    """A group whose answers a model was adapted to; :meth:`TextModel.adapt` makes it."""

    def __init__(
        self,
        model: TextModel,
        group: AdaptedGroup,
        notes: Sequence[str] = (),
        unseen: Sequence[AnsweredSlate] = (),
    ) -> None:
        self._model = model
        self._unseen = {question_key(a.prompt, a.responses): a for a in unseen}
        self.group = group
        """The adapted group of the model that takes arrays."""
        self.notes = list(notes)
        """What to know about the answers, such as those whose question was not recognised."""

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
        slates = [_checked(Slate, i, q) for i, q in enumerate(questions)]
        return self.predict_checked(slates, self._model.recognise(slates))

    def predict_checked(self, slates: Sequence[Slate], known: Sequence[Recognition]) -> list[Prediction]:
        """Do the same as :meth:`predict`, for questions that were checked and recognised before."""
        if not slates:
            return []
        read, found = zip(*map(self._answered, slates, known), strict=True)
        guesses = self._model.guesses_of(read, found)
        keys = [r.key for r in found]
        predicted = self.group.ask(self._model.embeddings_of(read, found), keys, guesses)
        starts = np.cumsum([0, *(len(s.responses) for s in read[:-1])])
        guessed = [guesses is not None and bool(guesses.guessed[i]) for i in starts]
        lacking = bool(self._model.estimator.guess_ways)
        intervals: Sequence[Any] = predicted.intervals or [None] * len(slates)
        has_prior = predicted.posterior is not None
        return [
            _prediction(s, r, share, ends, has_prior, lacking and not known)
            for s, r, share, ends, known in zip(
                slates, found, predicted.shares, intervals, guessed, strict=True
            )
        ]

    def _answered(self, slate: Slate, found: Recognition) -> tuple[Slate, Recognition]:
        """Return an unseen question as the group answered it, if it did, and its responses' places there."""
        answer = self._unseen.get(question_key(slate.prompt, slate.responses)) if found.key is None else None
        if answer is None:
            return slate, found
        return answer, Recognition.of_answer(slate.responses, answer.responses)


def _prediction(
    slate: Slate, found: Recognition, share: Any, ends: Any, has_prior: bool, lacks_guess: bool
) -> Prediction:
    """Return a prediction whose values follow the responses of the question, in its own order."""
    order = list(found.order)
    seen = found.key is not None
    return Prediction(
        prompt=slate.prompt,
        responses=slate.responses,
        share=tuple(share[order].tolist()),
        interval=None if ends is None else tuple(map(tuple, ends[order].tolist())),
        seen=seen if has_prior else None,
        recognised=found.recognised,
        note=OTHER_RESPONSES if found.other_responses else NO_GUESS if lacks_guess and not seen else None,
    )


def load(
    bundle: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    embeddings: str | os.PathLike[str] | None = None,
    guesses: str | os.PathLike[str] | Sequence[str] | None = None,
    guesses_model: str | None = None,
) -> TextModel:
    """Load a bundle to predict groups' preferences from texts.

    The language model is loaded at the first question that it has not read before on this machine (see
    ``gpo cache list``); this needs the packages of ``pip install 'gpo-ray[embed]'``.

    Args:
        bundle: folder or URI that ``gpo train`` wrote.
        model: language model to use instead of the one named in the bundle; it must have the same weights.
        embeddings: folder or URI of an embedding store (``gpo embed``); the questions that it holds need no
            language model.
        guesses: folder or folders of a language model's guesses (``gpo guess``), for a bundle that was
            trained with such; they are read for unseen questions.
        guesses_model: the model whose guesses are read, if the folders hold those of several.

    Raises:
        BundleError: if the bundle is missing or damaged, or no guesses join its prior and some are given.
        DataError: if a folder of guesses is missing or damaged.
        ConfigError: if the model whose guesses are read must be named.
    """
    where = os.fspath(bundle)
    other, store = (None if place is None else os.fspath(place) for place in (model, embeddings))
    estimator, table = GroupPreferenceModel.load(where), None
    if guesses is not None:
        given = [os.fspath(guesses)] if isinstance(guesses, str | os.PathLike) else list(guesses)
        table = load_one_model(given, guesses_model)
        wanted = set(estimator.guess_ways)
        if not wanted & {way_name(w) for w in table.ways}:  # nothing of them would be read
            mine, theirs = ", ".join(sorted(wanted)), ", ".join(way_name(w) for w in table.ways)
            raise BundleError(f"{where}: reads guesses of {mine or 'no model'}, and those given are {theirs}")
    return TextModel(estimator, where, other, store, table)


@dataclass(frozen=True)
class GuessesGiven:
    """A language model's guesses for a prediction."""

    folders: Sequence[str] = ()
    """Folders of guesses, as in :func:`load`."""
    model: str | None = None
    """The model whose guesses are read, as in :func:`load`."""
    role: str | None = None
    """The group as which the language model guesses for this one, as in :meth:`TextModel.adapt`."""


def predict_file(
    bundle: str,
    context: str,
    questions: str,
    model: str | None = None,
    embeddings: str | None = None,
    progress: bool = False,
    guesses: GuessesGiven | None = None,
) -> dict[str, Any]:
    """Predict a group's preferences from files.

    Args:
        bundle: the bundle's folder or URI.
        context: file of answers, see :func:`gpo_ray.answer_files.read_answers_file`.
        questions: file of questions, see :func:`gpo_ray.answer_files.read_questions_file`.
        model: the language model, by default the one the bundle was trained with.
        embeddings: folder or URI of an embedding store; questions that it holds, like those that the bundle
            recognises, need no language model.
        progress: whether to show progress.
        guesses: a language model's guesses, if there are any.

    Returns:
        ``predictions``: a list with the fields of :class:`Prediction`. ``notes``: what to know about the
        answers, in words.

    Raises:
        GPOError: if a file is malformed, or the language model or the store is not the bundle's.
    """
    answers, notes = read_answers_file(context)
    slates = read_questions_file(questions)
    given = guesses or GuessesGiven()
    folders = given.folders or None
    loaded = load(bundle, model=model, embeddings=embeddings, guesses=folders, guesses_model=given.model)
    answered, asked = loaded.recognise(answers), loaded.recognise(slates)
    pairs = [*zip(answers, answered, strict=True), *zip(slates, asked, strict=True)]
    loaded.read([s for s, r in pairs if r.key is None], progress)  # common beginnings are read once
    group = loaded.adapt_checked(answers, answered, given.role)
    predictions = [asdict(p) for p in group.predict_checked(slates, asked)]
    return {"predictions": predictions, "notes": [*notes, *group.notes]}


def _key(slate: Slate) -> str:
    return slate_key(slate.prompt, slate.responses)


def _checked(kind: type[Any], number: int, item: Question) -> Any:
    """Return a question or answer of the public API as a checked object of the package's own class."""
    values: dict[str, Any] = {"prompt": item.prompt, "responses": tuple(item.responses)}
    if kind is AnsweredSlate:
        if not isinstance(item, Answer):
            raise DataError(f"answers: item {number} is a {type(item).__name__}, expected an Answer")
        share = None if item.share is None else tuple(float(s) for s in item.share)
        values |= {"share": share, "choice": item.choice, "n": item.n}
    try:
        return kind.model_validate(values)
    except ValidationError as e:
        what = "answers" if kind is AnsweredSlate else "questions"
        raise DataError(f"{what}: item {number}: {first_problem(e)}") from e
