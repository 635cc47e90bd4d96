"""The methods that are meta-trained: the transformer, with or without the prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpo_ray.config import TrainConfig, load_train_config
from gpo_ray.embedding.arrays import PreferenceArrays, scaled
from gpo_ray.errors import ConfigError
from gpo_ray.evaluation.methods.method import (
    FitProgress,
    FitSettings,
    Fitted,
    Method,
    Needs,
    SplitData,
    TaskPrediction,
)
from gpo_ray.guesses.features import guess_features
from gpo_ray.meta_training.data import MetaTrainingData
from gpo_ray.meta_training.engine import LocalEngine, new_model
from gpo_ray.meta_training.loop import meta_train
from gpo_ray.model.episodes import Task, log_shares_and_seen, task_posterior
from gpo_ray.model.predict import predict_tasks
from gpo_ray.model.transformer import GPOTransformer
from gpo_ray.preferences.splits import Split
from gpo_ray.prior.at_questions import PriorAtQuestions
from gpo_ray.prior.fitted import FittedPriors, PriorKey


@dataclass(frozen=True)
class MetaTrainedTransformer(Method):
    """A method that meta-trains the transformer of a preset on the split."""

    name: str
    preset: str
    objective: str | None = None
    """Objective of its training, which overrides the evaluation's settings; None leaves these in force."""
    reads_guesses: bool = False
    """Whether the guesses of a language model may join its prior."""

    def config(self, settings: FitSettings, seed: int) -> TrainConfig:
        """Return the configuration with which it is meta-trained.

        Raises:
            ConfigError: if the settings do not make a configuration.
        """
        objective = self.objective or settings.objective
        return load_train_config(self.preset, seed=seed, steps=settings.steps, objective=objective)

    def needs(self, settings: FitSettings) -> Needs:
        """Return that it needs the pooling that its configuration names."""
        pooling = self.config(settings, 0).model.pooling
        return Needs(poolings=frozenset({pooling}), texts=self.reads_guesses)

    def configuration(self, settings: FitSettings) -> dict[str, Any]:
        """Return the training configuration as plain values; its seed is always 0, since the split has it."""
        return self.config(settings, 0).model_dump(mode="json")

    def fit(self, data: SplitData, tell: FitProgress = lambda _: None) -> FittedTransformer:
        """Meta-train the transformer on a split.

        Raises:
            ConfigError: if training diverges, or there are no guesses for a method that reads them.
        """
        config = self.config(data.settings, data.split.seed)
        arrays = data.arrays[config.model.pooling]
        if self.reads_guesses:
            if data.guesses is None:
                raise ConfigError(f"method {self.name!r} reads guesses; name their folder with --guesses")
            arrays = replace(arrays, guesses=guess_features(data.guesses, data.texts.questions))
        work = config.steps + 1  # predicting counts as one more step
        return fit_transformer(
            arrays,
            data.split,
            config,
            data.meta_train_answers.priors,
            with_cross_survey=data.another_survey,
            tick=lambda step: tell(step / work),
        )


@dataclass(frozen=True)
class FittedTransformer(Fitted):
    """A meta-trained transformer, with the prior of all meta-train groups if it uses one."""

    model: GPOTransformer
    arrays: PreferenceArrays
    """The data, with embeddings scaled as the model expects them."""
    at_questions: PriorAtQuestions | None
    """The prior at all questions; None for a transformer without one."""
    validation_alignment: float
    device: str = "cpu"

    def predict(self, tasks: Sequence[Task]) -> list[TaskPrediction]:
        """Predict the tasks; with a prior, predictions have its intervals.

        The prior is conditioned once on each task's context.
        """
        if self.at_questions is None:
            return [TaskPrediction(s) for s in predict_tasks(self.model, self.arrays, tasks, self.device)]
        found = {task: task_posterior(self.at_questions, self.arrays, task) for task in tasks}
        shares = predict_tasks(
            self.model, self.arrays, tasks, self.device, lambda task: log_shares_and_seen(found[task])
        )
        return [TaskPrediction(s, found[task].half_width) for s, task in zip(shares, tasks, strict=True)]


def fit_transformer(
    arrays: PreferenceArrays,
    split: Split,
    config: TrainConfig,
    priors: FittedPriors | None = None,
    with_cross_survey: bool = False,
    device: str = "cpu",
    tick: Callable[[int], object] = lambda _: None,
) -> FittedTransformer:
    """Meta-train a transformer on a split, in this process.

    A transformer with a prior needs two of them: one of the training groups, for meta-training, and one of
    all meta-train groups, for the test groups.

    Args:
        arrays: the data, with the pooling that ``config`` names.
        split: the division.
        config: how to meta-train.
        priors: the priors of these data that were fitted before; those that are fitted here are added.
        with_cross_survey: as in :func:`gpo_ray.prior.calibration.fit_prior`, for the test groups' prior.
        device: PyTorch device on which the model is trained and predicts.
        tick: called after each step with the number of steps done.

    Raises:
        ConfigError: if training diverges.
    """
    arrays = scaled(arrays, config.standardize, split.question_order)
    engine = LocalEngine(new_model(arrays.x.shape[1], config), config, device)
    fitted = FittedPriors() if priors is None else priors
    uses_prior = config.model.prior != "none"
    guesses = arrays.guesses is not None
    key = PriorKey.of(config, split, split.train_groups, guesses=guesses)
    train = fitted.get(key, arrays) if uses_prior else None
    data = MetaTrainingData.build(arrays, split, config, train)
    progress = meta_train(engine, data, config, lambda *_: None, tick=tick)
    best = new_model(arrays.x.shape[1], config).to(device)
    best.load_state_dict(progress.best_weights)
    prior = None
    if uses_prior:
        key = PriorKey.of(config, split, split.meta_train_groups, with_cross_survey, guesses)
        prior = fitted.get(key, arrays)
    return FittedTransformer(best.eval(), arrays, prior, progress.best_alignment, device)
