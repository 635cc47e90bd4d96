"""The command ``gpo survey codebook``, and the table of what was proposed."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpo_ray.cli.options import Json
from gpo_ray.cli.output import print_json
from gpo_ray.runtime.terminal_text import shown

if TYPE_CHECKING:
    from gpo_ray.preferences.dataset import PreferenceDataset

MAX_LEFT_OUT = 20
"""Most variables that are named for one reason of leaving them out."""


def survey_codebook(
    file: Annotated[
        str,
        typer.Argument(help="File of respondents: .sav .zsav .por .dta .sas7bdat .xpt .csv .parquet .xlsx"),
    ],
    out: Annotated[str, typer.Option(help="YAML file to write.")] = "codebook.yaml",
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    encoding: Annotated[str | None, typer.Option(help="Encoding of texts, such as cp1252.")] = None,
    decimal: Annotated[str | None, typer.Option(help="Decimal sign of numbers: . or ,")] = None,
    thousands: Annotated[str | None, typer.Option(help="Sign between thousands: . , ' or a space.")] = None,
    merge_case: Annotated[bool, typer.Option(help="Take texts that differ in case alone as one.")] = False,
    as_json: Json = False,
) -> None:
    """Propose which variables of a file are questions, demographics and the weight, as a file to correct."""
    from gpo_ray.cli.options import parse_options
    from gpo_ray.errors import ConfigError, DataError, reason_of
    from gpo_ray.preferences.readers.options import ReadOptions
    from gpo_ray.preferences.readers.respondents.document import codebook_bytes
    from gpo_ray.preferences.readers.respondents.proposal import propose
    from gpo_ray.preferences.readers.respondents.reader import read_table_of
    from gpo_ray.runtime.local_files import replacing
    from gpo_ray.runtime.locations import local_copy, without_password

    target = Path(out).expanduser()
    if target.is_dir():
        raise ConfigError(f"{out}: a folder; give the path of a file, such as codebook.yaml")
    if target.exists() and not overwrite:
        raise ConfigError(f"{out}: there is a file already; give another --out, or --overwrite")
    given = {name: f.default for name, f in ReadOptions.model_fields.items()} | locals()
    options = parse_options(ReadOptions, given, "survey codebook")
    with ExitStack() as stack:
        try:
            path = stack.enter_context(local_copy(file))
        except (ValueError, OSError) as e:
            raise DataError(f"{without_password(file)}: cannot be read: {reason_of(e, file)}") from e
        table = read_table_of(path, options)
    proposal = propose(table)
    text = codebook_bytes(proposal, table)
    try:
        with replacing(target) as temporary:
            temporary.write_bytes(text)
    except OSError as e:
        raise ConfigError(f"{out}: cannot be written: {reason_of(e)}") from e
    if as_json:
        roles = [f.role for f in proposal.findings]
        found = {f"{role}s": roles.count(role) for role in ("question", "demographic")}
        print_json(found | {"weight": proposal.codebook.weight, "id": proposal.codebook.id, "out": out})
    else:
        _show(((f.name, f.role, f.why) for f in proposal.findings), errors=False)
        print(shown(f"written to {out}; correct it and give it to gpo survey import respondents --codebook"))


def show_proposed(dataset: PreferenceDataset, as_json: bool) -> None:
    """Show what a survey's variables were proposed as, from its notes; beside JSON on standard error."""
    from gpo_ray.preferences.readers.respondents.reader import NOT_PROPOSED, PROPOSED

    found = []
    for note in dataset.notes.to_pylist():
        if note["note"].startswith(PROPOSED):
            role, _, why = note["note"].removeprefix(PROPOSED).partition(": ")
            found.append((note["where"].split(": ", 1)[-1], role, why))
    for drop in dataset.dropped.to_pylist():
        if drop["reason"].startswith(NOT_PROPOSED):
            found.append(
                (drop["where"].split(": ", 1)[-1], "left out", drop["reason"].removeprefix(NOT_PROPOSED))
            )
    _show(found, as_json)


def _show(findings: Iterable[tuple[str, str, str]], errors: bool) -> None:
    """Show variables by what they are: each question and demographic on a line, others by their reason."""
    from rich.console import Console
    from rich.table import Table

    from gpo_ray.runtime.terminal_text import ShownText as Text

    table = Table(title="proposed codebook", title_justify="left")
    for column in ("variable", "is", "note"):
        table.add_column(column, overflow="fold")
    left_out: dict[str, list[str]] = {}
    for name, role, why in findings:
        if role == "left out":
            left_out.setdefault(why, []).append(name)
        else:
            table.add_row(Text(name), Text(role), Text(why))
    for why, names in left_out.items():
        more = f" and {len(names) - MAX_LEFT_OUT} more" if len(names) > MAX_LEFT_OUT else ""
        table.add_row(Text(", ".join(names[:MAX_LEFT_OUT]) + more), Text("left out"), Text(why))
    Console(stderr=errors).print(table)
