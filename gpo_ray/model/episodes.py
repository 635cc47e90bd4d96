"""Preferences as tensors, and the episodes (context, target) drawn from them.

Shapes: G groups, Q questions, N responses of all questions end to end; B, C, T as in the transformer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpo_ray.config import EpisodeConfig
from gpo_ray.embedding.store import Embeddings, EmbeddingStore
from gpo_ray.model.transformer import Points
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.large import SortedAnswers

Ints = NDArray[np.int64]


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
    published: int | None = None
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


def spans(offsets: Ints, which: Ints) -> Ints:
    """Indices ``offsets[i]:offsets[i + 1]`` for every ``i`` of ``which``, end to end."""
    sizes = offsets[which + 1] - offsets[which]
    starts = np.repeat(offsets[which] - (np.cumsum(sizes) - sizes), sizes)
    return np.asarray(starts + np.arange(sizes.sum()), np.int64)


@dataclass(frozen=True)
class Episode:
    """Some groups' contexts and targets, ready for the transformer.

    ``x`` (N', E) the distinct responses in it; ``context`` (B, C); ``target`` (B, T). Of the M real
    target points, end to end: ``place`` (M,) into the flattened (B, T), ``slate`` (M,) number of the
    slate, ``y`` (M,) the shares; ``slates`` is S. Of the groups: ``weight`` (B,) in the loss and
    ``answers`` (B,), how many of the slates are theirs. ``total_points``, ``total_slates`` and
    ``total_groups`` count those of all workers.
    """

    x: Tensor
    context: Points
    target: Points
    place: Tensor
    slate: Tensor
    slates: int
    y: Tensor
    weight: Tensor
    answers: Tensor
    total_points: int
    total_slates: int
    total_groups: int

    def to(self, device: torch.device | str) -> Episode:
        """The episode on another device."""

        def move(value: object) -> object:
            if isinstance(value, Tensor):
                return value.to(device)
            if isinstance(value, Points):
                return Points(*(move(getattr(value, k)) for k in value.__dataclass_fields__))  # type: ignore[arg-type]
            return value

        return Episode(**{k: move(getattr(self, k)) for k in self.__dataclass_fields__})  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Task:
    """One group's part of an episode: which questions are context and which are targets.

    Equal to itself alone.
    """

    group: int
    context: Ints
    target: Ints
    masked: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Target questions whose answers by the meta-train groups are withheld from the prior."""
    weight: float = 1.0
    """Of the group in the loss."""


def draw_tasks(
    arrays: PreferenceArrays,
    groups: Sequence[int],
    questions: Ints,
    config: EpisodeConfig,
    seed: Sequence[int],
) -> list[Task]:
    """Draw one meta-training step (the published code's sampling, per step rather than per epoch).

    One order of the questions and one pair of sizes is drawn for all groups, so that groups which
    answered the same questions share context and targets. A group with fewer answers than asked for
    divides what it has in the same proportion.

    Args:
        arrays: the data.
        groups: numbers of the groups to draw from.
        questions: numbers of the questions to draw from.
        config: sizes.
        seed: of this step; the same seed draws the same step on every worker.
    """
    rng = np.random.default_rng(list(seed))
    contexts = int(rng.integers(*config.context_questions, endpoint=True))
    targets = int(rng.integers(*config.target_questions, endpoint=True))
    order = rng.permutation(questions)
    masked = questions[rng.random(len(questions)) < config.hidden_prior]
    chosen = list(groups)
    if len(chosen) > config.groups:
        chosen = [chosen[i] for i in rng.choice(len(chosen), config.groups, replace=False)]
    tasks = []
    for g in chosen:
        mine = order[np.isin(order, arrays.answered[g], assume_unique=True)]
        if len(mine) < 2:
            continue
        c, t = contexts, targets
        if c + t > len(mine):
            c = min(max(1, round(len(mine) * c / (c + t))), len(mine) - 1)
            t = len(mine) - c
        target = mine[c : c + t]
        tasks.append(Task(g, mine[:c], target, target[np.isin(target, masked)]))
    return tasks


Prior = Callable[[Task], tuple[NDArray[np.float64], NDArray[np.bool_]]]
"""Log prior shares over the responses of a task's targets, and where they rest on answers to the
question itself."""


def build_episode(
    arrays: PreferenceArrays,
    tasks: Sequence[Task],
    all_tasks: Sequence[Task] = (),
    prior: Prior | None = None,
) -> Episode:
    """Tensors for some groups' tasks.

    Args:
        arrays: the data.
        tasks: this worker's part.
        all_tasks: all workers' parts, by default ``tasks``.
        prior: of the target responses, if the model takes one.
    """
    context_rows = [arrays.rows(t.context) for t in tasks]
    target_rows = [arrays.rows(t.target) for t in tasks]
    distinct, inverse = np.unique(np.concatenate(context_rows + target_rows), return_inverse=True)
    cuts = np.cumsum([len(r) for r in context_rows + target_rows])[:-1]
    index = np.split(inverse, cuts)
    context_y = [arrays.shares_of(t.group, t.context) for t in tasks]
    sizes = np.diff(arrays.offsets)
    slate_sizes = np.concatenate([sizes[t.target] for t in tasks])
    target, place = _pad(index[len(tasks) :])
    everyone = all_tasks or tasks
    return Episode(
        x=arrays.x[torch.from_numpy(distinct)],
        context=_context(index[: len(tasks)], context_y, arrays.x.dtype),
        target=Points(target) if prior is None else _with_prior(target, place, [prior(t) for t in tasks]),
        place=place,
        slate=torch.from_numpy(np.repeat(np.arange(len(slate_sizes)), slate_sizes)),
        slates=len(slate_sizes),
        y=torch.from_numpy(np.concatenate([arrays.shares_of(t.group, t.target) for t in tasks])).to(
            arrays.x.dtype
        ),
        weight=torch.tensor([t.weight for t in tasks], dtype=arrays.x.dtype),
        answers=torch.tensor([len(t.target) for t in tasks]),
        total_points=int(sum(sizes[t.target].sum() for t in everyone)),
        total_slates=sum(len(t.target) for t in everyone),
        total_groups=len(everyone),
    )


def _context(index: Sequence[Ints], y: Sequence[NDArray[np.float64]], dtype: torch.dtype) -> Points:
    padded, place = _pad(index)
    values = torch.zeros(padded.numel(), dtype=dtype)
    values[place] = torch.from_numpy(np.concatenate(y)).to(dtype)
    mask = torch.zeros(padded.numel(), dtype=torch.bool)
    mask[place] = True
    return Points(padded, values.view_as(padded), None if mask.all() else mask.view_as(padded))


def _with_prior(
    target: Tensor, place: Tensor, priors: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]
) -> Points:
    values, known = torch.zeros(target.numel()), torch.zeros(target.numel(), dtype=torch.bool)
    values[place] = torch.from_numpy(np.concatenate([p for p, _ in priors])).float()
    known[place] = torch.from_numpy(np.concatenate([k for _, k in priors]))
    return Points(target, prior=values.view_as(target), seen=known.view_as(target))


def _pad(rows: Sequence[Ints]) -> tuple[Tensor, Tensor]:
    """Rows of unequal length as one (B, longest) tensor, and where their entries are when flattened."""
    longest = max(len(r) for r in rows)
    padded = np.zeros((len(rows), longest), np.int64)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    place = np.concatenate([i * longest + np.arange(len(r)) for i, r in enumerate(rows)])
    return torch.from_numpy(padded), torch.from_numpy(place)
