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
from gpo_ray.model.episodes import Ints
from gpo_ray.model.likelihood import slate_log_softmax
from gpo_ray.model.posterior import Conditioned, Posterior
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
        y = np.concatenate(shares)
        with torch.inference_mode():
            points = Points(self._all(len(x)), torch.from_numpy(y).float()[None].to(self._device))
            cache = self._model.encode_context(torch.from_numpy(x).to(self._device), points)
        sizes = [len(s) for s in shares]
        named = self._keys(keys, len(sizes), "context")
        conditioned = None
        if self._memory is not None:
            numbers = np.arange(len(sizes))
            conditioned = self._memory.view(x, sizes, named).conditioned(numbers, y)
        return AdaptedGroup(self, cache, conditioned)

    @staticmethod
    def _keys(keys: Sequence[str | None] | None, n: int, what: str) -> list[str | None]:
        if keys is None:
            return [None] * n
        if len(keys) != n:
            raise DataError(f"{what}: {len(keys)} keys for {n} questions")
        return list(keys)

    def predict_many(self, asked: Sequence[Asked]) -> list[Predicted]:
        """Predict several groups in one pass through the transformer.

        Args:
            asked: groups of this model, with at least one question each, from :meth:`asked`.

        Returns:
            In the order of ``asked``; what else is asked does not matter to any of them.
        """
        points = [len(a.x) for a in asked]
        x = torch.from_numpy(np.concatenate([a.x for a in asked])).to(self._device)
        index = torch.zeros(len(asked), max(points), dtype=torch.long)
        real = torch.arange(max(points)) < torch.tensor(points)[:, None]
        index[real] = torch.arange(len(x))
        target = Points(index.to(self._device))
        found = [a.prior for a in asked if a.prior is not None]
        if found:
            prior, known = torch.zeros(index.shape), torch.zeros(index.shape, dtype=torch.bool)
            prior[real] = torch.from_numpy(np.log(np.concatenate([p.shares for p in found]))).float()
            known[real] = torch.from_numpy(np.concatenate([p.known for p in found]))
            target = replace(target, prior=prior.to(self._device), known=known.to(self._device))
        sizes = np.concatenate([a.sizes for a in asked])
        slate = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(self._device)
        with torch.inference_mode():
            mean, _ = self._model.decode(x, ContextCache.padded([a.group.cache for a in asked]), target)
            log_share = slate_log_softmax(mean[real.to(self._device)], slate, len(sizes))
            shares = log_share.exp().double().cpu().numpy()
        each = np.split(shares, np.cumsum(points)[:-1])
        return [Predicted(s, a.sizes, a.prior) for s, a in zip(each, asked, strict=True)]

    def asked(
        self, group: AdaptedGroup, questions: Sequence[Floats], keys: Sequence[str | None] | None = None
    ) -> Asked:
        """Questions to a group, checked, and what the prior says; arguments as in :meth:`AdaptedGroup.predict`.

        Raises:
            DataError: if a shape is wrong or a value not finite.
        """
        x, sizes = self._stack(questions, "questions")
        named = self._keys(keys, len(sizes), "questions")
        prior = None
        if self._memory is not None and group.conditioned is not None:
            side = self._memory.view(x, sizes, named).side(np.arange(len(sizes)))
            prior = group.conditioned.posterior(side)
        return Asked(group, x, np.asarray(sizes), prior)

    def _all(self, n: int) -> Tensor:
        return torch.arange(n, device=self._device)[None]

    def _stack(self, questions: Sequence[Floats], what: str) -> tuple[NDArray[np.float32], list[int]]:
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
        return np.concatenate(arrays), [len(a) for a in arrays]


@dataclass(frozen=True)
class Asked:
    """Questions to a group: embeddings (N, E), number of responses of each, what the prior says of them."""

    group: AdaptedGroup
    x: NDArray[np.float32]
    sizes: Ints
    prior: Posterior | None


@dataclass(frozen=True)
class Predicted:
    """Shares (N,) over the responses of all questions, end to end."""

    flat: NDArray[np.float64]
    sizes: Ints
    prior: Posterior | None

    @property
    def shares(self) -> list[NDArray[np.float64]]:
        """(R,) of each question."""
        return self._each(self.flat)

    @property
    def intervals(self) -> list[NDArray[np.float64]] | None:
        """(R, 2) of each question; None without a prior."""
        if self.prior is None:
            return None
        half = self.prior.half_width
        return self._each(np.clip(np.stack([self.flat - half, self.flat + half], 1), 0, 1))

    def _each(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        return np.split(values, np.cumsum(self.sizes)[:-1])


class AdaptedGroup:
    """A group whose context has been encoded; made by :meth:`GroupPreferenceModel.adapt`."""

    def __init__(
        self, model: GroupPreferenceModel, cache: ContextCache, conditioned: Conditioned | None
    ) -> None:
        self._model = model
        self.cache = cache
        self.conditioned = conditioned

    @property
    def nbytes(self) -> int:
        """Memory that it takes, to within small change."""
        tensors = sum(t.nbytes for layer in self.cache.layers for t in layer)
        return tensors + (self.conditioned.nbytes if self.conditioned is not None else 0)

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
        return self._model.predict_many([self._model.asked(self, questions, keys)])[0].shares

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
        ends = self._model.predict_many([self._model.asked(self, questions, keys)])[0].intervals
        if ends is None:
            raise DataError("this model has no prior and gives no intervals; train one with prior: memory")
        return ends
