"""Define GroupPreferenceModel, the public estimator: it takes and returns numpy arrays, without a cluster."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpo_ray.errors import DataError
from gpo_ray.likelihoods.shares import slate_log_softmax
from gpo_ray.model.bundle import Bundle, BundleConfig, read_bundle
from gpo_ray.model.prepared import (
    GroupPrediction,
    PreparedQuestion,
    checked_shares,
    prior_inputs_of,
    projected_of,
)
from gpo_ray.model.transformer import ContextCache, Points
from gpo_ray.preferences.guess_features import GuessFeatures
from gpo_ray.preferences.slates import Floats
from gpo_ray.prior.covariance import PriorInputs
from gpo_ray.prior.posterior import ConditionedPrior, Posterior, sampling_variances
from gpo_ray.prior.recognition import Recognition


class GroupPreferenceModel:
    """A meta-trained model that adapts to a group from a few of its answers, with no gradient step.

    Examples:
        >>> model = GroupPreferenceModel.load("out/bundle")                 # doctest: +SKIP
        >>> group = model.adapt([(x1, [0.7, 0.3]), (x2, [0.1, 0.5, 0.4])])  # doctest: +SKIP
        >>> group.predict([x3])                                             # doctest: +SKIP
        [array([0.25, 0.75])]
    """

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        self._model = bundle.model.to(device)
        self._device = device
        self.config: BundleConfig = bundle.config
        self.provenance: dict[str, Any] = bundle.provenance
        self._prior = bundle.prior
        self._prior_alone = bundle.prior is not None and not bundle.model.corrects_prior

    @classmethod
    def load(cls, uri: str | os.PathLike[str], device: str = "cpu") -> GroupPreferenceModel:
        """Load a bundle from a folder or URI.

        Raises:
            BundleError: if it is missing, damaged or does not fit.
        """
        return cls(read_bundle(uri), device)

    def adapt(
        self,
        context: Sequence[tuple[Floats, Sequence[float] | Floats]],
        keys: Sequence[str | None] | None = None,
        respondents: Sequence[float | None] | None = None,
        guesses: GuessFeatures | None = None,
        role: str | None = None,
    ) -> AdaptedGroup:
        """Adapt to a group from its answers.

        Args:
            context: for each answered question, its responses' embeddings (R, E), in the pooling of
                ``config.model.pooling``, and the group's shares over the responses (R,), summing to 1. A
                single answer is a one-hot share. There must be at least one question.
            keys: key of each question, None for an unseen one: its
                :func:`~gpo_ray.preferences.labels.slate_key`, or the key that :meth:`recognise` returns.
                Without keys, all questions are treated as unseen.
            respondents: number n of people behind each answer (an effective number where answers are
                weighted), None where it is not known or a single person answered. The fewer they are, the
                less the prior relies on the answer: its variance m (1 - m) / n adds to the noise.
            guesses: a language model's guesses of the unseen questions, as in :meth:`prepare`.
            role: one of :attr:`roles`, the group as which a language model guesses for this one.

        Returns:
            The group, with its context encoded once for any number of predictions.

        Raises:
            DataError: if the context is empty, or shapes or shares are wrong.
        """
        vectors, shares = [v for v, _ in context], [y for _, y in context]
        prepared = self.prepare(vectors, keys, "context", guesses)
        return self.adapt_prepared(prepared, shares, respondents, role)

    @property
    def guess_ways(self) -> tuple[str, ...]:
        """Names of the ways of asking whose guesses join the prior; empty if none do."""
        known = None if self._prior is None else self._prior.prior.guesses
        return () if known is None else known.features.ways

    @property
    def roles(self) -> tuple[str, ...]:
        """Ids of the groups as which a language model was asked; empty if it was only asked as nobody."""
        known = None if self._prior is None else self._prior.prior.guesses
        return () if known is None else known.features.voices

    def prepare(
        self,
        questions: Sequence[Floats],
        keys: Sequence[str | None] | None = None,
        what: str = "questions",
        guesses: GuessFeatures | None = None,
    ) -> list[PreparedQuestion]:
        """Compute what does not depend on a group, once for any number of groups.

        Args:
            questions: for each question, the embeddings of its responses (R, E).
            keys: the questions' keys, as in :meth:`adapt`.
            what: name of the questions in error messages.
            guesses: a language model's guesses of the unseen questions' responses, end to end over all
                questions, in :attr:`guess_ways` and by :attr:`roles`
                (:func:`gpo_ray.guesses.features.guess_features`); those of seen questions are in the bundle.

        Raises:
            DataError: if a shape is wrong or a value not finite, or the guesses are not of the bundle's ways
                and roles.
        """
        self._check_guesses(guesses)
        arrays = self._checked(questions, what)
        if keys is not None and len(keys) != len(arrays):
            raise DataError(f"{what}: {len(keys)} keys for {len(arrays)} questions")
        if not arrays:
            return []
        if self._prior is not None and keys is not None:
            # a seen question is the same one however its texts are written, which changes embeddings a little
            for i, index in enumerate(self._prior.question_index(keys, [len(a) for a in arrays])):
                key = keys[i]
                if index >= 0 and key is not None:
                    arrays[i] = self._prior.vectors(key)
        x, sizes = np.concatenate(arrays), [len(a) for a in arrays]
        projected: list[Tensor | None] = [None] * len(arrays)
        if not self._prior_alone:
            with torch.inference_mode():
                rows = torch.split(self._model.project(torch.from_numpy(x).to(self._device)), sizes)
                projected = [r.clone() for r in rows]  # a view would keep all questions' rows in memory
        prior_inputs: list[PriorInputs | None] = [None] * len(arrays)
        if self._prior is not None:
            prior_inputs = [*self._prior.inputs(x, sizes, keys or [None] * len(arrays), guesses)]
        return [PreparedQuestion(*values) for values in zip(sizes, projected, prior_inputs, strict=True)]

    def _checked(self, questions: Sequence[Floats], what: str) -> list[NDArray[np.float32]]:
        """Return the embeddings (R, E) of each question's responses, if they are of this model's width."""
        arrays, width = [np.asarray(q, np.float32) for q in questions], self.config.embedding_width
        for i, a in enumerate(arrays):
            if a.ndim != 2 or a.shape[1] != width or a.shape[0] < 1:
                raise DataError(
                    f"{what}: question {i}: expected embeddings of shape (R, {width}), got {a.shape}"
                )
            if not np.isfinite(a).all():
                raise DataError(f"{what}: question {i}: an embedding is not finite")
        return arrays

    def _check_guesses(self, guesses: GuessFeatures | None) -> None:
        given = None if guesses is None else (guesses.ways, guesses.voices)
        if given is not None and given != (self.guess_ways, self.roles):
            raise DataError(
                f"guesses: of the ways {', '.join(given[0])} and {len(given[1])} roles; this bundle needs "
                f"those of {', '.join(self.guess_ways) or 'no way'} and {len(self.roles)} roles"
            )

    def recognise(self, prompt: str, responses: Sequence[str]) -> Recognition:
        """Find a question among the seen ones, whatever the order and the spelling of its responses.

        A model without a prior knows no question. Vectors and shares that are given for a recognised
        question must be in the prior's order of the responses (:attr:`Recognition.order`).
        """
        if self._prior is None:
            return Recognition(None, tuple(range(len(responses))))
        return self._prior.recognizer.recognise(prompt, responses)

    @property
    def knows_texts(self) -> bool:
        """Whether questions are recognised in every spelling; a bundle of an earlier version cannot do it."""
        return self._prior is None or self._prior.recognizer.knows_texts

    def vectors(self, key: str) -> NDArray[np.float32]:
        """Return the embeddings (R, E) that the model keeps of a seen question, by its key.

        Raises:
            KeyError: if no seen question has the key.
        """
        if self._prior is None:
            raise KeyError(key)
        return self._prior.vectors(key)

    def seen(self, keys: Sequence[str | None], sizes: Sequence[int]) -> list[bool] | None:
        """Return whether each question is a seen one; None for a model without a prior.

        Args:
            keys: the questions' keys, as in :meth:`adapt`.
            sizes: number of responses of each question.
        """
        if self._prior is None:
            return None
        return [bool(index >= 0) for index in self._prior.question_index(keys, sizes)]

    def adapt_prepared(
        self,
        questions: Sequence[PreparedQuestion],
        shares: Sequence[Sequence[float] | Floats],
        respondents: Sequence[float | None] | None = None,
        role: str | None = None,
    ) -> AdaptedGroup:
        """Adapt to a group from its answers to prepared questions.

        Args:
            questions: the answered questions, from :meth:`prepare`.
            shares: for each question, the group's shares over its responses (R,).
            respondents: as in :meth:`adapt`.
            role: as in :meth:`adapt`.

        Raises:
            DataError: if there is no question, shares or numbers of respondents are wrong, or the role is not
                one of the bundle's.
        """
        if role is not None and role not in self.roles:
            raise DataError(
                f"role {role[:80]!r}: is none of the bundle's {len(self.roles)} roles"
                + (
                    f", such as {self.roles[0]!r}"
                    if self.roles
                    else ": it was trained without guesses in roles"
                )
            )
        if not questions:
            raise DataError("the context is empty: give at least one answered question")
        ys = checked_shares(questions, shares)
        y = np.concatenate(ys)
        cache = None
        if not self._prior_alone:
            with torch.inference_mode():
                index = torch.arange(len(y), device=self._device)[None]
                points = Points(index, torch.from_numpy(y).float()[None].to(self._device))
                cache = self._model.encode_context(projected_of(questions), points)
        conditioned = None
        if self._prior is not None:
            sampling = sampling_variances(respondents or [None] * len(ys), [len(y) for y in ys])
            number = None if role is None else self.roles.index(role)
            conditioned = self._prior.condition_on(prior_inputs_of(questions), y, sampling, number)
        return AdaptedGroup(self, cache, conditioned)

    def predict_prepared(
        self, asked: Sequence[tuple[AdaptedGroup, Sequence[PreparedQuestion]]]
    ) -> list[GroupPrediction]:
        """Predict several groups in one pass through the transformer.

        Args:
            asked: groups of this model, each with at least one question from :meth:`prepare`.

        Returns:
            A prediction for each group, in the order of ``asked``. It does not depend on the other groups.
        """
        sizes = [[q.size for q in some] for _, some in asked]
        posteriors = [p for group, some in asked if (p := group.posterior(some)) is not None]
        each_size = np.concatenate(sizes)
        slate = torch.from_numpy(np.repeat(np.arange(len(each_size)), each_size)).to(self._device)
        with torch.inference_mode():
            mean = self._means(asked, [sum(s) for s in sizes], posteriors)
            shares = slate_log_softmax(mean, slate, len(each_size)).exp().double().cpu().numpy()
        each = np.split(shares, np.cumsum([sum(s) for s in sizes])[:-1])
        found = posteriors or itertools.repeat(None, len(asked))
        return [GroupPrediction(*values) for values in zip(each, sizes, found, strict=True)]

    def _means(
        self,
        asked: Sequence[tuple[AdaptedGroup, Sequence[PreparedQuestion]]],
        points: Sequence[int],
        posteriors: Sequence[Posterior],
    ) -> Tensor:
        """Return the means (N,) of all responses, end to end; their softmax within a question is its shares.

        Args:
            asked: groups, each with its prepared questions.
            points: number of responses that each group is asked about.
            posteriors: the prior's posterior for each group; empty for a model without a prior.
        """
        log_shares = None
        if posteriors:
            log_shares = torch.from_numpy(np.log(np.concatenate([p.shares for p in posteriors]))).float()
        if self._prior_alone and log_shares is not None:
            return log_shares.to(self._device)
        projected = projected_of([q for _, some in asked for q in some])
        real = torch.arange(max(points)) < torch.tensor(points)[:, None]
        index = torch.zeros(real.shape, dtype=torch.long)
        index[real] = torch.arange(len(projected))
        target = Points(index.to(self._device))
        if log_shares is not None:
            padded, seen = torch.zeros(real.shape), torch.zeros(real.shape, dtype=torch.bool)
            padded[real] = log_shares
            seen[real] = torch.from_numpy(np.concatenate([p.seen for p in posteriors]))
            target = replace(target, prior_log_share=padded.to(self._device), seen=seen.to(self._device))
        caches = [group.cache for group, _ in asked if group.cache is not None]
        mean, _ = self._model.decode(projected, ContextCache.padded(caches), target)
        return mean[real.to(self._device)]


class AdaptedGroup:
    """A group whose context has been encoded; made by :meth:`GroupPreferenceModel.adapt`."""

    def __init__(
        self, model: GroupPreferenceModel, cache: ContextCache | None, conditioned: ConditionedPrior | None
    ) -> None:
        self._model = model
        self.cache = cache
        self.conditioned = conditioned

    @property
    def size(self) -> int:
        """Number C of responses of the answered questions."""
        if self.conditioned is not None:
            return len(self.conditioned.residual)
        return self.cache.length if self.cache is not None else 0

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes."""
        tensors = self.cache.nbytes if self.cache is not None else 0
        return tensors + (self.conditioned.nbytes if self.conditioned is not None else 0)

    def posterior(self, questions: Sequence[PreparedQuestion]) -> Posterior | None:
        """Return the prior's posterior for some questions; None for a model without a prior."""
        if self.conditioned is None:
            return None
        return self.conditioned.posterior_at(prior_inputs_of(questions))

    def predict(
        self, questions: Sequence[Floats], keys: Sequence[str | None] | None = None
    ) -> list[NDArray[np.float64]]:
        """Predict the group's preferences.

        Args:
            questions: for each question, the embeddings of its responses (R, E).
            keys: the questions' keys, as in :meth:`GroupPreferenceModel.adapt`.

        Returns:
            For each question, the shares over its responses (R,), which sum to 1.

        Raises:
            DataError: if a shape is wrong or a value not finite.
        """
        if not questions:
            return []
        return self.ask(questions, keys).shares

    def intervals(
        self, questions: Sequence[Floats], keys: Sequence[str | None] | None = None
    ) -> list[NDArray[np.float64]]:
        """Predict 90 % intervals of the group's shares, for each response separately.

        Their widths were chosen such that nine in ten shares of left-out meta-train groups were within them;
        see :func:`gpo_ray.prior.calibration.calibrated`.

        Args:
            questions: the embeddings of the responses, as in :meth:`predict`.
            keys: the questions' keys, as in :meth:`predict`.

        Returns:
            For each question, the lower and upper ends (R, 2), within 0 and 1.

        Raises:
            DataError: if a shape is wrong, a value is not finite, or the model has no prior, which the
                intervals are computed from.
        """
        if not questions:
            return []
        ends = self.ask(questions, keys).intervals
        if ends is None:
            raise DataError("this model has no prior and gives no intervals; train one with prior: memory")
        return ends

    def ask(
        self,
        questions: Sequence[Floats],
        keys: Sequence[str | None] | None = None,
        guesses: GuessFeatures | None = None,
    ) -> GroupPrediction:
        """Predict the group's preferences with their intervals, in one pass.

        Args:
            questions: at least one, as in :meth:`predict`.
            keys: as in :meth:`predict`.
            guesses: as in :meth:`GroupPreferenceModel.prepare`.

        Raises:
            DataError: as of :meth:`GroupPreferenceModel.prepare`.
        """
        prepared = self._model.prepare(questions, keys, guesses=guesses)
        return self._model.predict_prepared([(self, prepared)])[0]
