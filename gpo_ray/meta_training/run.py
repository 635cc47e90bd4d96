"""Prepare data, write logs and write the bundle, for every way of running meta-training.

``local.py`` and ``driver.py`` are the two ways.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

import numpy as np
from torch import Tensor

from gpo_ray.config import TrainConfig, present_keys
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import BundleError, ConfigError, DataError
from gpo_ray.guesses.features import guess_features, reads_letters, way_name
from gpo_ray.guesses.one_model import guesses_fingerprint, load_one_model
from gpo_ray.guesses.table import GuessTable
from gpo_ray.meta_training.data import MetaTrainingData
from gpo_ray.meta_training.progress import Progress
from gpo_ray.model.bundle import KIND as BUNDLE
from gpo_ray.model.bundle import BundleConfig, write_bundle
from gpo_ray.model.transformer import GPOTransformer
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.guess_features import GuessFeatures
from gpo_ray.preferences.large import SortedAnswers, contents_id
from gpo_ray.preferences.splits import Split
from gpo_ray.prior.calibration import collect_prior
from gpo_ray.prior.keyed import KeyedGroupPrior
from gpo_ray.runtime.ray_session import joined, ray_session
from gpo_ray.runtime.storage import MANIFEST, Folder

METRICS, RUN = "metrics.jsonl", "run.json"
_SCALARS = ("loss", "validation_alignment", "validation_worst", "worst_group_loss", "learning_rate")


@dataclass(frozen=True)
class TrainJob:
    """The settings of a training run, as plain values that can be sent to workers."""

    survey: str
    """Folder of the :class:`~gpo_ray.preferences.dataset.PreferenceDataset`."""
    embeddings: str
    """Folder of the embedding store."""
    out: str
    """Folder to which the bundle is written."""
    storage: str
    """Folder in which runs keep checkpoints and logs."""
    name: str
    """Name of the run; a job with the same storage and name resumes the run."""
    config: TrainConfig
    split: Split
    engine: str = "local"
    """Description of the engine that takes the steps; another engine cannot use its checkpoints."""
    on_disk: bool = False
    """Whether answers stay on disk (:mod:`gpo_ray.preferences.large`)."""
    guesses: tuple[str, ...] = ()
    """Folders of a language model's guesses, which may join the prior."""
    guesses_model: str | None = None
    """The model whose guesses they are, if the folders hold those of several."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", self.name):
            raise ConfigError(
                f"run name {self.name!r}: use letters, digits, '.', '_' and '-', "
                "not starting with a dot (--name)"
            )

    @property
    def run_folder(self) -> Folder:
        """Folder in which this run keeps its checkpoints and logs."""
        return Folder(self.storage, ConfigError).child(self.name)

    @property
    def answers_folder(self) -> Folder:
        """Folder of the survey's sorted answers, for all runs that leave them on disk."""
        return Folder(self.storage, DataError).child(f"answers-{contents_id(self.survey)}")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the run and ``out`` within a ``with`` block, so that no other process trains into them.

        Raises:
            ConfigError: if another process has locked one of them.
        """
        with Folder(self.out, BundleError).writing(), self.run_folder.writing():
            yield

    def claim(self, prepared: PreparedJob, restart: bool = False) -> None:
        """Claim the run folder for these settings, and check that the bundle can be written.

        Args:
            prepared: the job's data, which must have been read, so that a wrong path claims nothing.
            restart: whether to delete an earlier run of this name.

        Raises:
            GPOError: if a run of this name was started with other settings, or ``out`` cannot be written.
        """
        Folder(self.out, BundleError).claim(BUNDLE)
        identity = {
            "config": self.config.model_dump(mode="json"),
            "split": self.split.model_dump(mode="json"),
            "survey": prepared.survey_fingerprint,
            "embeddings": prepared.bundle_config.embedding_fingerprint,
            "engine": self.engine,
        }
        if prepared.guesses is not None:
            identity["guesses"] = prepared.guesses["fingerprint"]
        folder = self.run_folder
        if restart and folder.exists(RUN):
            folder.remove_all()
        different = folder.identify(RUN, identity, "--restart forgets that run", present_keys)
        if different:
            raise ConfigError(
                f"{folder}: a run of this name was started with another {' and '.join(different)}; "
                "give another --name, or --restart to forget that run"
            )


@dataclass(frozen=True)
class PreparedJob:
    """A job's data, ready for the loop, and the values that the bundle must hold about them."""

    data: MetaTrainingData
    survey_fingerprint: str
    bundle_config: BundleConfig
    bundle_prior: Callable[[], KeyedGroupPrior | None]
    """Function that makes the bundle's prior from all meta-train groups' answers; None for a model without
    one."""
    fold: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    """Function that turns weights for standardised embeddings into weights for raw embeddings."""
    guesses: dict[str, Any] | None = None
    """Where the guesses are from, for the bundle's provenance; None if there are none."""

    def trained(self) -> PreparedJob:
        """Return the same without the prior of training, to free memory for making the bundle's prior."""
        return replace(self, data=replace(self.data, task_prior=None))


