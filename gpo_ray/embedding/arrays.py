"""Join a data set with the embeddings of its questions, as arrays in which groups and questions have numbers.

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
from gpo_ray.preferences.guess_features import GuessFeatures
from gpo_ray.preferences.large import SortedAnswers
from gpo_ray.preferences.slates import Ints, spans

T_co = TypeVar("T_co", covariant=True)


class ByGroup(Protocol[T_co]):
    """A value for each group, by the group's number."""

    def __getitem__(self, group: int, /) -> T_co:
        """Return the value of one group."""


@dataclass(frozen=True)
class OnDisk(Generic[T_co]):
    """A value for each group that is read from disk when it is needed."""

    look_up: Callable[[int], T_co]

    def __getitem__(self, group: int, /) -> T_co:
        """Return the value of one group."""
        return self.look_up(group)


@dataclass(frozen=True)
class PreferenceArrays:
    """A data set with its embeddings, indexed by number.

    ``x`` (N, E) are the embeddings. ``offsets`` (Q + 1,) are the first row of each question, followed by N.
    ``ordinal`` (N,) are the responses' scale values, NaN for nominal questions. ``letter_logprob`` (N,) are
    the log-probabilities of the option letters. Group ``g`` answered the questions ``answered[g]``
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
    sampling: ByGroup[NDArray[np.float64]] | None = None
    """Sampling variances of the answers of each group, as in
    :meth:`~gpo_ray.preferences.dataset.PreferenceDataset.sampling_variance`; None if nothing is known."""
    guesses: GuessFeatures | None = None
    """A language model's guesses of all N responses; None if there are none."""
    published: FeatureBlock | None = None
    """Block of columns from the published prompt; see
    :attr:`~gpo_ray.embedding.store.Embeddings.published`."""

    @classmethod
    def load(
        cls, dataset: PreferenceDataset, store: EmbeddingStore, poolings: Iterable[str]
    ) -> tuple[dict[str, PreferenceArrays], str]:
        """Join a data set with its embeddings in several poolings.

        Returns:
            The arrays by pooling, and the embeddings' fingerprint.

        Raises:
            EmbeddingError: if the embeddings cannot be loaded; see :meth:`EmbeddingStore.load`.
        """
        loaded = {p: store.load(dataset, p) for p in sorted(poolings)}
        return {p: cls.build(dataset, e) for p, e in loaded.items()}, next(iter(loaded.values())).fingerprint

    @classmethod
    def build(
        cls, dataset: PreferenceDataset, embeddings: Embeddings, answers: SortedAnswers | None = None
    ) -> PreferenceArrays:
        """Join a data set with the embeddings of its questions.

        Args:
            dataset: questions, groups and, unless ``answers`` are given, preferences.
            embeddings: the embeddings of the questions.
            answers: preferences that stay on disk.
        """
        answered, shares, sampling = _in_memory(dataset) if answers is None else _on_disk(answers)
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
            sampling=sampling,
            published=embeddings.published,
        )

    def of_block(self, block: FeatureBlock) -> PreferenceArrays:
        """Return the same arrays with only one block of the embeddings' columns."""
        return replace(self, x=block.of(self.x), published=None)

    def group_numbers(self, ids: Sequence[str]) -> list[int]:
        """Return the numbers of groups, given their ids."""
        number = {g: i for i, g in enumerate(self.group_ids)}
        return [number[g] for g in ids]

    def question_numbers(self, ids: Sequence[str]) -> Ints:
        """Return the numbers of questions, given their ids."""
        number = {q: i for i, q in enumerate(self.question_ids)}
        return np.asarray([number[q] for q in ids], np.int64)

    def rows(self, questions: Ints) -> Ints:
        """Return the rows of the responses of ``questions``, in the order given."""
        return spans(self.offsets, questions)

    def shares_of(self, group: int, questions: Ints) -> NDArray[np.float64]:
        """Return a group's shares over the responses of ``questions``, all of which it must have answered."""
        sizes = np.diff(self.offsets)
        own = np.concatenate([[0], np.cumsum(sizes[self.answered[group]])])
        return self.shares[group][spans(own, np.searchsorted(self.answered[group], questions))]

    def sampling_of(self, group: int, questions: Ints) -> NDArray[np.float64]:
        """Return the sampling variances of a group's shares over the responses of ``questions``.

        They are in units of m (1 - m) for shares m, laid out like :meth:`shares_of`.
        """
        sizes = np.diff(self.offsets)[questions]
        if self.sampling is None:
            return np.zeros(sizes.sum())
        return np.repeat(self.sampling[group][np.searchsorted(self.answered[group], questions)], sizes)

    def standardized(self, questions: Ints) -> tuple[PreferenceArrays, Tensor, Tensor]:
        """Scale the embeddings to mean 0 and variance 1 in each dimension over the rows of ``questions``.

        Returns:
            The scaled arrays, and the mean and the scale, each (E,).
        """
        rows = self.x[torch.from_numpy(self.rows(questions))]
        mean, scale = rows.mean(0), rows.std(0)
        scale = torch.where(scale > 1e-6, scale, torch.ones_like(scale))  # constant dimensions are not scaled
        return replace(self, x=(self.x - mean) / scale), mean, scale


def scaled(arrays: PreferenceArrays, standardize: bool, question_ids: Sequence[str]) -> PreferenceArrays:
    """Return data as a model reads them: standardised over its training questions if ``standardize`` is true.

    Args:
        arrays: the data with raw embeddings.
        standardize: the ``standardize`` of the model's training configuration.
        question_ids: ids of the training questions.
    """
    return arrays.standardized(arrays.question_numbers(question_ids))[0] if standardize else arrays


_Answers = tuple[ByGroup[Ints], ByGroup[NDArray[np.float64]], ByGroup[NDArray[np.float64]]]


def _in_memory(dataset: PreferenceDataset) -> _Answers:
    values, offsets = dataset.shares()
    sampling = dataset.sampling_variance()
    group, question = dataset.group_codes(), dataset.question_codes()
    order = np.lexsort((question, group))
    ends = np.searchsorted(group[order], np.arange(dataset.groups.num_rows + 1))
    rows = [order[a:b] for a, b in itertools.pairwise(ends)]
    return (
        tuple(question[r] for r in rows),
        tuple(values[spans(offsets, r)] for r in rows),
        tuple(sampling[r] for r in rows),
    )


def _on_disk(answers: SortedAnswers) -> _Answers:
    return OnDisk(answers.questions_of), OnDisk(answers.shares_of), OnDisk(answers.sampling_of)
