"""The commands ``gpo guess``, which asks a language model, and ``gpo guess describe``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpo_ray.cli.options import Address, Json, Survey, parse_options
from gpo_ray.cli.output import progress, report
from gpo_ray.cli.places import absolute
from gpo_ray.errors import ConfigError
from gpo_ray.runtime.terminal_text import shown

if TYPE_CHECKING:
    from gpo_ray.guesses.asking import Asked, AskSettings
    from gpo_ray.guesses.roles import Role
    from gpo_ray.preferences.dataset import PreferenceDataset


Model = Annotated[
    str | None,
    typer.Option(help="smollm2 (the default), a Hub id, a folder, a .gguf file; a name at --endpoint."),
]
Endpoint = Annotated[
    str | None, typer.Option(help="URL of an OpenAI-compatible API; its key is read from GPO_ENDPOINT_KEY.")
]
Groups = Annotated[
    list[str] | None, typer.Option(help="A group (SEX=Female) or attribute (SEX) to tell; repeatable.")
]
Actors = Annotated[int | None, typer.Option(help="Copies of the model; by default one for each GPU or core.")]
GpusPerActor = Annotated[float | None, typer.Option(help="More than 1 spreads the model's layers.")]
CpusPerActor = Annotated[float, typer.Option(max=10_000, help="Logical CPUs for each copy.")]
Orders = Annotated[int, typer.Option(help="Cyclic orders of the options to take the mean of.")]


def guess(
    context: typer.Context,
    survey: Annotated[str | None, typer.Option(help="Survey folder made by `gpo survey import`.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder or URI of guesses; what is there stays.")] = None,
    model: Model = None,
    endpoint: Endpoint = None,
    ask: Annotated[str, typer.Option(help="logprobs, distribution or sequence.")] = "logprobs",
    told: Annotated[str, typer.Option("--as", help="none, qa, bio, portray, or several: none,bio.")] = "none",
    groups: Groups = None,
    roles: Annotated[str | None, typer.Option(help="File of `gpo guess describe`, edited or not.")] = None,
    orders: Orders = 1,
    temperature: Annotated[float, typer.Option(help="Of replies; 0 takes the likeliest token.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of replies at another temperature.")] = 0,
    people: Annotated[int, typer.Option(help="People whose answers a reply of sequence lists.")] = 30,
    actors: Actors = None,
    gpus_per_actor: GpusPerActor = None,
    cpus_per_actor: CpusPerActor = 1,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    address: Address = None,
    parallel: Annotated[int, typer.Option(help="Requests to --endpoint at the same time.")] = 4,
    retries: Annotated[int, typer.Option(help="Further tries of a request that failed.")] = 6,
    timeout: Annotated[float, typer.Option(help="Seconds in which --endpoint must reply.")] = 120.0,
    max_requests: Annotated[int | None, typer.Option(help="Budget of requests to --endpoint.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Budget of tokens at --endpoint.")] = None,
    as_json: Json = False,
) -> None:
    """Ask a language model for its own distributions, as nobody or in the role of each group (Ray Data).

    Asks only what is missing in --out. See also: gpo guess import, show and describe.
    """
    if context.invoked_subcommand is not None:
        return
    if survey is None or out is None:
        raise ConfigError(f"guess: give {'--survey' if survey is None else '--out'}, see gpo guess --help")
    given = locals()
    result = _asked_endpoint(given) if endpoint is not None else _asked_here(given)
    show_asked(result | {"out": out}, as_json)


def _asked_here(given: dict[str, Any]) -> dict[str, Any]:
    """Ask a model on the cluster, with the command's options."""
    from gpo_ray.guesses.job import GuessConfig, ask_model, model_identity
    from gpo_ray.runtime.ray_session import joined

    for name in ("max_requests", "max_tokens"):
        if given[name] is not None:
            raise ConfigError(f"--{name.replace('_', '-')} is a budget of --endpoint, which is not given")
    config = parse_options(GuessConfig, given | {"model": given["model"] or "smollm2"}, "guess")
    settings, asked = _to_ask(given, *model_identity(config.model, config.dtype))
    with joined(given["address"]) as capacity:
        capacity.check(config.resource_request(capacity))
        shown_here = progress(given["as_json"])
        return ask_model(asked, absolute(given["out"]), settings, config, given["address"], shown_here)


