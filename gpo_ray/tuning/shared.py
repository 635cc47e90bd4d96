"""The data that processes share through Ray's object store: a survey's arrays, and priors fitted once."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

import ray
import torch

from gpo_ray.embedding.arrays import PreferenceArrays, scaled
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.fitted import PriorKey
from gpo_ray.runtime.ray_session import worker_threads
from gpo_ray.runtime.threads import use_threads

KEPT = 8
"""Number of priors that are kept in the object store, whether or not they are in use."""
SharedArrays = Mapping[str, ray.ObjectRef]
"""References to the arrays of each pooling, by the pooling's name."""


def share(arrays: Mapping[str, PreferenceArrays]) -> dict[str, ray.ObjectRef]:
    """Put the data of each pooling into the object store, from which processes map them into memory."""
    # NumPy arrays are mapped into every process that reads them, whereas tensors would be copied.
    return {
        pooling: ray.put(dataclasses.replace(a, x=a.x.numpy()))  # type: ignore[arg-type]
        for pooling, a in arrays.items()
    }


def shared_arrays(reference: ray.ObjectRef) -> PreferenceArrays:
    """Return the data of a reference without copying them."""
    stored = ray.get(reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch warns that the array is read-only
        return dataclasses.replace(stored, x=torch.from_numpy(stored.x))


class SharedPriors:
    """Priors that are fitted once each, by a Ray task that starts when a prior is first needed.

    The last :data:`KEPT` priors are kept; a caller that needs more of them, such as the finals, should ask
    for equal priors in a row.

    Args:
        shared: the data.
        cpus: CPUs of each task.
        tasks: number of tasks, of this or another kind, that run at a time.
    """

    def __init__(self, shared: SharedArrays, cpus: float, tasks: int) -> None:
        self._shared = shared
        self._threads = worker_threads(tasks, cpus)
        self._task = ray.remote(num_cpus=cpus)(_fit)
        self._found: dict[PriorKey, ray.ObjectRef] = {}

    def get(self, key: PriorKey) -> ray.ObjectRef:
        """Return a reference to the :class:`~gpo_ray.prior.at_questions.PriorAtQuestions` of a key."""
        if key not in self._found:
            # Ray passes a reference that is in a list as it is, without fetching its value.
            self._found[key] = self._task.remote([self._shared[key.pooling]], key, self._threads)
            if len(self._found) > KEPT:
                del self._found[next(iter(self._found))]
        return self._found[key]


def _fit(data: Sequence[ray.ObjectRef], key: PriorKey, threads: int) -> PriorAtQuestions:
    use_threads(threads)
    return key.fit(scaled(shared_arrays(data[0]), key.standardize, key.questions))
