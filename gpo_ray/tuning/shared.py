"""What processes share through the object store: a survey's arrays, and priors, each fitted once."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import ray
import torch

from gpo_ray.config import TrainConfig
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.preferences.splits import Split
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.calibration import fit_prior
from gpo_ray.runtime.ray_session import worker_threads
from gpo_ray.runtime.threads import use_threads

KEPT = 8
"""Priors in the object store that nobody may be using."""
Shared = Mapping[str, ray.ObjectRef]
"""References to the arrays of each pooling."""


def share(arrays: Mapping[str, PreferenceArrays]) -> dict[str, ray.ObjectRef]:
    """Put the data of each pooling into the object store, from where processes map it."""
    # numpy arrays are mapped into every process that reads them, tensors are copied
    return {
        pooling: ray.put(dataclasses.replace(a, x=a.x.numpy()))  # type: ignore[arg-type]
        for pooling, a in arrays.items()
    }


def shared_arrays(reference: ray.ObjectRef) -> PreferenceArrays:
    """The data behind one reference, without a copy."""
    stored = ray.get(reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is read-only: nobody writes to it
        return dataclasses.replace(stored, x=torch.from_numpy(stored.x))


class PriorKey(NamedTuple):
    """All that a prior depends on, besides the survey."""

    pooling: str
    standardize: bool
    context: int
    groups: tuple[str, ...]
    """Whose answers it rests on."""
    questions: tuple[str, ...]
    """To which questions, in the split's order."""

    @classmethod
    def of(cls, config: TrainConfig, split: Split, groups: Sequence[str]) -> PriorKey:
        """Of a model that takes a prior."""
        context = config.validation.context_questions
        return cls(config.model.pooling, config.standardize, context, tuple(groups), split.question_order)


class SharedPriors:
    """Priors, each fitted once, by a Ray task that starts when it is first asked for.

    The last :data:`KEPT` are kept; a longer series, such as that of the finals, asks for equal ones together.

    Args:
        shared: the data.
        cpus: of each task.
        tasks: of this or another kind that run at a time.
    """

    def __init__(self, shared: Shared, cpus: float, tasks: int) -> None:
        self._shared = shared
        self._threads = worker_threads(tasks, cpus)
        self._task = ray.remote(num_cpus=cpus)(_fit)
        self._found: dict[PriorKey, ray.ObjectRef] = {}

    def get(self, key: PriorKey) -> ray.ObjectRef:
        """A reference to the :class:`~gpo_ray.prior.at_questions.PriorAtQuestions`."""
        if key not in self._found:
            # in a list, Ray hands over the reference itself
            self._found[key] = self._task.remote([self._shared[key.pooling]], key, self._threads)
            if len(self._found) > KEPT:
                del self._found[next(iter(self._found))]
        return self._found[key]


def _fit(data: Sequence[ray.ObjectRef], key: PriorKey, threads: int) -> PriorAtQuestions:
    use_threads(threads)
    arrays = shared_arrays(data[0])
    questions = arrays.question_numbers(key.questions)
    if key.standardize:
        arrays = arrays.standardized(questions)[0]
    return fit_prior(arrays, arrays.group_numbers(key.groups), questions, key.context)