def _asked_endpoint(given: dict[str, Any]) -> dict[str, Any]:
    """Ask a model at an endpoint, with the command's options."""
    from gpo_ray.guesses.chat import EndpointConfig
    from gpo_ray.guesses.endpoint import ask_endpoint

    if given["model"] is None:
        raise ConfigError("guess: --endpoint needs --model, the model's name there")
    defaults = {name: f.default for name, f in EndpointConfig.model_fields.items()}
    config = parse_options(EndpointConfig, defaults | given, "guess")
    settings, asked = _to_ask(given, config.model, config.identity)
    return ask_endpoint(asked, absolute(given["out"]), settings, config, progress(given["as_json"]))


def _to_ask(given: dict[str, Any], model: str, identity: str) -> tuple[AskSettings, list[Asked]]:
    """Return the settings and everything to ask, from the command's options."""
    from gpo_ray.guesses.asking import AskSettings, plan
    from gpo_ray.preferences.dataset import PreferenceDataset

    settings = parse_options(AskSettings, given, "guess")
    dataset = PreferenceDataset.load(given["survey"], answers=False)
    styles = chosen_styles(given["told"])
    known = told_roles(dataset, styles, given["roles"], given["groups"])
    return settings, list(plan(dataset.iter_questions(), model, identity, styles, known, settings))


def guess_describe(
    survey: Survey,
    out: Annotated[str, typer.Option(help="YAML file to write.")] = "roles.yaml",
    groups: Groups = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write how each group is told to a language model, as a file to edit and give to gpo guess --roles."""
    from gpo_ray.guesses.roles import chosen_roles, describe_all, write_roles
    from gpo_ray.preferences.dataset import PreferenceDataset

    target = Path(out).expanduser()
    if target.is_dir():
        raise ConfigError(f"{out}: a folder; give the path of a file, such as roles.yaml")
    if target.exists() and not overwrite:
        raise ConfigError(f"{out}: there is a file already; give another --out, or --overwrite")
    every = groups_of(PreferenceDataset.load(survey, answers=False))
    found = chosen_roles(describe_all(every), groups)
    write_roles(found, target)
    people = sum(g.kind == "individual" for g in every)
    text = "{roles} roles written to {out}; edit them and give them to gpo guess --roles"
    more = f"; {people} single people are not told to a model" if people else ""
    report({"roles": len(found), "individuals": people, "out": out}, as_json, text + more)


def chosen_styles(told: str) -> list[str]:
    """Return the styles that the option ``--as`` names.

    Raises:
        ConfigError: for one that does not exist.
    """
    from gpo_ray.guesses.roles import STYLES

    styles = list(dict.fromkeys(style.strip() for style in told.split(",")))
    for style in styles:
        if style not in STYLES:
            raise ConfigError(f"--as {style!r} is not one of {', '.join(STYLES)}")
    return styles


def told_roles(
    dataset: PreferenceDataset, styles: Sequence[str], roles: str | None, groups: Sequence[str] | None
) -> dict[str, Role]:
    """Return the roles in which a model is asked, from a file or made of the survey's groups.

    Raises:
        ConfigError: if the file or a group is wrong, or there is nobody to ask as.
    """
    from gpo_ray.guesses.roles import chosen_roles, describe_all, read_roles

    if styles == ["none"]:
        if groups or roles:
            raise ConfigError("--groups and --roles need a style: give --as qa, bio or portray")
        return {}
    every = groups_of(dataset)
    known = describe_all(every) if roles is None else read_roles(roles, [g.group_id for g in every])
    if not known:
        raise ConfigError(
            "the survey has single people alone: give --as none, or --roles with texts for them"
        )
    return chosen_roles(known, groups)


def groups_of(dataset: PreferenceDataset) -> list[Any]:
    """Return the groups of a survey."""
    from gpo_ray.preferences.dataset import Group

    return [Group(**row) for row in dataset.groups.to_pylist()]


def show_asked(result: dict[str, Any], as_json: bool) -> None:
    """Print what came of asking."""
    if not as_json:
        for reason, count in result["without"].items():
            print(shown(f"{count} without a guess: {reason}"))
        for reason, count in result.get("failed", {}).items():
            print(shown(f"{count} not answered: {reason}"))
        if result.get("left"):
            why = result["stopped"] or "requests failed"
            print(shown(f"{result['left']} are left: {why}; the same command goes on from here"))
    report(result, as_json, "{asked} asked, {reused} were there already; {guesses} guesses: {out}")
