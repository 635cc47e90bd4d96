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
    from gpo_ray.guesses.roles import Role
    from gpo_ray.preferences.dataset import PreferenceDataset


def guess(
    context: typer.Context,
    survey: Annotated[str | None, typer.Option(help="Survey folder made by `gpo survey import`.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder or URI of guesses; what is there stays.")] = None,
    model: Annotated[
        str, typer.Option(help="smollm2, a Hub id, a local folder, or a .gguf file.")
    ] = "smollm2",
    ask: Annotated[str, typer.Option(help="logprobs, distribution or sequence.")] = "logprobs",
    told: Annotated[str, typer.Option("--as", help="none, qa, bio, portray, or several: none,bio.")] = "none",
    groups: Annotated[
        list[str] | None, typer.Option(help="A group (SEX=Female) or attribute (SEX) to ask as; repeatable.")
    ] = None,
    roles: Annotated[str | None, typer.Option(help="File of `gpo guess describe`, edited or not.")] = None,
    orders: Annotated[int, typer.Option(help="Cyclic orders of the options to take the mean of.")] = 1,
    temperature: Annotated[float, typer.Option(help="Of replies; 0 takes the likeliest token.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of replies at another temperature.")] = 0,
    people: Annotated[int, typer.Option(help="People whose answers a reply of sequence lists.")] = 30,
    actors: Annotated[
        int | None, typer.Option(help="Copies of the model; by default one for each GPU or core.")
    ] = None,
    gpus_per_actor: Annotated[
        float | None, typer.Option(help="More than 1 spreads the model's layers.")
    ] = None,
    cpus_per_actor: Annotated[float, typer.Option(max=10_000, help="Logical CPUs for each copy.")] = 1,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Ask a language model for its own distributions, as nobody or in the role of each group (Ray Data).

    Asks only what is missing in --out. See also: gpo guess import, show and describe.
    """
    if context.invoked_subcommand is not None:
        return
    from gpo_ray.guesses.asking import AskSettings, plan
    from gpo_ray.guesses.job import GuessConfig, ask_model, model_identity
    from gpo_ray.preferences.dataset import PreferenceDataset
    from gpo_ray.runtime.ray_session import joined

    if survey is None or out is None:
        raise ConfigError(f"guess: give {'--survey' if survey is None else '--out'}, see gpo guess --help")
    given = locals()
    settings = parse_options(AskSettings, given, "guess")
    config = parse_options(GuessConfig, given, "guess")
    dataset = PreferenceDataset.load(survey, answers=False)
    styles = chosen_styles(told)
    known = told_roles(dataset, styles, roles, groups)
    name, identity = model_identity(config.model, config.dtype)
    asked = list(plan(dataset.iter_questions(), name, identity, styles, known, settings))
    with joined(address) as capacity:
        capacity.check(config.resource_request(capacity))
        result = ask_model(asked, absolute(out), settings, config, address, progress(as_json))
    show_asked(result | {"out": out}, as_json)


def guess_describe(
    survey: Survey,
    out: Annotated[str, typer.Option(help="YAML file to write.")] = "roles.yaml",
    groups: Annotated[
        list[str] | None, typer.Option(help="A group (SEX=Female) or attribute (SEX); repeatable.")
    ] = None,
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
    report(result, as_json, "{asked} asked, {reused} were there already; {guesses} guesses: {out}")
