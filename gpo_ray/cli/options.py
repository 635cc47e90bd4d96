"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

C = TypeVar("C", bound="BaseModel")

Survey = Annotated[str, typer.Option(help="Survey folder made by `gpo survey import`.")]
Embeddings = Annotated[str, typer.Option(help="Embedding folder made by `gpo embed`.")]
Out = Annotated[str, typer.Option(help="Folder or URI to write.")]
Json = Annotated[bool, typer.Option("--json", help="End with one JSON object on one line.")]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster; by default RAY_ADDRESS, else one is started here.")
]
Objective = Annotated[
    str | None,
    typer.Option(
        help="average or robust (the groups served worst; default step size), if not the configuration's."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the split, the weights and the episodes.")]

Guesses = Annotated[
    list[str] | None,
    typer.Option(help="Folder of `gpo guess` whose guesses are read; several: repeat it, or commas."),
]
GuessesModel = Annotated[
    str | None, typer.Option(help="The model whose guesses are read, if --guesses holds several models'.")
]


def parse_options(schema: type[C], given: Mapping[str, Any], command: str) -> C:
    """Return options of a command as a configuration, so that the command need not repeat their names.

    Args:
        schema: class of the configuration; each of its fields is an option of the command, of the same name.
        given: values of the options by name, such as the command's ``locals()``; others are ignored.
        command: name of the command for error messages.

    Raises:
        ConfigError: if a value is not allowed.
    """
    from gpo_ray.config import parse

    return parse(schema, {name: given[name] for name in schema.model_fields}, command)


def guess_folders(guesses: list[str] | None, model: str | None) -> tuple[str, ...]:
    """Return the folders that ``--guesses`` names.

    Raises:
        ConfigError: if a model is picked, and no folder is named.
    """
    found = tuple(part.strip() for each in guesses or () for part in each.split(",") if part.strip())
    from gpo_ray.errors import ConfigError

    if model is not None and not found:
        raise ConfigError("--guesses-model picks one of the models of --guesses, which is not given")
    return found
