"""The command line: ``gpo COMMAND``; every command with ``--json`` ends with one JSON object."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpo_ray import __version__
from gpo_ray.cluster.commands import cluster_app
from gpo_ray.config import load_train_config, parse
from gpo_ray.errors import ConfigError, GPOError
from gpo_ray.locations import beside, last_name
from gpo_ray.planning.commands import plan
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.join import merge_surveys
from gpo_ray.preferences.large import LARGE, is_large
from gpo_ray.preferences.readers import READERS, ReadOptions, read_survey
from gpo_ray.preferences.splits import PROTOCOLS, Protocol, draw_split
from gpo_ray.preflight import preflight
from gpo_ray.ray_session import joined
from gpo_ray.resources import evaluate_need, train_need, tune_need
from gpo_ray.serving.commands import serve_app
from gpo_ray.storage import Folder

app = typer.Typer(
    name="gpo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Group Preference Optimization on Ray.",
)
survey_app = typer.Typer(no_args_is_help=True, help="Survey data: import it, merge it, look at it.")
bundle_app = typer.Typer(no_args_is_help=True, help="Trained bundles.")
app.add_typer(survey_app, name="survey")
app.add_typer(bundle_app, name="bundle")
app.add_typer(serve_app, name="serve")
app.command()(preflight)
app.add_typer(cluster_app, name="cluster")
app.command()(plan)
console = Console()
N = TypeVar("N", int, float)
UsageError: Any = typer.BadParameter.__mro__[1]  # typer carries its own copy of click and does not export it

Survey = Annotated[str, typer.Option(help="Survey folder made by `gpo survey import`.")]
Embeddings = Annotated[str, typer.Option(help="Embedding folder made by `gpo embed`.")]
Out = Annotated[str, typer.Option(help="Folder or URI to write.")]
Json = Annotated[bool, typer.Option("--json", help="End with one JSON object on one line.")]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster; by default RAY_ADDRESS, else one is started here.")
]
OnDisk = Annotated[
    bool | None,
    typer.Option(
        "--on-disk/--in-memory",
        help=f"Whether answers stay on disk; by default from {LARGE:,} of them on.",
    ),
]
Objective = Annotated[
    str | None,
    typer.Option(
        help="average or robust (the groups served worst; default step size), if not the configuration's."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the split, the weights and the episodes.")]


def main() -> None:
    """Entry point: errors of the user's become one line on stderr and an exit code."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    # settled before any library looks: no usage statistics leave this machine, no chatter
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        code = app(standalone_mode=False)
    except GPOError as e:
        _fail(str(e), e.exit_code)
    except UsageError as e:
        if type(e).__name__ == "NoArgsIsHelpError":
            print(e.format_message())
            sys.exit(2)
        _fail(f"{e.format_message()} (see --help)", 2)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; the same command goes on from what is complete", file=sys.stderr)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> NoReturn:
    text = " ".join(message.split()).encode(errors="backslashreplace").decode()  # a path may be no text
    print(f"error: {text}", file=sys.stderr)
    sys.exit(code)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@survey_app.command("import")
def survey_import(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(READERS)}.")],
    out: Out,
    source: Annotated[str | None, typer.Option("--from", help="File or folder; none for gss.")] = None,
    units: Annotated[str, typer.Option(help="groups or individuals (gss, gss-panel).")] = "groups",
    groups: Annotated[str, typer.Option(help="all or paper (opinionqa, globalopinionqa).")] = "all",
    min_respondents: Annotated[float, typer.Option(help="Fewest respondents behind a share.")] = 50,
    min_questions: Annotated[int, typer.Option(help="Fewest questions a group must have answered.")] = 1,
    contentious: Annotated[bool, typer.Option(help="Only contentious questions (opinionqa).")] = False,
    as_json: Json = False,
) -> None:
    """Read a survey source and write it as a PreferenceDataset folder."""
    values = {
        "units": units,
        "groups": groups,
        "min_respondents": min_respondents,
        "min_questions": min_questions,
        "contentious": contentious,
    }
    options = parse(ReadOptions, values, "survey import")
    with Folder(out).writing():
        dataset = read_survey(kind, source, options)
        dataset.save(out)
    result = _survey_counts(dataset) | {"out": out}
    if as_json:
        _print_json(result)
    else:
        _show_survey(dataset, out)


