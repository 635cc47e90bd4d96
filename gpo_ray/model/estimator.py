"""GroupPreferenceModel: the public estimator, numpy in and out, on one machine without a cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpo_ray.errors import DataError
from gpo_ray.model.bundle import Bundle, BundleConfig, read_bundle
from gpo_ray.model.likelihood import slate_log_softmax
from gpo_ray.model.posterior import Posterior
from gpo_ray.model.transformer import ContextCache, Points
from gpo_ray.preferences.dataset import SHARE_TOLERANCE

Floats = NDArray[np.floating[Any]]


class GroupPreferenceModel:
    """A meta-trained model that adapts to a group from a few of its answers, with no gradient step.

    Example:
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
        self._memory = bundle.memory

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
    ) -> AdaptedGroup:
        """Take in a group's answers.

        Args:
            context: for each answered question its responses' embeddings (R, E), in the pooling of
                ``config.model.pooling``, and the group's shares over them (R,), summing to 1. A
                single answer is a one-hot share. At least one question.
            keys: :func:`~gpo_ray.preferences.dataset.question_key` of each question. By them a model with
                a prior recognises questions that its meta-train groups answered; all others are new.

        Returns:
            The group, its context encoded once for any number of predictions.

        Raises:
            DataError: if the context is empty, or shapes or shares are wrong.
        """
        if not context:
            raise DataError("the context is empty: give at least one answered question")
        x, _ = self._stack([vectors for vectors, _ in context], "context")
        shares = []
        for i, (vectors, share) in enumerate(context):
            y = np.asarray(share, np.float64)
            if y.shape != (len(vectors),):
                raise DataError(f"context question {i}: {y.size} shares for {len(vectors)} responses")
            if not np.isfinite(y).all() or (y < 0).any() or abs(y.sum() - 1) > SHARE_TOLERANCE:
                raise DataError(
                    f"context question {i}: shares must be at least 0 and sum to 1, not {y.tolist()}"
                )
            shares.append(y)
        points = Points(
            self._all(len(x)), torch.from_numpy(np.concatenate(shares)).float()[None].to(self._device)
        )
        with torch.inference_mode():
            cache = self._model.encode_context(x, points)
        sizes = [len(y) for y in shares]
        answers = _Answers(
            x.cpu().numpy(), sizes, np.concatenate(shares), self._keys(keys, len(sizes), "context")
        )
        return AdaptedGroup(self, cache, answers)

    @staticmethod
    def _keys(keys: Sequence[str | None] | None, n: int, what: str) -> list[str | None]:
        if keys is None:
            return [None] * n
        if len(keys) != n:
            raise DataError(f"{what}: {len(keys)} keys for {n} questions")
        return list(keys)

    def _posterior(
        self, group: AdaptedGroup, x: Tensor, sizes: Sequence[int], keys: Sequence[str | None] | None
    ) -> Posterior | None:
        """What the memory expects of the group on some questions."""
        asked = self._keys(keys, len(sizes), "questions")
        if self._memory is None:
            return None
        given = group.answers
        all_sizes = [*given.sizes, *sizes]
        view = self._memory.memory.view(
            np.concatenate([given.x, x.cpu().numpy()]),
            np.asarray(all_sizes),
            self._memory.place([*given.keys, *asked], all_sizes),
        )
        n = len(given.sizes)
        return view.posterior(np.arange(n), given.y, np.arange(n, len(all_sizes)))

    def _predict(
        self, group: AdaptedGroup, questions: Sequence[Floats], keys: Sequence[str | None] | None
    ) -> tuple[NDArray[np.float64], list[int], Posterior | None]:
        """Shares (N,), the number of responses of each question, and what the memory expected."""
        x, sizes = self._stack(questions, "questions")
        found = self._posterior(group, x, sizes, keys)
        target = Points(self._all(sum(sizes)))
        if found is not None:
            log_prior = torch.from_numpy(np.log(found.shares)).float()[None]
            known = torch.from_numpy(found.known)[None]
            target = replace(target, prior=log_prior.to(self._device), known=known.to(self._device))
        slate = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(self._device)
        with torch.inference_mode():
            mean, _ = self._model.decode(x, group.cache, target)
            shares = slate_log_softmax(mean[0], slate, len(sizes)).exp().double().cpu().numpy()
        return shares, sizes, found

    def _all(self, n: int) -> Tensor:
        return torch.arange(n, device=self._device)[None]

    def _stack(self, questions: Sequence[Floats], what: str) -> tuple[Tensor, list[int]]:
        """Embeddings of all responses, (N, E), and the number of each question's."""
        arrays = [np.asarray(q, np.float32) for q in questions]
        width = self.config.embedding_width
        for i, a in enumerate(arrays):
            if a.ndim != 2 or a.shape[1] != width or a.shape[0] < 1:
                raise DataError(
                    f"{what}: question {i}: expected embeddings of shape (R, {width}), got {a.shape}"
                )
            if not np.isfinite(a).all():
                raise DataError(f"{what}: question {i}: an embedding is not finite")
        return torch.from_numpy(np.concatenate(arrays)).to(self._device), [len(a) for a in arrays]


@dataclass(frozen=True)
class _Answers:
    """A context: embeddings (C, E), number of responses of each question, shares (C,) and keys."""

    x: NDArray[np.float32]
    sizes: list[int]
    y: NDArray[np.float64]
    keys: list[str | None]


class AdaptedGroup:
    """A group whose context has been encoded; made by :meth:`GroupPreferenceModel.adapt`."""

    def __init__(self, model: GroupPreferenceModel, cache: ContextCache, answers: _Answers) -> None:
        self._model = model
        self.cache = cache
        self.answers = answers

    def predict(
        self, questions: Sequence[Floats], keys: Sequence[str | None] | None = None
    ) -> list[NDArray[np.float64]]:
        """The group's predicted preferences.

        Args:
            questions: for each question the embeddings of its responses (R, E).
            keys: as in :meth:`GroupPreferenceModel.adapt`.

        Returns:
            For each question the shares over its responses (R,), which sum to 1.

        Raises:
            DataError: if a shape is wrong or a value not finite.
        """
        if not questions:
            return []
        shares, sizes, _ = self._model._predict(self, questions, keys)
        return np.split(shares, np.cumsum(sizes)[:-1])

    def intervals(
        self, questions: Sequence[Floats], keys: Sequence[str | None] | None = None
    ) -> list[NDArray[np.float64]]:
        """90 % intervals of the group's shares, response by response.

        Their widths were set so that they held nine in ten shares of left-out meta-train groups; see
        :func:`gpo_ray.model.calibration.calibrated`.

        Args:
            questions: as in :meth:`predict`.
            keys: as in :meth:`predict`.

        Returns:
            For each question the lower and upper ends (R, 2), within 0 and 1.

        Raises:
            DataError: if a shape is wrong or a value not finite, or the model has no prior, from which
                uncertainty comes.
        """
        if not questions:
            return []
        shares, sizes, found = self._model._predict(self, questions, keys)
        if found is None:
            raise DataError("this model has no prior and gives no intervals; train one with prior: memory")
        half = found.half_width
        ends = np.clip(np.stack([shares - half, shares + half], 1), 0, 1)
        return np.split(ends, np.cumsum(sizes)[:-1])
