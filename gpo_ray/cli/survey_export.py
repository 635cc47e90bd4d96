"""The command ``gpo survey export``."""

from __future__ import annotations

from typing import Annotated

import typer

from gpo_ray.cli.options import Json
from gpo_ray.cli.output import report
from gpo_ray.cli.survey_show import pyarrow_alone


def survey_export(
    folder: Annotated[str, typer.Argument(help="Survey folder.")],
    out: Annotated[str, typer.Option(help="The .csv or .parquet file to write.")],
    as_json: Json = False,
) -> None:
    """Write a survey as a table, a row for each group, question and response, for R, Stata and others."""
    with pyarrow_alone():
        from gpo_ray.preferences.export import LONG, export_survey

        rows = export_survey(folder, out)
        result = {"rows": rows, "columns": LONG.names, "out": out}
    report(result, as_json, "{out}: {rows} rows")