@survey_app.command("merge")
def survey_merge(
    first: Annotated[str, typer.Argument(help="Survey folder, which keeps its ids and topics.")],
    second: Annotated[str, typer.Argument(help="Survey folder to add to it.")],
    out: Out,
    as_json: Json = False,
) -> None:
    """Unite two surveys; a question that both ask, in the same words, becomes one."""
    with Folder(out).writing():
        surveys = [PreferenceDataset.load(folder) for folder in (first, second)]
        merged = merge_surveys(*surveys)
        merged.save(out)
    same = sum(s.questions.num_rows for s in surveys) - merged.questions.num_rows
    if as_json:
        _print_json(_survey_counts(merged) | {"same_questions": same, "out": out})
    else:
        _show_survey(merged, out)
        print(f"{same} questions of {second} are the same as in {first}")


@survey_app.command("show")
def survey_show(folder: Annotated[str, typer.Argument(help="Survey folder.")], as_json: Json = False) -> None:
    """Show counts, a sample, and what was dropped and why."""
    dataset = PreferenceDataset.load(folder)
    if as_json:
        _print_json(_survey_counts(dataset) | {"out": folder})
    else:
        _show_survey(dataset, folder)


@app.command()
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
    cpus_per_actor: Annotated[float, typer.Option(help="Logical CPUs for each copy.")] = 1,
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
    from gpo_ray.embedding.job import EmbedConfig
    from gpo_ray.embedding.job import embed as run

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
        result = run(dataset, _absolute(out), config, address, _progress())
    _report(result | {"out": out}, as_json, "{embedded} questions embedded, {reused} reused: {out}")


@app.command()
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
    settings = load_train_config(config, seed=seed, steps=steps, objective=objective)
    with ExitStack() as stack:
        if workers:
            stack.enter_context(joined(address)).check(train_need(workers, gpus_per_worker))
        from gpo_ray.training.run import TrainJob

        stays = is_large(survey) if on_disk is None else on_disk
        dataset = PreferenceDataset.load(survey, answers=not stays)
        job = TrainJob(
            survey=_absolute(survey),
            embeddings=_absolute(embeddings),
            out=_absolute(out),
            storage=_absolute(storage or _beside(out, "runs")),
            name=name or last_name(out),
            config=settings,
            split=draw_split(dataset, fraction, seed, validation_fraction=settings.validation.fraction),
            on_disk=stays,
        )
        if workers == 0:
            from gpo_ray.training.local import train_local

            result = train_local(job, _progress(), "cuda" if gpus_per_worker else "cpu", restart, address)
        else:
            from gpo_ray.training.driver import train_distributed as run

            result = run(job, workers, zero_stage, gpus_per_worker, address, _progress(), restart)
    _report(
        result | {"out": out},
        as_json,
        "best validation alignment {validation_alignment:.4f} at step {best_step} of {steps}: {out}",
    )