def sort_first(job: TrainJob, address: str | None) -> None:
    """If answers stay on disk, sort them with Ray, unless they have been sorted before.

    Raises:
        GPOError: if they cannot be sorted (:func:`gpo_ray.preferences.job.sort_answers`), or if no cluster
            answers at the address.
    """
    if not job.on_disk:
        return
    answers = job.answers_folder
    if answers.exists(MANIFEST):
        return
    Folder(job.out, BundleError).claim(BUNDLE)
    EmbeddingStore(job.embeddings).folder.read_manifest("embeddings")
    with answers.writing(wait=True):
        if answers.exists(MANIFEST):  # another run has sorted them in the meantime
            return
        with joined(address), ray_session(address):  # if Ray is missing, ``joined`` says what to install
            from gpo_ray.preferences.job import sort_answers

            sort_answers(job.survey, answers)


def prepare(job: TrainJob) -> PreparedJob:
    """Load the survey and its embeddings, and look up the split's groups and questions.

    Raises:
        GPOError: if a folder is missing, damaged or does not fit, or answers on disk are not sorted yet.
    """
    dataset, answers = PreferenceDataset.load(job.survey, answers=not job.on_disk), None
    if job.on_disk:
        answers = SortedAnswers.open(job.answers_folder, dataset.slate_sizes())
    store = EmbeddingStore(job.embeddings)
    dataset = store.without_dropped(dataset, told=True)
    embeddings = store.load(dataset, job.config.model.pooling)
    made = store.folder.read_manifest("embeddings", fields={"model": str, "dtype": str})
    raw = arrays = PreferenceArrays.build(dataset, embeddings, answers)
    guesses = None
    if job.guesses:
        features, guesses = _guesses(dataset, job)
        raw = arrays = replace(raw, guesses=features)
    fold: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    if job.config.standardize:
        arrays, mean, scale = arrays.standardized(arrays.question_numbers(job.split.question_order))

        def fold(weights: dict[str, Tensor]) -> dict[str, Tensor]:
            return GPOTransformer.fold_standardization(weights, mean, scale)

    return PreparedJob(
        data=MetaTrainingData.build(arrays, job.split, job.config),
        survey_fingerprint=contents_id(job.survey) if job.on_disk else dataset.fingerprint(),
        bundle_prior=lambda: None if job.config.model.prior == "none" else _bundle_prior(dataset, raw, job),
        bundle_config=BundleConfig(
            embedding_width=embeddings.width,
            embedding_fingerprint=embeddings.fingerprint,
            embedding_template=embeddings.template,
            embedding_model=made["model"],
            embedding_dtype=made["dtype"],
            model=job.config.model,
        ),
        fold=fold,
        guesses=guesses,
    )


def _guesses(dataset: PreferenceDataset, job: TrainJob) -> tuple[GuessFeatures, dict[str, Any]]:
    """Read the guesses of a survey's questions, and say where they are from.

    Raises:
        GPOError: if a folder is missing or damaged, or holds no guess of a question of the survey.
        ConfigError: if the model has no prior that they could join.
    """
    if job.config.model.prior == "none":
        raise ConfigError("guesses join the prior, and this configuration has none (model.prior: none)")
    table = load_one_model(job.guesses, job.guesses_model)
    ((model, fingerprint),) = table.models.items()
    known = {"paths": list(job.guesses), "model": model, "model_fingerprint": fingerprint}
    _check_letters(table, job)
    features = guess_features(table, [*dataset.iter_questions()])
    if not features.guessed.any():
        raise DataError(f"{', '.join(job.guesses)}: holds no guess of a question of the survey {job.survey}")
    return features, known | {"fingerprint": guesses_fingerprint(table)}


def _check_letters(table: GuessTable, job: TrainJob) -> None:
    """Refuse guesses of option letters from other embeddings, since they are read from the job's later on."""
    ((_, fingerprint),) = table.models.items()
    mine = EmbeddingStore(job.embeddings).manifest().get("fingerprint")
    if reads_letters([way_name(w) for w in table.ways]) and fingerprint != mine:
        raise DataError(
            f"{', '.join(job.guesses)}: holds option letters of embeddings of {fingerprint}, and "
            f"{job.embeddings} are of {mine}; make them with: gpo guess letters --embeddings {job.embeddings}"
        )


