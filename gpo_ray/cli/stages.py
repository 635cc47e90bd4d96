"""The commands of the pipeline's stages: ``gpo embed``, ``train``, ``evaluate``, ``tune``, ``quickstart``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gpo_ray.cli.options import Address, Embeddings, Json, Objective, Out, Seed, Survey
from gpo_ray.cli.output import print_json, progress, report
from gpo_ray.errors import ConfigError
from gpo_ray.terminal_text import shown

if TYPE_CHECKING:
    from gpo_ray.config import TrainConfig
    from gpo_ray.preferences.splits import Protocol
    from gpo_ray.training.run import TrainJob

stages_app = typer.Typer()
N = TypeVar("N", int, float)
LARGE = 10_000_000
"""As :data:`gpo_ray.preferences.large.LARGE`, which takes long to import."""
NAMES = "paper, new-questions, new-attribute, new-survey, individuals"
"""Names of :data:`gpo_ray.preferences.splits.PROTOCOLS`, likewise."""

OnDisk = Annotated[
    bool | None,
    typer.Option(
        "--on-disk/--in-memory",
        help=f"Whether answers stay on disk; by default from {LARGE:,} of them on.",
    ),
]


@stages_app.command()
def embed(
    survey: Survey,
    out: Out,
    model: Annotated[
        str, typer.Option(help="smollm2, a Hub id, a local folder, or a .gguf file.")
    ] = "smollm2",
    actors: Annotated[
        int | None, typer.Option(help="Copies of the model; by default one for each GPU or core.")
    ] = None,
    gpus_per_actor: Annotated[
        float | None, typer.Option(help="More than 1 spreads the model's layers.")
    ] = None,
    cpus_per_actor: Annotated[float, typer.Option(max=10_000, help="Logical CPUs for each copy.")] = 1,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    store_dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    batch_tokens: Annotated[int, typer.Option(help="Padded tokens of a forward pass on a GPU.")] = 4096,
    readings: Annotated[
        bool, typer.Option(help="Read everything again, as preset gpo needs and paper does not.")
    ] = True,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Embed a survey's questions with a frozen language model (Ray Data); embeds only what is missing."""
    from gpo_ray.config import parse
    from gpo_ray.embedding.job import EmbedConfig
    from gpo_ray.embedding.job import embed as run
    from gpo_ray.preferences.dataset import PreferenceDataset
    from gpo_ray.ray_session import joined

    values = {
        "model": model,
        "actors": actors,
        "gpus_per_actor": gpus_per_actor,
        "cpus_per_actor": cpus_per_actor,
        "dtype": dtype,
        "store_dtype": store_dtype,
        "batch_tokens": batch_tokens,
        "readings": readings,
    }
    config = parse(EmbedConfig, values, "embed")
    with joined(address) as capacity:
        capacity.check(config.need(capacity))
        dataset = PreferenceDataset.load(survey, answers=False)
        result = run(dataset, _absolute(out), config, address, progress(as_json))
    report(
        result | {"out": out}, as_json, "{embedded} questions embedded, {reused} were there already: {out}"
    )


