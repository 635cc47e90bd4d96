"""What every way of running meta-training shares: preparing data, logging, writing the bundle."""

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

from gpo_ray.config import TrainConfig
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import BundleError, ConfigError, DataError
from gpo_ray.meta_training.data import MetaTrainingData
from gpo_ray.meta_training.progress import Progress
from gpo_ray.model.bundle import KIND as BUNDLE
from gpo_ray.model.bundle import BundleConfig, fold_standardization, write_bundle
from gpo_ray.preferences.dataset import PreferenceDataset
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
    """Everything a training process needs to know; plain values, so that it travels to workers."""

    survey: str
    """PreferenceDataset folder."""
    embeddings: str
    """Embedding store folder."""
    out: str
    """Where the bundle goes."""
    storage: str
    """Where runs keep checkpoints and logs."""
    name: str
    """The run: the same (storage, name) resumes."""
    config: TrainConfig
    split: Split
    engine: str = "local"
    """What takes the steps; its checkpoints are of no use to another."""
    on_disk: bool = False
    """Whether answers stay on disk (:mod:`gpo_ray.preferences.large`)."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", self.name):
            raise ConfigError(
                f"run name {self.name!r}: use letters, digits, '.', '_' and '-', "
                "not starting with a dot (--name)"
            )

    @property
    def run_folder(self) -> Folder:
        """Where this run keeps its checkpoints and logs."""
        return Folder(self.storage, ConfigError).child(self.name)

    @property
    def answers_folder(self) -> Folder:
        """Where the survey's answers lie sorted, for all runs that leave them on disk."""
        return Folder(self.storage, DataError).child(f"answers-{contents_id(self.survey)}")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only one that trains this run, or into ``out``, while the block lasts.

        Raises:
            ConfigError: if another process does.
        """
        with Folder(self.out, BundleError).writing(), self.run_folder.writing():
            yield

    def claim(self, prepared: Prepared, restart: bool = False) -> None:
        """Claim the run folder for these settings, and see that the bundle can be written.

        Args:
            prepared: the data, so that a wrong path claims nothing.
            restart: whether to forget an earlier run of this name.

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
        folder = self.run_folder
        if restart and folder.exists(RUN):
            folder.remove_all()
        different = folder.identify(RUN, identity, "--restart forgets that run")
        if different:
            raise ConfigError(
                f"{folder}: a run of this name was started with another {' and '.join(different)}; "
                "give another --name, or --restart to forget that run"
            )


@dataclass(frozen=True)
class Prepared:
    """A job's data, ready for the loop, and what the bundle must say about it."""

    data: MetaTrainingData
    survey_fingerprint: str
    bundle_config: BundleConfig
    memory: Callable[[], KeyedGroupPrior | None]
    """Collects all meta-train groups' answers, if the model takes a prior."""
    fold: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    """Makes weights trained on standardised embeddings ready for raw ones."""

    def trained(self) -> Prepared:
        """Without what only training needed, for as much room as the bundle's memory takes to collect."""
        return replace(self, data=replace(self.data, prior=None))


def sort_first(job: TrainJob, address: str | None) -> None:
    """Where answers stay on disk, see that they lie there sorted, for which Ray is needed once.

    Raises:
        GPOError: as :func:`gpo_ray.preferences.job.sort_answers`, or if no cluster answers at the address.
    """
    if not job.on_disk:
        return
    answers = job.answers_folder
    if answers.exists(MANIFEST):
        return
    Folder(job.out, BundleError).claim(BUNDLE)
    EmbeddingStore(job.embeddings).folder.read_manifest("embeddings")
    with answers.writing(wait=True):
        if answers.exists(MANIFEST):  # another run has sorted them meanwhile
            return
        with joined(address), ray_session(address):  # the first names what to install where Ray is missing
            from gpo_ray.preferences.job import sort_answers

            sort_answers(job.survey, answers)


def prepare(job: TrainJob) -> Prepared:
    """Load the survey and its embeddings and look up the split.

    Raises:
        GPOError: if a folder is missing, damaged or does not fit, or answers on disk are not sorted yet.
    """
    dataset, answers = PreferenceDataset.load(job.survey, answers=not job.on_disk), None
    if job.on_disk:
        answers = SortedAnswers.open(job.answers_folder, dataset.slate_sizes())
    store = EmbeddingStore(job.embeddings)
    embeddings = store.load(dataset, job.config.model.pooling)
    made = store.folder.read_manifest("embeddings", fields={"model": str, "dtype": str})
    raw = arrays = PreferenceArrays.build(dataset, embeddings, answers)
    fold: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    if job.config.standardize:
        arrays, mean, scale = arrays.standardized(arrays.question_numbers(job.split.question_order))

        def fold(weights: dict[str, Tensor]) -> dict[str, Tensor]:
            return fold_standardization(weights, mean, scale)

    return Prepared(
        data=MetaTrainingData.build(arrays, job.split, job.config),
        survey_fingerprint=contents_id(job.survey) if job.on_disk else dataset.fingerprint(),
        memory=lambda: None if job.config.model.prior == "none" else _memory(dataset, raw, job),
        bundle_config=BundleConfig(
            embedding_width=embeddings.width,
            embedding_fingerprint=embeddings.fingerprint,
            embedding_template=embeddings.template,
            embedding_model=made["model"],
            embedding_dtype=made["dtype"],
            model=job.config.model,
        ),
        fold=fold,
    )


def _memory(dataset: PreferenceDataset, arrays: PreferenceArrays, job: TrainJob) -> KeyedGroupPrior:
    """The meta-train groups' answers to the training questions, and to no others."""
    questions = arrays.question_numbers(job.split.question_order)
    groups = arrays.group_numbers(job.split.meta_train_groups)
    context = job.config.validation.context_questions
    memory, question_index = collect_prior(arrays, groups, questions, context)
    keys = [q.key for q in dataset.iter_questions()]
    return KeyedGroupPrior.keyed(memory, [keys[i] for i in np.flatnonzero(question_index >= 0)])


def finish(job: TrainJob, prepared: Prepared, progress: Progress) -> dict[str, Any]:
    """Write the bundle with the best weights; returns ``gpo train``'s result."""
    from gpo_ray.meta_training.curves import learning_curve

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
    write_bundle(
        job.out, prepared.fold(progress.best_weights), prepared.bundle_config, provenance, prepared.memory()
    )
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
        "out": job.out,
        "run": str(job.run_folder),
    }


def resumed(progress: Progress) -> str:
    """What to say of the steps that an earlier call took."""
    return f"; {progress.step} steps were taken already" if progress.step else ""


def outcome(progress: Progress, most: int) -> str:
    """What to say of a run that ended."""
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
    """Metrics of one run: ``metrics.jsonl`` and, on a local path, TensorBoard events beside it."""

    def __init__(self, folder: Folder, history: list[dict[str, Any]]) -> None:
        self._folder = folder
        self._writer = None
        if history:  # a run killed between its checkpoint and its log has a line to make up for
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
        """Record all metrics so far; whole, so that a resumed run leaves no line twice."""
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
