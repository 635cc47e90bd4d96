"""A data set joined with the embeddings of its questions, as arrays indexed by number.

Shapes: G groups, Q questions, N responses of all questions end to end, E embedding width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpo_ray.embedding.features import FeatureBlock
from gpo_ray.embedding.store import Embeddings, EmbeddingStore
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.large import SortedAnswers
from gpo_ray.preferences.slates import Ints, spans

T_co = TypeVar("T_co", covariant=True)


class ByGroup(Protocol[T_co]):
    """Something of each group, by its number."""

    def __getitem__(self, group: int, /) -> T_co:
        """That of one group."""


@dataclass(frozen=True)
class OnDisk(Generic[T_co]):
    """Something of each group that is looked up when it is asked for."""

    look_up: Callable[[int], T_co]

    def __getitem__(self, group: int, /) -> T_co:
        """That of one group."""
        return self.look_up(group)


@dataclass(frozen=True)
class PreferenceArrays:
    """A data set with its embeddings, indexed by number.

    ``x`` (N, E); ``offsets`` (Q + 1,) rows of each question; ``ordinal`` (N,) scale values, NaN for
    nominal questions; ``letter_logprob`` (N,). Group ``g`` answered the questions ``answered[g]``
    (ascending) with the shares ``shares[g]``, end to end.
    """

    x: Tensor
    offsets: Ints
    ordinal: NDArray[np.float64]
    letter_logprob: NDArray[np.float32]
    group_ids: tuple[str, ...]
    question_ids: tuple[str, ...]
    answered: ByGroup[Ints]
    shares: ByGroup[NDArray[np.float64]]
    published: FeatureBlock | None = None
    """As in :attr:`~gpo_ray.embedding.store.Embeddings.published`."""

    @classmethod
    def load(
        cls, dataset: PreferenceDataset, store: EmbeddingStore, poolings: Iterable[str]
    ) -> tuple[dict[str, PreferenceArrays], str]:
        """A data set with each pooling of its embeddings, and their fingerprint; errors as loading them."""
        loaded = {p: store.load(dataset, p) for p in sorted(poolings)}
        return {p: cls.build(dataset, e) for p, e in loaded.items()}, next(iter(loaded.values())).fingerprint

    @classmethod
    def build(
        cls, dataset: PreferenceDataset, embeddings: Embeddings, answers: SortedAnswers | None = None
    ) -> PreferenceArrays:
        """Join a data set with the embeddings of its questions.

        Args:
            dataset: questions, groups and, unless ``answers`` are given, preferences.
            embeddings: of the questions.
            answers: preferences that stay on disk.
        """
        answered, shares = _in_memory(dataset) if answers is None else _on_disk(answers)
        ordinal = [
            [np.nan] * len(q.responses) if q.ordinal is None else list(q.ordinal)
            for q in dataset.iter_questions()
        ]
        return cls(
            x=torch.from_numpy(embeddings.vectors),
            offsets=embeddings.offsets,
            ordinal=np.asarray([v for o in ordinal for v in o], np.float64),
            letter_logprob=embeddings.letter_logprob,
            group_ids=tuple(dataset.groups["group_id"].to_pylist()),
            question_ids=tuple(dataset.questions["question_id"].to_pylist()),
            answered=answered,
            shares=shares,
            published=embeddings.published,
        )

    def of_block(self, block: FeatureBlock) -> PreferenceArrays:
        """The same with one block of the features alone."""
        return replace(self, x=block.of(self.x), published=None)

    def group_numbers(self, ids: Sequence[str]) -> list[int]:
        """Numbers of groups by id."""
        number = {g: i for i, g in enumerate(self.group_ids)}
        return [number[g] for g in ids]

    def question_numbers(self, ids: Sequence[str]) -> Ints:
        """Numbers of questions by id."""
        number = {q: i for i, q in enumerate(self.question_ids)}
        return np.asarray([number[q] for q in ids], np.int64)

    def rows(self, questions: Ints) -> Ints:
        """Rows of the responses of ``questions``, in their order."""
        return spans(self.offsets, questions)

    def shares_of(self, group: int, questions: Ints) -> NDArray[np.float64]:
        """The group's shares over the responses of ``questions``, all of which it must have answered."""
        sizes = np.diff(self.offsets)
        own = np.concatenate([[0], np.cumsum(sizes[self.answered[group]])])
        return self.shares[group][spans(own, np.searchsorted(self.answered[group], questions))]

    def standardized(self, questions: Ints) -> tuple[PreferenceArrays, Tensor, Tensor]:
        """Embeddings scaled to mean 0 and variance 1 per dimension over the rows of ``questions``.

        Returns:
            The scaled arrays, and the mean and scale, each (E,).
        """
        rows = self.x[torch.from_numpy(self.rows(questions))]
        mean, scale = rows.mean(0), rows.std(0)
        scale = torch.where(scale > 1e-6, scale, torch.ones_like(scale))  # leave dimensions that never vary
        return replace(self, x=(self.x - mean) / scale), mean, scale


def _in_memory(dataset: PreferenceDataset) -> tuple[ByGroup[Ints], ByGroup[NDArray[np.float64]]]:
    values, offsets = dataset.shares()
    group, question = dataset.group_codes(), dataset.question_codes()
    order = np.lexsort((question, group))
    ends = np.searchsorted(group[order], np.arange(dataset.groups.num_rows + 1))
    rows = [order[a:b] for a, b in itertools.pairwise(ends)]
    return tuple(question[r] for r in rows), tuple(values[spans(offsets, r)] for r in rows)


def _on_disk(answers: SortedAnswers) -> tuple[ByGroup[Ints], ByGroup[NDArray[np.float64]]]:
    return OnDisk(answers.questions_of), OnDisk(answers.shares_of)
