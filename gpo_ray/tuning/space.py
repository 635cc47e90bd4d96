"""The configuration of a search, read from ``tune_configs/NAME.yaml``, and its space of hyperparameters.

A sample is a flat dict ``{key: number}``; a choice is sampled as its index. The dict is flat because
HyperOpt's warm start loses nested keys, and choices are indices because HyperOpt turns lists among a choice's
values into graph nodes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from gpo_ray.config import StrictConfig, TrainConfig, load_train_config, parse, present_keys, read_yaml
from gpo_ray.errors import ConfigError

Sample = dict[str, float]
Number = int | float
FIXED = ("seed", "validation")
"""Fields and sections that no search may vary, since they would change how trials are measured."""


class ParameterDistribution(StrictConfig):
    """The distribution of one hyperparameter; exactly one of these fields is given."""

    choice: tuple[Any, ...] | None = Field(default=None, min_length=1)
    """The values, which are equally likely."""
    uniform: tuple[Number, Number] | None = None
    """The least and the greatest value; the values between them are equally likely."""
    loguniform: tuple[Number, Number] | None = None
    """The least and the greatest value; the logarithm is uniform between them."""
    quniform: tuple[Number, Number, Number] | None = None
    """The least value, the greatest value and a step; the values are multiples of the step, and whole numbers
    if all three are whole."""
    qloguniform: tuple[Number, Number, Number] | None = None
    """The same as ``quniform``, but uniform in the logarithm."""
    randint: tuple[int, int] | None = None
    """The least and the greatest whole number, both included."""

    @model_validator(mode="after")
    def _one_with_sound_bounds(self) -> ParameterDistribution:
        kinds = list(ParameterDistribution.model_fields)
        given = [k for k in kinds if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(f"give one prior, not {len(given)}, of: {', '.join(kinds)}")
        if self.kind == "choice":
            return self
        low, high, *step = self.arguments
        if not low < high:
            raise ValueError(f"{self.kind}: bounds must ascend, not [{low}, {high}]")
        if "log" in self.kind and low <= 0:
            raise ValueError(f"{self.kind}: bounds must be above 0, not {low}")
        if step and (step[0] <= 0 or not all(_is_multiple(v, step[0]) for v in (low, high))):
            raise ValueError(
                f"{self.kind}: bounds must be multiples of the step, not [{low}, {high}, {step[0]}]"
            )
        return self

    @property
    def kind(self) -> str:
        """The name of the distribution."""
        return next(k for k in ParameterDistribution.model_fields if getattr(self, k) is not None)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The values of a choice, or the bounds and the step of another distribution."""
        return tuple(getattr(self, self.kind))


class SchedulerConfig(StrictConfig):
    """The rule by which trials are stopped early."""

    kind: Literal["asha", "none"] = "asha"
    """``asha`` is asynchronous successive halving on the validation groups' alignment; ``none`` stops no
    trial early."""
    grace: int = Field(default=40, ge=1)
    """Number of steps before a trial may be stopped."""
    reduction: float = Field(default=3, gt=1)
    """Factor by which each rung reduces the number of trials: with 3, one in three goes on."""


