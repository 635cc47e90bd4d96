"""Run units of work with Ray Data on a pool of actors, each of which has a copy of a language model.

The job that embeds questions and the one that asks a language model are made of these parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from gpo_ray.errors import EmbeddingError, GPOError
from gpo_ray.runtime.ray_session import quiet_ray_data
from gpo_ray.runtime.resources import Capacity, PlacementBundle
from gpo_ray.runtime.threads import physical_cores

UNITS_PER_ACTOR = 8
"""Number of units of work for each actor; small units let all actors finish at about the same time."""


class ModelPoolConfig(BaseModel):
    """The language model of a job, and on what its copies run."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = "smollm2"
    """Language model: ``smollm2``, a Hub id, a local folder or a ``.gguf`` file."""
    actors: int | None = Field(default=None, ge=1)
    """Number of copies of the model; by default one for each GPU, or one for each CPU core if there is no
    GPU."""
    gpus_per_actor: float | None = Field(default=None, ge=0)
    """Number of GPUs for each copy, over which its layers are spread if it is more than one. By default 1 if
    the cluster has a GPU."""
    cpus_per_actor: float = Field(default=1, gt=0)
    """Number of logical CPUs for each copy."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Data type in which the model computes: float32, bfloat16 or float16."""

    def gpus_each(self, capacity: Capacity) -> float:
        """Return the number of GPUs for each copy on a cluster of the given capacity."""
        return self.gpus_per_actor if self.gpus_per_actor is not None else float(capacity.gpus >= 1)

    def copies(self, worth: int, capacity: Capacity) -> int:
        """Return the number of copies to make.

        Args:
            worth: number of copies that the work justifies.
            capacity: what the cluster has room for.
        """
        if self.actors is not None:
            return self.actors
        worth, gpus = max(1, worth), self.gpus_each(capacity)
        if not gpus and len(capacity.alive) == 1:  # a local cluster may have more logical CPUs than cores
            worth = min(worth, max(1, int(physical_cores() // self.cpus_per_actor)))
        return capacity.room(PlacementBundle("actor", worth, self.cpus_per_actor, gpus), worth)


class ModelActor(ABC):
    """An actor with one copy of a model, which does units of work."""

    problem: GPOError | None = None
    """Why the model could not be loaded; None if it was."""

    @abstractmethod
    def work(self, unit: str) -> dict[str, Any]:
        """Do one unit of work, and return what is told of it."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Do the units of work of a batch."""
        # errors for the user are returned as a row, because Ray would keep only the text of an exception
        try:
            if self.problem is not None:
                raise self.problem
            return pa.Table.from_pylist([self.work(unit) for unit in batch["unit"].to_pylist()])
        except GPOError as e:
            return pa.Table.from_pylist([{"error": str(e)}])


def run_units(
    actor: type[ModelActor],
    arguments: tuple[Any, ...],
    units: Sequence[str],
    config: ModelPoolConfig,
    actors: int,
    gpus: float,
) -> Iterator[dict[str, Any]]:
    """Yield what is told of each unit of work as it is finished.

    Args:
        actor: class of the actors.
        arguments: what they are made with.
        units: the units of work.
        config: the resources of each actor.
        actors: number of actors.
        gpus: number of GPUs of each actor.

    Raises:
        EmbeddingError: if an actor could not do its work for a reason that the user can mend.
    """
    import ray.data

    quiet_ray_data()
    # each unit is a block of its own; with fewer blocks, some actors would get no work
    rows = (
        ray.data.from_items([{"unit": unit} for unit in units], override_num_blocks=len(units))
        .map_batches(
            actor,
            fn_constructor_args=arguments,
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=config.cpus_per_actor,
            num_gpus=gpus,
            compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=2),
        )
        .iter_rows()
    )
    for row in rows:
        if row.get("error"):
            raise EmbeddingError(row["error"])
        yield row