@stages_app.command()
def train(
    survey: Survey,
    embeddings: Embeddings,
    out: Out,
    config: Annotated[str, typer.Option(help="A preset (gpo, paper) or a YAML file.")] = "gpo",
    fraction: Annotated[
        float, typer.Option(help="Share of the groups to learn from; 1 keeps none for test.")
    ] = 1.0,
    seed: Seed = 0,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps at most.")] = None,
    objective: Objective = None,
    workers: Annotated[int, typer.Option(min=0, help="Ray Train workers; 0 trains in this process.")] = 0,
    zero_stage: Annotated[int, typer.Option(min=0, max=3, help="DeepSpeed ZeRO stage.")] = 1,
    gpus_per_worker: Annotated[float, typer.Option(min=0, help="GPUs for each worker.")] = 0,
    storage: Annotated[
        str | None, typer.Option(help="Where runs live; by default `runs` beside --out.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The run: the same storage and name resumes.")] = None,
    restart: Annotated[bool, typer.Option(help="Forget an earlier run of this name.")] = False,
    on_disk: OnDisk = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Meta-train on many groups and write a bundle (Ray Train with DeepSpeed, or in this process)."""
    from gpo_ray.config import load_train_config
    from gpo_ray.locations import last_name

    settings = load_train_config(config, seed=seed, steps=steps, objective=objective)
    with ExitStack() as stack:
        if workers:
            from gpo_ray.ray_session import joined
            from gpo_ray.resources import train_need

            stack.enter_context(joined(address)).check(train_need(workers, gpus_per_worker))
        places = (_absolute(survey), _absolute(embeddings), _absolute(out))
        run_at = (_absolute(storage or _beside(out, "runs")), name or last_name(out))
        job = _train_job((*places, *run_at), settings, fraction, on_disk)
        if workers == 0:
            from gpo_ray.training.local import train_local

            device = "cuda" if gpus_per_worker else "cpu"
            result = train_local(job, progress(as_json), device, restart, address)
        else:
            from gpo_ray.training.driver import train_distributed as run

            result = run(job, workers, zero_stage, gpus_per_worker, address, progress(as_json), restart)
    report(
        result | {"out": out},
        as_json,
        "validation alignment {validation_alignment:.4f} ({kept}, step {best_step} of {steps}): {out}",
    )


@stages_app.command()
def evaluate(
    survey: Survey,
    embeddings: Embeddings,
    out: Out,
    methods: Annotated[
        str, typer.Option(help="Comma-separated.")
    ] = "gpo,paper,uniform,lm-base,train-mean,context-mean,ridge-mix,low-rank,gaussian-process,kernel",
    protocol: Annotated[str, typer.Option(help=f"One of: {NAMES}.")] = "paper",
    test_survey: Annotated[
        str | None, typer.Option(help="Survey folder to test on (new-survey); same --embeddings.")
    ] = None,
    fractions: Annotated[str, typer.Option(help="Shares of groups for meta-training.")] = "0.4,0.6,0.8",
    seeds: Annotated[int, typer.Option(min=1, help="Splits for each fraction.")] = 3,
    context: Annotated[int, typer.Option(min=1, help="Context questions of each test group.")] = 20,
    context_sizes: Annotated[
        str | None,
        typer.Option(
            help="Context sizes of the curve, e.g. 1,5,20; empty for no curve. By default 1 to 200, "
            "as far as half of the answers allow."
        ),
    ] = None,
    max_test_groups: Annotated[
        int | None, typer.Option(min=1, help="Most test groups of a split; by default all.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Meta-training steps, if not the preset's.")
    ] = None,
    objective: Objective = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Meta-train and score methods on many splits in parallel, and write tables and a report."""
    from gpo_ray.ray_session import joined
    from gpo_ray.resources import evaluate_need

    chosen = _protocol(protocol)
    sizes = None if context_sizes is None else tuple(_numbers(context_sizes, "--context-sizes", int))
    named = tuple(dict.fromkeys(m.strip() for m in methods.split(",")))
    shares = _numbers(fractions, "--fractions", float)
    with joined(address) as capacity:
        capacity.check(evaluate_need())
        from gpo_ray.evaluation.protocol import EvaluationPlan
        from gpo_ray.evaluation.runner import evaluate as run
        from gpo_ray.preferences.splits import SplitPlan

        plan = EvaluationPlan(named, context, steps, sizes, objective)
        splits = SplitPlan(chosen, shares, seeds, max_test_groups)
        result = run(survey, embeddings, out, plan, splits, address, progress(as_json), test_survey)
    if not as_json:
        _show_scores(result, chosen)
    report(result, as_json, "report: {report}")


@stages_app.command()
def tune(
    survey: Survey,
    embeddings: Embeddings,
    out: Out,
    config: Annotated[str, typer.Option(help="What to search: a file such as tune_configs/default.yaml.")],
    trials: Annotated[int | None, typer.Option(help="Trials in all, if not the file's.")] = None,
    concurrent: Annotated[int | None, typer.Option(help="Trials at a time, if not the file's.")] = None,
    restart: Annotated[bool, typer.Option(help="Forget an earlier search in --out.")] = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Search for better hyperparameters (HyperOpt on Ray Tune) and write the winner's bundle."""
    from gpo_ray.ray_session import joined
    from gpo_ray.resources import tune_need
    from gpo_ray.storage import Folder
    from gpo_ray.tuning.space import load_search

    search, space = load_search(config, trials=trials, concurrent=concurrent)
    with joined(address) as capacity:
        capacity.check(tune_need(search))
        from gpo_ray.tuning.job import run_search

        places = (_absolute(survey), _absolute(embeddings), _absolute(out))
        result = run_search(search, space, *places, address, progress(as_json), restart)
    report(
        result | {"out": out, "config": Folder(out).where("best.yaml")},
        as_json,
        "{trials} trials, {failed} failed; best: trial {best[number]}, validation alignment "
        "{best[validation_alignment]:.4f}: {config}, {bundle}",
    )


@stages_app.command()
def quickstart(out: Out = "quickstart-out", address: Address = None, as_json: Json = False) -> None:
    """Run the whole pipeline on the embedded survey and language model, in a few minutes."""
    from gpo_ray.quickstart import run
    from gpo_ray.storage import Folder

    with Folder(out).writing():
        result = run(out, address, progress(as_json), quiet=as_json)
    if as_json:
        print_json(result)


def _train_job(
    places: tuple[str, str, str, str, str], config: TrainConfig, fraction: float, on_disk: bool | None
) -> TrainJob:
    """Of a survey, embeddings, a bundle, a storage and a run's name."""
    from gpo_ray.preferences.dataset import PreferenceDataset
    from gpo_ray.preferences.large import is_large
    from gpo_ray.preferences.splits import draw_split
    from gpo_ray.training.run import TrainJob

    stays = is_large(places[0]) if on_disk is None else on_disk
    dataset = PreferenceDataset.load(places[0], answers=not stays)
    split = draw_split(dataset, fraction, config.seed, validation_fraction=config.validation.fraction)
    return TrainJob(*places, config=config, split=split, on_disk=stays)


def _protocol(name: str) -> Protocol:
    from gpo_ray.preferences.splits import PROTOCOLS

    found = next((p for p in PROTOCOLS if p == name), None)
    if found is None:
        raise ConfigError(f"protocol {name!r} is not one of {', '.join(PROTOCOLS)}")
    return found


def _absolute(uri: str) -> str:
    from gpo_ray.storage import Folder

    return Folder(uri).absolute


def _beside(out: str, name: str) -> str:
    from gpo_ray.locations import beside

    try:
        return beside(out, name)
    except ValueError as e:
        raise ConfigError(f"{e}: give --storage, or a folder in it for --out") from e


def _numbers(text: str, option: str, kind: Callable[[str], N]) -> list[N]:
    try:
        return [kind(part) for part in text.split(",")] if text.strip() else []
    except ValueError as e:
        raise ConfigError(f"{option} {text!r}: expected numbers separated by commas") from e


def _show_scores(result: dict[str, Any], protocol: str) -> None:
    from gpo_ray.evaluation.individuals import accuracy_table
    from gpo_ray.evaluation.summary import text_table

    cells = result["cells"]
    print(shown(accuracy_table(cells) if protocol == "individuals" else text_table(cells, result)))
    if result["note"]:
        print(fill(f"Note: {result['note']}.", 80))
    if result["cannot_answer"]:
        print(shown(f"cannot answer under this protocol: {', '.join(result['cannot_answer'])}"))