def _bundle_prior(dataset: PreferenceDataset, arrays: PreferenceArrays, job: TrainJob) -> KeyedGroupPrior:
    """Make the bundle's prior from the meta-train groups' answers to the training questions only."""
    questions = arrays.question_numbers(job.split.question_order)
    groups = arrays.group_numbers(job.split.meta_train_groups)
    context = job.config.validation.context_questions
    prior, question_index = collect_prior(arrays, groups, questions, context)
    asked = [*dataset.iter_questions()]
    return KeyedGroupPrior.keyed(prior, [asked[i] for i in np.flatnonzero(question_index >= 0)])


def finish(job: TrainJob, prepared: PreparedJob, progress: Progress) -> dict[str, Any]:
    """Write the bundle with the best weights, and return the result of ``gpo train``."""
    from gpo_ray.meta_training.curves import learning_curve

    prior = prepared.bundle_prior()
    joined_prior = None if prepared.guesses is None else prior is not None and prior.needs_guesses
    provenance = {
        "survey": {"path": job.survey, "fingerprint": prepared.survey_fingerprint},
        "split": job.split.model_dump(mode="json"),
        "config": job.config.model_dump(mode="json"),
        "best_step": progress.best_step,
        "validation_alignment": progress.best_alignment,
        "prior_alignment": progress.prior_alignment,
        "versions": {"python": platform.python_version()}
        | {p: metadata.version(p) for p in ("gpo-ray", "torch", "numpy", "pyarrow")},
    }
    if prepared.guesses is not None:
        provenance["guesses"] = prepared.guesses | {"joined_prior": joined_prior}
    write_bundle(job.out, prepared.fold(progress.best_weights), prepared.bundle_config, provenance, prior)
    figure = learning_curve(progress.history)
    if figure:
        job.run_folder.write("learning_curve.svg", figure)
    return {
        "steps": progress.step,
        "best_step": progress.best_step,
        "validation_alignment": progress.best_alignment,
        "prior_alignment": progress.prior_alignment,
        "kept": progress.kept,
        "resumed": progress.resumed,
        "seconds": round(progress.seconds, 3),
        "guesses_joined_prior": joined_prior,
        "out": job.out,
        "run": str(job.run_folder),
    }


def resumed(progress: Progress) -> str:
    """Return a note on the steps that an earlier call took, for the progress display."""
    return f"; {progress.step} steps were taken already" if progress.step else ""


def outcome(progress: Progress, most: int) -> str:
    """Return a description of a run that ended, for the progress display."""
    taken = f"{progress.step} steps"
    if progress.step < most:
        taken = f"stopped at step {progress.step} of {most}, as validation got no better"
    if progress.prior_alignment is None:
        return f"{taken}; best validation alignment {progress.best_alignment:.4f}"
    prior = f"the prior alone has validation alignment {progress.prior_alignment:.4f}"
    if progress.kept == "prior":
        return f"{taken}; {prior} and is kept: no gain over it was beyond chance"
    return f"{taken}; {prior}, with the transformer {progress.best_alignment:.4f}"


class RunLog:
    """A log of one run's metrics: ``metrics.jsonl`` and, on a local path, TensorBoard events beside it."""

    def __init__(self, folder: Folder, history: list[dict[str, Any]]) -> None:
        self._folder = folder
        self._writer = None
        if history:  # a run that was killed between its checkpoint and its log lacks a line
            self._write_lines(history)
        if folder.local_path is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:  # the extra is not installed; the JSON lines remain
                return
            self._writer = SummaryWriter(
                str(folder.local_path / "tensorboard"),
                purge_step=history[-1]["step"] + 1 if history else None,
            )

    def write(self, history: list[dict[str, Any]]) -> None:
        """Write all metrics so far; the file is written as a whole, so that a resumed run repeats no line."""
        self._write_lines(history)
        if self._writer is not None:
            last = history[-1]
            scalars = {key: last[key] for key in _SCALARS}
            scalars |= {f"group_weight/{g}": w for g, w in last.get("group_weights", {}).items()}
            for key, value in scalars.items():
                self._writer.add_scalar(key, value, last["step"])
            self._writer.flush()

    def _write_lines(self, history: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(m, allow_nan=False) + "\n" for m in history)
        self._folder.write(METRICS, lines.encode())

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
