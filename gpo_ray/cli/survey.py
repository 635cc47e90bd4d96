"""The commands ``gpo survey ...``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpo_ray.cli.codebook import show_proposed, survey_codebook
from gpo_ray.cli.options import Json, Out, parse_options
from gpo_ray.cli.output import print_json
from gpo_ray.runtime.terminal_text import shown

if TYPE_CHECKING:
    from gpo_ray.preferences.dataset import PreferenceDataset

app = typer.Typer(no_args_is_help=True, help="Survey data: import it, merge it, look at it.")
app.command("codebook")(survey_codebook)
KINDS = (
    "gss",
    "opinionqa",
    "globalopinionqa",
    "opinionqa-individuals",
    "gss-panel",
    "table",
    "respondents",
)
"""Names of :data:`gpo_ray.preferences.readers.READERS`, repeated since its module takes long to import."""
TABLE = (
    "A table (.csv, .xlsx, .parquet) has the columns group, prompt, response and one of count, share, "
    "percent; optional are n, kind (attribute, country, individual or community, the default), topic, "
    "question_id, source, position, scale and ordered. With --units individuals it may be wide: a row per "
    "person, a column per question. --encoding, --decimal and --thousands are for tables and respondents."
)
"""What the help of the import says of tables."""
MAX_CELL_CHARACTERS = 60
"""Most characters of a text that is shown in a table."""


@app.command("import", epilog=TABLE)
def survey_import(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(KINDS)}.")],
    out: Out,
    source: Annotated[str | None, typer.Option("--from", help="File or folder; none for gss.")] = None,
    units: Annotated[
        str, typer.Option(help="groups or individuals (gss, gss-panel, table), or both (respondents).")
    ] = "groups",
    groups: Annotated[
        str,
        typer.Option(help="all or paper (opinionqa, globalopinionqa); AGE,PARTY,AGE*PARTY (respondents)."),
    ] = "all",
    bins: Annotated[
        list[str] | None, typer.Option(help="Cut a number into levels: AGE=18,30,50,65 (respondents).")
    ] = None,
    codebook: Annotated[
        str | None, typer.Option(help="File of `gpo survey codebook`, edited or not (respondents).")
    ] = None,
    min_respondents: Annotated[
        float | None, typer.Option(help="Fewest respondents behind a share; by default 50, and 1 for table.")
    ] = None,
    min_questions: Annotated[int, typer.Option(help="Fewest questions a group must have answered.")] = 1,
    contentious: Annotated[bool, typer.Option(help="Only contentious questions (opinionqa).")] = False,
    encoding: Annotated[str | None, typer.Option(help="Encoding of a text file, such as cp1252.")] = None,
    decimal: Annotated[str | None, typer.Option(help="Decimal sign of numbers: . or ,")] = None,
    thousands: Annotated[str | None, typer.Option(help="Sign between thousands: . , ' or a space.")] = None,
    repeated: Annotated[
        str, typer.Option(help="A person's second answer: refuse, or last to take the last one (table).")
    ] = "refuse",
    merge_case: Annotated[
        bool, typer.Option(help="Take texts that differ in case alone as one (table, respondents).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read a survey source and write it as a PreferenceDataset folder."""
    from gpo_ray.preferences.readers import ReadOptions, read_survey
    from gpo_ray.runtime.storage import Folder

    options = parse_options(ReadOptions, locals() | {"bins": tuple(bins or ())}, "survey import")
    with Folder(out).writing():
        dataset = read_survey(kind, source, options)
        dataset.save(out)
    if kind == "respondents" and codebook is None:
        show_proposed(dataset, as_json)
    result = _counts(dataset) | {"out": out}
    if as_json:
        print_json(result)
    else:
        _show(dataset, out)


@app.command("merge")
def survey_merge(
    first: Annotated[str, typer.Argument(help="Survey folder, which keeps its ids and topics.")],
    second: Annotated[str, typer.Argument(help="Survey folder to add to it.")],
    out: Out,
    as_json: Json = False,
) -> None:
    """Unite two surveys; a question that both ask, in the same words, becomes one."""
    from gpo_ray.preferences.dataset import PreferenceDataset
    from gpo_ray.preferences.join import merge_surveys
    from gpo_ray.runtime.storage import Folder

    with Folder(out).writing():
        surveys = [PreferenceDataset.load(folder) for folder in (first, second)]
        merged = merge_surveys(*surveys)
        merged.save(out)
    same = sum(s.questions.num_rows for s in surveys) - merged.questions.num_rows
    if as_json:
        print_json(_counts(merged) | {"same_questions": same, "out": out})
    else:
        _show(merged, out)
        print(shown(f"{same} questions of {second} are the same as in {first}"))


@app.command("show")
def survey_show(folder: Annotated[str, typer.Argument(help="Survey folder.")], as_json: Json = False) -> None:
    """Show counts, a sample, and what was dropped and why."""
    with _pyarrow_alone():
        from gpo_ray.preferences.dataset import PreferenceDataset

        dataset = PreferenceDataset.load(folder)
        if as_json:
            print_json(_counts(dataset) | {"out": folder})
        else:
            _show(dataset, folder)


@contextlib.contextmanager
def _pyarrow_alone() -> Iterator[None]:
    """Keep pyarrow from importing pandas, which it does for the first array that it makes.

    If pandas has been imported already, this changes nothing.
    """
    sys.meta_path.insert(0, _NoPandas)
    try:
        yield
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """An import finder for which pandas is not installed."""

    @classmethod
    def find_spec(cls, name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _counts(dataset: PreferenceDataset) -> dict[str, Any]:
    return {
        "questions": dataset.questions.num_rows,
        "groups": dataset.groups.num_rows,
        "preferences": dataset.preferences.num_rows,
        "dropped": dataset.dropped_by_reason(),
    }


def _show(dataset: PreferenceDataset, where: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from gpo_ray.runtime.terminal_text import ShownText as Text

    console, counts = Console(), _counts(dataset)
    print(
        f"{shown(where)}: {counts['questions']} questions, {counts['groups']} groups, "
        f"{counts['preferences']} preferences"
    )
    question = next(iter(dataset.iter_questions()))
    values, offsets = dataset.shares()
    ids = dataset.preferences["question_id"].to_pylist()
    rows = [i for i, q in enumerate(ids) if q == question.question_id][:5]
    # responses are rows, since there may be many of them, with long texts
    sample = Table(title=Text(question.prompt), title_justify="left")
    sample.add_column("response", overflow="fold")
    for i in rows:
        sample.add_column(Text(_short(dataset.preferences["group_id"][i].as_py(), 24)), justify="right")
    for r, response in enumerate(question.responses):
        shares = (f"{values[offsets[i] + r]:.3f}" for i in rows)
        sample.add_row(Text(_short(response)), *shares)
    console.print(sample)
    drops = Table(title="dropped", title_justify="left")
    for column in ("reason", "rows", "for example"):
        drops.add_column(column, overflow="fold", no_wrap=column == "rows")
    log = dataset.dropped.to_pylist()
    for reason, count in counts["dropped"].items():
        example = next(d["where"] for d in log if d["reason"] == reason)
        drops.add_row(Text(reason), str(count), Text(example))
    if log:
        console.print(drops)
        print(f"every dropped row is in {shown(where)}/dropped.parquet")
    else:
        print("nothing was dropped")


def _short(text: str, most: int = MAX_CELL_CHARACTERS) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