@app.command()
def evaluate(
    survey: Survey,
    embeddings: Embeddings,
    out: Out,
    methods: Annotated[
        str, typer.Option(help="Comma-separated.")
    ] = "gpo,paper,uniform,lm-base,train-mean,context-mean,ridge-mix,low-rank,gaussian-process,kernel",
    protocol: Annotated[str, typer.Option(help=f"One of: {', '.join(PROTOCOLS)}.")] = "paper",
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
    chosen = _protocol(protocol)
    sizes = None if context_sizes is None else tuple(_numbers(context_sizes, "--context-sizes", int))
    named = tuple(dict.fromkeys(m.strip() for m in methods.split(",")))
    shares = _numbers(fractions, "--fractions", float)
    with joined(address) as capacity:
        capacity.check(evaluate_need())
        from gpo_ray.evaluation.protocol import EvaluationPlan
        from gpo_ray.evaluation.runner import evaluate as run

        plan = EvaluationPlan(named, context, steps, sizes, objective)
        where = (address, _progress(), test_survey, max_test_groups)
        result = run(survey, embeddings, out, plan, chosen, shares, seeds, *where)
    if not as_json:
        _show_scores(result, chosen)
    _report(result, as_json, "report: {report}")


@app.command()
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
    from gpo_ray.tuning.space import load_search

    search, space = load_search(config, trials=trials, concurrent=concurrent)
    with joined(address) as capacity:
        capacity.check(tune_need(search))
        from gpo_ray.tuning.job import run_search

        places = (_absolute(survey), _absolute(embeddings), _absolute(out))
        result = run_search(search, space, *places, address, _progress(), restart)
    _report(
        result | {"out": out, "config": Folder(out).where("best.yaml")},
        as_json,
        "{trials} trials, {failed} failed; best: trial {best[number]}, validation alignment "
        "{best[validation_alignment]:.4f}: {config}, {bundle}",
    )


@app.command()
def predict(
    bundle: Annotated[str, typer.Option(help="Bundle folder made by `gpo train`.")],
    context: Annotated[str, typer.Option(help="JSON list of {prompt, responses, share or choice}.")],
    questions: Annotated[str, typer.Option(help="JSON list of {prompt, responses}.")],
    model: Annotated[str | None, typer.Option(help="Language model; by default the bundle's.")] = None,
    as_json: Json = False,
) -> None:
    """Adapt to a group from a few of its answers and predict its preferences over new questions."""
    from gpo_ray.predicting import predict_file

    result = predict_file(bundle, context, questions, model)
    if not as_json:
        for p in result["predictions"]:
            console.print(Text(p["prompt"], style="bold"))
            for response, share in zip(p["responses"], p["share"], strict=True):
                console.print(Text(f"  {share:6.1%}  {response}"))
    _report(result, as_json, "")


@bundle_app.command("inspect")
def bundle_inspect(
    folder: Annotated[str, typer.Argument(help="Bundle folder.")], as_json: Json = False
) -> None:
    """Check a bundle against its manifest and show what it was made of."""
    from gpo_ray.model.bundle import read_bundle

    bundle = read_bundle(folder)
    result = {
        "out": folder,
        "parameters": sum(p.numel() for p in bundle.model.parameters()),
        "config": bundle.config.model_dump(mode="json"),
        "provenance": bundle.provenance,
    }
    if as_json:
        _print_json(result)
    else:
        console.print_json(data=result)


@app.command()
def quickstart(out: Out = "quickstart-out", address: Address = None, as_json: Json = False) -> None:
    """Run the whole pipeline on the embedded survey and language model, in a few minutes."""
    from gpo_ray.quickstart import run

    with Folder(out).writing():
        result = run(out, address, _progress(), quiet=as_json)
    if as_json:
        _print_json(result)


def _protocol(name: str) -> Protocol:
    found = next((p for p in PROTOCOLS if p == name), None)
    if found is None:
        raise ConfigError(f"protocol {name!r} is not one of {', '.join(PROTOCOLS)}")
    return found


def _absolute(uri: str) -> str:
    return Folder(uri).absolute


def _beside(out: str, name: str) -> str:
    try:
        return beside(out, name)
    except ValueError as e:
        raise ConfigError(f"{e}: give --storage, or a folder in it for --out") from e


def _progress() -> bool:
    return sys.stderr.isatty()


def _numbers(text: str, option: str, kind: Callable[[str], N]) -> list[N]:
    try:
        return [kind(part) for part in text.split(",")] if text.strip() else []
    except ValueError as e:
        raise ConfigError(f"{option} {text!r}: expected numbers separated by commas") from e


def _print_json(result: dict[str, Any]) -> None:
    print(json.dumps(result, allow_nan=False), flush=True)


def _report(result: dict[str, Any], as_json: bool, text: str) -> None:
    if as_json:
        _print_json(result)
    elif text:
        print(text.format(**result))


def _show_scores(result: dict[str, Any], protocol: str) -> None:
    from gpo_ray.evaluation.individuals import accuracy_table
    from gpo_ray.evaluation.summary import text_table

    cells = result["cells"]
    print(accuracy_table(cells) if protocol == "individuals" else text_table(cells, result))
    if result["cannot_answer"]:
        print(f"cannot answer under this protocol: {', '.join(result['cannot_answer'])}")


def _survey_counts(dataset: PreferenceDataset) -> dict[str, Any]:
    return {
        "questions": dataset.questions.num_rows,
        "groups": dataset.groups.num_rows,
        "preferences": dataset.preferences.num_rows,
        "dropped": dataset.dropped_by_reason(),
    }


def _show_survey(dataset: PreferenceDataset, where: str) -> None:
    counts = _survey_counts(dataset)
    print(
        f"{where}: {counts['questions']} questions, {counts['groups']} groups, "
        f"{counts['preferences']} preferences"
    )
    question = next(iter(dataset.iter_questions()))
    sample = Table(title=Text(question.prompt), title_justify="left")
    for column in ("group", *question.responses):
        sample.add_column(Text(column))
    values, offsets = dataset.shares()
    ids = dataset.preferences["question_id"].to_pylist()
    rows = [i for i, q in enumerate(ids) if q == question.question_id][:5]
    for i in rows:
        shares = values[offsets[i] : offsets[i + 1]]
        sample.add_row(Text(dataset.preferences["group_id"][i].as_py()), *(f"{s:.3f}" for s in shares))
    console.print(sample)
    drops = Table(title="dropped", title_justify="left")
    for column in ("reason", "rows", "for example"):
        drops.add_column(column)
    log = dataset.dropped.to_pylist()
    for reason, count in counts["dropped"].items():
        example = next(d["where"] for d in log if d["reason"] == reason)
        drops.add_row(Text(reason), str(count), Text(example))
    if log:
        console.print(drops)
        print(f"every dropped row is in {where}/dropped.parquet")
    else:
        print("nothing was dropped")
