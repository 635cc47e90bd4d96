"""GroupPreferenceModel: the public estimator, numpy in and out, on one machine without a cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpo_ray.errors import DataError
from gpo_ray.model.bundle import Bundle, BundleConfig, read_bundle
from gpo_ray.model.episodes import Ints
from gpo_ray.model.likelihood import slate_log_softmax
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
            keys: :func:`~gpo_ray.preferences.dataset.question_key` of each question. With them, a model
                with a prior recognises questions that its meta-train groups answered.

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
        return AdaptedGroup(self, cache, self._recognized(shares, keys))

    def _recognized(
        self, shares: Sequence[NDArray[np.float64]], keys: Sequence[str | None] | None
    ) -> list[tuple[Ints, NDArray[np.float64]]]:
        """Rows and shares of the context questions that the memory knows."""
        if self._memory is None or keys is None:
            return []
        if len(keys) != len(shares):
            raise DataError(f"context: {len(keys)} keys for {len(shares)} questions")
        rows = self._memory.rows_of(keys, [len(s) for s in shares])
        return [(r, s) for r, s in zip(rows, shares, strict=True) if r is not None]

    def _target(self, group: AdaptedGroup, keys: Sequence[str | None] | None, sizes: Sequence[int]) -> Points:
        """Target points, with a prior where the memory knows the question."""
        index = self._all(sum(sizes))
        if self._memory is None or keys is None:
            return Points(index)
        if len(keys) != len(sizes):
            raise DataError(f"questions: {len(keys)} keys for {len(sizes)} questions")
        rows = self._memory.rows_of(keys, sizes)
        prior = torch.from_numpy(self._memory.log_prior(group.recognized, rows, sizes)).float()[None]
        prior = prior.to(self._device)
        return Points(index, prior=prior.nan_to_num(), known=~prior.isnan())

    def _predict(
        self, group: AdaptedGroup, questions: Sequence[Floats], keys: Sequence[str | None] | None
    ) -> list[NDArray[np.float64]]:
        if not questions:
            return []
        x, sizes = self._stack(questions, "questions")
        target = self._target(group, keys, sizes)
        slate = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(self._device)
        with torch.inference_mode():
            mean, _ = self._model.decode(x, group.cache, target)
            shares = slate_log_softmax(mean[0], slate, len(sizes)).exp().double().cpu().numpy()
        return np.split(shares, np.cumsum(sizes)[:-1])

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


class AdaptedGroup:
    """A group whose context has been encoded; made by :meth:`GroupPreferenceModel.adapt`."""

    def __init__(
        self,
        model: GroupPreferenceModel,
        cache: ContextCache,
        recognized: list[tuple[Ints, NDArray[np.float64]]],
    ) -> None:
        self._model = model
        self.cache = cache
        self.recognized = recognized

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
        return self._model._predict(self, questions, keys)
