"""The commands ``gpo guess ...``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpo_ray.cli.guess_ask import guess, guess_describe
from gpo_ray.cli.options import Embeddings, Json, Out, Survey, parse_options
from gpo_ray.cli.output import print_json
from gpo_ray.runtime.terminal_text import shown

if TYPE_CHECKING:
    from gpo_ray.guesses.table import GuessTable

MOST_LABELS = 10
"""Most labels that are named for one reason of not using them; ``--json`` has all."""
TABLE = (
    "The table (.csv, .csv.gz, .parquet) has a row per way of asking, question and response: columns asked "
    "(logprobs, distribution, sequence, ...), question (id or prompt), response and share or percent; "
    "optional are model, as (how the group was told: persona, few-shot, ...), group and attribute."
)

app = typer.Typer(no_args_is_help=True, invoke_without_command=True)
app.callback()(guess)
app.command("describe")(guess_describe)


@app.command("import", epilog=TABLE)
def guess_import(
    source: Annotated[str, typer.Option("--from", help="File of guesses.")],
    survey: Survey,
    out: Out,
    model: Annotated[
        str | None, typer.Option(help="Model of a table without that column; else the only one to read.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of a text file, such as cp1252.")] = None,
    decimal: Annotated[str | None, typer.Option(help="Decimal sign of numbers: . or ,")] = None,
    thousands: Annotated[str | None, typer.Option(help="Sign between thousands: . , ' or a space.")] = None,
    as_json: Json = False,
) -> None:
    """Import guesses that were made elsewhere, matched with a survey's questions and groups."""
    from gpo_ray.errors import DataError, reason_of
    from gpo_ray.guesses.reading import read_guesses
    from gpo_ray.preferences.dataset import PreferenceDataset
    from gpo_ray.preferences.readers.options import ReadOptions
    from gpo_ray.runtime.locations import local_copy, without_password

    defaults = {name: f.default for name, f in ReadOptions.model_fields.items()}
    options = parse_options(ReadOptions, defaults | locals(), "guess import")
    dataset = PreferenceDataset.load(survey, answers=False)
    try:
        with local_copy(source) as path:
            table = read_guesses(path, dataset, model, options)
    except (ValueError, OSError) as e:
        raise DataError(f"{without_password(source)}: cannot be read: {reason_of(e, source)}") from e
    _save(table, out, as_json)


@app.command("letters")
def guess_letters(survey: Survey, embeddings: Embeddings, out: Out, as_json: Json = False) -> None:
    """Write as guesses what embeddings hold anyway: the option letters' probabilities, asked as nobody."""
    from gpo_ray.guesses.from_embeddings import guesses_of_store
    from gpo_ray.preferences.dataset import PreferenceDataset

    table = guesses_of_store(PreferenceDataset.load(survey, answers=False), embeddings)
    _save(table, out, as_json)


@app.command("show")
def guess_show(
    folder: Annotated[str, typer.Argument(help="Folder of guesses.")],
    survey: Annotated[
        str | None, typer.Option(help="Survey folder, with whose answers guesses are compared.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the guesses of a folder, and how near to a survey's answers each way of asking comes."""
    from gpo_ray.guesses.summary import summarize
    from gpo_ray.guesses.table import GuessTable
    from gpo_ray.preferences.dataset import PreferenceDataset

    table = GuessTable.load(folder)
    dataset = None if survey is None else PreferenceDataset.load(survey)
    rows = [found.row() for found in summarize(table, dataset)]
    if as_json:
        print_json({"ways": rows, "fingerprints": dict(table.models)} | _counts(table))
        return
    _print_ways(rows, compared=survey is not None)
    _show_counts(table)


HEADS = {
    "roles": "roles",
    "questions": "quest.",
    "guesses": "guesses",
    "without": "none",
    "entropy": "entropy",
    "alignment": "align.",
    "total_variation": "TV",
}
"""Heads of the columns of ``gpo guess show``; the last two need a survey's answers."""


def _save(table: GuessTable, out: str, as_json: bool) -> None:
    """Write a table to a folder, and print what it has."""
    table.save(out)
    if as_json:
        print_json(_counts(table) | {"out": out})
    else:
        _show_counts(table)
        print(shown(f"written to {out}"))


def _counts(table: GuessTable) -> dict[str, Any]:
    """Return what there is and what is not used, for JSON."""
    unused: dict[str, dict[str, dict[str, int]]] = {}
    for entry in table.not_used.to_pylist():
        by_reason = unused.setdefault(f"{entry['what']}s", {}).setdefault(entry["reason"], {})
        by_reason[entry["label"]] = entry["rows"]
    notes = [f"{n['where']}: {n['note']}" for n in table.notes.to_pylist()]
    found = table.counts()
    return found | {"ways_asked": found.pop("ways"), "not_used": unused, "notes": notes}


def _show_counts(table: GuessTable) -> None:
    """Print how many guesses there are, and what is to be known of those that are not."""
    found = _counts(table)
    head = "{guesses} guesses for {questions} questions, {ways_asked} ways of asking, {roles} roles"
    lines = [head.format(**found)]
    lines += [f"{n} without a guess: {reason}" for reason, n in found["without"].items()]
    for what, by_reason in found["not_used"].items():
        for reason, labels in by_reason.items():
            lines.append(f"{len(labels)} {what} not used, {reason}: {_named(labels.items())}")
    lines += [f"note: {note}" for note in found["notes"]]
    for line in lines:
        print(shown(line))


def _named(labels: Iterable[tuple[str, int]]) -> str:
    """Return the most frequent labels with their numbers of rows."""
    ordered = sorted(labels, key=lambda each: (-each[1], each[0]))
    more = f" and {len(ordered) - MOST_LABELS} more" if len(ordered) > MOST_LABELS else ""
    return ", ".join(f"{label[:60]!r} ({n} rows)" for label, n in ordered[:MOST_LABELS]) + more


def _print_ways(rows: Sequence[dict[str, Any]], compared: bool) -> None:
    """Print the summaries of the ways of asking as a table of 80 columns."""
    from rich.console import Console
    from rich.table import Table

    from gpo_ray.runtime.terminal_text import ShownText as Text

    table = Table(box=None, pad_edge=False)
    table.add_column("model, asked, as", overflow="fold")
    names = list(HEADS)[: None if compared else -2]
    for name in names:
        table.add_column(HEADS[name], no_wrap=True, justify="right")
    for row in rows:
        values = (row[name] for name in names)
        cells = ("" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v) for v in values)
        table.add_row(Text(f"{row['model']}, {row['asked']}, {row['as']}"), *map(Text, cells))
    Console().print(table)
