"""The commands ``gpo bundle ...``."""

from __future__ import annotations

from typing import Annotated

import typer

from gpo_ray.cli.options import Json
from gpo_ray.cli.output import print_json

app = typer.Typer(no_args_is_help=True, help="Trained bundles.")


@app.command("inspect")
def bundle_inspect(
    folder: Annotated[str, typer.Argument(help="Bundle folder.")], as_json: Json = False
) -> None:
    """Check a bundle against its manifest and show what it was made of."""
    from rich.console import Console

    from gpo_ray.model.bundle import read_bundle

    bundle = read_bundle(folder)
    result = {
        "out": folder,
        "parameters": sum(p.numel() for p in bundle.model.parameters()),
        "config": bundle.config.model_dump(mode="json"),
        "provenance": bundle.provenance,
    }
    if as_json:
        print_json(result)
    else:
        Console().print_json(data=result, ensure_ascii=True)