class SearchConfig(StrictConfig):
    """The configuration of a search: the space, the trials and their resources, and the finals."""

    base: str = "gpo"
    """Preset or file with all values that the space does not vary."""
    steps: int | None = Field(default=None, ge=1)
    """Number of steps of each trial; None keeps the base's."""
    space: dict[str, ParameterDistribution] = Field(min_length=1)
    """Distributions by path in a training configuration, such as ``model.width``."""
    start: tuple[str | dict[str, Any], ...] = ()
    """Points that are tried first: a preset or file, whose values of the varied hyperparameters are taken, or
    values by path that replace the base's."""
    algorithm: Literal["tpe", "random"] = "tpe"
    """``tpe`` models the results of earlier trials; ``random`` does not, and serves for comparison."""
    trials: int = Field(default=32, ge=1)
    concurrent: int = Field(default=2, ge=1)
    """Number of trials, and of finals, that run at the same time."""
    workers: int = Field(default=1, ge=1)
    """Number of processes of each trial; two or more share its steps by Ray Train and DeepSpeed. Fewer trials
    than ``concurrent`` run at the same time if the cluster has no room for their workers."""
    cpus: float = Field(default=1, gt=0, le=10_000)
    """Number of logical CPUs of each worker."""
    gpus: float = Field(default=0, ge=0, le=1_000)
    """Number of GPUs of each worker."""
    mlflow: str | None = None
    """MLflow server or database in which trials are tracked too, such as ``http://host:5000``."""
    scheduler: SchedulerConfig = SchedulerConfig()
    protocol: Literal["paper", "new-questions"] = "new-questions"
    """``new-questions`` holds 30 % of the questions and the test groups out of the search; ``paper`` holds
    out only the test groups."""
    fraction: float = Field(default=0.6, gt=0, lt=1)
    """Share of the groups that the search may use."""
    context: int = Field(default=20, ge=1)
    """Number of context questions of each test group."""
    finalists: int = Field(default=3, ge=1)
    """Number of best trials that are meta-trained anew; the best of them on validation groups wins."""
    seeds: int = Field(default=5, ge=1)
    """Number of meta-trainings of each finalist in each protocol; each has other initial weights, episodes,
    validation groups and contexts."""
    finals_protocols: tuple[Literal["paper", "new-questions"], ...] = Field(
        default=("paper", "new-questions"), min_length=1
    )
    """Protocols by which the groups that the search never saw are scored; see ``gpo evaluate``. In
    ``new-questions`` the target questions are those held out of the search; after a search with
    ``protocol: paper`` they differ between seeds, and the search has seen them."""
    against: str = "paper"
    """Preset or file with which the winner is compared."""
    seed: int = Field(default=0, ge=0)

    @field_validator("space", "start", mode="before")
    @classmethod
    def _present_paths(cls, values: Any) -> Any:
        return present_keys(values)


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter: its path and its distribution; choices are as a configuration holds them."""

    key: str
    kind: str
    arguments: tuple[Any, ...]

    def expression(self) -> Any:
        """Return the hyperparameter's HyperOpt expression."""
        from hyperopt import hp

        if self.kind == "choice":
            return hp.choice(self.key, list(range(len(self.arguments))))
        low, high, *step = self.arguments
        if self.kind == "randint":  # TPE treats hp.randint as a choice and ignores the order of numbers
            return hp.uniformint(self.key, low, high)
        if "log" in self.kind:
            low, high = math.log(low), math.log(high)
        return getattr(hp, self.kind)(self.key, low, high, *step)

    def decode(self, sampled: float) -> Any:
        """Return the value that a sampled number stands for."""
        if self.kind == "choice":
            return self.arguments[int(sampled)]
        low, high, *step = self.arguments
        value = min(max(sampled, low), high)  # exp(log(low)) may be a little less than low
        if self.kind == "randint":
            return round(value)
        if step:
            number = round(value / step[0])
            whole = all(isinstance(a, int) for a in self.arguments)
            return number * step[0] if whole else round(number * step[0], 12)
        return float(value)

    def encode(self, value: Any) -> float:
        """Return the number that :meth:`decode` turns into a value.

        Raises:
            ValueError: if the value is never sampled.
        """
        if self.kind == "choice":
            if value not in self.arguments:
                raise ValueError(f"{value} is not one of {', '.join(map(str, self.arguments))}")
            return self.arguments.index(value)
        low, high, *step = self.arguments
        unit = step[0] if step else 1 if self.kind == "randint" else None
        if not low <= value <= high or (unit is not None and not _is_multiple(value, unit)):
            raise ValueError(f"{value} is not in {self.kind} {list(self.arguments)}")
        return value

    def probes(self) -> list[Any]:
        """Return all choices; or both ends and a fractional value between them."""
        if self.kind == "choice":
            return list(self.arguments)
        low, high, *_ = self.arguments
        return [self.decode(v) for v in (low, high, low + (high - low) / math.pi)]


