"""The command ``gpo train``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from gpo_ray.cli.options import (
    Address,
    Embeddings,
    Guesses,
    GuessesModel,
    Json,
    Objective,
    Out,
    Seed,
    Survey,
    guess_folders,
)
from gpo_ray.cli.output import progress, report
from gpo_ray.cli.places import absolute, runs_beside

if TYPE_CHECKING:
    from gpo_ray.config import TrainConfig
    from gpo_ray.meta_training.run import TrainJob

LARGE = 10_000_000
"""The same as :data:`gpo_ray.preferences.large.LARGE`, whose module takes long to import."""

RESULT = "validation alignment {validation_alignment:.4f} ({kept}, step {best_step} of {steps}): {out}"
GUESSES = {
    None: "",
    True: "\nThe guesses joined the prior: give some of new questions to gpo predict, too.",
    False: "\nThe guesses did not predict answered questions beyond chance and are left out.",
}
"""What is said of guesses, by whether they joined the prior."""
OnDisk = Annotated[
    bool | None,
    typer.Option(
        "--on-disk/--in-memory",
        help=f"Whether answers stay on disk; by default from {LARGE:,} of them on.",
    ),
]
Fraction = Annotated[float, typer.Option(help="Share of the groups to learn from; 1 keeps none for test.")]
Storage = Annotated[str | None, typer.Option(help="Where runs live; by default `runs` beside --out.")]


def train(
    survey: Survey,
    embeddings: Embeddings,
    out: Out,
    config: Annotated[str, typer.Option(help="A preset (gpo, paper) or a YAML file.")] = "gpo",
    fraction: Fraction = 1.0,
    seed: Seed = 0,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps at most.")] = None,
    objective: Objective = None,
    workers: Annotated[int, typer.Option(min=0, help="Ray Train workers; 0 trains in this process.")] = 0,
    zero_stage: Annotated[int, typer.Option(min=0, max=3, help="DeepSpeed ZeRO stage.")] = 1,
    gpus_per_worker: Annotated[float, typer.Option(min=0, help="GPUs for each worker.")] = 0,
    storage: Storage = None,
    name: Annotated[str | None, typer.Option(help="The run: the same storage and name resumes.")] = None,
    restart: Annotated[bool, typer.Option(help="Forget an earlier run of this name.")] = False,
    on_disk: OnDisk = None,
    guesses: Guesses = None,
    guesses_model: GuessesModel = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Meta-train on many groups and write a bundle (Ray Train with DeepSpeed, or in this process)."""
    from gpo_ray.config import load_train_config
    from gpo_ray.runtime.locations import last_name

    settings = load_train_config(config, seed=seed, steps=steps, objective=objective)
    with ExitStack() as stack:
        if workers:
            from gpo_ray.runtime.ray_session import joined
            from gpo_ray.runtime.resources import train_request

            stack.enter_context(joined(address)).check(train_request(workers, gpus_per_worker))
        places = (absolute(survey), absolute(embeddings), absolute(out))
        run_at = (absolute(storage or runs_beside(out)), name or last_name(out))
        given = tuple(map(absolute, guess_folders(guesses, guesses_model))), guesses_model
        job = _train_job((*places, *run_at), settings, fraction, on_disk, given)
        if workers == 0:
            from gpo_ray.meta_training.local import train_local
            from gpo_ray.runtime.resources import device_of

            device = device_of(gpus_per_worker)
            result = train_local(job, progress(as_json), device, restart, address)
        else:
            from gpo_ray.meta_training.driver import train_distributed as run

            result = run(job, workers, zero_stage, gpus_per_worker, address, progress(as_json), restart)
    report(result | {"out": out}, as_json, RESULT + GUESSES[result["guesses_joined_prior"]])


def _train_job(
    places: tuple[str, str, str, str, str],
    config: TrainConfig,
    fraction: float,
    on_disk: bool | None,
    guesses: tuple[tuple[str, ...], str | None],
) -> TrainJob:
    """Make a job.

    Args:
        places: those of the survey, embeddings, bundle and storage, and the run's name.
        config: how to meta-train.
        fraction: share of the groups to learn from.
        on_disk: whether answers stay on disk; None decides by their number.
        guesses: folders of guesses, and the model whose guesses are read.
    """
    from gpo_ray.embedding.store import EmbeddingStore
    from gpo_ray.meta_training.run import TrainJob
    from gpo_ray.preferences.checks import require_two_answers, require_validation
    from gpo_ray.preferences.dataset import PreferenceDataset
    from gpo_ray.preferences.large import is_large
    from gpo_ray.preferences.splits import draw_split
    from gpo_ray.preferences.twins import find_twins, group_answers

    stays = is_large(places[0]) if on_disk is None else on_disk
    dataset = PreferenceDataset.load(places[0], answers=not stays)
    require_two_answers(places[0], dataset)
    dataset = EmbeddingStore(places[1]).without_dropped(dataset)
    twins = find_twins(group_answers(places[0], dataset) if stays else dataset)
    share = config.validation.fraction
    split = draw_split(dataset, fraction, config.seed, validation_fraction=share, twins=twins)
    require_validation(dataset, split)
    folders, model = guesses
    return TrainJob(*places, config=config, split=split, on_disk=stays, guesses=folders, guesses_model=model)
