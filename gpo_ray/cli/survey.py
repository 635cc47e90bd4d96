"""The commands ``gpo survey ...``."""

from __future__ import annotations

from typing import Annotated

import typer

from gpo_ray.cli.codebook import show_proposed, survey_codebook
from gpo_ray.cli.options import Json, Out, parse_options
from gpo_ray.cli.output import print_json
from gpo_ray.cli.survey_export import survey_export
from gpo_ray.cli.survey_show import counts, show_result, survey_show
from gpo_ray.runtime.terminal_text import shown

app = typer.Typer(no_args_is_help=True, help="Survey data: import it, merge it, look at it, export it.")
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
    result = counts(dataset) | {"out": out}
    if as_json:
        print_json(result)
    else:
        show_result(dataset, out)


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
    from gpo_ray.preferences.twins import note_twins
    from gpo_ray.runtime.storage import Folder

    with Folder(out).writing():
        surveys = [PreferenceDataset.load(folder) for folder in (first, second)]
        merged = note_twins(merge_surveys(*surveys))
        merged.save(out)
    same = sum(s.questions.num_rows for s in surveys) - merged.questions.num_rows
    if as_json:
        print_json(counts(merged) | {"same_questions": same, "out": out})
    else:
        show_result(merged, out)
        print(shown(f"{same} questions of {second} are the same as in {first}"))


app.command("show")(survey_show)
app.command("export")(survey_export)
