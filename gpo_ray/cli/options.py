"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

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
