"""Methods that are meta-trained: the transformer, with the prior or without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gpo_ray.config import TrainConfig, load_train_config
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.evaluation.methods.method import (
    FitSettings,
    Fitted,
    Method,
    Needs,
    Prediction,
    SplitData,
    Tell,
)
from gpo_ray.meta_training.data import MetaTrainingData
from gpo_ray.meta_training.engine import LocalEngine, new_model
from gpo_ray.meta_training.loop import meta_train
from gpo_ray.model.episodes import Task, log_prior, task_posterior
from gpo_ray.model.predict import predict_tasks
from gpo_ray.model.transformer import GPOTransformer
from gpo_ray.preferences.splits import Split
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.calibration import fit_prior

Priors = tuple[PriorAtQuestions | None, PriorAtQuestions | None]
"""The prior from the training groups' answers to a split's training questions, and from those of all
meta-train groups: for meta-training and for test groups. None is fitted where it is needed."""


@dataclass(frozen=True)
class MetaTrained(Method):
    """A preset, meta-trained on the split."""

    name: str
    preset: str
    objective: str | None = None
    """Of its training, whatever the evaluation's settings say."""

    def config(self, settings: FitSettings, seed: int) -> TrainConfig:
        """How it is meta-trained.

        Raises:
            ConfigError: if the settings do not make a configuration.
        """
        objective = self.objective or settings.objective
        return load_train_config(self.preset, seed=seed, steps=settings.steps, objective=objective)

    def needs(self, settings: FitSettings) -> Needs:
        """The pooling that its configuration names."""
        return Needs(poolings=frozenset({self.config(settings, 0).model.pooling}))

    def configuration(self, settings: FitSettings) -> dict[str, Any]:
        """Of its training, but for the seed, which is the split's."""
        return self.config(settings, 0).model_dump(mode="json")

    def fit(self, data: SplitData, tell: Tell = lambda _: None) -> FittedTransformer:
        """Meta-train it."""
        config = self.config(data.settings, data.split.seed)
        arrays = data.arrays[config.model.pooling]
        work = config.steps + 1  # predicting is the last part of it
        return fit_transformer(
            arrays,
            data.split,
            config,
            cross_survey=data.cross_survey,
            tick=lambda step: tell(step / work),
        )


@dataclass(frozen=True)
class FittedTransformer(Fitted):
    """A meta-trained transformer, and the prior of all meta-train groups if it takes one."""

    model: GPOTransformer
    arrays: PreferenceArrays
    """The data, with embeddings as the model takes them."""
    prior: PriorAtQuestions | None
    validation_alignment: float
    device: str = "cpu"

    def predict(self, tasks: Sequence[Task]) -> list[Prediction]:
        """Predict the tasks, with the prior's intervals; the prior is conditioned once on each context."""
        if self.prior is None:
            return [Prediction(s) for s in predict_tasks(self.model, self.arrays, tasks, self.device)]
        found = {task: task_posterior(self.prior, self.arrays, task) for task in tasks}
        shares = predict_tasks(
            self.model, self.arrays, tasks, self.device, lambda task: log_prior(found[task])
        )
        return [Prediction(s, found[task].half_width) for s, task in zip(shares, tasks, strict=True)]


def fit_transformer(
    arrays: PreferenceArrays,
    split: Split,
    config: TrainConfig,
    priors: Priors = (None, None),
    cross_survey: bool = False,
    device: str = "cpu",
    tick: Callable[[int], object] = lambda _: None,
) -> FittedTransformer:
    """Meta-train a transformer on a split, in this process.

    Args:
        arrays: the data, with the pooling that ``config`` asks for.
        split: the division.
        config: how to meta-train.
        priors: see :data:`Priors`.
        cross_survey: as in :func:`gpo_ray.prior.calibration.fit_prior`, for the test groups' prior.
        device: where the model is meta-trained and asked.
        tick: called with the number of steps done after each step.

    Raises:
        ConfigError: if training diverges.
    """
    questions = arrays.question_numbers(split.question_order)
    if config.standardize:
        arrays = arrays.standardized(questions)[0]
    engine = LocalEngine(new_model(arrays.x.shape[1], config), config, device)
    data = MetaTrainingData.build(arrays, split, config, priors[0])
    progress = meta_train(engine, data, config, lambda *_: None, tick=tick)
    best = new_model(arrays.x.shape[1], config).to(device)
    best.load_state_dict(progress.best_weights)
    prior = None
    if config.model.prior != "none":
        groups = arrays.group_numbers(split.meta_train_groups)
        context = config.validation.context_questions
        prior = priors[1] or fit_prior(arrays, groups, questions, context, cross_survey)
    return FittedTransformer(best.eval(), arrays, prior, progress.best_alignment, device)
