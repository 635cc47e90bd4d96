"""What a search varies: ``tune_configs/NAME.yaml``, read strictly, as HyperOpt expressions.

A sample is a flat dict ``{key: number}``; a choice is sampled as its index. Flat, because HyperOpt's
warm start loses nested keys; indices, because it turns lists among a choice's values into graph nodes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from gpo_ray.config import StrictConfig, TrainConfig, load_train_config, parse, read_yaml
from gpo_ray.errors import ConfigError

Sample = dict[str, float]
Number = int | float
FIXED = ("seed", "validation")
"""Fields and sections that no search may vary: they change what is measured, not what is achieved."""


class ParameterDistribution(StrictConfig):
    """The distribution that one hyperparameter is sampled from: exactly one of these fields is given."""

    choice: tuple[Any, ...] | None = Field(default=None, min_length=1)
    """The values, each as likely as the others."""
    uniform: tuple[Number, Number] | None = None
    """The least and the most value; those between are equally likely."""
    loguniform: tuple[Number, Number] | None = None
    """The least and the most value; the logarithm is uniform between them."""
    quniform: tuple[Number, Number, Number] | None = None
    """The least value, the most and a step: multiples of the step, whole numbers if all three are."""
    qloguniform: tuple[Number, Number, Number] | None = None
    """As ``quniform``, but uniform in the logarithm."""
    randint: tuple[int, int] | None = None
    """The least and the most whole number, both included."""

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
    """Which trials are stopped early."""

    kind: Literal["asha", "none"] = "asha"
    """``asha``: asynchronous successive halving on the validation groups' alignment."""
    grace: int = Field(default=40, ge=1)
    """Steps that every trial may take."""
    reduction: float = Field(default=3, gt=1)
    """One in so many trials goes on at each rung."""


class SearchConfig(StrictConfig):
    """A search: what is varied, from where, for how long, and how its winner is found."""

    base: str = "gpo"
    """Preset or file with all that the space does not vary."""
    steps: int | None = Field(default=None, ge=1)
    """Steps of each trial, if not the base's."""
    space: dict[str, ParameterDistribution] = Field(min_length=1)
    """Distributions by path in a training configuration, such as ``model.width``."""
    start: tuple[str | dict[str, Any], ...] = ()
    """Points tried first: what is varied as in a preset or file, or values by path over the base's."""
    algorithm: Literal["tpe", "random"] = "tpe"
    """``random`` is there to compare with."""
    trials: int = Field(default=32, ge=1)
    concurrent: int = Field(default=2, ge=1)
    """Trials, and finals, at the same time."""
    workers: int = Field(default=1, ge=1)
    """Processes of each trial; two or more share its steps by Ray Train and DeepSpeed. As many trials run at
    the same time as their workers find room."""
    cpus: float = Field(default=1, gt=0, le=10_000)
    """Logical CPUs of each worker."""
    gpus: float = Field(default=0, ge=0, le=1_000)
    """GPUs of each worker."""
    mlflow: str | None = None
    """Where trials are tracked besides: an MLflow server or database, such as ``http://host:5000``."""
    scheduler: SchedulerConfig = SchedulerConfig()
    protocol: Literal["paper", "new-questions"] = "new-questions"
    """``new-questions`` keeps 30 % of the questions, besides the test groups, from the search; ``paper``
    keeps only the groups."""
    fraction: float = Field(default=0.6, gt=0, lt=1)
    """Share of the groups that the search may see."""
    context: int = Field(default=20, ge=1)
    """Context questions of each test group."""
    finalists: int = Field(default=3, ge=1)
    """Best trials that are meta-trained anew; the winner is the best of them on validation groups."""
    seeds: int = Field(default=5, ge=1)
    """Meta-trainings of each finalist in each protocol, each with other weights, episodes, validation groups
    and contexts."""
    finals_protocols: tuple[Literal["paper", "new-questions"], ...] = Field(
        default=("paper", "new-questions"), min_length=1
    )
    """How the groups that the search never saw are asked; see ``gpo evaluate``. In ``new-questions`` the
    questions are those kept from the search, with ``protocol: paper`` others for each seed, which the search
    has seen."""
    against: str = "paper"
    """Preset or file over which the winner's gain is reported."""
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter: its path and its distribution, whose choices are as a configuration holds them."""

    key: str
    kind: str
    arguments: tuple[Any, ...]

    def expression(self) -> Any:
        """HyperOpt's."""
        from hyperopt import hp

        if self.kind == "choice":
            return hp.choice(self.key, list(range(len(self.arguments))))
        low, high, *step = self.arguments
        if self.kind == "randint":  # hp.randint is a choice to TPE: it would not know that 3 is next to 4
            return hp.uniformint(self.key, low, high)
        if "log" in self.kind:
            low, high = math.log(low), math.log(high)
        return getattr(hp, self.kind)(self.key, low, high, *step)

    def decode(self, sampled: float) -> Any:
        """The value that a sampled number stands for."""
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
        """The inverse of :meth:`decode`; raises ``ValueError`` for a value that is never sampled."""
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
        """All choices; or both ends and a value between them, as fractional as any."""
        if self.kind == "choice":
            return list(self.arguments)
        low, high, *_ = self.arguments
        return [self.decode(v) for v in (low, high, low + (high - low) / math.pi)]


@dataclass(frozen=True)
class Space:
    """All hyperparameters of a search, and the configuration around them."""

    base: TrainConfig
    dimensions: tuple[Dimension, ...]
    starts: tuple[Sample, ...]
    """The points to try first."""

    def expressions(self) -> dict[str, Any]:
        """HyperOpt's expressions by path."""
        return {d.key: d.expression() for d in self.dimensions}

    def values(self, sample: Sample) -> dict[str, Any]:
        """What a sample stands for, by path."""
        return {d.key: d.decode(sample[d.key]) for d in self.dimensions}

    def train_config(self, sample: Sample) -> TrainConfig:
        """The training configuration that a sample stands for; raises ConfigError if it is not valid."""
        return _changed(self.base, self.values(sample), "trial")

    def possible(self, key: str) -> list[Any]:
        """All choices of a value, or its ends and one between them; the base's alone if it is not varied."""
        found = [d.probes() for d in self.dimensions if d.key == key]
        return found[0] if found else [_get(self.base, key)]

    def most_steps(self) -> int:
        """Steps of the longest trial."""
        return max(self.possible("steps"))


def load_search(path: str | os.PathLike[str], **changes: Any) -> tuple[SearchConfig, Space]:
    """Read a search from its file, with some top-level fields changed.

    Raises:
        ConfigError: naming the file and key that is wrong.
    """
    values = read_yaml(path) | {k: v for k, v in changes.items() if v is not None}
    return compile_search(values, str(path))


def compile_search(values: dict[str, Any], where: str) -> tuple[SearchConfig, Space]:
    """A search from plain values; raises ConfigError with ``where`` and the key that is wrong."""
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
    """Check that a training configuration takes what is varied; raises ConfigError if it does not."""
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
    """Paths of all values in a configuration, sections not among them."""
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