@dataclass(frozen=True)
class Space:
    """All hyperparameters of a search, and the configuration whose values they replace."""

    base: TrainConfig
    dimensions: tuple[Dimension, ...]
    starts: tuple[Sample, ...]
    """The points to try first."""

    def expressions(self) -> dict[str, Any]:
        """Return the HyperOpt expressions of all hyperparameters by path."""
        return {d.key: d.expression() for d in self.dimensions}

    def values(self, sample: Sample) -> dict[str, Any]:
        """Return the values that a sample stands for, by path."""
        return {d.key: d.decode(sample[d.key]) for d in self.dimensions}

    def train_config(self, sample: Sample) -> TrainConfig:
        """Return the training configuration that a sample stands for.

        Raises:
            ConfigError: if the configuration is not valid.
        """
        return _changed(self.base, self.values(sample), "trial")

    def possible(self, key: str) -> list[Any]:
        """Return the :meth:`~Dimension.probes` of a value, or only the base's value if it is not varied."""
        found = [d.probes() for d in self.dimensions if d.key == key]
        return found[0] if found else [_get(self.base, key)]

    def most_steps(self) -> int:
        """Return the number of steps of the longest possible trial."""
        return max(self.possible("steps"))


def load_search(path: str | os.PathLike[str], **changes: Any) -> tuple[SearchConfig, Space]:
    """Read a search from its file, and change some top-level fields.

    A change to None leaves the field as it is.

    Raises:
        ConfigError: naming the file and the key that is wrong.
    """
    values = read_yaml(path) | {k: v for k, v in changes.items() if v is not None}
    return compile_search(values, str(path))


def compile_search(values: dict[str, Any], where: str) -> tuple[SearchConfig, Space]:
    """Make a search from plain values.

    Raises:
        ConfigError: naming ``where`` and the key that is wrong.
    """
    config = parse(SearchConfig, values, where)
    try:
        base = load_train_config(config.base, steps=config.steps)
        load_train_config(config.against)
    except ConfigError as e:
        raise ConfigError(f"{where}: base or against: {e}") from e
    dimensions = tuple(_dimension(base, key, d, where) for key, d in config.space.items())
    starts = tuple(
        _start(base, dimensions, point, f"{where}: start.{i}") for i, point in enumerate(config.start)
    )
    return config, Space(base, dimensions, starts)


def _dimension(base: TrainConfig, key: str, distribution: ParameterDistribution, where: str) -> Dimension:
    """Make a dimension; raise ConfigError if a training configuration does not accept its path or values."""
    place = f"{where}: space.{key}"
    if key.split(".")[0] in FIXED:
        raise ConfigError(f"{place}: not for searching: it would change what is measured")
    if key not in set(_paths(TrainConfig)):
        raise ConfigError(
            f"{place}: a training configuration has no such value; it has {', '.join(_paths(TrainConfig))}"
        )
    dimension = Dimension(key, distribution.kind, distribution.arguments)
    accepted = [_get(_changed(base, {key: v}, place), key) for v in dimension.probes()]
    return Dimension(key, distribution.kind, tuple(accepted)) if distribution.kind == "choice" else dimension


def _start(base: TrainConfig, dimensions: tuple[Dimension, ...], point: Any, where: str) -> Sample:
    unknown = set(point) - {d.key for d in dimensions} if isinstance(point, dict) else set()
    if unknown:
        raise ConfigError(f"{where}: {min(unknown)}: not in the space")
    try:
        config = load_train_config(point) if isinstance(point, str) else _changed(base, point, where)
    except ConfigError as e:
        raise ConfigError(str(e) if str(e).startswith(where) else f"{where}: {e}") from e
    sample = {}
    for d in dimensions:
        try:
            sample[d.key] = d.encode(_get(config, d.key))
        except ValueError as e:
            raise ConfigError(f"{where}: {d.key}: not in the space: {e}") from e
    return sample


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the paths of all values in a configuration, without those of its sections."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _paths(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _get(config: TrainConfig, key: str) -> Any:
    return reduce(getattr, key.split("."), config)


def _changed(base: TrainConfig, values: dict[str, Any], where: str) -> TrainConfig:
    plain = base.model_dump(mode="json")
    for key, value in values.items():
        *sections, name = key.split(".")
        reduce(lambda part, section: part[section], sections, plain)[name] = value
    return parse(TrainConfig, plain, where)


def _is_multiple(value: float, step: float) -> bool:
    return math.isclose(value / step, round(value / step), abs_tol=1e-9)
